"""`rlvr inspect mismatch`: why the engine's logprobs are not the trainer's, by a run's record or anew."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import resolve_model
from rlvr_cli.core.routes import of_json
from rlvr_cli.engine.model import load_model, load_tokenizer
from rlvr_cli.inspect.causes import Suspects, Taken, take_apart
from rlvr_cli.inspect.chat_text import bare, chat
from rlvr_cli.inspect.folder import check_weights
from rlvr_cli.inspect.forwards import Forwards, Sampled, Setting, Transform
from rlvr_cli.inspect.routed import listened_to, why_unrouted
from rlvr_cli.inspect.versions import Load, model_of, versions
from rlvr_cli.rollout import Request, Sampling
from rlvr_cli.sampling.start_model import local_model, start_engine
from rlvr_cli.schema import Model, Precision, Recipe, RolloutLora, RoutingReplay
from rlvr_cli.tracking.records import read_records, record_steps
from rlvr_cli.training.weight_sync import engine_precision

OLDER = 3
"""Earlier versions that are tried, the newest first, and the start model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was looked at, and what came of it."""

    what: str
    taken: Taken
    sequences: int


def of_run(run: Path, samples: int, step: int | None) -> Looked:
    """By the tokens and logprobs that the run has recorded. UserError where there are none that fit."""
    recipe = compose.read(run / "recipe.yaml")
    if not isinstance(recipe, Recipe):
        raise UserError(f"{run} is no run of RL, and no engine has sampled for it")
    there = versions(run, recipe)
    chosen, version = _step(run, there, step)
    rows = list(islice(sampled(run, chosen, version), samples))
    if not rows:
        raise UserError(
            f"the rollouts of step {chosen} of {run} have no logprobs: record them with tracker.tokens=true, "
            f"or sample anew: rlvr inspect mismatch {run}/final --recipe {run}/recipe.yaml"
        )
    older = [(_name(v), there[v]) for v in _older(there, version)]
    model = model_of(run, recipe)
    taken = _apart(recipe, load_tokenizer(model), rows, there[version], older, model)
    return Looked(
        what=f"step {chosen} of {run}, sampled by {_name(version)}", taken=taken, sequences=len(rows)
    )


def _name(version: int) -> str:
    return f"the weights after step {version}" if version else "the start model"


def _older(there: dict[int, Load], version: int) -> list[int]:
    before = sorted((v for v in there if v < version), reverse=True)
    return list(dict.fromkeys([*before[:OLDER], *before[-1:]]))


def _step(run: Path, there: dict[int, Load], step: int | None) -> tuple[int, int]:
    """The newest recorded step whose samples come from weights that are on the disk, and their version."""
    steps = record_steps(run)
    if step is not None:
        steps = [each for each in steps if each == step]
    if not steps:
        raise UserError(f"{run}/rollouts has no samples{f' of step {step}' if step is not None else ''}")
    for each in reversed(steps):
        found = {int(row["policy_version"]) for row in read_records(run, each)}
        if fit := sorted(found & there.keys()):
            return each, fit[-1]
    have = ", ".join(map(str, sorted(there)))
    raise UserError(
        f"no recorded step of {run} was sampled by weights that are on the disk (those after steps {have}); "
        "name a step after one of these, or keep checkpoints (checkpoint.every)"
    )


def sampled(run: Path, step: int, version: int) -> Iterator[Sampled]:
    """Single answers of a step with their tokens; of several samples of a problem the first first."""
    rows = [row for row in read_records(run, step) if row["policy_version"] == version]
    for row in sorted(rows, key=lambda row: row["sample"]):
        plain = (
            row.get("logprobs") and not row.get("sampled") and row.get("newest_version", version) == version
        )
        if plain:
            yield Sampled(
                prompt=row["prompt_tokens"],
                response=row["response_tokens"],
                logprobs=np.asarray(row["logprobs"], float),
                text=row["prompt"],
                routes=of_json(row["routes"]) if "routes" in row else None,
            )


def of_model(path: str, recipe: Recipe, samples: int) -> Looked:
    """The recipe's engine samples answers to its problems with this model; then the same of these."""
    with tempfile.TemporaryDirectory(prefix="rlvr-mismatch-") as folder:
        model = replace(recipe.model, path=path, attention="sdpa", gradient_checkpointing=False)
        model = local_model(model, Path(folder), recipe.seed)
        check_weights(model.path, "MODEL")
        tokenizer = load_tokenizer(model)
        rows = list(_anew(recipe, model, tokenizer, samples, Path(folder)))
        taken = _apart(recipe, tokenizer, rows, partial(load_model, model, Precision.fp32), [], model)
    return Looked(
        what=f"{path}, sampled anew by rollout={recipe.rollout.engine.value}",
        taken=taken,
        sequences=len(rows),
    )


