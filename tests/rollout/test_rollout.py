"""Real vLLM and the transformers engine against the trainer, on the tiny model in fp32."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from run_helpers import run_entries

from rlvr_cli import schema
from rlvr_cli.engine import process_group
from rlvr_cli.engine.model import export, load_tokenizer
from rlvr_cli.engine.trainer import Trainer
from rlvr_cli.rollout import Request, Sampling, SyncError, make_engine
from rlvr_cli.schema import Precision, RolloutEngine

pytestmark = pytest.mark.slow
PROBE = np.random.default_rng(0).integers(4, 100, size=48).tolist()
REQUESTS = [Request(key=i, tokens=[10 + i, 20, 30], samples=4, seed=1000 * i) for i in range(6)]
SAMPLED = Sampling(temperature=1.0, top_p=1.0, max_tokens=24)
ONCE = [Request(key=r.key, tokens=r.tokens, samples=1, seed=0) for r in REQUESTS]
GREEDY = Sampling(temperature=0.0, top_p=1.0, max_tokens=24)


@pytest.fixture(scope="module")
def model(tiny_path):
    return schema.Model(path=str(tiny_path))


@pytest.fixture(scope="module")
def trainer(model):
    before = dict(os.environ)
    process_group.initialise()
    settings = schema.Trainer(precision=Precision.fp32, zero_stage=0)
    trainer = Trainer(model, settings, tokens_per_microbatch=4096, max_grad_norm=1.0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # away from what the engines read from disk, and sharp enough to tell tokens apart
        for parameter in trainer.hf.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    yield trainer
    # RANK and the like would make later tests' subprocesses take themselves for ranks of this one.
    os.environ.clear()
    os.environ.update(before)


def start(kind, model, **rollout):
    """An engine on the tiny model in fp32."""
    return make_engine(
        schema.Rollout(engine=RolloutEngine[kind], kv_cache_gb=0.25, **rollout),
        path=model.path,
        tokenizer=load_tokenizer(model),
        eos=[1],
        seed=0,
        precision=Precision.fp32,
        max_model_len=256,
    )


@pytest.fixture(scope="module", params=["vllm", "hf"])
def engine(request, model, trainer):
    engine = start(request.param, model, max_staleness=1)
    yield engine
    engine.close()


def gap(engine, trainer):
    """Mean |logprob difference| on the probe."""
    sequence = np.array(PROBE, np.int32)
    theirs, _, _ = trainer.score([sequence], [np.arange(len(PROBE)) > 0], temperature=1.0)
    return np.abs(np.array(engine.probe(PROBE)) - theirs.numpy()).mean()


def generate(engine, requests=REQUESTS, sampling=SAMPLED):
    return dict(engine.generate(requests, sampling))


def test_a_sync_makes_the_engine_agree_with_the_trainer(engine, trainer):
    engine.load(trainer.weights())
    assert gap(engine, trainer) < 1e-5


def test_sampled_logprobs_are_the_trainers(engine, trainer):
    engine.load(trainer.weights())
    for key, completions in generate(engine).items():
        prompt = REQUESTS[key].tokens
        sequences = [np.array([*prompt, *c.tokens], np.int32) for c in completions]
        theirs, _, _ = trainer.score(sequences, [np.arange(len(s)) >= len(prompt) for s in sequences])
        ours = np.concatenate([c.logprobs for c in completions])
        assert np.abs(ours - theirs.numpy()).mean() < 1e-5


def test_a_seeded_sample_does_not_depend_on_its_batch(engine, trainer):
    engine.load(trainer.weights())
    together = generate(engine)
    alone = generate(engine, [REQUESTS[3]])
    for a, b in zip(together[3], alone[3], strict=True):
        assert a.tokens.tolist() == b.tokens.tolist()
    assert len({tuple(c.tokens.tolist()) for c in together[3]}) == 4


def test_greedy_answers_equal_plain_transformers_on_the_exported_folder(engine, trainer, model, tmp_path):
    from transformers import AutoModelForCausalLM

    engine.load(trainer.weights())
    export(tmp_path / "final", trainer.hf, trainer.state_dict(), load_tokenizer(model), {})
    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "final", dtype=torch.float32)
    for key, [completion] in generate(engine, ONCE, GREEDY).items():
        prompt = torch.tensor([REQUESTS[key].tokens])
        found = plain.generate(prompt, max_new_tokens=24, do_sample=False, eos_token_id=1)[
            0, prompt.shape[1] :
        ]
        assert completion.tokens.tolist() == found.tolist()


def test_many_long_prompts_are_sampled_with_seeds(engine, trainer):
    """More prompt tokens at once than one scheduling step of the engine takes."""
    engine.load(trainer.weights())
    long = np.random.default_rng(2).integers(4, 100, size=(60, 200)).tolist()
    requests = [Request(key=i, tokens=tokens, samples=1, seed=i) for i, tokens in enumerate(long)]
    assert len(generate(engine, requests, Sampling(temperature=1.0, top_p=1.0, max_tokens=4))) == 60


def test_completions_end_at_eos_or_are_truncated(engine, trainer):
    engine.load(trainer.weights())
    for completions in generate(engine).values():
        for c in completions:
            assert len(c.logprobs) == len(c.tokens) <= 24
            assert c.finished == (c.tokens[-1] == 1)
            assert c.finished or len(c.tokens) == 24
            assert 1 not in c.tokens[:-1]


def test_a_request_may_allow_fewer_tokens(engine, trainer):
    engine.load(trainer.weights())
    whole = generate(engine)
    limits = {r.key: 1 + 3 * r.key for r in REQUESTS}
    for key, completions in generate(
        engine, [replace(r, max_tokens=limits[r.key]) for r in REQUESTS]
    ).items():
        for short, long in zip(completions, whole[key], strict=True):
            assert short.tokens.tolist() == long.tokens[: limits[key]].tolist()
            assert short.finished == (long.finished and len(long.tokens) <= limits[key])
            assert len(short.logprobs) == len(short.tokens)


def cut_and_continued(engine, requests, sampling, between):
    """Every sample is begun with five tokens at most, and ended after `between()`."""
    asked = iter(range(6))
    begun = dict(engine.generate(requests, sampling, lambda: next(asked, None) is None))
    between()
    return begun, generate(engine, [replace(r, begun=begun[r.key]) for r in requests], sampling)


def test_a_sample_that_was_cut_goes_on_as_if_it_had_not_been(engine, trainer):
    """Greedy, the same weights under another version: tokens, logprobs and the end are those of one piece."""
    engine.load(trainer.weights(), version=3)
    whole = generate(engine, ONCE, GREEDY)
    begun, ended = cut_and_continued(engine, ONCE, GREEDY, lambda: engine.load(trainer.weights(), version=4))
    assert any(c.partial for cs in begun.values() for c in cs)
    assert all(len(c.tokens) <= 6 and c.partial != c.finished for cs in begun.values() for c in cs)
    for key, completions in whole.items():
        for first, found, wanted in zip(begun[key], ended[key], completions, strict=True):
            assert found.tokens.tolist() == wanted.tokens.tolist() and found.text == wanted.text
            assert found.finished == wanted.finished and not found.partial
            assert found.logprobs == pytest.approx(wanted.logprobs, abs=1e-4)
            seam = len(first.tokens)
            assert found.versions.tolist() == [3] * seam + [4] * (len(found.tokens) - seam)


def test_a_continued_sample_has_the_logprobs_of_the_weights_it_goes_on_with(engine, trainer):
    """Its keys and values are computed anew: those of the old weights would be a policy that never was."""
    engine.load(trainer.weights())
    changed = {name: w * 1.3 if "v_proj" in name else w.clone() for name, w in trainer.weights()}
    begun, ended = cut_and_continued(engine, REQUESTS, SAMPLED, lambda: engine.load(iter(changed.items())))
    gaps = {"before": 0.0, "after": 0.0}
    for request in REQUESTS[:3]:
        for first, whole in zip(begun[request.key], ended[request.key], strict=True):
            if first.partial:
                theirs = engine.probe([*request.tokens, *whole.tokens.tolist()])[len(request.tokens) - 1 :]
                away, seam = np.abs(whole.logprobs - np.array(theirs)), len(first.tokens)
                gaps = {
                    "before": max(gaps["before"], away[:seam].max()),
                    "after": max(gaps["after"], away[seam:].max(initial=0.0)),
                }
    engine.load(trainer.weights())
    assert gaps["after"] < 1e-4 < 1e-2 < gaps["before"]


def test_prefix_cache_is_not_stale_after_a_sync(engine, trainer):
    """The same long prompt before and after new weights: its cached keys must not survive."""
    tokens = np.random.default_rng(1).integers(4, 100, size=200).tolist()
    long = [Request(key=0, tokens=tokens, samples=1, seed=5)]

    def answer():
        return generate(engine, long, GREEDY)[0][0].logprobs

    engine.load(trainer.weights())
    old = answer()
    changed = {name: w * 1.3 if "v_proj" in name else w for name, w in trainer.weights()}
    engine.load(iter(changed.items()))
    warm = answer()
    if hasattr(engine, "llm"):
        engine.llm.reset_prefix_cache()
    cold = answer()
    engine.load(trainer.weights())
    assert warm == pytest.approx(cold, abs=1e-5)
    assert abs(old[0] - cold[0]) > 1e-2, "the new weights say the same: the test shows nothing"


def test_what_a_reload_leaves_packed_is_packed_anew(model):
    """Embedding and tied head hold packed copies of one matrix; some models use the one as head, some the
    other (vLLM 0.32 packs an embedding whose weights were sent by itself)."""
    from rlvr_cli.rollout.weights import repack_cpu_weights

    engine = start("vllm", model)
    try:
        net = engine.llm.llm_engine.model_executor.driver_worker.worker.get_model()
        heads = {
            type(m).__name__: m for m in net.modules() if getattr(m, "weight", None) is net.lm_head.weight
        }
        assert set(heads) == {"ParallelLMHead", "VocabParallelEmbedding"}
        with torch.no_grad():
            net.lm_head.weight.mul_(2.0)
        x = torch.randn(3, net.lm_head.weight.shape[1])
        wanted = x @ net.lm_head.weight.T

        def gaps():
            found = {n: m.cpu_linear(x, m.weight, None) for n, m in heads.items()}
            return {name: float((y - wanted).abs().max()) for name, y in found.items()}

        assert min(gaps().values()) > 1e-2, "nothing is packed: the test shows nothing"
        repack_cpu_weights(net)
        assert max(gaps().values()) < 1e-5
    finally:
        engine.close()


def test_a_weight_that_is_not_sent_is_noticed(engine, trainer):
    engine.load(trainer.weights())
    with pytest.raises(SyncError, match=r"layers\.1\.mlp\.up_proj"):
        engine.load((n, w) for n, w in trainer.weights() if "layers.1.mlp.up_proj" not in n)
    engine.load(trainer.weights())


def test_two_swapped_tensors_show_in_the_probe(engine, trainer):
    swap = {"model.layers.0.mlp.up_proj.weight": "model.layers.1.mlp.up_proj.weight"}
    swap |= {b: a for a, b in swap.items()}
    weights = dict(trainer.weights())
    engine.load((n, weights[swap.get(n, n)]) for n in weights)
    assert gap(engine, trainer) > 1e-3
    engine.load(trainer.weights())
    assert gap(engine, trainer) < 1e-5


def test_one_stale_tensor_shows_in_the_probe(engine, trainer):
    stale = "model.layers.1.self_attn.o_proj.weight"
    engine.load((n, w * 0.9 if n == stale else w) for n, w in trainer.weights())
    assert gap(engine, trainer) > 1e-3
    engine.load(trainer.weights())


def test_a_stale_tied_output_layer_shows_in_fingerprints_and_probe(model, trainer, monkeypatch):
    """Without the repair vLLM's CPU build keeps the old lm_head."""
    from rlvr_cli.rollout import weights as module

    engine = start("vllm", model)
    monkeypatch.setattr(module, "repack_cpu_weights", lambda model: None)
    with pytest.raises(SyncError, match=r"lm_head\.weight \(packed copy\)"):
        engine.load(trainer.weights())
    assert gap(engine, trainer) > 1e-3
    monkeypatch.undo()
    engine.load(trainer.weights())
    assert gap(engine, trainer) < 1e-5
    engine.close()


