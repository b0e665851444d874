"""The engine samples from something else than what is trained."""

from __future__ import annotations

from fault_cases import Place, case, plugin

VLLM = ["rollout=vllm", "rollout.kv_cache_gb=0.25", "rollout.max_num_seqs=128"]


@case("a weight sync leaves the old weights in the engine", r"weight sync.*(not|other|differ)", begins=1)
def stale_weights(place: Place) -> list[str]:
    return [plugin("stale_weights")]


@case(
    "a weight sync leaves a matrix out",
    r"the trainer does not send model.layers.1",
    begins=1,
)
def dropped_tensor(place: Place) -> list[str]:
    return [plugin("dropped_tensor")]


@case("a sync of adapters alone leaves the old ones", r"weight sync.*holds other.*adapter", begins=1)
def stale_adapter(place: Place) -> list[str]:
    lora = ["model.lora.rank=8", "trainer.lr=1e-3", "rollout.lora=adapter"]
    return [*VLLM, *lora, plugin("stale_adapter")]


@case("the engine keeps its prefix cache over a sync", r"mismatch of engine and trainer", begins=1)
def stale_cache(place: Place) -> list[str]:
    """All prompts begin with as much text as fills a block of the cache, as system prompts do."""
    shape = "{hidden_size: 64, layers: 2, heads: 2, kv_heads: 1, max_positions: 512}"
    prompt = "You are good at sums. " * 12 + "{prompt}"
    return [
        *VLLM, "model.path=builtin:tiny", f"model.tiny={shape}", f"data.train.prompt='{prompt}'",
        "rollout.max_prompt_tokens=400", "rollout.max_tokens=12", "verifier@verifiers.math=random",
        "trainer.lr=3e-3", plugin("stale_cache"),
    ]  # fmt: skip


@case("the engine computes another model than the trainer", r"logprobs.*(off by|differ by)")
def mismatch(place: Place) -> list[str]:
    return [plugin("other_norm")]


@case("the engine's logprobs get noisier", r"mismatch of engine and trainer", begins=8)
def growing_mismatch(place: Place) -> list[str]:
    return [plugin("noisy_logprobs")]


@case("model.path names a checkpoint that was never trained", r"drawn at random.*model\.path")
def untrained_model(place: Place) -> list[str]:
    import shutil

    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.schema import TinyModel

    folder = place.folder / "untrained"
    shutil.rmtree(folder, ignore_errors=True)
    make_tiny(folder, TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1, max_positions=128), 0)
    return [f"model.path={folder}"]


@case("model.path names a folder that is no model", r"model\.path")
def wrong_folder(place: Place) -> list[str]:
    folder = place.folder / "problems"
    folder.mkdir()
    (folder / "train.jsonl").touch()
    return [f"model.path={folder}"]
