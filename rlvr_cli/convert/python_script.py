"""The literal arguments of a Python training script, from its syntax tree; nothing is imported or run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlvr_cli.convert.expansion import unknown
from rlvr_cli.convert.syntax import called, guarded, none, uses
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import foreign_names

MISSING = object()
TRAINERS = {
    **{"GRPO": "grpo", "DPO": "dpo", "KTO": "kto", "ORPO": "orpo", "CPO": "cpo", "Reward": "reward"},
}
"""`<name>Trainer` and `<name>Config` of TRL -> whose they are."""


@dataclass(frozen=True)
class Reward:
    """One of `reward_funcs`."""

    name: str
    """Of the function; of a reward model its path."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Of the call that makes the function."""
    file: str | None = None
    """Where the function stands, if not in TRL."""
    model: bool = False
    nested: bool = False
    """Within a block of the script: no importer of the file finds it."""


@dataclass
class PythonScript:
    values: dict[str, Any] = field(default_factory=dict)
    """Keys of `GRPOConfig` and the others, as TRL's own command line calls them."""
    rewards: list[Reward] = field(default_factory=list)
    peft: bool = False
    """`LoraConfig` is called, whose defaults are not those of TRL's command line."""
    runs_on_import: bool = False
    """Training starts where the file is imported: a reward function cannot be taken from it."""
    kind: str = "grpo"
    """Whose trainer it calls: one of TRAINERS."""
    notes: list[str] = field(default_factory=list)
    """What the script does to its rows, a line each."""


