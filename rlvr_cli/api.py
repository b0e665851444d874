"""The package from Python: recipes, training, evaluation, verifiers, and what runs leave behind."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from numbers import Integral, Real
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, overload

from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.tracking.tables import Results, RunTables, read_results

if TYPE_CHECKING:
    from rlvr_cli.core.types import Verdict
    from rlvr_cli.schema import EvalRecipe, Recipe, SFTRecipe

Overrides = str | Sequence[str] | Mapping[str, Any]
"""`["trainer.lr=1e-6", "model=tiny"]` as on the command line, or {"trainer.lr": 1e-6, "model": "tiny"}."""
OneOrMany = str | Path | Sequence[str | Path]
NOT_TEXT = ("null", "true", "false", "nan", "inf")
"""Words that are something else than text unless they are quoted."""


class Run(RunTables):
    """A run directory, with the recipe of its run."""

    @property
    def recipe(self) -> Recipe | SFTRecipe | EvalRecipe:
        """The resolved recipe."""
        from rlvr_cli import compose

        return compose.read(self.path / "recipe.yaml")

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What `rlvr why RUN --json` lists: rule, message, keys to change, samples; the weightiest first."""
        from rlvr_cli.schema import Recipe
        from rlvr_cli.schema.stages import stages_of
        from rlvr_cli.training.account import account_of

        recipe = self.recipe
        if not isinstance(recipe, Recipe):
            raise UserError(f"{self.path} is no run of reinforcement learning, which the rules are about")
        return [told.as_dict() for told in account_of(self.path, stages_of(recipe)).findings]


def load_recipe(
    path_or_name: str | Path | None = None, overrides: Overrides = (), verb: str | None = None
) -> Recipe | SFTRecipe | EvalRecipe:
    """The typed, checked recipe of a .yaml file, a run directory or a shipped name.

    `verb` must fit its algorithm; without a path the verb's default is taken. UserError says what is wrong.
    """
    from rlvr_cli import compose

    path = None if path_or_name is None else str(path_or_name)
    if verb == "eval" or (verb is None and path is not None and _is_evaluation(path)):
        return compose.load_eval(path, override_texts(overrides))
    return compose.load(path, override_texts(overrides), verb)


def train(recipe: Recipe | SFTRecipe | Run | str | Path | None = None, overrides: Overrides = ()) -> Run:
    """Train as `rlvr train` does, on ranks in processes of their own; returns when the run has ended.

    A run directory, or the recipe of one, is continued. UserError: a mistake in the recipe; RunFailed: a rank
    failed for good; KeyboardInterrupt: it was interrupted, and has saved a checkpoint.
    """
    from rlvr_cli import compose
    from rlvr_cli.launch.apart import launch_apart
    from rlvr_cli.schema import EvalRecipe, ExperienceRecipe

    if isinstance(recipe, EvalRecipe) and not isinstance(recipe, ExperienceRecipe):
        raise UserError("this is an evaluation recipe: call evaluate(recipe=...)")
    with _named(recipe) as path:
        typed = compose.load(path, override_texts(overrides))
    return Run(launch_apart(typed))


def evaluate(
    model: Run | str | Path | None = None,
    bench: OneOrMany = (),
    *,
    recipe: EvalRecipe | str | Path | None = None,
    k: int | None = None,
    data: str | Path | None = None,
    verifier: str | None = None,
    select: str | None = None,
    experiences: str | Path | None = None,
    server: str | None = None,
    contamination: float | None = None,
    rescore: Run | str | Path | None = None,
    overrides: Overrides = (),
) -> Results:
    """Measure a model on benches as `rlvr eval` does, in a process of its own; the options are the command's.

    `rescore` is its `--from`: the samples of a run or result file are judged anew.
    """
    from rlvr_cli.commands.eval import load
    from rlvr_cli.launch.apart import launch_apart
    from rlvr_cli.schema import Recipe, SFTRecipe

    if isinstance(recipe, Recipe | SFTRecipe):
        raise UserError("this is a training recipe; evaluate its run: evaluate(RUN, BENCH)")
    benches = [bench] if isinstance(bench, str | Path) else bench
    options = Namespace(
        bench=",".join(map(str, benches)),
        model=_text_of(model),
        k=k,
        data=_text_of(data),
        verifier=verifier,
        select=select,
        source=_text_of(rescore),
        experiences=_text_of(experiences),
        server=server,
        contamination=contamination,
    )
    with _named(recipe) as path:
        typed = load(options, path, override_texts(overrides))
    return read_results(launch_apart(typed), typed.benches)


