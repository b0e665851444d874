"""`rlvr inspect trajectories`: what a response is worth, place by place: how likely its gold answer is."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

from rlvr_cli.core import distributed
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import resolve_model
from rlvr_cli.data.prompts import encode, encode_plain
from rlvr_cli.engine.model import load_model, load_tokenizer
from rlvr_cli.inspect import answer_curve, course, summaries
from rlvr_cli.inspect.course import Course
from rlvr_cli.inspect.recorded import Recorded, Source, read
from rlvr_cli.inspect.summaries import Summary, Wanted, Writer
from rlvr_cli.schema import Model, Precision
from rlvr_cli.tracking.report.courses import digest

LEAD, CLOSE = "\n\n**Final Answer**\n\\boxed{", "}"
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the thinking, after which it is cut."""
AGREE = {Precision.fp32: 1e-3, Precision.bf16: 0.1}
"""Most nats by which both ways of reading may differ; above, every place has a forward pass of its own."""


@dataclass(kw_only=True)
class Settings:
    every: int = 8
    """Tokens between two places; 1: every token."""
    alpha: float = 0.01
    """Of the moving average, per token."""
    lead: str = LEAD
    """Asks for the answer."""
    close: str = CLOSE
    """Ends it."""
    until: tuple[str, ...] = course.END_OF_THOUGHT
    lexicon: tuple[str, ...] = course.LEXICON
    summaries: Wanted | None = None
    """What a summary in the place of the thinking is worth, too."""
    summary_model: str | None = None
    """What writes them; None: the model that is asked."""


@dataclass(kw_only=True)
class Traced:
    """A sample and its course."""

    sample: Recorded
    pieces: list[str]
    thought: int
    """Tokens of the thinking."""
    course: Course
    summaries: list[Summary] = field(default_factory=list)

    def row(self, settings: Settings) -> dict[str, Any]:
        """For the file and the report's rollout browser."""
        found, turning = self.course, course.turn(self.course)
        smooth = course.ema(found.losses, settings.alpha, found.places)
        said: dict[str, Any] | None = None
        if turning is not None:
            before, after, change = turning
            said = {"before": before, "after": after, "change": round(change, 5)}
            said["text"] = "".join(self.pieces[before:after])
        return self.sample.key | {
            "digest": digest(self.sample.response),
            "correct": self.sample.correct,
            "answer": self.sample.answer,
            "tokens": len(self.pieces),
            "thought": self.thought,
            "places": found.places,
            "loss": [round(x, 6) for x in found.losses],
            "ema": [round(x, 6) for x in smooth],
            "right": [int(x) for x in found.right],
            "settled": course.settled(found),
            "enough": course.enough(found),
            "turn": said,
            **({"summaries": [each.row() for each in self.summaries]} if settings.summaries else {}),
        }


@dataclass(kw_only=True)
class Traces:
    """All that was found."""

    source: Source
    model: str
    settings: Settings
    traced: list[Traced]
    told: list[str] = field(default_factory=list)
    """What to know of it, a line each."""


def inspect(path: Path, model: str | None, step: int | None, limit: int, settings: Settings) -> Traces:
    """Measure the samples of a run or a result file. UserError where there are none, or no model."""
    source = read(path, step, limit)
    named = model or source.model
    if named is None:
        raise UserError(f"--model: {path} does not say which model sampled it; name one")
    of = Model(path=resolve_model(named, "--model"), attention="sdpa")
    found = Traces(source=source, model=of.path, settings=settings, traced=[])
    found.told += [f"left out: {count} {why}" for why, count in source.left_out.items()]
    if not source.samples:
        raise UserError(f"{path} has no sample to look at ({'; '.join(found.told) or 'it is empty'})")
    tokenizer, precision = load_tokenizer(of), _precision()
    written = _written_by_another(tokenizer, found)
    hf: Any = _loaded(of, precision)
    cached = _reads_cache(hf, tokenizer, source.samples[0], settings, precision, found.told)
    room = getattr(hf.config.get_text_config(), "max_position_embeddings", None)
    long = 0
    for sample in source.samples:
        traced = trace(hf, tokenizer, sample, settings, cached=cached, room=room)
        if traced is None:
            long += 1
        else:
            found.traced.append(traced)
    if long:
        found.told.append(
            f"left out: {long} samples that with the question for the answer exceed {room} positions"
        )
    if not found.traced:
        raise UserError(
            f"{path}: {'; '.join(found.told)}; give a model with more positions, or a shorter --ask"
        )
    if settings.summaries is not None:
        if written is None:
            written = _write(Writer(hf, tokenizer, of.path, settings.summaries), tokenizer, found)
        _score(hf, tokenizer, found, written, room)
    return found


Written = dict[int, list[Summary]]
"""Summaries by the place of their sample in the source."""


def _written_by_another(tokenizer: Any, found: Traces) -> Written | None:
    """Summaries by a model of its own, which has left the memory when the other one comes."""
    wanted, named = found.settings.summaries, found.settings.summary_model
    if wanted is None or named is None:
        return None
    of = Model(path=resolve_model(named, "--summary-model"), attention="sdpa")
    return _write(Writer(_loaded(of, _precision()), load_tokenizer(of), of.path, wanted), tokenizer, found)


