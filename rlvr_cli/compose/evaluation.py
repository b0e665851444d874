"""`rlvr eval`: a recipe or nothing, benches by name or file, and what options put in their place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rlvr_cli.compose import files, slips, stored_code, user_code
from rlvr_cli.compose.checks import check
from rlvr_cli.compose.overrides import apply, parse
from rlvr_cli.compose.strict import Place, build
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.recorded_code import around
from rlvr_cli.core.result_files import read_result, result_files
from rlvr_cli.schema import EvalRecipe

Tree = dict[str, Any]

KEPT = ("prompt", "system", "chat", "shots", "shots_split")
"""What a bench's source keeps when `--data` gives other problems; a layout is kept with its options."""
DATA_SUFFIXES = (".jsonl", ".parquet", ".json", ".csv")


def load_eval(
    path_or_name: str | None,
    overrides: list[str],
    *,
    benches: list[str] | None = None,
    model: str | None = None,
    k: int | None = None,
    data: str | None = None,
    verifier: str | None = None,
    experiences: str | None = None,
    rescore: str | None = None,
    settings: Tree | None = None,
    own: dict[str, Tree] | None = None,
) -> EvalRecipe:
    """The evaluation asked for. `settings`: keys given as options, e.g. {"contamination": 0.6}; `own`:
    benches that are in no file."""
    recipe = shipped_recipes.find_recipe(path_or_name) if path_or_name else None
    beside = [Path(given).parent for given in benches or [] if given.endswith(".yaml")]
    results = result_files(rescore, benches or []) if rescore is not None else {}
    of_run = run_benches(_model(model, overrides)) if rescore is None else {}
    foreign = verifier not in (None, *shipped_recipes.options("verifier"))
    run: Path | None = None
    named: list[str] | None = None
    if rescore is not None and (verifier is None or foreign):
        run, named = _code_of_results(results, overrides)
    elif foreign or own or any(_is_runs_own(name, of_run) for name in benches or []):
        run, named = _code_of_run(_run_of(_model(model, overrides)))
    plugins, places = user_code.of_recipe(recipe, parse(overrides), beside, run, named)
    if rescore is not None:
        command, tree = parse(overrides), _stored(results, verifier is None)
    else:
        with _search(benches or [], recipe, of_run) as (names, folders):
            command = parse([*(f"+bench@benches.{name}={name}" for name in names), *overrides])
            tree = apply(command.values, files.compose(recipe, command, folders))
        found = (own or {}) | {
            name: of_run[name] for name in benches or [] if name in of_run and name not in names
        }
        found = stored_code.as_run_had_it(found, run)
        tree = tree | {"benches": tree.get("benches", {}) | found} if found else tree
    if "algorithm" in tree:
        raise UserError(
            f"{path_or_name} is a training recipe; evaluate its run: rlvr eval --model RUN --bench NAME"
        )
    if model is not None:
        tree.setdefault("model", {})["path"] = model
    judge = _verifier(verifier) if verifier is not None else None
    _adjust_all(tree.get("benches", {}), k, data, judge, experiences)
    for key, value in (settings or {}).items():
        tree = tree | {key: tree.get(key, {}) | value if isinstance(value, dict) else value}
    tree = apply(command.values, tree)  # once more: --data has replaced the source they may speak of
    if not tree.get("benches") or "path" not in tree.get("model", {}):
        raise UserError(
            "eval needs a model and benches: --model PATH --bench NAME[,NAME] (--list shows them), or --data "
            "FILE with problems of your own"
        )
    tree["plugins"] = plugins
    place = Place(recipe.name if recipe else "command line", command.keys(), places)
    typed = build(EvalRecipe, tree, place)
    check(typed, place)
    return typed


def _code_of_results(results: dict[str, Path], overrides: list[str]) -> tuple[Path | None, list[str] | None]:
    """The directory that has copies of the code these results were made with, and the plugins where nobody
    names others."""
    run = around(next(iter(results.values())).parent)
    chosen = any(value.key_or_group == "plugins" for value in parse(overrides).values)
    return run, None if chosen else stored_code.plugins_of_results(results)


def _code_of_run(run: Path | None) -> tuple[Path | None, list[str] | None]:
    """The same of the run that a model is of."""
    return run, stored_code.plugins_of_run(run) if run is not None else None


def _model(option: str | None, overrides: list[str]) -> str | None:
    given = [text.partition("=")[2] for text in overrides if text.startswith("model.path=")]
    return given[-1] if option is None and given else option


def _run_of(model: str | None) -> Path | None:
    """The directory of the run that a model is of, `final/` or the like."""
    folders = (Path(model).expanduser(), Path(model).expanduser().parent) if model else ()
    return next((folder for folder in folders if (folder / "recipe.yaml").is_file()), None)


def run_benches(model: str | None) -> dict[str, Tree]:
    """Benches of the run that a model is of by its `recipe.yaml`; none, where it is of no run."""
    if (run := _run_of(model)) is None:
        return {}
    section = files.load_yaml(run / "recipe.yaml").get("eval")
    found = section.get("benches") if isinstance(section, dict) else None
    return found if isinstance(found, dict) else {}