@overload
def verify(
    responses: str,
    answers: str | float,
    verifier: str = "math",
    *,
    extra: Mapping[str, Any] | None = None,
    overrides: Overrides = (),
    **options: Any,
) -> Verdict: ...
@overload
def verify(
    responses: Iterable[str],
    answers: str | float | Iterable[str | float],
    verifier: str = "math",
    *,
    extra: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
    overrides: Overrides = (),
    **options: Any,
) -> list[Verdict]: ...
def verify(
    responses: str | Iterable[str],
    answers: str | float | Iterable[str | float],
    verifier: str = "math",
    *,
    extra: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None = None,
    overrides: Overrides = (),
    **options: Any,
) -> Verdict | list[Verdict]:
    """Judge responses as `rlvr verify` does, in workers that are killed when they are late.

    `options` are the verifier's settings; one answer, or one `extra` (further columns of a row), is for all
    responses. `overrides`: `verification.timeout_s`, `verification.workers`, ... A single response gives a
    single verdict.
    """
    from rlvr_cli.compose.verify import load_verify
    from rlvr_cli.data.golds import only_gold
    from rlvr_cli.verifiers.pool import Pool

    texts = [responses] if isinstance(responses, str) else list(responses)
    if wrong := [n for n, text in enumerate(texts) if not isinstance(text, str)]:
        raise UserError(f"responses[{wrong[0]}] is {type(texts[wrong[0]]).__name__}, not text")
    golds = _spread("answers", answers, (str, Real), len(texts))
    golds = [only_gold(answer, "answers", f"answers[{number}]") for number, answer in enumerate(golds)]
    extras = _spread("extra", {} if extra is None else extra, Mapping, len(texts))
    settings = ["verification.workers=1"] if len(texts) == 1 else []
    settings += override_texts(overrides)
    recipe = load_verify([verifier], override_texts(options), None, settings)
    with Pool(recipe.verifiers, recipe.verification) as pool:
        rows = zip(texts, golds, extras, strict=True)
        futures = [pool.submit(verifier, text, answer, dict(more)) for text, answer, more in rows]
        verdicts = [future.result() for future in futures]
    return verdicts[0] if isinstance(responses, str) else verdicts


def open_run(path: str | Path) -> Run:
    """A run directory, whether its run goes on, has finished or was killed."""
    folder = Path(path).expanduser()
    if not folder.is_dir():
        beside = [str(each.parent) for each in folder.parent.glob("*/recipe.yaml")]
        raise UserError(f"{path} is no directory{hint(str(path), beside, 'runs beside it')}")
    if not any((folder / name).is_file() for name in ("recipe.yaml", "metrics.jsonl")):
        raise UserError(f"{path} is no run directory: it has neither recipe.yaml nor metrics.jsonl")
    return Run(folder)


def override_texts(overrides: Overrides) -> list[str]:
    """Overrides as the command line has them."""
    if isinstance(overrides, str):
        return [overrides]
    if not isinstance(overrides, Mapping):
        return [str(text) for text in overrides]
    return [key if key.startswith("~") else f"{key}={_value(key, x)}" for key, x in overrides.items()]


def _value(key: str, value: Any) -> str:
    """A value in the grammar of overrides."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Integral | Real):  # of numpy, too
        return str(int(value)) if isinstance(value, Integral) else repr(float(value))
    if isinstance(value, Enum):
        return _value(key, value.value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_value(key, each)}" for name, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_value(key, each) for each in value) + "]"
    if not isinstance(value, str | Path):
        raise UserError(f"{key}: {type(value).__name__} is no value of a recipe")
    text = str(value)
    if re.fullmatch(r"[A-Za-z_][\w./-]*", text) and text.lower() not in NOT_TEXT:
        return text  # bare, as names of group entries are
    # A backslash is one, unless it stands before a quote or at the end.
    return '"' + re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + ("\\" + m[2] if m[2] else ""), text) + '"'


def _is_evaluation(path: str) -> bool:
    """Whether a recipe, or what it inherits from, names benches and no algorithm."""
    from rlvr_cli.compose.files import chain, groups_of
    from rlvr_cli.core.shipped_recipes import find_recipe

    keys = {key for _, body in chain(find_recipe(path)) for key in (*body, *groups_of(body))}
    return "algorithm" not in keys and any(re.match(r"benches$|bench@benches\.", key) for key in keys)


def _text_of(given: RunTables | str | Path | None) -> str | None:
    if given is None:
        return None
    return str(given.path if isinstance(given, RunTables) else given)


@contextmanager
def _named(recipe: Any) -> Iterator[str | None]:
    """A recipe as a path or a name; a typed one is a file within the block, so that it is checked anew."""
    from omegaconf.errors import OmegaConfBaseException

    from rlvr_cli import compose

    if recipe is None or isinstance(recipe, RunTables | str | Path):
        yield _text_of(recipe)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yaml"
        try:
            compose.save(recipe, path)
        except OmegaConfBaseException as error:  # of a value that was put into it
            raise UserError(f"recipe: {str(error).splitlines()[0]}") from None
        yield str(path)


def _spread(name: str, given: Any, one: Any, count: int) -> list[Any]:
    """One for each response."""
    found = [given] * count if isinstance(given, one) else list(given)
    if len(found) != count:
        raise UserError(f"{name}: {len(found)} for {count} responses; give one for each, or one for all")
    return found