def _write(writer: Writer, tokenizer: Any, found: Traces) -> Written:
    written = {}
    for place, sample in enumerate(found.source.samples):
        _, response, pieces, _ = parts(tokenizer, sample, found.settings)
        thinking = str(tokenizer.decode(response[: course.thought(pieces, found.settings.until)]))
        problem = summaries.problem_of(tokenizer, sample.prompt)
        written[place] = writer.write(problem, thinking, crc32(repr(sample.key).encode()))
    found.told += writer.told()
    return written


def _score(hf: Any, tokenizer: Any, found: Traces, written: Written, room: int | None) -> None:
    """Fill in what the answer is worth after each summary, by a forward pass of its own."""
    places = {id(sample): place for place, sample in enumerate(found.source.samples)}
    long = 0
    for traced in found.traced:
        prompt, response, _, ask = parts(tokenizer, traced.sample, found.settings)
        thinking = str(tokenizer.decode(response[: traced.thought]))
        named = re.compile(rf"(?<!\w){re.escape(traced.sample.answer)}(?!\w)")
        for summary in written[places[id(traced.sample)]]:
            tokens = prompt + encode(summaries.in_place(thinking, summary.text), tokenizer)
            if room is not None and len(tokens) + len(ask.tokens) > room:
                long += 1
                continue
            points = answer_curve.anew(hf, tokens, [len(tokens)], ask)
            right = points.spelled[0] and closes(tokenizer, points.closing[0], found.settings.close)
            traced.summaries.append(
                replace(summary, loss=points.losses[0], right=right, names=bool(named.search(summary.text)))
            )
    if long:
        found.told.append(
            f"left out: {long} summaries that with the question for the answer exceed {room} positions"
        )


def _loaded(of: Model, precision: Precision) -> Any:
    return load_model(of, precision).to(distributed.device()).eval()


def trace(
    hf: Any, tokenizer: Any, sample: Recorded, settings: Settings, *, cached: bool, room: int | None = None
) -> Traced | None:
    """The course of one sample; None where it does not fit into `room` positions."""
    prompt, response, pieces, ask = parts(tokenizer, sample, settings)
    if room is not None and len(prompt) + len(response) + len(ask.tokens) > room:
        return None
    length = course.thought(pieces, settings.until)
    spans = {word: course.occurrences(pieces[:length], word) for word in settings.lexicon}
    places = places_of(length, settings.every, spans)
    ends = [len(prompt) + place for place in places]
    points = answer_curve.curve(hf, prompt + response[:length], ends, ask, cached=cached)
    right = [
        spelled and closes(tokenizer, token, settings.close)
        for spelled, token in zip(points.spelled, points.closing, strict=True)
    ]
    found = Course(
        places=places, losses=points.losses, right=right, spans={w: s for w, s in spans.items() if s}
    )
    return Traced(sample=sample, pieces=pieces, thought=length, course=found)


def parts(
    tokenizer: Any, sample: Recorded, settings: Settings
) -> tuple[list[int], list[int], list[str], answer_curve.Ask]:
    """Token ids of prompt and response, the texts of the response's tokens, and what is appended."""
    prompt, response = sample.ids or (
        encode_plain(sample.prompt, tokenizer),
        encode(sample.response, tokenizer),
    )
    while response and response[-1] in (tokenizer.eos_token_id, tokenizer.pad_token_id):
        response = response[:-1]
    ask = answer_curve.Ask(
        lead=encode(settings.lead, tokenizer),
        answer=encode(sample.answer, tokenizer),
        close=encode(settings.close, tokenizer),
    )
    return prompt, response, [str(tokenizer.decode([token])) for token in response], ask


def places_of(length: int, every: int, spans: dict[str, list[tuple[int, int]]]) -> list[int]:
    """Every so many tokens, the ends, the shares at which thinking is cut, and around each word."""
    shares = [round(share * length) for share in SHARES]
    around = [place for found in spans.values() for span in found for place in span]
    return sorted({*range(0, length + 1, every), *shares, *around})


def closes(tokenizer: Any, token: int, close: str) -> bool:
    """Whether a token ends the answer: it begins as `close` does, or the response where that is empty."""
    if not close:
        return token == int(tokenizer.eos_token_id)
    said = str(tokenizer.decode([token]))
    return bool(said) and (said.startswith(close) or close.startswith(said))


def _reads_cache(
    hf: Any, tokenizer: Any, sample: Recorded, settings: Settings, precision: Precision, told: list[str]
) -> bool:
    """Whether one cache says what forward passes say, tried on the first sample."""
    prompt, response, _, ask = parts(tokenizer, sample, settings)
    ends = list(range(len(prompt), len(prompt) + len(response) + 1))
    gap = answer_curve.cache_gap(hf, prompt + response, ends, ask)
    if gap is not None and gap <= AGREE[precision]:
        told.append(f"one cache a response; forward passes of their own differ by {gap:.1e} nats at most")
        return True
    why = "its cache cannot be read at any place" if gap is None else f"its cache differs by {gap:.1e} nats"
    told.append(f"every place is a forward pass of its own, which is slow: {why}; a larger --every is faster")
    return False


def _precision() -> Precision:
    return Precision.bf16 if distributed.device().type == "cuda" else Precision.fp32
