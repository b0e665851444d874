"""vLLM and the transformers engine against the trainer on prompts with images, in fp32."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from seeing_models import make_seeing
from seen_gap import LIMIT, SAMPLED, engine_of, gap, gap_of, going_on, move, requests_of, trainer_of

from rlvr_cli import schema
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.rollout import SyncError, pixels
from rlvr_cli.sampling.start_model import start_engine
from rlvr_cli.schema import (
    Lora,
    Model,
    OnUpdate,
    Overlap,
    Placement,
    Precision,
    Rollout,
    RolloutLora,
    Servers,
    Vision,
)
from rlvr_cli.training.rest import probe_logprobs
from rlvr_cli.vision.album import shortened

pytestmark = pytest.mark.slow
BEGUN = replace(SAMPLED, max_tokens=5)


@pytest.fixture(scope="module")
def model(tiny_vision_path):
    return Model(path=str(tiny_vision_path), vision=Vision.train)


@pytest.fixture(scope="module")
def trainer(model):
    with trainer_of(model) as trainer:
        yield trainer


@pytest.fixture(scope="module")
def requests(model):
    return requests_of(model)


@pytest.fixture(scope="module")
def engines(model, requests):
    return {kind: engine_of(model, kind) for kind in ("vllm", "hf")}


def packed_rows_and_single_ones_are_one(trainer, requests):
    """Each sequence in a micro-batch alone, and all in one row with shared prompts; the image matters."""
    sequences = [np.array([*r.tokens, 70 + n, 80, 1], np.int32) for r in requests for n in range(3)]
    trained = [np.arange(len(s)) >= len(s) - 3 for s in sequences]
    whole = trainer.score(sequences, trained)[0]
    for budget in (30, 5000):
        trainer.tokens_per_microbatch = budget
        assert torch.allclose(trainer.score(sequences, trained)[0], whole, atol=2e-6)
    trainer.tokens_per_microbatch = 300
    other = [np.where(s < 0, requests[1].tokens[2], s) for s in sequences[:3]]  # the image of another row
    assert (trainer.score(other, trained[:3])[0] - whole[:9]).abs().max() > 1e-3
    return sequences, trained, whole


def test_engine_and_trainer_agree_before_and_after_syncs(trainer, requests, engines) -> None:
    """The same images come again after each change; of the last one the tower alone is moved."""
    for part in (None, "", "visual"):
        if part is not None:
            move(trainer, part)
        for kind, engine in engines.items():
            if part is not None:
                receipt = engine.load(trainer.weights())
                assert not receipt.untold and receipt.compared + receipt.sampled == trainer.parameters
            assert gap(trainer, requests, engine) < LIMIT, (kind, part)
            probed = np.abs(engine.probe(requests[4].tokens) - probe_logprobs(trainer, requests[4].tokens))
            assert probed.mean() < LIMIT, (kind, part)


def test_what_a_tower_made_of_an_image_is_forgotten_when_it_changes(trainer, requests, engines) -> None:
    """An engine that is told the tower is frozen keeps it, and then reads other images than the trainer."""
    engine = engines["vllm"]
    engine.load(trainer.weights())
    assert gap(trainer, requests[:4], engine) < LIMIT
    move(trainer, "merger")
    engine.remembers = True
    engine.load(trainer.weights())
    assert gap(trainer, requests[:4], engine) > 1e-2
    engine.remembers = False
    engine.load(trainer.weights())
    assert gap(trainer, requests[:4], engine) < LIMIT


def test_packed_rows_padded_rows_and_micro_batches_are_one(model, trainer, requests) -> None:
    sequences, trained, whole = packed_rows_and_single_ones_are_one(trainer, requests)
    settings = schema.Trainer(precision=Precision.fp32, zero_stage=0)
    padded = Trainer(replace(model, attention="sdpa"), settings, tokens_per_microbatch=300, max_grad_norm=1.0)
    assert padded.padded and not trainer.padded
    own = dict(padded.hf.named_parameters())
    with torch.no_grad():
        for name, weight in trainer.weights():
            own[name].copy_(weight)
    assert torch.allclose(padded.score(sequences, trained)[0], whole, atol=2e-6)


def test_a_response_that_was_begun_goes_on(trainer, requests, engines) -> None:
    for engine in engines.values():
        engine.load(trainer.weights())
    begun = dict(engines["hf"].generate(requests[:2], replace(SAMPLED, max_tokens=5)))
    going = going_on(requests[:2], begun)
    for engine in engines.values():
        assert gap(trainer, going, engine) < LIMIT


def test_a_response_that_was_begun_goes_on_under_other_weights(trainer, requests, engines) -> None:
    """What it has keeps the logprobs of those that sampled it, what comes is of the new ones: the tower's
    too. An engine that remembers images goes on with those that the old tower has seen."""
    for engine in engines.values():
        engine.load(trainer.weights())
    begun = {kind: dict(engine.generate(requests, BEGUN)) for kind, engine in engines.items()}
    assert all(gap_of(trainer, requests, begun[kind]) < LIMIT for kind in engines)
    going = {kind: going_on(requests, begun[kind]) for kind in engines}
    move(trainer, "visual")
    for kind, engine in engines.items():
        engine.load(trainer.weights())
        found = dict(engine.generate(going[kind], SAMPLED))
        assert gap_of(trainer, going[kind], found, skip=5) < LIMIT, kind
        assert gap_of(trainer, going[kind], begun[kind]) > 1e-3, kind
        for request in going[kind]:
            for old, new in zip(request.begun, found[request.key], strict=True):
                assert np.array_equal(new.tokens[:5], old.tokens)
                assert np.array_equal(new.logprobs[:5], old.logprobs)
    move(trainer, "merger")
    engines["vllm"].remembers = True
    engines["vllm"].load(trainer.weights())
    assert gap(trainer, going["vllm"][:4], engines["vllm"], skip=5) > 1e-2
    engines["vllm"].remembers = False
    engines["vllm"].load(trainer.weights())
    assert gap(trainer, going["vllm"], engines["vllm"], skip=5) < LIMIT


def test_samples_that_run_keep_the_check_of_their_prompts_when_others_begin(requests, engines) -> None:
    """As beside a trainer: two callers step one engine, and one of them is broken off."""
    engine = engines["vllm"]
    first = engine.generate(requests[:2], SAMPLED, lambda: False)
    other = engine.generate([replace(requests[2], key=7)], SAMPLED, lambda: False)
    next(first)
    waiting = set(engine.prompts._asked)
    other.close()
    next(engine.generate([replace(requests[3], key=9)], SAMPLED, lambda: True), None)
    assert waiting and set(engine.prompts._asked) - {"probe"} == waiting - {"probe"}
    assert [key for key, _ in first] and not set(engine.prompts._asked) - {"probe"}


@pytest.mark.long
@pytest.mark.parametrize("on_update", [OnUpdate.recompute, OnUpdate.keep])
def test_servers_are_shown_the_same_images(
    trainer, requests, model, tmp_path, monkeypatch, on_update
) -> None:
    """Of one process: before and after the tower has moved, with samples that go on, and what is refused.
    Servers that keep what runs see what is new with the new tower all the same."""
    monkeypatch.chdir(tmp_path)
    ahead = {"max_staleness": 1, "overlap": Overlap.beside, "sleep": False, "on_update": on_update}
    ahead = ahead if on_update is OnUpdate.keep else {}
    engine = engine_of(model, "vllm", placement=Placement.servers, servers=Servers(threads=1), **ahead)
    try:
        engine.load(trainer.weights())
        assert gap(trainer, requests, engine) < LIMIT
        move(trainer, "visual")
        assert gap(trainer, requests[:4], engine) > 1e-3
        receipt = engine.load(trainer.weights())
        assert not receipt.untold and receipt.compared + receipt.sampled == trainer.parameters
        assert gap(trainer, requests, engine) < LIMIT
        ours = trainer.processor.patches(min(requests[0].tokens))
        engine.image_gap(requests[0].tokens, ours)
        with pytest.raises(RuntimeError, match=r"HTTP 400: .*other colours than the trainer"):
            engine.image_gap(requests[0].tokens, (ours[0] + np.float32(1e-3), ours[1]))
        probed = engine.probe(requests[4].tokens)
        assert np.abs(probed - probe_logprobs(trainer, requests[4].tokens)).mean() < LIMIT
        begun = dict(engine.generate(requests[:2], BEGUN))
        assert gap(trainer, going_on(requests[:2], begun), engine) < LIMIT
        prompts = engine._sampler._prompts
        monkeypatch.setattr(prompts, "_ours", lambda tokens: tokens[:-1])
        with pytest.raises(RuntimeError, match=r"HTTP 400: .*their image processors differ"):
            gap(trainer, requests[:1], engine)
    finally:
        engine.close()


def test_adapters_alone_are_of_the_text(tiny_vision_path) -> None:
    """The engine keeps the start model and its tower, and is sent adapters of the layers of text."""
    model = Model(path=str(tiny_vision_path), lora=Lora(rank=4, alpha=12.0))
    with trainer_of(model) as trainer:
        rollout = Rollout(kv_cache_gb=0.1, lora=RolloutLora.adapter)
        engine = start_engine(rollout, model, load_tokenizer(model), 0, Precision.fp32, 128)
        requests = requests_of(model)
        assert gap(trainer, requests, engine) < LIMIT
        move(trainer, "lora_")
        assert gap(trainer, requests[:4], engine) > 1e-3
        receipt = engine.load(trainer.adapters())
        assert not receipt.untold and not receipt.homeless
        assert gap(trainer, requests, engine) < LIMIT
        probed = np.abs(engine.probe(requests[4].tokens) - probe_logprobs(trainer, requests[4].tokens))
        assert probed.mean() < LIMIT
        begun = dict(engine.generate(requests, BEGUN))
        assert gap(trainer, going_on(requests, begun), engine) < LIMIT


def test_another_processor_is_noticed(requests, engines) -> None:
    prompts = engines["vllm"].prompts
    tokens = requests[0].tokens
    short = shortened(tokens, prompts.processor.pad)[0]
    asked = prompts.of("7", tokens)
    assert asked["prompt_token_ids"] == short and len(asked["multi_modal_data"]["image"]) == 1

    class Output:
        request_id, prompt_token_ids = "7", tokens[:-1]

    with pytest.raises(SyncError, match="as 23 tokens, the trainer as 24: their image processors differ"):
        prompts.check(Output())


def test_an_engine_reads_the_colours_the_trainer_reads(trainer, requests, engines, monkeypatch) -> None:
    """But for rounding: vLLM's tower normalises for itself. Other means, channels or sizes are told."""
    tokens = requests[0].tokens
    ours = trainer.processor.patches(tokens[tokens.index(min(tokens))])
    assert engines["hf"].image_gap(tokens, ours) == 0.0
    assert engines["vllm"].image_gap(tokens, ours) < 1e-6
    pixels_pn, grid = ours
    for engine in engines.values():
        for planted in (pixels_pn + np.float32(2e-5), pixels_pn[:, ::-1].copy()):
            with pytest.raises(SyncError, match=r"other colours than the trainer \(its pixel values"):
                engine.image_gap(tokens, (planted, grid))
        engine.image_gap(tokens, (pixels_pn + np.float32(2e-7), grid))
        with pytest.raises(SyncError, match=r"image into \[1, 8, 8\] patches, the trainer into \[1, 4, 8\]"):
            engine.image_gap(tokens, (pixels_pn[:32], (1, 4, 8)))
    theirs = engines["vllm"].llm.llm_engine
    prompt = engines["vllm"].prompts.of("", tokens)
    pixels.demand_same_pixels(theirs, prompt, pixels.packed(*ours))
    monkeypatch.setattr(pixels, "MOST_SENT", 100)
    pixels.demand_same_pixels(theirs, prompt, pixels.packed(*ours))
    with pytest.raises(ValueError, match="other colours than the trainer"):
        pixels.demand_same_pixels(theirs, prompt, pixels.packed(pixels_pn + np.float32(1e-3), grid))


