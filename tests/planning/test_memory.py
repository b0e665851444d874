"""Memory of a rank, line by line, against numbers computed by hand."""

from dataclasses import replace
from typing import Any

import pytest
from plans import PLAIN, PUBLISHED, SHAPES, SHORT, changed, held, job, line

from rlvr_cli.commands.main import main
from rlvr_cli.engine.logprobs import chunk_elements
from rlvr_cli.planning import activations
from rlvr_cli.planning.gpus import GIB, GPUS
from rlvr_cli.planning.memory import memory_of
from rlvr_cli.planning.speed import MFU, MFU_SHARDED, times_of
from rlvr_cli.schema import Model, Precision, RolloutEngine


def test_optimizer_states_by_hand() -> None:
    """7.6B parameters in bf16: 2 bytes of weights, 4 of fp32 master copy, 8 of moments each."""
    count = PUBLISHED["Qwen/Qwen2.5-7B"]
    for stage, split in ((0, (1, 1, 1)), (1, (1, 8, 1)), (2, (1, 8, 8)), (3, (8, 8, 8))):
        memory = memory_of(changed(PLAIN(), "trainer", zero_stage=stage))
        weights, states, gradients = split
        assert line(memory, "weights") == 2 * count / weights
        assert line(memory, "master weights") == 4 * count / states
        assert line(memory, "Adam moments") == 8 * count / states
        assert line(memory, "gradients", "optimizer") == 4 * count / gradients  # added up in fp32
    exact = memory_of(changed(PLAIN(), "trainer", zero_stage=0, precision=Precision.fp32))
    assert line(exact, "master weights") == 0 and line(exact, "Adam moments") == 8 * count


