"""The recipes and Hydra groups that come with the package: names, paths, default of each verb.

No hydra here: the command line lists and completes these before anything heavy is imported.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rlvr_cli.core.documentation import MODELINE
from rlvr_cli.core.errors import UserError, hint

CONF = Path(__file__).parents[1] / "conf"
WITHOUT_PRESET = ("sft", "reward_model", "otv", "experience")
"""Kinds of recipes that have no parts to choose, and so no preset."""
RECIPES = Path(__file__).parents[1] / "recipes"  # a link to the recipes/ of a checkout; a folder in a wheel


def recipes() -> list[str]:
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def options(group: str) -> list[str]:
    """Entries of a packaged group, e.g. `bench` or `algorithm`."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def presets() -> list[str]:
    """Algorithms that train from rewards; each is a verb of the command line."""
    return [name for name in options("algorithm") if len(_parts(name)) > 1]


def preference_presets() -> list[str]:
    """Algorithms that train from preferences, verbs too."""
    return [name for name in options("algorithm") if _parts(name) == ["preference"]]


def distillation_presets() -> list[str]:
    """Algorithms that train from examples and a teacher, verbs too."""
    return [name for name in options("algorithm") if _parts(name) == ["distillation"]]


def all_presets() -> list[str]:
    return [*presets(), *preference_presets(), *distillation_presets()]


@cache
def _parts(name: str) -> list[str]:
    """The parts of an algorithm that a preset names, read once: a verb asks for all presets several times."""
    lines = (CONF / "algorithm" / f"{name}.yaml").read_text().splitlines()
    entries = [line.removeprefix("  - ") for line in lines if line.startswith("  - ")]
    return [part for part, colon, _ in (entry.partition(":") for entry in entries) if colon]


def groups() -> list[str]:
    return sorted(path.name for path in CONF.iterdir() if path.is_dir() and not path.name.startswith("_"))


def find_recipe(given: str) -> Path:
    """A .yaml file, a run directory (its recipe.yaml) or the name of a shipped recipe."""
    path = Path(given).expanduser()
    if path.is_file():
        if path.suffix != ".yaml":
            raise UserError(f"{given} is not a .yaml file; rename it so that its name ends in .yaml")
        return path.resolve()
    if (path / "recipe.yaml").is_file():
        return (path / "recipe.yaml").resolve()
    shipped = RECIPES / f"{given.removesuffix('.yaml')}.yaml"
    if path.name == given and shipped.is_file():
        return shipped.resolve()
    raise UserError(f"no recipe {given}: neither a file nor a shipped recipe{hint(path.stem, recipes())}")


def named(name: str) -> Path:
    """A shipped recipe by its name."""
    path = RECIPES / f"{name.removesuffix('.yaml')}.yaml"
    if Path(name).name != name or not path.is_file():
        raise UserError(f"there is no shipped recipe {name}{hint(name, recipes())}")
    return path


def describe(path: Path) -> str:
    """The first comment line of a recipe or group entry, but for the one that is meant for editors."""
    for line in path.read_text().splitlines():
        if line.startswith("#") and not line.startswith(MODELINE):
            return line.lstrip("# ")
    return ""


def comment(path: Path) -> str:
    """The first paragraph of the comment a recipe or group entry begins with, on one line."""
    lines: list[str] = []
    for line in path.read_text().splitlines():
        text = line.lstrip("# ").strip() if line.startswith("#") else ""
        if (not text and lines) or (line.strip() and not line.startswith("#")):
            break
        lines += [text] if text and not line.startswith(MODELINE) else []
    return " ".join(lines)


TAUGHT = {
    "opd": ["tiny_distill"],
    "gkd": ["tiny_distill"],
    "sdft": ["tiny_dapo", "teacher.policy=ema", "teacher.context=demonstration", "teacher.column=completion"],
    "sdpo": ["tiny_dapo", "teacher.policy=ema", "teacher.context=sibling"],
}
"""Verbs whose presets need a teacher -> recipe and overrides that have one."""


def default_recipe(verb: str) -> tuple[str, list[str]]:
    """Recipe and overrides of a verb that was given none."""
    if verb == "train":
        return "tiny_dapo", []
    if verb in WITHOUT_PRESET or f"tiny_{verb}" in recipes():
        return f"tiny_{verb}", []
    if verb in TAUGHT:
        start, *more = TAUGHT[verb]
        return start, [f"algorithm={verb}", f"name=tiny_{verb}", *more]
    start = "tiny_dpo" if verb in preference_presets() else "tiny_dapo"
    return start, [f"algorithm={verb}", f"name=tiny_{verb}"]