@pytest.mark.parametrize("kind", ["qwen3_vl", pytest.param("qwen2_vl", marks=pytest.mark.long)])
def test_other_kinds_of_models_that_see(kind, tmp_path) -> None:
    """The same images come again after each change; of the second one the tower alone is moved, and of the
    third, of Qwen3-VL, what its middle layers say."""
    model = Model(path=str(make_seeing(tmp_path, kind)), vision=Vision.train)
    parts = (None, "", "visual", *(["deepstack"] if kind == "qwen3_vl" else []))
    with trainer_of(model) as trainer:
        requests = requests_of(model)
        engines = {name: engine_of(model, name) for name in ("vllm", "hf")}
        for part in parts:
            if part is not None:
                move(trainer, part)
            for name, engine in engines.items():
                if part is not None:
                    receipt = engine.load(trainer.weights())
                    assert not receipt.untold
                    assert receipt.compared + receipt.sampled == trainer.parameters
                assert gap(trainer, requests, engine) < LIMIT, (name, part)
                probed = engine.probe(requests[4].tokens)
                apart = np.abs(probed - probe_logprobs(trainer, requests[4].tokens))
                assert apart.mean() < LIMIT, (name, part)
        packed_rows_and_single_ones_are_one(trainer, requests)
        move(trainer, "merger")
        engines["vllm"].remembers = True  # as for a tower that is frozen: it reads other images then
        engines["vllm"].load(trainer.weights())
        assert gap(trainer, requests[:4], engines["vllm"]) > 1e-2
        for engine in engines.values():
            engine.close()
