"""Routes that hooks find in vLLM on CPUs, of what it computes and of what it takes from its cache."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from rlvr_cli import schema
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import Request, Sampling, make_engine
from rlvr_cli.rollout.hf_routes import HFRoutes
from rlvr_cli.schema import Precision, RolloutEngine, RoutingReplay

pytestmark = pytest.mark.slow
PROMPTS = np.random.default_rng(0).integers(4, 90, size=(3, 100)).tolist()


@torch.no_grad()
def test_what_was_sampled_unasked_has_its_routes_as_the_prefix_of_another_prompt(tiny_moe_path: Path) -> None:
    """As in an evaluation, where nobody asks, and an episode's next turn begins with all that was sampled."""
    path = str(tiny_moe_path)
    rollout = schema.Rollout(engine=RolloutEngine.vllm, kv_cache_gb=0.1, routing_replay=RoutingReplay.r3)
    size = {"precision": Precision.fp32, "max_model_len": 256}
    tokenizer = load_tokenizer(schema.Model(path=path))
    engine = make_engine(rollout, path=path, tokenizer=tokenizer, eos=[1], seed=0, **size)
    requests = [Request(key=i, tokens=prompt, samples=1, seed=i) for i, prompt in enumerate(PROMPTS)]
    unasked = Sampling(temperature=1.0, top_p=1.0, max_tokens=60)
    found = dict(engine.generate(requests, unasked))
    longer = [[*prompt, *found[i][0].tokens.tolist()] for i, prompt in enumerate(PROMPTS)]
    assert not any(len(samples[0].routes) for samples in found.values())
    assert max(map(len, longer)) > engine.routes.store.block + 1  # beyond the first block of the cache
    requests = [Request(key=i, tokens=prompt, samples=2, seed=i) for i, prompt in enumerate(longer)]
    asked = Sampling(temperature=1.0, top_p=1.0, max_tokens=8, routes=True)
    model = AutoModelForCausalLM.from_pretrained(path)
    theirs = HFRoutes(model)
    for i, samples in engine.generate(requests, asked):
        for sample in samples:
            whole = [*longer[i], *sample.tokens.tolist()]
            theirs.begin()
            model(input_ids=torch.tensor([whole]))
            theirs.keep(1)
            wanted = theirs.of(0, len(whole), 1)[:-1]
            assert np.array_equal(np.sort(sample.routes), np.sort(wanted))
