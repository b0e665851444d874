"""A fingerprint tells any two tensors apart that are not the same bit for bit, place for place."""

from __future__ import annotations

import pytest
import torch

from rlvr_cli.rollout import fingerprints
from rlvr_cli.rollout.fingerprints import Ledger, fingerprint

SHAPES = [(1,), (7,), (64,), (3, 5), (12, 8), (9, 7), (4, 6, 10), ()]
TYPES = [torch.float32, torch.bfloat16, torch.int8]


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    ledger = Ledger()
    ledger.add("w", fingerprint(a), b)
    return ledger.differing() == []


def drawn(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    return (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 40).to(dtype)


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_one_bit_anywhere_shows(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    tensor = drawn(shape, dtype)
    assert same(tensor, tensor.clone())
    for place in range(tensor.numel()):
        for bit in (0, 7):
            changed = tensor.clone()
            changed.view(-1).view(torch.uint8)[place * tensor.element_size()] ^= 1 << bit
            assert not same(tensor, changed)


@pytest.mark.parametrize("dtype", TYPES)
def test_sums_of_blocks_are_those_of_the_whole(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks, the last one short; the widest words that the rows allow."""
    tensor = drawn((103, 22), dtype)
    whole = fingerprint(tensor)
    monkeypatch.setattr(fingerprints, "BLOCK", 22 * tensor.element_size() * 8 // torch.get_num_threads())
    blocks = fingerprint(tensor)
    assert all(torch.equal(a, b) for a, b in zip(whole, blocks, strict=True)) and len(whole) == len(blocks)
    changed = tensor.clone()
    changed[-1, -1] += 1
    assert not same(tensor, changed)


def test_what_sums_alone_would_miss_shows() -> None:
    tensor = drawn((8, 12), torch.bfloat16)
    rows, columns = list(range(8)), list(range(12))
    rows[2], rows[5] = 5, 2
    columns[0], columns[11] = 11, 0
    for other in (tensor[rows], tensor[:, columns], tensor.flip(0), tensor.flip(1), -tensor, tensor.roll(1)):
        assert not same(tensor, other)
    square = drawn((16, 16), torch.float32)
    assert not same(square, square.T) and not same(torch.zeros(4), -torch.zeros(4))


def test_a_view_has_the_fingerprint_of_its_copy() -> None:
    """Parts of fused parameters begin anywhere and may be cut along any axis."""
    whole = drawn((11, 24), torch.bfloat16)
    for part in (whole[3:7], whole[:, 4:20], whole[:, 1:9], whole.T, whole.view(-1)[3:11]):
        assert same(part, part.clone(memory_format=torch.contiguous_format))


def test_all_that_differ_are_named_once() -> None:
    ledger = Ledger()
    for name in ("a", "b", "c", "b"):
        sent = drawn((5, 6), torch.bfloat16)
        ledger.add(name, fingerprint(sent), sent * 2 if name == "b" else sent)
    assert ledger.differing() == ["b"] and Ledger().differing() == []
