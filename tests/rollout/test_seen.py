"""vLLM and the transformers engine against the trainer on prompts with images, in fp32."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from rlvr_cli import schema
from rlvr_cli.data.prompts import problems
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.rollout import Request, Sampling, SyncError, make_engine
from rlvr_cli.schema import Model, Precision, RolloutEngine, Source, Vision
from rlvr_cli.training.rest import probe_logprobs
from rlvr_cli.vision.album import album, shortened

pytestmark = pytest.mark.slow
SAMPLED = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)
LIMIT = 1e-5
"""Mean gap of logprobs in fp32."""


@pytest.fixture(scope="module")
def model(tiny_vision_path):
    return Model(path=str(tiny_vision_path), vision=Vision.train)


@pytest.fixture(scope="module")
def trainer(model):
    before = dict(os.environ)
    process_group.initialise()
    settings = schema.Trainer(precision=Precision.fp32, zero_stage=0)
    yield Trainer(model, settings, tokens_per_microbatch=300, max_grad_norm=1.0)
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def requests(model):
    """Prompts of one image each, one of two images, and one of text."""
    source = Source(path="synthetic:shapes_box", options={"size": 4})
    rows = problems("train", source, load_tokenizer(model), 99, 0)[0]
    prompts = [problem.tokens for problem in rows]
    album.most = max(album.most, 2)  # as a data set with such a prompt would have said
    prompts += [[*prompts[0][:-1], *prompts[1][1:]], [2, 71, 84, 36, 2]]
    return [Request(key=i, tokens=tokens, samples=3, seed=100 * i) for i, tokens in enumerate(prompts)]


@pytest.fixture(scope="module")
def engines(model, requests):
    def start(kind, frozen=False):
        rollout = schema.Rollout(engine=RolloutEngine[kind], kv_cache_gb=0.1)
        size = {"precision": Precision.fp32, "max_model_len": 128, "frozen_tower": frozen}
        tokenizer = load_tokenizer(model)
        return make_engine(rollout, path=model.path, tokenizer=tokenizer, eos=[1], seed=0, **size)

    return {"vllm": start("vllm"), "hf": start("hf")}


def gap(trainer, requests, engine):
    """Mean difference of the engine's logprobs of what it has sampled to the trainer's."""
    found = dict(engine.generate(requests, SAMPLED))
    sequences, trained, theirs = [], [], []
    for request in requests:
        for completion in found[request.key]:
            assert (completion.tokens >= 0).all() and not np.isin(completion.tokens, trainer.banned).any()
            sequences.append(np.concatenate([np.asarray(request.tokens, np.int32), completion.tokens]))
            trained.append(np.arange(len(sequences[-1])) >= len(request.tokens))
            theirs.append(completion.logprobs)
    ours = trainer.score(sequences, trained)[0].numpy()
    return float(np.abs(ours - np.concatenate(theirs)).mean())


def move(trainer, part=""):
    """Change the trainer's weights whose names hold this."""
    generator = torch.Generator().manual_seed(len(part))
    with torch.no_grad():
        for name, parameter in trainer.hf.named_parameters():
            if part in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


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
    sequences = [np.array([*r.tokens, 70 + n, 80, 1], np.int32) for r in requests for n in range(3)]
    trained = [np.arange(len(s)) >= len(s) - 3 for s in sequences]
    whole = trainer.score(sequences, trained)[0]
    for budget in (30, 5000):  # each sequence alone, and all in one row with shared prompts
        trainer.tokens_per_microbatch = budget
        assert torch.allclose(trainer.score(sequences, trained)[0], whole, atol=2e-6)
    trainer.tokens_per_microbatch = 300
    settings = schema.Trainer(precision=Precision.fp32, zero_stage=0)
    padded = Trainer(replace(model, attention="sdpa"), settings, tokens_per_microbatch=300, max_grad_norm=1.0)
    assert padded.padded and not trainer.padded
    own = dict(padded.hf.named_parameters())
    with torch.no_grad():
        for name, weight in trainer.weights():
            own[name].copy_(weight)
    assert torch.allclose(padded.score(sequences, trained)[0], whole, atol=2e-6)
    blank = [np.where(s < 0, requests[1].tokens[2], s) for s in sequences[:3]]  # the image of another row
    assert (trainer.score(blank, trained[:3])[0] - whole[:9]).abs().max() > 1e-3


def test_a_response_that_was_begun_goes_on(trainer, requests, engines) -> None:
    for engine in engines.values():
        engine.load(trainer.weights())
    begun = dict(engines["hf"].generate(requests[:2], replace(SAMPLED, max_tokens=5)))
    for request in requests[:2]:
        for completion in begun[request.key]:
            completion.finished, completion.partial = False, True
    going = [replace(r, begun=begun[r.key]) for r in requests[:2]]
    for engine in engines.values():
        assert gap(trainer, going, engine) < LIMIT


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
