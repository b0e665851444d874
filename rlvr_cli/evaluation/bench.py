"""One benchmark: k samples per problem, verified. Training and `rlvr eval` run this same code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rlvr_cli.core import distributed
from rlvr_cli.core.causes import causes, commonest
from rlvr_cli.core.types import Group, Problem, Reason
from rlvr_cli.data.experiences import read_library
from rlvr_cli.data.prompts import guesses_read, problems
from rlvr_cli.data.sources import unusable_images, without_gold
from rlvr_cli.evaluation.scores import MOST_MISSING, share_missing, summarise
from rlvr_cli.evaluation.spoken import spoken
from rlvr_cli.evaluation.stored_samples import Partial, Replay, fields
from rlvr_cli.rollout import Engine, Generator, Sampling
from rlvr_cli.sampling.collect import collect
from rlvr_cli.sampling.environments import Environments
from rlvr_cli.schema import Bench, Rollout, Unscored
from rlvr_cli.schema.lengths import positions as positions
from rlvr_cli.schema.lengths import prompt_limit as prompt_limit
from rlvr_cli.tracking import Timer
from rlvr_cli.verifiers.pool import Pool
from rlvr_cli.verifiers.several_golds import fault_of, wants_rows
from rlvr_cli.vision.gallery import Gallery

WORTH_A_WARNING = 0.02
"""Share of samples without a verdict."""


@dataclass(slots=True, kw_only=True)
class Evaluation:
    """Result of one benchmark."""

    summary: dict[str, float]
    rows: list[dict[str, Any]]
    """One per problem, in the order of its source."""
    experiences: dict[str, Any] | None = None
    """What the model read before each problem: `Library.identity`; None: nothing."""


def verifier_key(bench: str, tracked: str | None = None) -> str:
    """Name under which the pool knows a bench's own verifier, or one that it tracks."""
    return f"eval.{bench}" if tracked is None else f"eval.{bench}.tracked.{tracked}"


def judges_of(benches: Mapping[str, Bench]) -> dict[str, Any]:
    """All verifiers of the benches, for the pool."""
    found = {verifier_key(name): bench.verifier for name, bench in benches.items()}
    for name, bench in benches.items():
        found |= {verifier_key(name, key): each for key, each in bench.tracked.items()}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The problems of a bench as a model is asked them."""

    problems: list[Problem]
    left_out: int
    """Problems whose prompt does not fit: no part of the score, so it must be seen beside it."""
    no_gold: int = 0
    """Problems without a gold answer that the verifier can use: the same."""
    no_gold_rows: list[str] = field(default_factory=list)
    """The first of them, and why."""
    images: str | None = None
    """Which problems have an image that cannot be used, if any; they count as left out."""
    guesses: str | None = None
    """What is wrong with how their responses are read, if anything."""
    experiences: dict[str, Any] | None = None
    """The library that their prompts begin with: `Library.identity`."""

    def warnings(self, name: str) -> Iterator[str]:
        """What is to be known of the bench `name` before its score, apart from its length limit."""
        if self.no_gold:
            yield f"{name}: {without_gold(self.no_gold, self.no_gold_rows)}"
        if self.images:
            yield f"{name}: {self.images}; they are no part of the score"
        if self.guesses:
            yield f"{name}: {self.guesses}"


def with_stops(rollout: Rollout, benches: Mapping[str, Bench], more: Sequence[str] = ()) -> Rollout:
    """What an engine for these benches is started with: it must know whether stop strings will come, also
    those of environments (`more`)."""
    return replace(rollout, stop=[*rollout.stop, *(s for b in benches.values() for s in b.stop), *more])


def questions(
    name: str,
    bench: Bench,
    tokenizer: Any,
    limit: int,
    remedy: str | None = None,
    environments: Environments | None = None,
    *,
    chat: bool = False,
) -> Questions:
    """Read and render a bench; `remedy` is what to do when no prompt fits into `limit` tokens; `chat`: it is
    put to a server with a chat template of its own."""
    remedy = remedy or f"raise benches.{name}.max_prompt_tokens"
    own = {name: bench.verifier}  # whatever verifiers its rows name

    def ask(_: list[str], gold: str | None, extra: dict[str, Any]) -> str | None:
        return fault_of(own, [name], gold, extra)

    raw = wants_rows(bench.verifier)
    library = None if bench.experiences is None else read_library(bench.experiences)
    environment = environments.of_benches.get(name) if environments is not None else None
    tools = environments.tools[environment] if environments is not None and environment is not None else ()
    found, report = problems(
        name,
        bench.source,
        tokenizer,
        limit,
        bench.seed,
        remedy,
        ask=ask,
        raw=raw,
        environment=environment,
        tools=tools,
        library=library,
        chat=chat,
    )
    return Questions(
        problems=found,
        left_out=report.too_long + report.bad_images,
        images=unusable_images(report) if report.bad_images else None,
        no_gold=report.no_gold,
        no_gold_rows=report.no_gold_rows,
        guesses=guesses_read(found, bench.verifier, f"benches.{name}.verifier"),
        experiences=None if library is None else library.identity(),
    )


def shortfalls(section: str, name: str, bench: Bench, limit: int, summary: dict[str, float]) -> Iterator[str]:
    """Why a score is not of the whole bench, a line each; `section` of the recipe has it under its name."""
    asked = summary["problems"] + summary["left_out"] + summary.get("no_gold", 0)
    if summary["left_out"]:
        yield (
            f"{name}: the prompts of {summary['left_out']:.0f} of {asked:.0f} problems are longer than "
            f"{limit} tokens and left out; raise {section}.{name}.max_prompt_tokens"
        )
    if bench.problems is not None and asked != bench.problems:
        yield f"{name} has {bench.problems} problems, {asked:.0f} were found"


def unjudged(name: str, result: Evaluation) -> tuple[str | None, bool]:
    """What is to be said of samples without a verdict, where they are more than chance, and whether there is
    a score nevertheless."""
    share = share_missing(result.rows)
    if share <= WORTH_A_WARNING:
        return None, True
    said = f"{name}: {share:.1%} of the samples have no verdict ({commonest(missing(result.rows))})"
    if share > MOST_MISSING:
        return f"{said}: there is no score", False
    return f"{said}; they are no part of the score", True


def missing(rows: list[dict[str, Any]]) -> Counter[str]:
    """Why verdicts are missing."""
    pairs = (pair for row in rows for pair in zip(row["reasons"], row["details"], strict=True))
    return causes(pairs, silent=True)


def disputed_rows(name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Verdicts that two ways of comparing disagree on."""
    return [
        {
            "bench": name,
            "problem": row["id"],
            "gold": [row["answer"], *row.get("alternatives", [])],
            "extracted": row["extracted"][number],
            "detail": row["details"][number],
        }
        for row in rows
        for number, disputed in enumerate(row.get("disputed", []))
        if disputed
    ]


