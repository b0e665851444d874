"""A run that is killed as a whole, again and again, ends as if nothing had happened."""

from collections import Counter
from pathlib import Path

import pytest
from kills import kill, start_warm

from rlvr_cli.core import tensor_files
from rlvr_cli.tracking import read_records


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_while_writing_a_run_is_the_same_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DAPO, ZeRO-2 on 2 ranks. With vLLM, in other phases, and always from nothing, in the long ones."""
    monkeypatch.setattr(kill, "start", start_warm)
    made, found = kill.experiment(tmp_path, kills=1, seed=1, overrides=["rollout=hf"], aims=("writing",))
    assert found == [] and [each.writing for each in made] == [True]


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_killed_twenty_times_at_random_moments_a_run_is_the_same_to_the_bit(tmp_path: Path) -> None:
    made, found = kill.experiment(tmp_path, kills=20, seed=1, overrides=[])
    assert found == [] and len(made) == 20
    phases = {each.phase for each in made}
    assert {"rollout", "update", "sync"} <= phases and any(each.writing for each in made)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_killed_with_prompts_in_flight_a_run_is_the_same_to_the_bit_and_loses_none(tmp_path: Path) -> None:
    """Two steps ahead: each prompt is recorded once, or in flight at the end."""
    ahead = ["rollout.max_staleness=2", "rollout.max_tokens=48", "algorithm/mismatch=truncate"]
    made, found = kill.experiment(tmp_path, kills=20, seed=2, overrides=ahead)
    assert found == [] and len(made) == 20
    for out in (path.parent for path in tmp_path.glob("*/recipe.yaml")):
        steps = sorted((out / "checkpoints").glob("step_*"), key=lambda path: int(path.name[5:]))
        flying = [row["index"] for f in steps[-1].glob("flights_*.pt") for row in tensor_files.read(f)]
        seen = Counter(row["index"] for row in read_records(out) if row["sample"] == 0)
        assert seen + Counter(flying) == Counter(range(len(seen) + len(flying)))


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "where", [["rollout.sleep=false"], ["rollout.placement=servers", "rollout.servers.threads=1"]]
)
def test_killed_while_a_thread_samples_beside_the_trainer_nothing_is_lost_or_doubled(
    where: list[str], tmp_path: Path
) -> None:
    """Which weights sample a token is the clock's to say there: everything is accounted for."""
    ahead = ["rollout.max_staleness=2", "rollout.max_tokens=48", "algorithm/mismatch=truncate"]
    made, found = kill.experiment(tmp_path, 20, seed=3, overrides=[*ahead, kill.BESIDE, *where])
    assert found == [] and len(made) == 20


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_killed_ten_times_a_run_of_several_turns_is_the_same_to_the_bit(tmp_path: Path) -> None:
    """Each prompt is played with an environment, which says something after every turn but the last."""
    played = ["+environment@environments.game=guess", "data.train.environment=game", "rollout.max_tokens=40"]
    played += ["environments.game.max_turns=3", "environments.game.turn_tokens=3"]
    made, found = kill.experiment(tmp_path, kills=10, seed=3, overrides=played)
    assert found == [] and len(made) == 10


SEARCHER_AND_CALCULATOR = """
defaults:
  - algorithm: sft
  - model: tiny
  - data@data.search: two_hop_turns
  - data@data.product: product_turns
  - trainer: zero0
  - _self_
name: start
model: {tiny: {hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 640}}
data: {product: {options: {every: 2}}}
batch: {examples_per_step: 64}
algorithm: {max_length: 640}
trainer: {steps: 150, lr: 3e-3, warmup_steps: 10, precision: fp32}
tracker: {wandb: disabled}
"""


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_killed_ten_times_a_run_with_tools_and_search_is_the_same_to_the_bit(tmp_path: Path) -> None:
    """Half of the prompts are products with a calculator, half are questions with s3's search."""
    (tmp_path / "start.yaml").write_text(SEARCHER_AND_CALCULATOR)
    kill.finish(kill.start(tmp_path / "start.yaml", tmp_path / "start", []), tmp_path / "start")
    played = [f"model.path={tmp_path / 'start'}", "rollout.max_prompt_tokens=160", "rollout.max_tokens=440"]
    played += [
        "+data@data.question=two_hop",
        "data.question.environment=search",
        "data.question.verifiers=[gain]",
    ]
    played += ["+data@data.product=product", "data.product.environment=calculator", "data.train.weight=0"]
    played += ["+verifier@verifiers.gain=environment", "verifiers.gain.scale=own", "data.question.limit=64"]
    played += ["+verifier@verifiers.math=math", "data.product.limit=64"]
    played += ["+environment@environments.calculator=tools", "environments.calculator.syntax=tags"]
    played += ["environments.calculator.functions=[rlvr_cli.gym.products:multiply]"]
    played += ["environments.calculator.tags={multiply: c}", "environments.calculator.result_tag=r"]
    played += ["+environment@environments.search=s3", "environments.search.max_turns=3"]
    played += ["environments.search.topk=2", "environments.search.information_chars=120"]
    played += [r'environments.search.prompt="{question}\n<information>{information}</information>\n"']
    played += ["environments.search.retrieval.corpus='synthetic:two_hop'"]
    played += ["environments.search.generator={name: gold_in_context}"]
    made, found = kill.experiment(tmp_path, kills=10, seed=4, overrides=played)
    assert found == [] and len(made) == 10
    rows = [row for row in read_records(tmp_path / "whole") if len(row["turns"]) > 1]
    assert {row["source"] for row in rows} == {"question", "product"}
