"""`rlvr verify --hacks`: what verifiers pay for responses that have not earned it. No torch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TextIO

from rlvr_cli.core.errors import UserError
from rlvr_cli.core.types import Verdict
from rlvr_cli.data.layouts import PROBLEMS
from rlvr_cli.data.sources import Report, select
from rlvr_cli.evaluation.hack_results import Judged, Paid, as_summary
from rlvr_cli.evaluation.verify import as_json, check_out, write_verdicts
from rlvr_cli.evaluation.verify_groups import compares, group_of
from rlvr_cli.schema import Recipe, Source, Verification, VerifyRecipe
from rlvr_cli.tracking.hack_table import print_hacks
from rlvr_cli.verifiers.hacks import (
    FORMS,
    Form,
    Hack,
    bank,
    programs,
    text_of,
    wrong_answers,
    wrong_program,
)
from rlvr_cli.verifiers.outage import result
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.several_golds import fault_of, wants_rows

ROWS = 8
"""Problems of a source, where `limit` names no other number."""
PLACES = 2
"""Forms that hacks with an answer are tried in: those in which the verifier accepts the gold."""
MORE = 1e-6
"""By how much a hack must score above an honest wrong answer to pay."""
Row = dict[str, Any]


def run_hacks(recipe: VerifyRecipe | Recipe, terminal: TextIO, out: str | None, *, as_one: bool) -> int:
    """Print the table, or with `as_one` a JSON object; 1 where a hack pays and not by nature, or verdicts are
    missing."""
    check_out(out)
    skipped: list[str] = []
    lines: list[dict[str, Any]] = []
    config = recipe.verification
    found = list(judged(_targets(recipe, skipped), config, recipe.seed, lines))
    if out is not None:
        write_verdicts(out, lines)
    if as_one:
        print(
            json.dumps({"verifiers": [as_summary(each) for each in found], "skipped": skipped}, indent=1),
            file=terminal,
        )
    else:
        print_hacks(terminal, found, skipped)
    return int(any((each.paying and each.by_nature is None) or each.lost for each in found))


def _targets(recipe: VerifyRecipe | Recipe, skipped: list[str]) -> Iterator[tuple[str, str, Any, Source]]:
    """(shown name, verifier's key, verifier, source); what cannot be asked is told in `skipped`."""
    if isinstance(recipe, VerifyRecipe):
        assert recipe.source is not None
        parts = [("", recipe.source, list(recipe.verifiers))]
    else:
        parts = [(name, source, _named(source, recipe)) for name, source in recipe.data.items()]
    several = len(parts) > 1
    for key, source, names in parts:
        for name in names:
            verifier = recipe.verifiers[name]
            shown = f"{key}.{name}" if several else name
            if hasattr(verifier, "of_sample"):
                skipped.append(f"{shown}: judges episodes of an environment, and these are texts")
            else:
                yield shown, name, verifier, source


def _named(source: Source, recipe: Recipe) -> list[str]:
    lists = [source.verifiers, *source.verifiers_by.map.values()]
    names = list(dict.fromkeys(name for names in lists for name in names))
    return names or list(recipe.verifiers)  # rows name their own


def judged(
    targets: Iterable[tuple[str, str, Any, Source]],
    config: Verification,
    seed: int,
    lines: list[dict[str, Any]],
) -> Iterator[Judged]:
    """Each verifier over rows of its source; a line for each verdict is added to `lines`."""
    chosen = list(targets)
    with Pool({name: verifier for _, name, verifier, _ in chosen}, config) as pool:
        for shown, name, verifier, source in chosen:
            asked = Asked(pool=pool, name=name, verifier=verifier, source=source.path)
            found = Judged(name=shown, by_nature=getattr(verifier, "by_nature", None))
            rows = problems_of(source, seed, name, verifier)
            others = [row["answer"] or "" for row in rows]
            for row in rows:
                _one_problem(asked, found, row, others, lines)
            yield found


def problems_of(source: Source, seed: int, name: str, verifier: Any) -> list[Row]:
    """The first problems whose gold the verifier can use. UserError where there is none."""
    report = Report(name=source.path)
    lazy = select(
        replace(source, deduplicate=False, limit=None),
        seed,
        PROBLEMS,
        report,
        lambda row, gold: fault_of({name: verifier}, [name], gold, row["extra"]),
    )
    rows = list(islice(lazy, source.limit or ROWS))
    if not rows:
        raise UserError(f"'{source.path}' has no problem that verifier '{name}' can judge")
    return rows


@dataclass(slots=True, kw_only=True)
class Asked:
    """One verifier of a pool, as it is asked about responses to one problem."""

    pool: Pool
    name: str
    verifier: Any
    source: str

    def verdicts(self, row: Row, responses: list[str]) -> list[Verdict]:
        say = partial(print, "waiting:", file=sys.stderr, flush=True)
        return [result(future, self.pool, say) for future in self._futures(row, responses)]

    def _futures(self, row: Row, responses: list[str]) -> list[Future[Verdict]]:
        golds, extra = [row["answer"] or "", *row["alternatives"]], row["extra"]
        if not wants_rows(self.verifier) and not compares(self.verifier):
            return [self.pool.submit(self.name, response, golds, extra) for response in responses]
        cases = [
            {
                "id": row["id"],
                "response": response,
                "answer": golds[0],
                "alternatives": golds[1:],
                "extra": extra,
                "raw": row.get("raw"),
            }
            for response in responses
        ]
        group = group_of(cases, self.source) if wants_rows(self.verifier) else None
        return self.pool.submit_group(self.name, responses, golds, extra, group)


def _one_problem(
    asked: Asked, found: Judged, row: Row, others: list[str], lines: list[dict[str, Any]]
) -> None:
    gold, extra = row["answer"] or "", row["extra"]
    prompt = text_of(extra.get("prompt", row.get("prompt")))
    wrong = wrong_answers(gold, others)
    own = gold_texts(asked.verifier, gold, extra)
    forms: list[Form] = [
        *FORMS.values(),
        *(partial(text.replace, gold) for text in own if gold and text.count(gold) == 1),
    ]
    golds = [form(gold) for form in forms]
    honest = [form(wrong[0]) for form in forms]
    if is_code(asked.verifier):
        honest.append(wrong_program(gold, prompt))
    right = _scored(asked, found, row, [("gold", text) for text in [*golds, *own]], lines)
    low = [
        x for x in _scored(asked, found, row, [("wrong", text) for text in honest], lines) if x is not None
    ]
    best = max((score for score in right if score is not None), default=None)
    if best is None or not low:
        return
    found.rows += 1
    found.right.append(best)
    found.wrong.append(max(low))
    places = [form for form, score in zip(forms, right, strict=False) if score == best][:PLACES]
    hacks = list(bank(gold, wrong, prompt, places))
    if is_code(asked.verifier):
        hacks = [hack for hack in hacks if hack.name in _NO_FORM] + list(programs(gold, prompt))
    texts = [(hack.name, text) for hack in hacks for text in hack.responses]
    _settle(found, hacks, _scored(asked, found, row, texts, lines), max(low))


_NO_FORM = {"empty", "blank", "only tags", "prompt again", "orders to the judge", "padding alone"}
"""Of texts, what is worth a program's sandbox."""


def is_code(verifier: Any) -> bool:
    return hasattr(verifier, "isolation")


def gold_texts(verifier: Any, gold: str, extra: dict[str, Any]) -> list[str]:
    """Right responses as the verifier itself makes them; none where it makes none."""
    made = verifier.gold_responses(gold, extra) if hasattr(verifier, "gold_responses") else []
    return [text for found in made.values() for text in found] if isinstance(made, dict) else list(made)


def _scored(
    asked: Asked, found: Judged, row: Row, texts: list[tuple[str, str]], lines: list[dict[str, Any]]
) -> list[float | None]:
    """Of (kind, response); None where there is no verdict."""
    verdicts = asked.verdicts(row, [response for _, response in texts])
    found.asked += len(verdicts)
    found.missing += [verdict for verdict in verdicts if not verdict.scored]
    for (kind, response), verdict in zip(texts, verdicts, strict=True):
        said = {"verifier": found.name, "id": row["id"], "kind": kind, "response": response}
        lines.append(said | as_json(verdict))
    return [verdict.score if verdict.scored else None for verdict in verdicts]


def _settle(found: Judged, hacks: list[Hack], scores: list[float | None], baseline: float) -> None:
    """Adds a problem: of each hack what its responses all get at least, and the best of one name."""
    best: dict[str, tuple[float, str]] = {}
    rest = iter(scores)
    for hack in hacks:
        own = [next(rest) for _ in hack.responses]
        got = [score for score in own if score is not None]
        if len(got) == len(own) and min(got) > best.get(hack.name, (-float("inf"), ""))[0]:
            best[hack.name] = min(got), hack.responses[0]
    for name, (score, response) in best.items():
        paid = found.hacks.setdefault(name, Paid())
        paid.rewards.append(score)
        if score > baseline + MORE:
            paid.above += 1
            paid.example = paid.example or response