@pytest.mark.parametrize("top_p", [1.0, 0.8])
def test_logprobs_are_those_of_the_distribution_sampled_from(engine, trainer, top_p):
    engine.load(trainer.weights())
    sampling = Sampling(temperature=0.7, top_p=top_p, max_tokens=8)
    for key, completions in generate(engine, REQUESTS[:2], sampling).items():
        for c in completions:
            ids = torch.tensor([[*REQUESTS[key].tokens, *c.tokens.tolist()]])
            with torch.no_grad():
                logits = trainer.hf(input_ids=ids).logits[0, 2:-1].float() / 0.7
            p = logits.softmax(-1)
            ordered, index = p.sort(-1, descending=True)
            nucleus = torch.zeros_like(p).scatter(1, index, ((ordered.cumsum(-1) - ordered) < top_p).float())
            kept = p * nucleus / (p * nucleus).sum(-1, keepdim=True)
            expected = kept.gather(1, torch.from_numpy(c.tokens).long()[:, None])[:, 0].log()
            assert np.abs(expected.numpy() - c.logprobs).max() < 1e-3


@pytest.mark.parametrize("kind", ["vllm", "hf"])
def test_stop_strings_end_a_response_and_stay_in_it(kind, model, trainer):
    engine = start(kind, model, stop=["e"])
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=100, stop=["e"])
    found = [c for cs in generate(engine, sampling=sampling).values() for c in cs]
    stopped = [c for c in found if "e" in c.text]
    assert stopped and all(c.finished and c.text.endswith("e") and c.text.count("e") == 1 for c in stopped)
    engine.close()