def read(path: Path) -> PythonScript:
    """UserError for a file that is no Python, or that trains with no GRPOTrainer."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError, RecursionError, OSError) as error:
        raise UserError(f"{path}: cannot be read as Python: {error}") from None
    return _Reader(path, tree).read()


class _Reader:
    def __init__(self, path: Path, tree: ast.Module) -> None:
        self.path, self.tree = path, tree
        self.names: dict[str, ast.expr | None] = {}
        """Variable -> what it is assigned; None where that is done twice."""
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Assign)
                and len(node.targets) == 1
                and isinstance(node.targets[0], ast.Name)
            ):
                name = node.targets[0].id
                again = name in self.names and not uses(node.value, name)
                if name not in self.names or again:
                    self.names[name] = None if again else node.value
        self.functions = {
            n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        self.imported = {
            alias.asname or alias.name: node.module or ""
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self.script = PythonScript()

    def read(self) -> PythonScript:
        found = ((name, next(self._calls(f"{name}Trainer"), None)) for name in TRAINERS)
        name, trainer = next(((name, call) for name, call in found if call is not None), ("", None))
        if trainer is None:
            names = ", ".join(f"{name}Trainer" for name in TRAINERS)
            raise UserError(f"{self.path}: there is none of {names} in it; no other script of TRL is read")
        script = self.script
        script.kind = TRAINERS[name]
        script.runs_on_import = any(trainer in ast.walk(node) for node in self.tree.body if not guarded(node))
        for config in (f"{name}Config", "TrainingArguments"):
            for call in self._calls(config):
                self._keywords(call, "")
        self._attributes()
        for call in self._calls("LoraConfig"):
            script.peft = True
            self._keywords(call, "peft_config.")
        self._trainer(trainer)
        self._dataset()
        self._prompts()
        return script

    def _calls(self, name: str) -> Iterator[ast.Call]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and called(node) == name:
                yield node

    def _keywords(self, call: ast.Call, prefix: str) -> None:
        for keyword in call.keywords:
            if keyword.arg is None:
                self.script.notes.append(f"{called(call)} also gets ** arguments, which are not read")
            else:
                self.script.values[prefix + keyword.arg] = self.value(keyword.value)

    def _attributes(self) -> None:
        """`training_args.key = value`, behind the configuration or in its place."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Assign(targets=[ast.Attribute(value=ast.Name(id=name), attr=key)], value=value) if (
                    re.search("arg|conf", name) and foreign_names.lookup(self._table, key)
                ):
                    self.script.values[key] = self.value(value)

    @property
    def _table(self) -> str:
        return "trl" if self.script.kind == "grpo" else "trl_pairs"

    def _trainer(self, call: ast.Call) -> None:
        if self.script.kind != "grpo":
            self._pairs(call)
        for keyword in call.keywords:
            if keyword.arg == "model":
                self._model(keyword.value)
            elif keyword.arg == "reward_funcs":
                self._rewards(keyword.value)
            elif keyword.arg in (
                "tools",
                "environment_factory",
                "rollout_func",
                "callbacks",
                "processing_class",
            ):
                self.script.values[keyword.arg] = unknown(ast.unparse(keyword.value))

    def _pairs(self, call: ast.Call) -> None:
        """What older trainers of preferences were given beside their configuration."""
        for keyword in call.keywords:
            if keyword.arg in ("beta", "loss_type", "label_smoothing", "max_length", "max_prompt_length"):
                self.script.values.setdefault(keyword.arg, self.value(keyword.value))
            elif keyword.arg == "ref_model" and not none(keyword.value):
                self.script.notes.append("ref_model is given; the reference is the start model here")

    def _model(self, node: ast.expr) -> None:
        node = self._named(node)
        if isinstance(node, ast.Call) and called(node) == "from_pretrained" and node.args:
            node = node.args[0]
        self.script.values.setdefault("model_name_or_path", self.value(node))

    def _rewards(self, node: ast.expr) -> None:
        node = self._named(node)
        for each in node.elts if isinstance(node, ast.List | ast.Tuple) else [node]:
            self.script.rewards.append(self._reward(each))
        self.script.values["reward_funcs"] = [reward.name for reward in self.script.rewards]

    def _reward(self, node: ast.expr) -> Reward:
        if isinstance(node, ast.Name) and node.id not in self.functions:
            node = self._named(node)
        if isinstance(node, ast.Call):
            arguments = {k.arg: self.value(k.value) for k in node.keywords if k.arg is not None}
            return Reward(called(node), arguments, self._file_of(called(node)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return Reward(node.value, model=True)
        name = node.id if isinstance(node, ast.Name) else ast.unparse(node)
        plain = {n.name for n in self.tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        return Reward(name, file=self._file_of(name), nested=name in self.functions - plain)

    def _file_of(self, name: str) -> str | None:
        if name in self.functions:
            return str(self.path)
        module = self.imported.get(name, "")
        return (
            None
            if module.split(".")[0] in ("trl", "")
            else str(self.path.parent / f"{module.replace('.', '/')}.py")
        )

    def _dataset(self) -> None:
        """The first `load_dataset`, which is the training set's in every script seen."""
        call = next(self._calls("load_dataset"), None)
        if call is None:
            self.script.notes.append("the script calls no load_dataset; name the training set in data")
            return
        keywords = {keyword.arg: keyword.value for keyword in call.keywords}
        for position, name in ((0, "path"), (1, "name"), (None, "split")):
            node = (
                call.args[position]
                if position is not None and position < len(call.args)
                else keywords.get(name)
            )
            key = {"path": "dataset_name", "name": "dataset_config", "split": "dataset_train_split"}[name]
            if node is not None:
                self.script.values.setdefault(key, self.value(node))

    def _prompts(self) -> None:
        """The system message and the prompt's column, where the script's functions put them into `prompt`."""
        mapped = any(called(node) == "map" for node in ast.walk(self.tree) if isinstance(node, ast.Call))
        found = False
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.Dict):
                continue
            entries = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            if isinstance(entries.get("prompt"), ast.List):
                found = self._messages(entries["prompt"])
                for name in entries.keys() - {"prompt"}:
                    self.script.notes.append(
                        f"the script makes the column '{name!s}' ({ast.unparse(entries[name])}); write it "
                        "into the file, or name a column that has it"
                    )
        if mapped and not found:
            self.script.notes.append(
                "the script changes its rows with map(...); what that does is not carried over"
            )

    def _messages(self, messages: ast.expr) -> bool:
        understood = True
        for each in messages.elts if isinstance(messages, ast.List) else []:
            entries = (
                {
                    k.value: v
                    for k, v in zip(each.keys, each.values, strict=True)
                    if isinstance(k, ast.Constant)
                }
                if isinstance(each, ast.Dict)
                else {}
            )
            role, content = entries.get("role"), entries.get("content")
            match role.value if isinstance(role, ast.Constant) else None, content:
                case "system", ast.expr():
                    self.script.values.setdefault("system_prompt", self.value(content))
                case "user", ast.Subscript(slice=ast.Constant(value=str(column))):
                    self.script.values.setdefault("dataset_prompt_column", column)
                case _:
                    understood = False
        return understood

    def _named(self, node: ast.expr) -> ast.expr:
        """What a variable is assigned, if that is plain to see."""
        seen = 0
        while isinstance(node, ast.Name) and self.names.get(node.id) is not None and seen < 10:
            node, seen = self.names[node.id] or node, seen + 1
        return node

    def value(self, node: ast.expr) -> Any:
        """A literal, or a mark in its place (`expansion.unknown`)."""
        node = self._named(node)
        try:
            return ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
        match node:
            case ast.Attribute(value=ast.Name(id="torch"), attr=name):
                return name
            case ast.Dict(keys=keys, values=values) if all(isinstance(key, ast.Constant) for key in keys):
                return {
                    key.value: self.value(v)
                    for key, v in zip(keys, values, strict=True)
                    if isinstance(key, ast.Constant)
                }
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.value(item) for item in items]
            case ast.JoinedStr(values=pieces):
                return "".join(
                    str(self.value(p.value if isinstance(p, ast.FormattedValue) else p)) for p in pieces
                )
        return unknown(ast.unparse(node))
