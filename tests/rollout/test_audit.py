"""What loaders do to parameters is followed without vLLM: fused, cut, padded, tied, packed, forgotten."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from rlvr_cli.rollout import SyncError
from rlvr_cli.rollout.audit import Audit
from rlvr_cli.rollout.engine import demand
from rlvr_cli.rollout.fingerprints import Receipt


class Vocabulary(nn.Module):
    """Ten rows of which a checkpoint has eight."""

    num_embeddings_per_partition = 10
    shard_indices = SimpleNamespace(org_vocab_start_index=0, org_vocab_end_index=8)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(10, 4, dtype=torch.bfloat16, device="meta"))


class Packs(nn.Module):
    """A linear layer whose weight goes into a kernel of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(6, 4, dtype=torch.bfloat16, device="meta"))

    def pack(self, weight: Tensor) -> None:
        self.cpu_linear = lambda x, w, bias: x @ weight.T
        self.weight = nn.Parameter(torch.empty(0, dtype=torch.bfloat16))


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head, self.packed = Vocabulary(), Vocabulary(), Packs()
        self.fused = nn.Parameter(torch.empty(6, 4, dtype=torch.bfloat16, device="meta"))


SENT = {
    name: torch.randn(shape, generator=torch.Generator().manual_seed(n))
    for n, (name, shape) in enumerate({"e": (8, 4), "q": (4, 4), "k": (4, 2), "p": (6, 4)}.items())
}


def after(
    model: Model,
    *,
    sent: dict[str, Tensor] = SENT,
    spoil: str = "",
    packed: frozenset[str] = frozenset(),
    packs: bool = True,
) -> Receipt:
    """A sync as vLLM does it: loaders see parameters without memory first, which is filled at the end."""
    real: dict[str, Tensor] = {}

    def copy(target: Tensor, source: Tensor, key: str, into: slice | None = None) -> None:
        for each in (target.data, real.setdefault(key, torch.zeros(target.shape, dtype=target.dtype))):
            (each if into is None else each[into]).copy_(source)

    with (audit := Audit(model, seed=3, packed=packed)):
        for name, weight in audit.outside(sent.items()):
            if name == "e":
                copy(model.embedding.weight, weight, "embedding", slice(0, 8))
            if name == "q":
                copy(model.fused, weight, "fused", slice(0, 4))
            if name == "k":
                copy(model.fused, weight.T, "fused", slice(4, 6))
            if name == "p":
                copy(model.packed.weight, weight, "packed")
    if spoil:
        real[spoil].view(torch.int16)[2, 3] ^= 1  # the last bit of a bf16 number
    if packs:
        model.packed.pack(real["packed"])
    else:
        model.packed.weight = nn.Parameter(real["packed"])
    model.fused = nn.Parameter(real["fused"])
    model.embedding.weight = nn.Parameter(real["embedding"])
    model.head.weight = model.embedding.weight
    receipt = Receipt()
    audit.settle(receipt, loaded=None)
    assert audit.packed == ({"packed.weight"} if packs else set())
    return receipt


def test_all_that_was_sent_is_found_in_the_engines_own_type() -> None:
    receipt = after(Model())
    assert receipt == Receipt(compared=8 * 4 + 6 * 4, sampled=6 * 4)
    demand(receipt)


@pytest.mark.parametrize(
    ("spoiled", "named"),
    [("embedding", "embedding.weight"), ("fused", "fused"), ("packed", "packed.weight")],
)
def test_a_number_that_is_off_by_its_last_bit_is_noticed(spoiled: str, named: str) -> None:
    with pytest.raises(SyncError, match=f"other numbers than were sent in {named}"):
        demand(after(Model(), spoil=spoiled))


def test_what_was_packed_before_has_no_fingerprint_and_is_looked_at_all_the_same() -> None:
    """A kernel is asked for its columns; one that no longer packs leaves its weight unproved, this once."""
    known = frozenset({"packed.weight"})
    assert after(Model(), packed=known) == Receipt(compared=8 * 4 + 6 * 4, sampled=6 * 4)
    assert after(Model(), packed=known, spoil="packed").wrong == ["packed.weight"]
    plain = after(Model(), packed=known, packs=False)
    assert plain.untold == {"packed.weight": 24} and plain.verified == 56 / 80
    assert after(Model(), packs=False) == Receipt(compared=8 * 4 + 6 * 4 + 6 * 4)


def test_what_is_sent_only_in_part_or_not_at_all_is_named() -> None:
    receipt = after(Model(), sent={name: weight for name, weight in SENT.items() if name != "k"})
    assert receipt.partial == ["fused"] and not receipt.wrong
    model = Model()
    model.tower = nn.Parameter(torch.ones(3))
    with pytest.raises(SyncError, match="the trainer does not send tower, which the engine has"):
        demand(after(model))


def test_what_a_kernel_permutes_is_not_compared_and_counted() -> None:
    model = Model()
    model.quant_method = SimpleNamespace(unquantized_backend=SimpleNamespace(name="FLASHINFER_CUTLASS"))  # type: ignore[assignment]
    receipt = after(model)
    assert receipt.untold == {"fused": 24} and receipt.compared == 32
    model = Model()
    model.quant_method = SimpleNamespace(unquantized_backend=SimpleNamespace(name="TRITON"))  # type: ignore[assignment]
    assert not after(model).untold


def test_a_packed_copy_that_stays_behind_is_noticed() -> None:
    model = Model()
    old = torch.ones(10, 4, dtype=torch.bfloat16)
    model.head.cpu_linear = lambda x, w, bias: x @ old.T  # type: ignore[assignment]
    with pytest.raises(SyncError, match=r"in head\.weight \(packed copy\)"):
        demand(after(model))


def test_a_module_that_has_two_names_is_looked_at_under_one() -> None:
    """The router of a mixture of experts is also its experts' in vLLM."""

    def model() -> Model:
        made = Model()
        made.alias = made.packed
        return made

    assert after(model()) == Receipt(compared=8 * 4 + 6 * 4, sampled=6 * 4)
    assert after(model(), spoil="packed").wrong == ["packed.weight"]


def test_the_trainers_own_copies_are_not_followed() -> None:
    """Gathering a weight copies too, perhaps into the very storage a loader reads."""
    model, aside = Model(), torch.empty(6, 4)

    def gathered():  # type: ignore[no-untyped-def]
        model.fused.data.copy_(torch.zeros(6, 4))
        yield "p", aside.copy_(torch.ones(6, 4))

    with (audit := Audit(model, seed=0)):
        for _, weight in audit.outside(gathered()):
            model.packed.weight.data.copy_(weight)
    assert audit._slots["fused"].copied == 0 and audit._slots["packed.weight"].copied == 24