def run_bench(
    name: str,
    bench: Bench,
    engine: Engine,
    pool: Pool,
    asked: Questions,
    *,
    timer: Timer,
    stopped: Callable[[], bool] = lambda: False,
    check: Callable[[], None] = lambda: None,
    advance: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
    partial: Partial | None = None,
    gallery: Gallery | None = None,
) -> Evaluation:
    """Sample and verify a benchmark, its problems dealt over the ranks; every rank gets the result.

    `stopped` ends the sampling early; `check`, called by all ranks after it, may raise then.
    `advance(done, total)` is told of each finished problem of this rank, `say` when a server is waited for.
    What `partial` holds is not sampled again; what is sampled is added to it. `gallery`: of the images.
    """
    number, engines = engine.share
    share = list(enumerate(asked.problems))[number::engines]
    source: Generator = engine
    if partial is not None:
        stored = partial.load()
        distributed.barrier()  # ranks with one engine must have read the same, before the first adds to it
        source = Replay(stored, [index for index, _ in share], engine, partial.keep)
    groups = judge(name, bench, source, pool, share, timer=timer, stopped=stopped, advance=advance, say=say)
    check()
    rows = gathered(groups)
    if gallery is not None and distributed.rank() == 0:
        prompts = (asked.problems[each["index"]].tokens for each in rows)
        for each, images in zip(rows, gallery.shown(prompts), strict=True):
            each |= {"images": images} if images else {}
    summary = scored(bench, rows) | {"left_out": float(asked.left_out)}
    if asked.no_gold:
        summary["no_gold"] = float(asked.no_gold)
    return Evaluation(summary=summary, rows=rows, experiences=asked.experiences)


def gathered(groups: list[Group]) -> list[dict[str, Any]]:
    """The rows of all ranks, in the order of the problems; all ranks call it."""
    parts = distributed.gather([row(group) for group in groups])
    return sorted((each for part in parts for each in part), key=lambda each: each["index"])


def scored(bench: Bench, rows: list[dict[str, Any]]) -> dict[str, float]:
    return summarise(rows, pass_at=bench.pass_at, majority=bench.majority) | spoken(rows)


def judge(
    name: str,
    bench: Bench,
    engine: Generator,
    pool: Pool,
    share: list[tuple[int, Problem]],
    *,
    timer: Timer,
    stopped: Callable[[], bool] = lambda: False,
    advance: Callable[[int, int], None] = lambda done, total: None,
    say: Callable[[str], None] = lambda text: None,
) -> list[Group]:
    """This rank's (index, problem) pairs, sampled and verified by the bench's own verifier."""
    done = 0

    def finished(group: Group) -> None:
        nonlocal done
        done += 1
        advance(done, len(share))

    weights = {verifier_key(name): 1.0} | {verifier_key(name, key): 0.0 for key in bench.tracked}
    for _, problem in share:
        problem.verifiers = list(weights)
    return collect(
        engine,
        pool,
        share,
        samples=1 if bench.temperature == 0 else bench.k,
        sampling=Sampling.of(bench, logprobs=False),
        seed=bench.seed,
        weights=weights,
        unscored=Unscored.zero,
        timer=timer,
        stopped=stopped,
        finished=finished,
        say=say,
    )


def row(group: Group) -> dict[str, Any]:
    """What is kept of a problem: everything a metric or a reader needs."""
    key, *tracked = group.problem.verifiers
    verdicts = [v[key] for v in group.verdicts]
    said = {each.rpartition(".")[2]: [v[each] for v in group.verdicts] for each in tracked}
    scores = {each: [v.score if v.scored else None for v in found] for each, found in said.items()}
    return {
        "index": group.index,
        "id": group.problem.id,
        "answer": group.problem.answer,
        **({"alternatives": group.problem.alternatives} if group.problem.alternatives else {}),
        "prompt": group.problem.prompt,
        "extra": group.problem.extra,
        "correct": [v.reason is Reason.correct if v.scored else None for v in verdicts],
        "scores": [v.score if v.scored else None for v in verdicts],
        "extracted": [v.extracted for v in verdicts],
        "reasons": [v.reason.value for v in verdicts],
        "details": [v.detail for v in verdicts],
        **({"disputed": [v.disputed for v in verdicts]} if any(v.disputed for v in verdicts) else {}),
        **({"measures": [v.measures for v in verdicts]} if any(v.measures for v in verdicts) else {}),
        **({"more": [v.more for v in verdicts]} if any(v.more for v in verdicts) else {}),
        **({"tracked": scores} if scores else {}),
        **fields(group.completions),
    }
