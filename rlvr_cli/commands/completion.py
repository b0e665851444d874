"""`rlvr completion`: scripts for shells: verbs first, then recipe names, benchmarks' options and files."""

from __future__ import annotations

from rlvr_cli.commands.arguments import parser_of
from rlvr_cli.commands.verbs import verbs
from rlvr_cli.core import shipped_recipes

BASH = """\
_rlvr() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}"
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
    elif [ "${{COMP_WORDS[1]}}" = recipes ] && [ "$COMP_CWORD" -eq 2 ]; then
        COMPREPLY=($(compgen -W "list show copy" -- "$word"))
    elif [ "${{COMP_WORDS[1]}}" = completion ]; then
        COMPREPLY=($(compgen -W "bash zsh fish" -- "$word"))
    else
        COMPREPLY=($(compgen -W "{recipes} {options}" -- "$word") $(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _rlvr rlvr
"""

ZSH = """\
#compdef rlvr
_rlvr() {{
    if (( CURRENT == 2 )); then
        compadd -- {verbs}
    elif [[ ${{words[2]}} == recipes && CURRENT -eq 3 ]]; then
        compadd -- list show copy
    elif [[ ${{words[2]}} == completion ]]; then
        compadd -- bash zsh fish
    else
        compadd -- {recipes} {options}
        _files
    fi
}}
compdef _rlvr rlvr
"""

FISH = """\
complete -c rlvr -n __fish_use_subcommand -f -a "{verbs}"
complete -c rlvr -n "not __fish_use_subcommand" -a "{recipes}"
complete -c rlvr -n "__fish_seen_subcommand_from recipes" -f -a "list show copy"
complete -c rlvr -n "__fish_seen_subcommand_from completion" -f -a "bash zsh fish"
complete -c rlvr -n "not __fish_use_subcommand" -l dry-run -d "print what would run"
complete -c rlvr -n "__fish_seen_subcommand_from eval" -l bench -l model -l data -s k -r
complete -c rlvr -n "__fish_seen_subcommand_from eval" -l list -f
complete -c rlvr -n "__fish_seen_subcommand_from verify serve-verifier" -l verifier -l option -x
complete -c rlvr -n "__fish_seen_subcommand_from verify" -l compare -l floor -x
complete -c rlvr -n "__fish_seen_subcommand_from verify" -l self-test -f
complete -c rlvr -n "__fish_seen_subcommand_from verify" -l out -r
complete -c rlvr -n "__fish_seen_subcommand_from plan" -l gpu -l ranks -l response-tokens -x
complete -c rlvr -n "__fish_seen_subcommand_from plan" -l prompt-tokens -l kept -x
complete -c rlvr -n "__fish_seen_subcommand_from plan" -l calibrate -f
complete -c rlvr -n "__fish_seen_subcommand_from report" -s o -l out -l png -l table -r
complete -c rlvr -n "__fish_seen_subcommand_from report" -l rollouts -l steps -l group-by -x
complete -c rlvr -n "__fish_seen_subcommand_from sweep" -l jobs -l sbatch -l launcher -x
complete -c rlvr -n "__fish_seen_subcommand_from sweep" -l slurm -f
complete -c rlvr -n "__fish_seen_subcommand_from preflight why" -l json -f
complete -c rlvr -n "__fish_seen_subcommand_from doctor" -l skip-vllm -l json -f
complete -c rlvr -n "__fish_seen_subcommand_from serve-verifier" -l host -l port -l token-env -x
complete -c rlvr -n "__fish_seen_subcommand_from serve-verifier" -l max-body-mb -l max-requests -x
"""

SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}
OPTIONS = (
    "--dry-run --help --bench --model --data --list"
    " --verifier --option --compare --self-test --floor --out --png --rollouts --steps"
    " --group-by --table --jobs --slurm --sbatch --launcher"
    " --host --port --token-env --skip-vllm --json"
    " --gpu --ranks --calibrate --response-tokens --prompt-tokens --kept"
)


def run(verb: str, arguments: list[str]) -> int:
    parser = parser_of(
        verb, 'bash: eval "$(rlvr completion bash)"   fish: rlvr completion fish | source', "SHELL"
    )
    parser.add_argument("shell", choices=sorted(SHELLS))
    print(script(parser.parse_args(arguments).shell, verbs(), shipped_recipes.recipes()), end="")
    return 0


def script(shell: str, names: list[str], recipes: list[str]) -> str:
    return SHELLS[shell].format(verbs=" ".join(names), recipes=" ".join(recipes), options=OPTIONS)
