"""A recipe in the making: values by dotted key with the comment that says where each comes from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import yaml

from rlvr_cli.convert.given import Given
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import foreign_names
from rlvr_cli.schema.foreign_names import Kind

MISSING = "???"
"""What a recipe has in place of a value that must be set: OmegaConf refuses it, naming the key."""
SCHEDULES = {
    **{"linear": "linear", "cosine": "cosine", "cosine_with_min_lr": "cosine"},
    **{"constant": "constant", "constant_with_warmup": "constant"},
}
"""Of transformers' names those that we have, and ours."""
MAX_NAME = 80


@dataclass
class Draft:
    """What `page.py` writes."""

    given: Given
    preset: str = "grpo"
    options: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Axis -> option, and why."""
    values: dict[tuple[str, ...], tuple[Any, str]] = field(default_factory=dict)
    """Path -> value, and where it comes from."""

    def put(self, path: str | tuple[str, ...], value: Any, comment: str = "", *taken: str) -> None:
        """Set a key; `taken`: the script's keys that it comes from."""
        self.values[tuple(path.split(".")) if isinstance(path, str) else path] = (value, comment)
        self.given.take(*taken)

    def choose(self, axis: str, option: str, comment: str = "", *taken: str) -> None:
        """Choose an option of the algorithm."""
        self.options[axis] = (option, comment)
        self.given.take(*taken)

    def get(self, path: str) -> Any:
        """A value set before; null where there is none."""
        return self.values.get(tuple(path.split(".")), (None, ""))[0]

    def copy(self, path: str, *names: str) -> None:
        """The value of the first of the script's keys, or the framework's default; a comment says which."""
        value = self.given.get(names[0])
        if value is not None:
            self.put(path, value, self.origin(names[0]), *names)

    def schedule(self, name: str, standard: str) -> str:
        """Set `trainer.schedule` by the script's key, or to `standard` where we have none such; its value."""
        kind = str(self.given.get(name))
        if kind not in SCHEDULES:
            self.given.lose(name, f"{standard} stands in its place")
            self.given.settle(f"trainer.schedule: {kind} is not there; {standard} is a guess")
        self.put("trainer.schedule", SCHEDULES.get(kind, standard), self.origin(name), name)
        return kind

    def adaptive_kl(self, target: str, horizon: str, *taken: str) -> None:
        """The coefficient of the KL follows Ziegler's controller, which is the same everywhere."""
        self.put("algorithm.kl.schedule", "adaptive", self.origin(target), *taken)
        self.copy("algorithm.kl.target_kl", target)
        self.copy("algorithm.kl.horizon", horizon)

    def origin(self, name: str) -> str:
        """`rollout.n`, or where the script does not set it `verl's default of rollout.n`."""
        short = short_name(name)
        return short if self.given.has(name) else f"{self.given.label}'s default of {short}"

    def same_rows(self) -> None:
        """Every row of the table whose value is taken as it is."""
        for row in foreign_names.table(self.given.framework):
            if row.kind is not Kind.same or not (row.has_default or self.given.has(row.key)):
                continue
            value = self.given.get(row.key)
            if row.ours == "trainer.schedule" and value not in row.idle_at:
                self.given.lose(row.key, "trainer.schedule is constant, linear or cosine")
                continue
            value = row.values.get(value, value) if isinstance(value, str | int) else value
            if value is None and not self.given.has(row.key):
                continue
            self.put(row.ours, value, self.origin(row.key), row.key)

    def name(self, text: str) -> str:
        """A name for the run: letters, digits and . _ + - only."""
        return re.sub(r"[^\w.+-]+", "-", text).strip("-.")[:MAX_NAME] or "converted"

    def steps(self, count: int | None, formula: str, *taken: str) -> None:
        """`trainer.steps`; missing where `count` is None, so that the recipe is refused until it is set."""
        if count is not None and count < 1:
            raise UserError(
                f"{self.given.source}: {formula} = {count} steps; there are fewer rows than one takes"
            )
        if count is not None:
            self.put("trainer.steps", count, formula, *taken)
            return
        self.put("trainer.steps", MISSING, formula, *taken)
        self.given.settle(
            f"trainer.steps: {formula}; how many rows there are is not known here: set it, or convert again "
            "with --rows N"
        )

    def share_of_steps(self, path: str, share: float, formula: str, *taken: str, least: int = 0) -> None:
        """A part of `trainer.steps` (set before); missing where those are."""
        steps = self.get("trainer.steps")
        formula = f"{share} * {'steps' if steps == MISSING else steps} ({formula})"
        if steps != MISSING:
            self.put(path, max(least, round(share * steps)), formula, *taken)
            return
        self.put(path, MISSING, formula, *taken)
        self.given.settle(f"{path}: {formula}; set it with trainer.steps")

    def updates(self, prompts: float, updates: float, formula: str, *taken: str) -> int:
        """`batch.updates_per_step`; UserError where it is no number of equal parts of a step."""
        whole = round(updates)
        if abs(updates - whole) > 1e-9 or whole < 1 or prompts % whole:
            divisors = [n for n in range(1, int(prompts) + 1) if int(prompts) % n == 0]
            near = sorted(sorted(divisors, key=lambda n: abs(n - updates))[:2])
            raise UserError(
                f"{self.given.source}: {formula} is {updates:g}, and a step of {prompts:g} prompts is cut "
                f"into equal updates; change the script so that it becomes {' or '.join(map(str, near))}"
            )
        self.put("batch.updates_per_step", whole, formula, *taken)
        return whole

    def parts(self) -> dict[str, str]:
        """Axes where the recipe chooses another option than its preset does."""
        own = preset_options(self.preset) if self.options else {}
        return {axis: option for axis, (option, _) in self.options.items() if own[axis] != option}


def short_name(name: str) -> str:
    """A key without the prefixes that all keys of its kind share."""
    return re.sub(r"^(actor_rollout_ref\.|reward\.(?=\w+_)|algorithm\.(?=rollout_correction))", "", name)


@cache
def preset_options(preset: str) -> dict[str, str]:
    tree = yaml.safe_load((shipped_recipes.CONF / "algorithm" / f"{preset}.yaml").read_text(encoding="utf-8"))
    return {
        axis: option
        for entry in tree["defaults"]
        if isinstance(entry, dict)
        for axis, option in entry.items()
    }
