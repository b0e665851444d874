"""Training on trees of responses: the same on any number of ranks and after a resume, told in the records."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from run_helpers import RECIPE, comparable, rlvr, steps_of

from rlvr_cli.tracking.records import read_records

pytestmark = pytest.mark.slow
TREE = RECIPE.replace("algorithm: grpo", "algorithm: spo_tree").replace(
    "algorithm: {kl: {coef: 0.05}, reference: {}}",
    "algorithm: {kl: {coef: 0.05}, advantage: {branching: [2, 2, 2], tokens: 3}}",
)
TREE = TREE.replace("group_size: 4", "group_size: 8")


def train(folder: Path, name: str, *overrides: str) -> Path:
    path, out = folder / "exact.yaml", folder / name
    path.write_text(TREE)
    done = rlvr("train", str(path), f"out={out}", "preflight.enabled=false", *overrides)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("trees"), "alone", "tracker.tokens=true", "checkpoint.every=1")


def rows_of(out: Path) -> dict[int, list[dict[str, Any]]]:
    """Rows of the first step by prompt, a row for each leaf."""
    found: dict[int, list[dict[str, Any]]] = {}
    for row in read_records(out, 1):
        found.setdefault(row["index"], []).append(row)
    return found


def own_tokens(trees: dict[int, list[dict[str, Any]]]) -> int:
    """Sampled tokens: each is one leaf's own."""
    spans = [leaf["own"] for leaves in trees.values() for leaf in leaves if leaf["own"]]
    return sum(end - begin for begin, end in spans)


def test_records_tell_what_each_edge_has_added(alone: Path) -> None:
    steps, trees = steps_of(alone), rows_of(alone)
    assert len(trees) == 6 and all(len(leaves) == 8 for leaves in trees.values())
    for leaves in trees.values():
        root = sum(leaf["reward"] for leaf in leaves) / 8
        for leaf in leaves:
            way, (begin, end) = leaf["values"], leaf["own"] or (0, 0)
            assert way[0] == pytest.approx(root) and way[-1] == leaf["reward"]
            assert len(way) == len(leaf["path"]) + 1 and end <= leaf["length"] == len(leaf["response_tokens"])
            assert leaf["sampled"] == [begin <= t < end for t in range(len(leaf["response_tokens"]))]
            # The advantage of what trains with this leaf: the mean over its tokens whose edge adds something.
            steps_of_way = [b - a for a, b in pairwise(way)]
            each = [steps_of_way[min(t // 3, 2)] for t in range(begin, end)]
            trained = [x for x in each if x]
            wanted = pytest.approx(sum(trained) / len(trained)) if trained else None
            assert leaf["advantage"] == wanted
    tokens = own_tokens(trees)
    assert steps[0]["perf/total_response_tokens"] == tokens < 48 * 12
    assert steps[0]["tree/tokens"] == pytest.approx(tokens / 6)
    assert 0 < steps[0]["tree/trained_edges"] < 1
    assert all(row["actor/grad_norm"] > 1e-3 for row in steps)


def test_a_run_goes_on_exactly(alone: Path, tmp_path: Path) -> None:
    out = train(tmp_path, "again", "tracker.tokens=true", "checkpoint.every=1", "trainer.steps=2")
    train(tmp_path, "again", "tracker.tokens=true", "checkpoint.every=1", "trainer.steps=3")
    wanted = [comparable(row) for row in steps_of(alone)]
    assert [comparable(row) for row in steps_of(out)] == wanted
    weights = [(run / "final" / "model.safetensors").read_bytes() for run in (alone, out)]
    assert weights[0] == weights[1]


@pytest.mark.long
@pytest.mark.parametrize(
    "ours", [["trainer.ranks=2", "trainer.zero_stage=2"], ["batch.tokens_per_microbatch=90"]]
)
def test_ranks_and_micro_batches_change_nothing(alone: Path, tmp_path: Path, ours: list[str]) -> None:
    out = train(tmp_path, "split", *ours)
    for got, wanted in zip(steps_of(out), steps_of(alone), strict=True):
        for key, value in comparable(wanted).items():
            assert got[key] == pytest.approx(value, abs=1e-4, rel=1e-4), key


@pytest.mark.long
def test_vllm_grows_the_trees_too(tmp_path: Path) -> None:
    out = train(tmp_path, "vllm", "rollout=vllm", "rollout.kv_cache_gb=0.25", "trainer.steps=2")
    steps = steps_of(out)
    assert all(row["mismatch/max"] < 1e-2 and row["actor/grad_norm"] > 1e-3 for row in steps)
    own = [leaf["own"] for leaves in rows_of(out).values() for leaf in leaves if leaf["own"]]
    assert sum(end - begin for begin, end in own) == steps[0]["perf/total_response_tokens"]
