"""Every key is explained, by what the schema says; who reads it is what the source says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from places import GOLDEN, PACKAGE

from rlvr_cli import algorithms
from rlvr_cli.core.errors import UserError
from rlvr_cli.reference.explain import explain
from rlvr_cli.reference.find import expanded, find
from rlvr_cli.reference.keys import all_keys
from rlvr_cli.reference.pages import metrics, naming
from rlvr_cli.reference.readers import all_reads, readers

pytestmark = pytest.mark.slow  # who reads a key is found by reading the whole package: seconds

GOLDEN_KEYS = [line.partition(":")[0] for line in (GOLDEN / "schema_keys.txt").read_text().splitlines()]
UNREAD = {
    "rlvr_cli.schema.evaluation.Bench.note",  # speaks to people
    "rlvr_cli.schema.recipes.VerifyRecipe.plugins",  # before there is a recipe
}
"""Fields that no module reads by their name."""
UNTYPED = {"environment=external.command"}  # a text or a list of texts


def text(key: str) -> str:
    return "\n".join(explain(key))


def spoken(golden: str) -> str:
    """A line of the golden list as a user writes the key."""
    return expanded(
        re.sub(r"^(rl|sft|eval|preference|reward_model|distillation|otv|experience)\.", "", golden)
    )


def test_all_keys_are_explained() -> None:
    """With type and default; nothing is without a meaning."""
    assert len(GOLDEN_KEYS) > 400
    for golden in GOLDEN_KEYS:
        lines = explain(spoken(golden))
        assert len(lines) >= 4, golden
        assert "(no description)" not in "\n".join(lines), golden
        if all(key.section is None for key in find(spoken(golden))) and not re.fullmatch(
            r"rl\.(algorithm|verifiers|environments|data|stages|eval\.benches)|(sft|preference|reward_model|distillation|otv|experience)\.data|experience\.verifiers|preference\.algorithm\.preference|distillation\.algorithm\.distillation|eval\.benches|\w+\.eval\.source",
            golden,
        ):
            untyped = golden in UNTYPED
            assert untyped or any(line.startswith("  type ") for line in lines), golden
            assert untyped or any(line.startswith("  default ") for line in lines), golden


def test_what_a_key_says() -> None:
    said = text("trainer.schedule")
    assert "type     one of constant, linear, cosine" in said and "default  constant" in said
    assert "recipes  reinforcement learning, sft" in said
    said = text("trainer.min_lr")
    assert "must be  at least 0" in said
    said = text("rollout.sleep")  # an evaluation has another default
    assert said.index("default  true") < said.index("default  false") and "rlvr eval" in said
    assert "required" in text("model.path")


def test_a_section_lists_its_keys() -> None:
    said = text("trainer")
    assert re.search(r"^  lr +1e-6  ", said, re.MULTILINE) and re.search(
        r"^  zero_stage +2 ", said, re.MULTILINE
    )
    assert "columns" in text("data.train") and "columns" in text("data")
    assert "k3" in text("algorithm.kl.estimator") and "clipped_weight" in text("algorithm.loss")
    assert "advantage" in text("algorithm") and "judge" in text("verifiers")


def test_options_and_verifiers() -> None:
    said = text("algorithm.kl.estimator")
    assert "of       kl=loss" in said and "of       kl=reward" in said  # their defaults differ
    assert "default  k2" in said and "default  k1" in said
    assert "default  k1" not in text("algorithm.kl=loss.estimator")
    assert "coef" in text("algorithm/kl=loss")
    said = text("verifiers.math.units")
    assert "if_given" in said and "of       incorrect, math" not in said and "of       math" in said
    assert "of       " in text("verifiers.mine.weight")  # whatever the recipe calls it


def test_environments() -> None:
    said = text("environments.game.most")
    assert "default  1024" in said and "of       guess" in said and "read by  environments/guess.py" in said
    assert said.splitlines()[1:] == text("eval.benches.own.environment.most").splitlines()[1:]
    said = text("environments.game.max_turns")  # whatever the recipe calls it
    assert "of       guess" in said and "of       s3" in said and "episodes/play.py" in said
    assert "turn_tokens  16" in text("guess") and "docs/environments/guess.md" in text("guess")
    assert "retrieval.corpus" in text("s3") and "corpus" in text("environments.game.retrieval")
    assert "default  null" in text("environments.s3.retrieval.corpus")
    assert "A hidden number" in text("environments")
    assert "default  1" in text("environment=guess.workers")  # as lists of keys write it
    with pytest.raises(UserError, match=r"guess has no 'topk'; these have: s3, search_r1"):
        explain("environments.guess.topk")
    assert (
        text("eval.benches.gsm8k.verifier.units").splitlines()[1:4]
        == text("benches.x.verifier.units").splitlines()[1:4]
    )
    assert "coef" in text("stages.late.shaping.coef")
    with pytest.raises(UserError, match="always has no 'units'; these have: incorrect, math"):
        explain("verifiers.always.units")


def test_metrics_and_entries() -> None:
    assert "after shaping" in text("reward/mean") and "unit     reward" in text("reward/mean")
    assert text("eval/gsm8k/avg@8").startswith("eval/gsm8k/avg@8  (eval/<bench>/avg@k)")
    assert "one of k samples" in text("eval/gsm8k/pass@4")
    assert "share of one verifier" not in text("reward/math/mean") and "(reward/<verifier>/mean)" in text(
        "reward/math/mean"
    )
    assert text("critic/rewards/mean") == "critic/rewards/mean is verl's name; that is reward/mean here"
    assert "docs/algorithms/dapo.md" in text("dapo") and "clip-higher" in text("dapo")
    assert "docs/verifiers/math.md" in text("math") and "extraction" in text("math")


def test_unknown_names_are_answered_with_near_ones() -> None:
    for given, says in (
        ("trainer.lrr", "did you mean trainer.lr"),
        ("lr", "trainer.lr"),
        ("group_size", "batch.group_size"),
        ("rewards/mean", "did you mean reward/mean"),
        ("algorithm.kl=los", "algorithm.kl has no option 'los'; did you mean 'loss'?"),
        ("algorithm/kll=loss", "algorithms have no part 'kll'; did you mean 'kl'?"),
        ("xyzzy", "rlvr list shows what there is"),
    ):
        with pytest.raises(UserError) as caught:
            explain(given)
        assert says in str(caught.value), (given, str(caught.value))


def test_names_of_other_frameworks_are_answered_with_ours() -> None:
    assert "batch.group_size" in text("actor_rollout_ref.rollout.n")
    assert "verl" in text("actor_rollout_ref.rollout.n")


def test_every_key_has_its_readers() -> None:
    """Of each a module that has its name in it; of some it is known who they must be."""
    for key in all_keys():
        full = f"{key.owner.__module__}.{key.owner.__qualname__}.{key.field}"
        found = readers(key.owner, key.field)
        if key.section is None and key.field != "name" and full not in UNREAD:
            assert found, f"{key.path} of {full}: nobody is found to read it"
        for module in found:
            assert (PACKAGE / module).is_file()


def test_known_readers() -> None:
    reads = all_reads()

    def of(cls: str, field: str) -> set[str]:
        return reads.get((f"rlvr_cli.{cls}", field), set())

    assert "engine/schedule.py" in of("schema.training.Trainer", "min_lr")
    assert "sampling/start_model.py" in of("schema.model.Model", "revision")
    assert of("schema.recipes.Server", "timeout_s") == {"rollout/server.py"}
    assert of("schema.watching.Controller", "lr_factor") == {"training/controller.py"}
    assert "training/controller.py" in of(
        "schema.watching.Actions", "kl_drift"
    )  # getattr(actions, finding.rule)
    assert "schema/stages.py" in of("schema.recipes.Stage", "kl_coef")
    assert of("algorithms.loss.Clipped", "dual_clip") == {"algorithms/loss.py"}
    assert "algorithms/kl.py" in of("algorithms.kl.KLLoss", "coef")  # a field of the class above it
    assert of("verifiers.math.Math", "letter_case")


def test_a_read_is_found_where_it_is_and_nowhere_else(tmp_path: Path) -> None:
    """Types follow parameters, fields, results, loops and constructors; a name alone proves nothing."""
    from rlvr_cli.reference.readers import reads_in

    package = tmp_path / "rlvr_cli"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Inner:\n    lr: float\n    path: str\n    handed: int\n"
        "@dataclass\nclass Outer:\n    inner: Inner\n    many: dict[str, Inner]\n"
    )
    (package / "b.py").write_text(
        "from rlvr_cli.a import Inner, Outer\n"
        "class Holder:\n    def __init__(self, outer: Outer) -> None:\n        self.mine = outer.inner\n"
        "def first(outer: Outer) -> Inner:\n    return outer.inner\n"
        "def use(holder: Holder, other, outer: Outer) -> None:\n"
        "    print(holder.mine.lr, other.path)\n"
        "    for name, each in outer.many.items():\n        first(outer)\n"
    )
    (package / "c.py").write_text(
        "from rlvr_cli.b import first\n"
        "def late(x) -> float:\n    return first(x).lr\n"
        "def late_two(x: 'Outer') -> None:\n    x.path = 3\n"
        "def given(x) -> None:\n    print(x.handed)\n"
    )
    (package / "d.py").write_text(
        "from rlvr_cli.a import Outer\nfrom rlvr_cli.c import given\n"
        "def give(outer: Outer) -> None:\n    given(outer.inner)\n"
    )
    found = reads_in(package)
    assert found[("rlvr_cli.a.Inner", "lr")] == {"b.py", "c.py"}
    assert found[("rlvr_cli.a.Outer", "many")] == {"b.py"}
    assert ("rlvr_cli.a.Inner", "path") not in found
    assert found[("rlvr_cli.a.Inner", "handed")] == {"c.py"}  # a parameter has the type of what callers give


def test_pages_that_name_a_key() -> None:
    assert "training.md" in naming("trainer.warmup_steps")
    assert "reference.md" not in naming("trainer.lr")
    assert naming("trainer.l") == []


def test_every_recorded_metric_is_described() -> None:
    """The names that recorded runs have are those of the pages."""
    import json

    recorded = json.loads((GOLDEN / "recorded_runs.json").read_text())
    names = set(
        re.findall(
            r'"((?:reward|actor|group|response_length|mismatch|perf|timing_s|critic)/[^"]+)"',
            json.dumps(recorded),
        )
    )
    known = metrics()
    missing = {name for name in names if not any(metric.fits(name) for metric in known)}
    assert missing == set()


def test_every_axis_is_listed() -> None:
    for axis in algorithms.AXES:
        said = text(f"algorithm.{axis}")
        assert all(name in said for name in algorithms.options(axis))