@pytest.mark.parametrize("engine", ["vllm"], indirect=True)
def test_two_ranks_run_one_engine_as_one_rank_does(engine, trainer, model, tmp_path):
    """Tokens, logprobs, the proof of a sync, the probe, and a stop that one of the two was asked for."""
    ranks = run_entries("tensor_parallel_entries.py", 2, Path(model.path), tmp_path, "whole")["whole"]
    receipt = engine.load(trainer.weights())
    for key, wanted in generate(engine).items():
        for found in (rank[what][str(key)] for rank in ranks for what in ("samples", "again")):
            assert [c.tokens.tolist() for c in wanted] == [tokens for tokens, _, _ in found]
            for completion, (_, logprobs, partial) in zip(wanted, found, strict=True):
                assert completion.logprobs == pytest.approx(logprobs, abs=1e-5) and not partial
    assert ranks[0]["cut"] == ranks[1]["cut"], "they end at the same step of the engine"
    cut = [(key, n, *found) for key, cs in ranks[0]["cut"].items() for n, found in enumerate(cs)]
    begun = [(key, number, tokens) for key, number, tokens, _, partial in cut if partial]
    assert len(begun) > 10
    for key, number, tokens in begun:
        assert 3 < len(tokens) < 10 and tokens == ranks[0]["samples"][key][number][0][: len(tokens)]
    whole = receipt.compared + receipt.sampled
    for number, rank in enumerate(ranks):
        assert (rank["share"], rank["leader"]) == ([0, 1], number == 0)
        assert rank["gap"] < 1e-5
        assert rank["untold"] == [] and 0.5 * whole < rank["proved"] < 0.6 * whole
        assert rank["one of them"] is True
        complete, twice = rank["incomplete"]
        assert complete == [] and "model.layers.0.self_attn.o_proj.weight" in twice
        assert "do not hold all of model." in rank["same part"]
        assert "have not sampled the same" in rank["apart"]
