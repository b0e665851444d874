"""`rlvr completion`: scripts for shells: verbs first, then each verb's own options and names, and files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.commands.convert import FRAMEWORKS
from rlvr_cli.commands.inspect import INSPECTIONS
from rlvr_cli.commands.list import KINDS
from rlvr_cli.commands.verbs import module_of, verbs
from rlvr_cli.core import shipped_recipes

BELOW = {"eval compare": "eval_compare"} | {f"inspect {name}": f"inspect_{name}" for name in INSPECTIONS}
"""Two words with options of their own -> their module in commands/."""
FILES = ("FILE", "PATH")
"""What the value of an option is called in help where it is a file or a folder."""

BASH = """\
_rlvr() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" verb="${{COMP_WORDS[1]}}" words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
        return
    fi
    [ "$COMP_CWORD" -gt 2 ] && verb="$verb ${{COMP_WORDS[2]}}"
    case "$verb" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -f -- "$word"))
}}
complete -o filenames -F _rlvr rlvr
"""
ZSH = """\
#compdef rlvr
_rlvr() {{
    local verb="${{words[2]}}"
    if (( CURRENT == 2 )); then
        compadd -- {verbs}
        return
    fi
    (( CURRENT > 3 )) && verb="$verb ${{words[3]}}"
    case "$verb" in
{cases}
    esac
    _files
}}
compdef _rlvr rlvr
"""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What may follow some verbs, or two words such as `eval compare`."""

    names: list[str]
    words: list[str]
    options: list[argparse.Action]

    @property
    def flags(self) -> list[str]:
        return [flag for option in self.options for flag in option.option_strings]


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(SHELLS))


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(
        verb, 'bash: eval "$(rlvr completion bash)"   fish: rlvr completion fish | source', "SHELL"
    )
    add(parser)
    print(SHELLS[parser.parse_args(arguments).shell](), end="")
    return 0


def commands() -> list[Command]:
    """Of every verb, from its own parser; those of two words first. Verbs that take the same are one."""
    modules = BELOW | {verb: str(module_of(verb)) for verb in verbs()}
    found: list[Command] = []
    for name, module in modules.items():
        parser = parser_of(name, "", "")
        import_module(f"rlvr_cli.commands.{module}").add(parser)
        made = Command(
            names=[name],
            words=_words(name),
            options=[each for each in parser._actions if each.option_strings],
        )
        alike = (each for each in found if each.names[0] not in BELOW and each.words == made.words)
        same = (each for each in alike if each.flags == made.flags)
        if (other := next(same, None)) is not None:
            other.names.append(name)
        else:
            found.append(made)
    return found


def _words(name: str) -> list[str]:
    """Names that stand behind a verb: the shipped recipes, where nothing else is said."""
    recipes = shipped_recipes.recipes()
    own = {
        "eval": ["compare", *recipes],
        "recipes": ["list", "show", "copy", *recipes],
        "list": list(KINDS),
        "convert": list(FRAMEWORKS),
        "completion": sorted(SHELLS),
        "inspect": list(INSPECTIONS),
    }
    without = (*BELOW, "init", "verify", "report", "why", "doctor")
    return [] if name in without else own.get(name, recipes)


def _cases(line: str) -> str:
    """A branch of `case` for each command; two words are asked for first."""
    branches = []
    for command in commands():
        named = "|".join(f'"{name}"|"{name} "*' for name in command.names)
        branches.append(f"        {named}) {line.format(' '.join([*command.words, *command.flags]))} ;;")
    return "\n".join(branches)


def bash() -> str:
    return BASH.format(verbs=" ".join(verbs()), cases=_cases('words="{}"'))


def zsh() -> str:
    return ZSH.format(verbs=" ".join(verbs()), cases=_cases("compadd -- {}"))


def fish() -> str:
    lines = [f'complete -c rlvr -n __fish_use_subcommand -f -a "{" ".join(verbs())}"']
    for command in commands():
        both = command.names[0].split()
        seen = "; and ".join(f"__fish_seen_subcommand_from {word}" for word in both)
        begin = f'complete -c rlvr -n "{seen}"'
        if len(both) == 1:
            begin = f'complete -c rlvr -n "__fish_seen_subcommand_from {" ".join(command.names)}"'
        if command.words:
            lines.append(f'{begin} -a "{" ".join(command.words)}"')
        lines += [f"{begin} {_fish_option(option)}" for option in command.options]
    return "\n".join(lines) + "\n"


def _fish_option(option: argparse.Action) -> str:
    """`-s o -l out -r -d '...'`: -r takes a value, of which files are one kind, -x no file, -f nothing."""
    names = [f"-{'l' if flag.startswith('--') else 's'} {flag.lstrip('-')}" for flag in option.option_strings]
    takes = "-f" if option.nargs == 0 else "-r" if option.metavar in FILES else "-x"
    told = (option.help or "").replace("\\", "\\\\").replace("'", "\\'")
    return f"{' '.join(names)} {takes} -d '{told}'"


SHELLS: dict[str, Callable[[], str]] = {"bash": bash, "fish": fish, "zsh": zsh}