def test_logits_of_policy_and_teacher() -> None:
    """Whole in fp32, those of 8,192 tokens of Qwen's vocabulary are 9.2734 GiB, of 256 tokens .2898 GiB. A
    CPU's chunk has fewer tokens."""
    shape = SHAPES(Model(path="Qwen/Qwen2.5-7B"))
    vocabulary = 151_936
    assert 2 * 4 * 8192 * vocabulary / GIB == pytest.approx(9.2734, abs=1e-4)
    assert 2 * 4 * 256 * vocabulary / GIB == pytest.approx(0.2898, abs=1e-4)
    assert (chunk_elements(None) // shape.vocabulary) in range(200, 256)
    held_at_once = activations.logits(shape, 4, 8192, None) / activations.LOGIT_COPIES[False]
    assert 2 * held_at_once / GIB <= 0.25
    assert activations.logits(shape, 4, 8192, None) == activations.logits(shape, 4, 10**6, None)


def test_gradients_of_several_micro_batches_and_ranks() -> None:
    """In fp32 ZeRO-2 adds a micro-batch's to a sum; the pieces of several ranks are joined in a copy."""
    count, bucket = PUBLISHED["Qwen/Qwen2.5-7B"], 4 * 5e8
    two = changed(changed(PLAIN(), "trainer", zero_stage=2), "checkpoint", every=None)
    many, alone = memory_of(two), memory_of(replace(two, ranks=1))
    assert line(many, "gradients") == line(many, "gradients", "optimizer") == 4 * count / 8
    assert line(many, "flattened gradients", "optimizer") == 0
    precise = memory_of(changed(two, "trainer", precision=Precision.fp32))
    assert line(precise, "gradients") == 2 * 4 * count / 8
    assert line(precise, "flattened gradients", "optimizer") == 4 * count / 8
    assert line(many, "gradient buckets") == 2 * bucket and line(alone, "gradient buckets") == bucket
    none = memory_of(changed(PLAIN(), "trainer", zero_stage=0))
    assert line(none, "gradient buckets") == 0
    assert line(none, "gradient buckets", "optimizer") == bucket
    three = memory_of(replace(PLAIN(), ranks=1))  # updated a sub-group at a time
    assert line(three, "flattened gradients", "optimizer") == 4 * 1e9


@pytest.mark.slow
def test_offload_lora_and_reference_move_what_they_should() -> None:
    before, moved = memory_of(job()), memory_of(job("trainer.offload=optimizer"))
    assert moved.total("update") < before.total("update") and moved.host_peak > before.host_peak
    adapters = memory_of(job("model.lora.rank=16"))
    assert line(adapters, "Adam moments") < 0.02 * line(before, "Adam moments")
    assert line(before, "reference") == 0
    assert line(memory_of(job("algorithm/kl=loss")), "reference") == line(before, "weights")
    assert line(memory_of(job("algorithm/kl=loss", "model.lora.rank=16")), "reference") == 0
    assert line(memory_of(job("algorithm=ppo")), "critic: Adam moments") > 0


def test_masks_and_other_adapters_have_their_lines() -> None:
    """A byte for each masked entry of a rank's piece, a bit for each of all; PiSSA keeps a reference."""
    whole, masked = job(), job("model.mask.kind=principal")
    layers = masked.policy.masked
    assert whole.policy.masked == 0 and layers == 28 * (2 * 3584**2 + 2 * 3584 * 512 + 3 * 3584 * 18944)
    found = memory_of(masked)
    assert line(found, "weight mask") == layers / 8 and line(found, "weight mask, packed") == layers / 8
    assert line(found, "Adam moments") == line(memory_of(whole), "Adam moments")
    alone = job("model.mask={kind: principal, train_others: false}").policy
    assert alone.trained == alone.masked == layers
    kl = ("algorithm/kl=loss", "model.lora.rank=16")
    kept, taken = (memory_of(job(*kl, f"model.lora.init={way}")) for way in ("default", "pissa"))
    assert line(kept, "reference") == 0 and line(taken, "reference") > 0
    plain, turned = (memory_of(job("model.lora.rank=16", f"model.lora.dora={x}")) for x in ("false", "true"))
    assert line(turned, "activations") > line(plain, "activations")


def test_logits_are_held_in_chunks() -> None:
    short, long = (memory_of(job(f"batch.tokens_per_microbatch={n}")) for n in (30_000, 60_000))
    elements = chunk_elements(GPUS["h100"].memory)
    assert line(short, "logits") == line(long, "logits") == pytest.approx(elements * 14, rel=0.01)
    small = memory_of(replace(PLAIN(), device=GPUS["a100-40"]))
    assert line(small, "logits") == pytest.approx(elements / 2 * 14, rel=0.01)
    assert line(long, "activations") == 2 * line(short, "activations")


def test_engine_share_and_sleep() -> None:
    half = changed(PLAIN(), "rollout", gpu_memory_utilization=0.5)
    memory = memory_of(half)
    assert held(memory, "rollout") == pytest.approx(0.5 * GPUS["h100"].memory)
    assert held(memory, "update") == GIB
    assert held(memory, "sync") == GIB + 2 * PUBLISHED["Qwen/Qwen2.5-7B"]  # the cache wakes after the weights
    awake = memory_of(changed(half, "rollout", sleep=False))
    assert held(awake, "update") == held(awake, "sync") == held(awake, "rollout")
    tight = memory_of(changed(half, "rollout", gpu_memory_utilization=0.2))
    assert not tight.fits and "gpu_memory_utilization" in tight.problems[0]


def test_the_cache_of_vllm_is_what_its_weights_leave() -> None:
    """7.6B weights in bf16, a GiB of graphs and a pass over 16,384 tokens; 28 layers with 4 heads of 128 keys
    and 128 values, 2 bytes each. The context was there before vLLM looked."""
    given_ = changed(PLAIN(), "rollout", gpu_memory_utilization=0.5, max_num_seqs=256)
    free = 0.5 * GPUS["h100"].memory - 2 * PUBLISHED["Qwen/Qwen2.5-7B"] - GIB
    one_pass = 16_384 * 2 * 4 * (18944 + 3584)
    assert memory_of(given_).cache_tokens == pytest.approx((free - one_pass) / (28 * 4 * 2 * 128 * 2))
    many = changed(given_, "rollout", max_num_seqs=4096)  # the logits of so many take more than the pass
    assert memory_of(many).cache_tokens == pytest.approx(
        (free - 3 * 4 * 4096 * 152_064) / (28 * 4 * 2 * 128 * 2)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["b200", "h200", "h100", "h20", "a100-80", "a100-40", "l40s", "l4"])
def test_vllm_takes_as_much_at_once_as_we_think(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own table of defaults, told that it is on such a GPU."""
    from vllm.engine import arg_utils
    from vllm.usage.usage_lib import UsageContext

    gpu, platform = GPUS[name], arg_utils.current_platform
    monkeypatch.setattr(type(platform), "get_device_total_memory", lambda *_: int(gpu.memory), raising=False)
    monkeypatch.setattr(type(platform), "get_device_name", lambda *_: f"NVIDIA {name}", raising=False)
    monkeypatch.setattr(type(platform), "is_cpu", lambda *_: False)
    tokens, sequences = arg_utils.EngineArgs.get_batch_defaults(world_size=1)
    assert tokens[UsageContext.LLM_CLASS] == gpu.engine_tokens
    assert sequences[UsageContext.LLM_CLASS] == gpu.engine_sequences


def test_engines_decode_as_many_as_the_recipe_or_the_device_says() -> None:
    open_ = changed(PLAIN(), "rollout", max_num_seqs=None)
    assert open_.decoded == 1024
    assert replace(open_, device=GPUS["a100-80"]).decoded == 256
    assert replace(open_, ranks=16).decoded == 512  # there are no more
    assert changed(open_, "rollout", max_num_seqs=300).decoded == 300
    assert changed(open_, "rollout", engine=RolloutEngine.hf).decoded == 256
    fast, slow = (times_of(changed(SHORT(), "rollout", max_num_seqs=n)) for n in (None, 64))
    assert fast is not None and slow is not None and fast["rollout"] < 0.5 * slow["rollout"]


def test_a_trainer_that_sleeps_is_in_the_hosts_memory_while_the_engine_samples() -> None:
    """7B on 8 ranks: a rank's 2 + 4 + 8 bytes a weight. Gradients and buckets are empty by then: not kept."""
    before_, after_ = (changed(PLAIN(), "trainer", sleep=sleep) for sleep in (False, True))
    awake, resting = memory_of(before_), memory_of(after_)
    kept = (2 + 4 + 8) * PUBLISHED["Qwen/Qwen2.5-7B"] / 8
    empty = 4 * PUBLISHED["Qwen/Qwen2.5-7B"] / 8 + 4 * 5e8
    gathered = 2 * (1e9 + 5e7)  # the probe that ends a sync: a trainer that sleeps has made it before
    assert awake.total("rollout") - resting.total("rollout") == pytest.approx(kept + empty + gathered)
    assert resting.total("rollout", host=True) - awake.total("rollout", host=True) == pytest.approx(kept)
    for phase in ("scoring", "update", "optimizer", "sync", "checkpoint"):
        assert resting.total(phase) == awake.total(phase)
        assert resting.total(phase, host=True) == awake.total(phase, host=True)
    before, after = times_of(before_), times_of(after_)
    assert before is not None and after is not None and "sleep" not in before
    assert after["sleep"] == pytest.approx(2 * kept / 20e9)


def test_a_7b_update_by_hand() -> None:
    """DAPO's micro-batch of 24,576 tokens on 8 H100, with recomputation: every line from sizes alone."""
    count, tokens, head = PUBLISHED["Qwen/Qwen2.5-7B"], 24_576, 152_064 * 3584
    given_ = changed(changed(PLAIN(), "batch", tokens_per_microbatch=tokens), "rollout", sleep=True)
    layer = 2 * (8 * 3584 + 4) + 2 * (2 * 3584 + 2 * 512) + 4 * 28 + 2 * 4 * 18944
    rows = 2**28 // 152_064
    expected = {
        "CUDA context, NCCL": 2.25 * GIB,
        "weights": 2 * count / 8,
        "master weights": 4 * count / 8,
        "Adam moments": 8 * count / 8,
        "gathered weights": 2 * (1e9 + 5e7),
        "gradients": 4 * count / 8,
        "gradient buckets": 2 * 4 * 5e8,
        "activations": tokens * (2 * 3584 * 28 + layer + 9 * 3584 + 2 * 4 * (18944 + 3584)),
        "logits": rows * 152_064 * (3 * 4 + 2),
        "output layer": 2 * 2 * head,
        "vLLM: graphs": GIB,
    }
    memory = memory_of(given_)
    found = {x.name: x.phases["update"] for x in memory.items if not x.host and "update" in x.phases}
    assert found == pytest.approx(expected)
    assert memory.total("update") == pytest.approx(sum(expected.values()))


def test_an_output_layer_in_fp32_takes_a_copy_and_its_time() -> None:
    head, plain = 152_064 * 3584, memory_of(PLAIN())
    precise_job = changed(PLAIN(), "model", fp32_head=True)
    precise = memory_of(precise_job)
    assert line(precise, "output layer") - line(plain, "output layer") == pytest.approx((4 + 2 * 2) * head)
    assert line(precise, "output layer", "scoring") == 4 * head
    assert line(precise, "logits") < line(plain, "logits")  # there are no bf16 ones besides
    before, after = times_of(PLAIN()), times_of(precise_job)
    assert before is not None and after is not None
    done = 2 * head * precise_job.sequences * precise_job.response
    longer = done / (MFU * 67e12) - done / (MFU_SHARDED * 989e12)
    assert after["update"] - before["update"] == pytest.approx(4 * longer)
    assert after["rollout"] == before["rollout"]
    assert memory_of(changed(precise_job, "rollout", engine=RolloutEngine.hf)).total("rollout") > memory_of(
        changed(PLAIN(), "rollout", engine=RolloutEngine.hf)
    ).total("rollout")


def test_prompts_that_are_shared_are_computed_once() -> None:
    """8 samples of 256 + 512 tokens: 2,304 tokens of prompts less for 8; where they save little, all are."""
    short, padded = SHORT(), changed(SHORT(), "model", attention="sdpa")
    lengths: dict[str, Any] = {"prompt": 256.0, "response": 512.0}
    short, padded = replace(short, **lengths), replace(padded, **lengths)
    assert short.members == 8 and padded.members == 1
    assert short.row_tokens == 128 * (256 + 8 * 512) and padded.row_tokens == 1024 * 768
    assert replace(short, response=5000.0).members == 1
    assert changed(short, "batch", tokens_per_microbatch=1536).members == pytest.approx(2, abs=0.5)
    fast, slow = times_of(short), times_of(padded)
    assert fast is not None and slow is not None and 0.68 < fast["update"] / slow["update"] < 0.78


def test_a_reward_model_on_the_ranks_gpu_is_counted() -> None:
    """A context of its own and weights in bf16; not where it is told to run on the CPU."""
    judged = replace(PLAIN(), recipe=with_judge("auto"))
    more = memory_of(judged).total("update") - memory_of(PLAIN()).total("update")
    values = SHAPES(Model(path="Qwen/Qwen2.5-0.5B"), True).parameters
    assert more == pytest.approx(1.5 * GIB + 2 * values)
    assert memory_of(judged).allocated == pytest.approx(memory_of(PLAIN()).allocated)
    away = replace(PLAIN(), recipe=with_judge("cpu"))
    assert memory_of(away).total("update") == memory_of(PLAIN()).total("update")
    waits = memory_of(replace(PLAIN(), recipe=with_judge("auto", "verifiers.judge.offload=true")))
    assert waits.total("update") - memory_of(PLAIN()).total("update") == pytest.approx(1.5 * GIB)
    assert waits.total("rollout") == memory_of(judged).total("rollout")
    assert waits.host_peak - memory_of(PLAIN()).host_peak == pytest.approx(2 * values)


def with_judge(device: str, *more: str) -> Any:
    """The recipe with a reward model besides its verifier."""
    path = "+verifier@verifiers.judge=reward_model"
    given = ("verifiers.judge.path=Qwen/Qwen2.5-0.5B", f"verifiers.judge.device={device}")
    return job(path, *given, *more).recipe


def test_liger_is_said_not_to_be_counted(capsys: pytest.CaptureFixture[str]) -> None:
    for kernels, said in (("plain", False), ("liger", True)):
        assert main(["plan", "sft_qwen7b", "--gpu", "h100", f"trainer.kernels={kernels}"]) == 0
        assert ("trainer.kernels=liger: what it saves is not counted" in capsys.readouterr().out) is said