@contextmanager
def _search(
    benches: list[str], recipe: Path | None, of_run: dict[str, Tree]
) -> Iterator[tuple[list[str], list[Path]]]:
    """Names of the benches, and the folder to search first: files of the user, brought together there.

    Benches of the run are no files and left out: those whose names no file has, and those of held-out
    problems.
    """
    with TemporaryDirectory() as folder:
        group = Path(folder) / "bench"
        group.mkdir()
        names, packaged = [], shipped_recipes.options("bench")
        for given in benches:
            file = _own(given, recipe)
            if file is not None:
                _check_alone(file, recipe)
                shutil.copyfile(file, group / file.name)
            elif given in of_run and _is_runs_own(given, of_run):
                continue
            elif given not in packaged:
                raise UserError(f"--bench: there is no bench '{given}'{hint(given, [*packaged, *of_run])}")
            names.append(file.stem if file else given)
        yield names, [Path(folder)]


def _is_runs_own(name: str, of_run: dict[str, Tree]) -> bool:
    """Not a bench of the package; of problems that the run has held out also one with the name of such."""
    held_out = of_run.get(name, {}).get("source", {}).get("held_out")
    return bool(held_out) or name not in shipped_recipes.options("bench")


def _own(given: str, recipe: Path | None) -> Path | None:
    """A bench of the user: a YAML file, or `bench/<name>.yaml` beside the recipe or in the present folder."""
    path = Path(given).expanduser()
    if path.suffix == ".yaml":
        if not path.is_file():
            raise UserError(f"--bench: there is no file {given}")
        if not path.stem.replace("-", "_").isidentifier():
            raise UserError(f"--bench: {given}: the file's name is the bench's; use letters, digits, _ and -")
        return path
    beside = [folder / "bench" / f"{given}.yaml" for folder in ([recipe.parent] if recipe else []) + [Path()]]
    return next((file for file in beside if file.is_file()), None)


def _check_alone(file: Path, recipe: Path | None) -> None:
    """A bench beside the recipe is found first: another file of that name would be ignored."""
    other = recipe.parent / "bench" / file.name if recipe else file
    if other.is_file() and not other.samefile(file):
        raise UserError(f"--bench: {file} has the name of {other}; rename one")


def _stored(results: dict[str, Path], same_verifier: bool) -> Tree:
    """The recipe that made earlier results, as far as it is in them."""
    found: Tree = {"benches": {}, "rescore": {}}
    for bench, file in results.items():
        result = read_result(file)
        verifier = stored_code.verifier_of(result, file) if same_verifier else result["verifier"]
        parts = {"source": result["source"], "verifier": verifier, "tracked": result.get("tracked", {})}
        found["benches"][bench] = result["protocol"] | parts
        found["rescore"][bench] = str(file)
        found["model"] = {"path": result.get("model") or result.get("run") or "unknown"}
    return found


def _verifier(name: str) -> Tree:
    """An entry of conf/verifier."""
    known = slips.entries("verifier")
    if name not in known:
        raise UserError(f"--verifier: there is no verifier '{name}'{hint(name, known)}")
    tree: Tree = files.compose(None, parse([f"+verifier@verifier={name}"]))["verifier"]
    return tree


def _adjust_all(
    benches: dict[str, Tree], k: int | None, data: str | None, verifier: Tree | None, experiences: str | None
) -> None:
    for name, bench in benches.items():
        _adjust(name, bench, k, data, verifier)
        if experiences is not None:
            bench["experiences"] = experiences


def _adjust(name: str, bench: Tree, k: int | None, data: str | None, verifier: Tree | None) -> None:
    if k is not None:
        bench["k"] = k
    if verifier is not None:
        bench["verifier"] = dict(verifier)
    path = _data(data, name, bench["source"]["path"]) if data is not None else None
    if path is not None:  # a file has its own layout, and neither configurations nor splits
        source = bench["source"]
        kept = {key: source[key] for key in KEPT if key in source}
        kept |= {key: source[key] for key in ("layout", "options") if source.get("layout") and key in source}
        bench["source"] = {"path": path} | kept
        bench["problems"] = None


def _data(given: str, bench: str, own: str) -> str | None:
    """`--data` itself, or the file in it called after the bench; None: `own` is made and not read."""
    folder = Path(given).expanduser()

    def named(name: str) -> str | None:
        files = [folder / f"{name}{suffix}" for suffix in DATA_SUFFIXES]
        return next((str(file) for file in files if file.is_file()), None)

    if (file := named(bench)) is not None or not any(map(named, shipped_recipes.options("bench"))):
        return file or given
    if own.startswith(("synthetic:", "reasoning_gym:", "verifiers:")):
        return None
    raise UserError(f"--data: {given} holds files of benches, and no {bench}.jsonl among them")
