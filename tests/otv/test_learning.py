"""Outcomes of whole samples teach where an error is: planted errors, a small model that knows the rule."""

from __future__ import annotations

import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from rlvr_cli.data.progression import first_error, progression
from rlvr_cli.engine.tiny import make_tiny, tiny_tokenizer
from rlvr_cli.otv.labels import pseudo_labels
from rlvr_cli.otv.trace_score import auroc
from rlvr_cli.otv.verifier import OneTokenVerifier
from rlvr_cli.schema import PseudoLabel, TinyModel

TERMS, START = 16, 6
TOKENIZER = tiny_tokenizer(64)


def ids_of(rows: list[tuple[str, str, bool]]) -> torch.Tensor:
    return torch.tensor([[*TOKENIZER(p + s)["input_ids"], TOKENIZER.eos_token_id] for p, s, _ in rows])


def samples(rng: Random, count: int) -> list[tuple[str, str, bool]]:
    """(prompt, response, outcome), right and wrong ones in turn."""
    rows: list[tuple[str, str, bool]] = []
    while len(rows) < count:
        prompt, answer, said = progression(rng, TERMS, 5)
        if (right := said.endswith(f"{{{answer}}}")) is (len(rows) % 2 == 0):
            rows.append((prompt, said, right))
    return rows


def fit(parameters: Any, lr: float, steps: int, loss: Any) -> None:
    optimizer = torch.optim.AdamW(parameters, lr=lr)
    for step in range(steps):
        rate = min(1, (step + 1) / 10) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = lr * rate
        optimizer.zero_grad()
        loss().backward()
        torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
        optimizer.step()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    path, rng = tmp_path_factory.mktemp("base") / "tiny", Random(0)
    make_tiny(Path(path), TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1, max_positions=64), 0)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)

    def loss() -> torch.Tensor:
        ids = ids_of([(p, s, True) for p, _, s in (progression(rng, TERMS, 4) for _ in range(64))])
        return F.cross_entropy(model(ids).logits[:, START - 1 : -1].flatten(0, 1), ids[:, START:].flatten())

    fit(model.parameters(), 3e-3, 150, loss)
    return model.eval()


def confidences(verifier: OneTokenVerifier, ids: torch.Tensor, places: list[int]) -> torch.Tensor:
    """Logits [B, M] after these response tokens."""
    rows, length = ids.shape
    where = torch.tensor([r * length + START + n - 1 for r in range(rows) for n in places])
    return verifier(ids, torch.arange(length).expand(rows, length), where).view(rows, -1)


def taught(base: Any, *, shuffled: bool) -> OneTokenVerifier:
    torch.manual_seed(0)
    verifier, rng = OneTokenVerifier(base, rank=16, alpha=32.0), Random(1)

    def loss() -> torch.Tensor:
        rows = samples(rng, 64)
        ids, outcomes = ids_of(rows), [right for *_, right in rows]
        if shuffled:
            rng.shuffle(outcomes)
        longest = ids.shape[1] - START
        places = list(range(longest, 0, -2))
        labels = [pseudo_labels(np.array(places), longest, r, PseudoLabel.linear, 2.0) for r in outcomes]
        said = confidences(verifier, ids, places)
        return F.binary_cross_entropy_with_logits(said, torch.tensor(np.stack(labels)))

    fit(verifier.parameters(), 2e-3, 80, loss)
    return verifier.requires_grad_(False)


def area(verifier: OneTokenVerifier, rows: list[tuple[str, str, bool]]) -> float:
    ids = ids_of(rows)
    last = confidences(verifier, ids, [ids.shape[1] - START])[:, 0].tolist()
    sides = (
        [c for c, (*_, right) in zip(last, rows, strict=True) if right is side] for side in (True, False)
    )
    found = auroc(*sides)
    assert found is not None
    return found


@pytest.mark.long
def test_planted_errors_are_found_from_where_they_are(base: Any) -> None:
    verifier, rows = taught(base, shuffled=False), samples(Random(7), 200)
    whole = area(verifier, rows)
    assert whole > 0.9
    every = confidences(verifier, ids_of(rows), list(range(1, TERMS + 1))).sigmoid().numpy()
    clean = every[[right for *_, right in rows]].mean(0)
    gaps: dict[bool, list[float]] = {True: [], False: []}
    for said, (prompt, response, _) in zip(every, rows, strict=True):
        at = first_error(prompt, response)
        if at is not None and 3 <= at <= TERMS - 3:
            gaps[False].append(float(clean[at - 2] - said[at - 2]))
            gaps[True].append(float(clean[at + 1] - said[at + 1]))
    before, after = np.mean(gaps[False]), np.mean(gaps[True])
    assert abs(before) < 0.05 and after > 0.15, (before, after)
    for adapter in verifier.adapters.values():
        adapter.b.zero_()
    assert area(verifier, rows) < whole - 0.2, "without the adapters token and head know little"


@pytest.mark.long
def test_shuffled_outcomes_teach_nothing(base: Any) -> None:
    assert 0.35 < area(taught(base, shuffled=True), samples(Random(7), 200)) < 0.65
