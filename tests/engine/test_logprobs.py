import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlvr_cli.engine.chunk_scores import chunk_scores
from rlvr_cli.engine.logprobs import token_scores


def scores(hidden, targets, head, *, temperature=1.0, chunk=1 << 25, entropy_gradient=False):
    return token_scores(
        hidden,
        targets,
        lambda h: h @ head,
        vocabulary=head.shape[1],
        temperature=temperature,
        elements=chunk,
        entropy_gradient=entropy_gradient,
    )


def test_entropy_and_logprob_of_known_logits():
    logits = torch.tensor([[2.0, 1.0, 0.0]])
    for temperature, entropy in ((1.0, 0.832396), (1.2, 0.901549), (0.6, 0.556749)):
        logprob, found, hit = chunk_scores(logits, torch.tensor([0]), temperature, False)
        assert found.item() == pytest.approx(entropy, abs=1e-5)
        scaled = [math.exp(x / temperature) for x in (2, 1, 0)]
        assert logprob.item() == pytest.approx(math.log(scaled[0] / sum(scaled)), abs=1e-6)
        assert hit.item() == 1


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 17), st.integers(1, 40), st.floats(0.3, 2.0))
def test_chunked_equals_whole_in_value_and_gradient(n, chunk_rows, temperature):
    generator = torch.Generator().manual_seed(n * 100 + chunk_rows)
    hidden = torch.randn(n, 6, generator=generator, dtype=torch.float64)
    head = torch.randn(6, 11, generator=generator, dtype=torch.float64)
    targets = torch.randint(0, 11, (n,), generator=generator)
    grads, values = [], []
    for chunk in (1 << 25, 11 * chunk_rows):
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        logprobs, entropies, _ = scores(
            h, targets, w, temperature=temperature, chunk=chunk, entropy_gradient=True
        )
        (logprobs.sum() - 0.3 * entropies.sum()).backward()
        grads.append((h.grad, w.grad))
        values.append((logprobs.detach(), entropies.detach()))
    for a, b in zip(grads[0] + values[0], grads[1] + values[1], strict=True):
        assert torch.allclose(a, b, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_own_derivative_is_to_the_bit_that_of_the_plain_formula(kind, temperature):
    generator = torch.Generator().manual_seed(0)
    given_logits = (3 * torch.randn(50, 5000, generator=generator)).to(kind)
    targets, weights = torch.arange(50), torch.randn(50, generator=generator)
    ours, plain = (given_logits.clone().requires_grad_() for _ in range(2))
    logprobs, entropies, _ = chunk_scores(ours, targets, temperature, False)
    logits = plain.float() / temperature
    lse = logits.logsumexp(-1)
    assert torch.equal(logprobs, logits.gather(-1, targets[:, None])[:, 0] - lse)
    assert torch.equal(entropies, lse - ((logits - lse[:, None]).exp() * logits).sum(-1))
    assert not entropies.requires_grad
    (logprobs * weights).sum().backward()
    ((logits.gather(-1, targets[:, None])[:, 0] - lse) * weights).sum().backward()
    assert torch.equal(ours.grad, plain.grad)


def test_matches_log_softmax():
    hidden, head = torch.randn(9, 4), torch.randn(4, 20)
    targets = torch.arange(9)
    logprobs, entropies, hits = scores(hidden, targets, head, temperature=0.7, chunk=60)
    reference = (hidden @ head / 0.7).log_softmax(-1)
    assert torch.allclose(logprobs, reference.gather(1, targets[:, None])[:, 0], atol=1e-5)
    assert torch.allclose(entropies, -(reference.exp() * reference).sum(-1), atol=1e-5)
    assert torch.equal(hits, (reference.argmax(-1) == targets).float())


def test_entropies_carry_a_gradient_only_when_asked():
    hidden = torch.randn(3, 4, requires_grad=True)
    head = torch.randn(4, 5)
    assert not scores(hidden, torch.zeros(3, dtype=torch.long), head)[1].requires_grad
    assert scores(hidden, torch.zeros(3, dtype=torch.long), head, entropy_gradient=True)[1].requires_grad


def saved_elements(n: int, vocabulary: int, chunk: int) -> int:
    """Elements autograd keeps between forward and backward, each storage once."""
    hidden, head = torch.randn(n, 8, requires_grad=True), torch.randn(8, vocabulary, requires_grad=True)
    kept = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes() // tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scores(hidden, torch.zeros(n, dtype=torch.long), head, chunk=chunk)
    return sum(kept.values())


def test_what_is_kept_for_backward_does_not_hold_tokens_times_vocabulary():
    vocabulary, rows = 5000, 16
    few, many = (saved_elements(n, vocabulary, rows * vocabulary) for n in (64, 256))
    most = (rows + 8) * vocabulary  # the last chunk's logits, and the output layer
    assert few < most + 64 * 20 and many < most + 256 * 20
    assert many - few <= (256 - 64) * 20  # hidden states, targets and scores, nothing as wide as V
