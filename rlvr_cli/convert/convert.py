"""From files to a recipe: what is read by whom, and whether the result composes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from rlvr_cli.compose.slips import yaml_fault
from rlvr_cli.convert import openrlhf, openrlhf_pairs, python_script, trl, trl_pairs, verl
from rlvr_cli.convert.draft import Draft
from rlvr_cli.convert.expansion import UNKNOWN
from rlvr_cli.convert.flags import flags
from rlvr_cli.convert.given import Given, Lists, literal
from rlvr_cli.convert.page import page, summary
from rlvr_cli.convert.shell_reader import Command, commands
from rlvr_cli.convert.trl_parts import KINDS, Beside, telltale
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.core.files import write_atomically

MAX_BYTES = 1 << 20
LAUNCH = {
    "verl": verl.LAUNCH,
    "openrlhf": openrlhf.LAUNCH,
    "trl": re.compile(r"(?:^|/)(?:trl|\S+\.py)$"),
}
STARTERS = ("accelerate", "python", "python3", "torchrun", "uv", "trl", "deepspeed")


@dataclass(frozen=True)
class Converted:
    draft: Draft
    lists: Lists
    text: str


def convert(
    framework: str, files: list[Path], variables: dict[str, str], *, rows: int | None, processes: int | None
) -> Converted:
    """UserError for what is no launch of the framework, and for what no recipe can say."""
    if framework not in LAUNCH:
        raise UserError(
            f"convert: '{framework}' is no framework{hint(framework, LAUNCH)}; see rlvr convert --help"
        )
    if not files:
        raise UserError(f"convert {framework} needs a file; see rlvr convert --help")
    if framework != "trl" and (processes is not None or len(files) > 1):
        raise UserError(f"convert {framework}: one script, and no --processes; both are for trl")
    source = str(files[0])
    if framework == "trl":
        values, beside = _trl(files, variables)
        beside.processes = processes if processes is not None else beside.processes
        if beside.kind == "grpo":
            draft = trl.convert(Given("trl", source, values), rows, beside)
        else:
            draft = trl_pairs.convert(Given("trl_pairs", source, values), rows, beside)
    elif framework == "verl":
        _, *words = _launch(framework, files[0], variables)
        draft = verl.convert(Given("verl", source, _assigned(words)), rows)
    else:
        program, *words = _launch(framework, files[0], variables)
        given = flags(words, source)
        kind = next((kind for kind in ("dpo", "rm") if re.search(rf"train_{kind}(?:\.py)?$", program)), None)
        if kind is None:
            draft = openrlhf.convert(Given("openrlhf", source, given), rows)
        else:
            draft = openrlhf_pairs.convert(Given("openrlhf_pairs", source, given), kind, rows)
    lists = draft.given.account()
    return Converted(draft, lists, page(draft, lists))


def write(made: Converted, target: Path | None) -> str:
    """Write the recipe, where a path is given, and say why it does not compose; empty where it does."""
    from rlvr_cli import compose

    if target is not None:
        write_atomically(target, made.text)
    with tempfile.TemporaryDirectory() as folder:
        beside = target
        if beside is None:
            beside = Path(folder) / "converted.yaml"
            beside.write_text(made.text, encoding="utf-8")
        try:
            compose.load(str(beside), [])
        except UserError as error:
            return str(error)
    return ""


def told(made: Converted, target: Path | None, fault: str) -> Iterator[str]:
    """What a reader should know at once; the recipe has the whole lists."""
    yield f"{made.draft.given.source}: {summary(made.lists)}" + (f"; wrote {target}" if target else "")
    for title, lines in (
        ("unknown", made.lists.unknown),
        ("not carried over", made.lists.lost),
        ("to settle", made.lists.settle),
    ):
        yield from (f"  {title}: {line}" for line in lines)
    if fault:
        yield f"  the recipe does not compose yet: {fault}"
    elif target is not None:
        yield f"  look at it with: rlvr {made.draft.preset} {target} --dry-run"


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path} has more than {MAX_BYTES >> 10} KiB; it is no launch script")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path} is no text") from None
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or 'cannot be read'}") from None


def _launch(framework: str, path: Path, variables: dict[str, str]) -> list[str]:
    """The program's name and the words behind it, of the one command that starts it."""
    found = list(_launches(framework, _text(path), path, variables))
    if not found:
        wanted = {
            "verl": "main_ppo or main_dapo",
            "openrlhf": "train_ppo_ray, train_dpo or train_rm",
            "trl": "trl grpo (dpo, kto, reward) or a .py file",
        }
        raise UserError(f"{path}: no command in it starts {wanted[framework]}")
    if len(found) > 1:
        lines = ", ".join(str(command.line) for command, _ in found)
        raise UserError(f"{path}: {len(found)} commands start a run (lines {lines}); keep one of them")
    return found[0][1]