def _anew(recipe: Recipe, model: Model, tokenizer: Any, samples: int, folder: Path) -> Iterator[Sampled]:
    from rlvr_cli.data.prompts import problems

    name, source = next(iter(recipe.data.items()))
    found, _ = problems(name, source, tokenizer, recipe.rollout.max_prompt_tokens, recipe.seed)
    asked = found[:samples]
    room = recipe.rollout.max_prompt_tokens + recipe.rollout.max_tokens
    rollout = replace(listened_to(recipe, model), lora=RolloutLora.merged)  # MODEL is whole
    engine = start_engine(rollout, model, tokenizer, recipe.seed, engine_precision(recipe), room, folder)
    sampling = Sampling.of(rollout, logprobs=True, routes=rollout.routing_replay.recorded)
    try:
        requests = [
            Request(key=n, tokens=p.tokens, samples=1, seed=recipe.seed + n) for n, p in enumerate(asked)
        ]
        for key, completions in engine.generate(requests, sampling):
            [one] = completions
            yield Sampled(
                prompt=asked[key].tokens,
                response=one.tokens.tolist(),
                logprobs=np.asarray(one.logprobs, float),
                text=asked[key].prompt,
                routes=one.routes if len(one.routes) else None,
            )
    finally:
        engine.close()


def _apart(
    recipe: Recipe,
    tokenizer: Any,
    rows: list[Sampled],
    now: Load,
    older: list[tuple[str, Load]],
    model: Model,
) -> Taken:
    pad = tokenizer.pad_token_id
    loaded = now()
    unrouted = why_unrouted(loaded, rows)
    plain = Transform(temperature=recipe.rollout.temperature or 1.0)
    follows = not unrouted and recipe.rollout.routing_replay is RoutingReplay.r3
    return take_apart(
        Suspects(
            rows=rows,
            trainer=Setting(precision=recipe.trainer.precision, transform=plain, routed=follows),
            engine=engine_precision(recipe),
            transform=replace(plain, top_p=recipe.rollout.top_p),
            prompts=prompts_of(tokenizer),
            older=[(said, partial(_forwards, load, pad)) for said, load in older],
            adapters=hasattr(loaded, "disable_adapter"),
            routed=not unrouted,
            unrouted=unrouted,
            now=Forwards(loaded, pad, routed=not unrouted),
        )
    )


def _forwards(load: Load, pad: int) -> Forwards:
    return Forwards(load(), pad)


def prompts_of(tokenizer: Any) -> list[tuple[str, Callable[[Sampled], list[int]]]]:
    """Ways in which a prompt may reach an engine otherwise: (what is other, row -> its token ids)."""

    def encoded(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    found: list[tuple[str, Callable[[Sampled], list[int]]]] = []
    for name, token in (("beginning-of-sequence", tokenizer.bos_token_id), ("end", tokenizer.eos_token_id)):
        if token is not None:
            found.append((f"the {name} token before the prompt", partial(_before, token)))
            found.append((f"no {name} token before the prompt", partial(_without, token)))
    found += [
        ("the prompt's text tokenised once more", lambda row: list(tokenizer(row.text)["input_ids"])),
        ("a line end behind the prompt", lambda row: encoded(row.text + "\n")),
        ("no white space behind the prompt", lambda row: encoded(row.text.rstrip())),
        ("an opened <think> behind the prompt", lambda row: encoded(row.text + "<think>\n")),
    ]
    if getattr(tokenizer, "chat_template", None):
        found.append(("the prompt in the chat template", lambda row: encoded(chat(tokenizer, row.text))))
        found.append(("the prompt without the chat template", lambda row: encoded(bare(tokenizer, row.text))))
    return found


def _before(token: int, row: Sampled) -> list[int]:
    return [token, *row.prompt]


def _without(token: int, row: Sampled) -> list[int]:
    return row.prompt[1:] if row.prompt[:1] == [token] and len(row.prompt) > 1 else row.prompt


def recipe_for(path: str | None, model: str, overrides: list[str]) -> Recipe:
    """The recipe whose engine, problems and types are looked at. UserError for another one than of RL."""
    if path is None:
        raise UserError(
            f"{model} is no run; name a recipe whose engine and problems are to be used: --recipe RECIPE"
        )
    recipe = compose.load(path, overrides)
    if not isinstance(recipe, Recipe):
        raise UserError(f"--recipe {path}: no recipe of RL, and no engine samples for it")
    return recipe


def inspect(given: str, samples: int, step: int | None, recipe: str | None, overrides: list[str]) -> Looked:
    """A run directory with rollouts and no `--recipe`, or a model."""
    run = Path(given).expanduser()
    if recipe is None and (run / "recipe.yaml").is_file():
        if overrides:
            raise UserError(f"{overrides[0]}: a run is looked at as it was; settings are for --recipe")
        return of_run(run, samples, step)
    if step is not None:
        raise UserError("--step is for a run, whose steps are recorded")
    chosen = recipe_for(recipe, given, overrides)
    return of_model(resolve_model(given, "MODEL"), chosen, samples)
