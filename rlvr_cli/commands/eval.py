"""`rlvr eval`: measure a model on benchmarks, list them, or (`eval_compare.py`) compare two results."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rlvr_cli.commands import eval_compare
from rlvr_cli.commands.arguments import parse, parser_of
from rlvr_cli.commands.start_recipe import add_dry_run, start
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError

EVALUATION = """\
examples:
  rlvr eval --list
  rlvr eval --model runs/tiny_dapo --bench addition -k 4
  rlvr eval --model Qwen/Qwen2.5-7B --bench math500,gsm8k benches.math500.temperature=0 benches.math500.k=1
  rlvr eval --model runs/tiny_dapo --bench addition --data my_problems.jsonl
  rlvr eval --model runs/tiny_dapo --bench ./my_bench.yaml
  rlvr eval --model runs/mine --data test.jsonl k=4 limit=100
  rlvr eval --model Qwen/Qwen2.5-7B --bench gsm8k --server http://localhost:8000/v1
  rlvr eval --model Qwen/Qwen2.5-7B --bench aime25 --experiences runs/experience/experiences.json
  rlvr eval --from runs/tiny_dapo --verifier match
  rlvr eval --model runs/tiny_progression_sft --bench progression --select otv select.verifier=runs/tiny_otv
  rlvr eval compare runs/tiny_sft/eval/addition.json runs/tiny_dapo/eval/addition.json
"""


def run(verb: str, arguments: list[str]) -> int:
    if arguments[:1] == ["compare"]:
        return eval_compare.run(verb, arguments[1:])
    parser = parser_of(verb, EVALUATION, "[RECIPE] [key=value ...]")
    add(parser)
    options, recipe, overrides = parse(parser, arguments)
    if options.list:
        print("\n".join([*listing(), *own_listing(recipe, options.model)]))
        return 0
    return start(load(options, recipe, overrides), options)


def add(parser: argparse.ArgumentParser) -> None:
    options: dict[str, tuple[str, str]] = {
        "--bench": ("NAME[,NAME]", "benchmarks to run: names, or YAML files of your own"),
        "--model": ("PATH", "model folder, hub id or run directory"),
        "--data": ("PATH", "problems to take in place of the benchmark's own: a file, or a folder of them"),
        "--verifier": ("NAME", "another verifier than the benchmark's own"),
        "--from": ("PATH", "judge the samples of a result file or run anew; nothing is generated"),
        "--experiences": ("FILE", "let the model read a library of rlvr experience before each problem"),
        "--select": ("NAME", "how samples become one answer: majority, or otv (select.verifier=RUN)"),
        "--server": ("URL", "sample from an OpenAI-compatible server, e.g. http://localhost:8000/v1"),
    }
    for option, (value, text) in options.items():
        parser.add_argument(
            option, metavar=value, help=text, dest=option.strip("-").replace("from", "source")
        )
    parser.add_argument("-k", type=int, metavar="N", help="samples per problem, for all benchmarks")
    parser.add_argument(
        "--contamination",
        type=float,
        metavar="SHARE",
        help="also show this share of each problem and see whether the model completes it word for word",
    )
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    add_dry_run(parser)


def load(options: argparse.Namespace, recipe: str | None, overrides: list[str]) -> Any:
    """The evaluation recipe that options and overrides describe."""
    from rlvr_cli import compose

    settings: dict[str, Any] = {}
    if options.server is not None:
        settings["server"] = {"url": options.server}
    if options.select is not None:
        settings["select"] = {"by": options.select}
    if options.contamination is not None:
        settings["contamination"] = options.contamination
    if options.source is not None:
        given = {"--data": options.data, "--model": options.model, "-k": options.k, "a recipe": recipe}
        given |= {"--experiences": options.experiences}
        for name, value in (given | {"--server": options.server}).items():
            if value is not None:
                raise UserError(f"--from takes the samples that are there; {name} has no place beside it")
    own: dict[str, Any] = {}
    data = options.data
    if data is not None and options.bench is None and recipe is None:
        own, data, overrides = _own_problems(options, overrides)
    return compose.load_eval(
        recipe,
        overrides,
        benches=[name for name in (options.bench or "").split(",") if name],
        model=options.model,
        k=options.k,
        data=data,
        verifier=options.verifier,
        experiences=options.experiences,
        rescore=options.source,
        settings=settings,
        own=own,
    )


def _own_problems(
    options: argparse.Namespace, overrides: list[str]
) -> tuple[dict[str, Any], None, list[str]]:
    """The file of `--data` as the only bench, and keys of a bench or its source as those of this one."""
    from rlvr_cli.init.measure import bench_of
    from rlvr_cli.schema import Bench, EvalRecipe, Source

    name, bench, why = bench_of(options.data, options.model, options.verifier)
    print(f"rlvr: {name}: {why}; other values as keys: k=4 limit=100 temperature=0", file=sys.stderr)
    words = []
    for word in overrides:
        key = word.partition("=")[0].partition(".")[0]
        inside = "" if key in Bench.__dataclass_fields__ else "source."
        known = key in Bench.__dataclass_fields__ or key in Source.__dataclass_fields__
        short = known and key not in EvalRecipe.__dataclass_fields__
        words.append(f"benches.{name}.{inside}{word}" if short else word)
    return {name: bench}, None, words


def _packaged(name: str) -> Any:
    """A packaged bench, its source as in the file: composing them all would take seconds for the list."""
    import yaml

    from rlvr_cli.schema import Bench

    def values(name: str) -> dict[str, Any]:
        tree = yaml.safe_load((shipped_recipes.CONF / "bench" / f"{name}.yaml").read_text())
        found: dict[str, Any] = {"source": {"options": {}}}
        for base in tree.pop("defaults"):
            if isinstance(base, str) and base != "_self_":
                found |= values(base)
        return found | tree | {"source": found["source"] | tree["source"]}

    return Bench(**values(name))


def listing() -> list[str]:
    """One line for each packaged bench: name, size, metric, protocol, description."""
    lines = [f"{'bench':<16}{'problems':>8}  {'metric':<8}{'sampling':<13}{'max_tokens':>10}"]
    for name in shipped_recipes.options("bench"):
        bench = _packaged(name)
        size = bench.problems or bench.source["options"].get("size", "?")
        how = f"T={bench.temperature:g} p={bench.top_p:g}" if bench.temperature else "greedy"
        numbers = f"{name:<16}{size!s:>8}  {f'avg@{bench.k}':<8}{how:<13}{bench.max_tokens:>10}"
        lines.append(
            f"{numbers}  {shipped_recipes.describe(shipped_recipes.CONF / 'bench' / f'{name}.yaml')}"
        )
    return lines


def own_listing(recipe: str | None, model: str | None) -> list[str]:
    """Benches of the user: files beside the recipe and in the present folder, and those of a run."""
    from rlvr_cli.compose.evaluation import run_benches

    folders = [shipped_recipes.find_recipe(recipe).parent] if recipe else []
    files = {file.stem: file for folder in (Path(), *folders) for file in sorted(folder.glob("bench/*.yaml"))}
    lines = [
        f"{name:<16}{file}: {shipped_recipes.describe(file)}".rstrip(": ") for name, file in files.items()
    ]
    lines += [
        f"{name:<16}of {model}: {bench['source']['path']}" for name, bench in run_benches(model).items()
    ]
    return ["", "yours", *lines] if lines else []