def _launches(
    framework: str, text: str, path: Path, variables: dict[str, str]
) -> Iterator[tuple[Command, list[str]]]:
    try:
        found = commands(text, path, variables)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    pattern = LAUNCH[framework]
    for command in found:
        at = next((i for i, word in enumerate(command.words) if pattern.search(word)), None)
        starts = framework != "trl" or any(
            Path(word).name in STARTERS for word in command.words[: (at or 0) + 1]
        )
        if (
            at is not None
            and starts
            and command.words[0] not in ("echo", "ls", "cat", "cp", "pip", "git", "cd")
        ):
            yield command, list(command.words[at:])
            continue
        for word in command.words:  # bash -c "... python -m ..."
            if " " in word and any(pattern.search(part) for part in UNKNOWN.sub("", word).split()):
                yield from _launches(framework, word, path, variables)


def _assigned(words: list[str]) -> dict[str, Any]:
    """Hydra's `key=value`, with `+key=` and `--option value`."""
    values: dict[str, Any] = {}
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            values[name] = literal(value if equals else next(rest, ""))
        elif "=" in word:
            key, _, value = word.partition("=")
            values[key.lstrip("+")] = literal(value)
        elif not word.startswith("~"):
            values[word] = None  # no key: told as unknown
    return values


def _trl(files: list[Path], variables: dict[str, str]) -> tuple[dict[str, Any], Beside]:
    values: dict[str, Any] = {}
    beside = Beside()
    for path in files:
        if path.suffix == ".py":
            script = python_script.read(path)
            values |= script.values
            beside.rewards, beside.peft, beside.kind = script.rewards, script.peft, script.kind
            beside.runs_on_import = script.runs_on_import
            beside.notes += script.notes
        elif path.suffix in (".yaml", ".yml"):
            found = _yaml(path)
            beside.kind = telltale(found) or beside.kind
            values |= found
        else:
            values |= _command_line(path, variables, beside)
    return values, beside


def _yaml(path: Path) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        raise UserError(f"{path}: {yaml_fault(error)}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path}: a configuration of TRL is a list of `key: value`")
    tree.pop("env", None)
    # YAML 1.1 reads 1e-6, which has no dot, as text.
    return {str(key): literal(value) if isinstance(value, str) else value for key, value in tree.items()}


def _command_line(path: Path, variables: dict[str, str], beside: Beside) -> dict[str, Any]:
    text = _text(path)
    program, *words = _launch("trl", path, variables)
    named = words[0] if words and words[0] in KINDS else Path(program).stem
    beside.kind = KINDS.get(named, beside.kind)
    found = flags(words[1:] if words[:1] == [named] else words, str(path))
    processes = re.search(r"--(?:num_processes|nproc_per_node|nproc-per-node)[ =](\d+)", text)
    if processes:
        beside.processes = int(processes[1])
    config = found.pop("config", None)
    if isinstance(config, str) and (path.parent / config).is_file():
        found = _yaml(path.parent / config) | found
        if named not in KINDS:
            beside.kind = telltale(found) or beside.kind
        return found
    if config is not None:
        beside.notes.append(f"--config {config}: the file is not beside the script; give it too")
    return found
