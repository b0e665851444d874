"""The verbs of the command line: their names and one line on each."""

from __future__ import annotations

from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.documentation import DOCS

VERBS = {
    "sft": "train on worked examples",
    "reward_model": "train a model that scores answers, on pairs of a better and a worse one",
    "otv": "train a token and its adapters to tell right from wrong samples of a frozen model",
    "train": "sft, preferences or reinforcement learning, whatever the recipe says",
    "init": "look at a file of problems and a model and write a recipe for them",
    "sweep": "train a recipe with several values of some keys, and all combinations",
    "eval": "measure a model on benchmarks",
    "verify": "score responses, test or compare verifiers",
    "serve-verifier": "put verifiers behind HTTP",
    "retriever": "put a corpus behind HTTP, for environments that search",
    "rollout-server": "start a vLLM server that a run elsewhere samples from",
    "plan": "predict memory and time of a recipe, and what to change where it does not fit",
    "preflight": "sample from the start model and say whether a recipe can learn, without training",
    "experience": "learn a library of experiences that a frozen model reads before each problem",
    "profile": "sample every problem k times: pass rates, to choose problems by difficulty",
    "why": "say what is wrong with a run, with evidence, samples and the key to change",
    "inspect": "look into finished models and runs: changed weights, what parts of a response are worth",
    "report": "put runs on one page: curves, results, events, rollouts",
    "doctor": "try what training needs on this machine",
    "convert": "write a launch script of verl, TRL or OpenRLHF as a recipe",
    "list": "verifiers, algorithms, data, models, benches, metrics, recipes, options: what there is",
    "explain": "say of a key, a metric or a name what it means, its default, who reads it",
    "schema": "print the JSON schema of recipes, for editors",
    "recipes": "list, show or copy the recipes that come with rlvr",
    "completion": "print a completion script for bash, zsh or fish",
}
"""Verb -> what it does. `commands/<verb>.py` has it; the algorithms are verbs too, which `train.py` has."""

OVERVIEW = """\
usage: rlvr VERB [RECIPE] [key=value ...] [--dry-run]

Reinforcement learning from verifiable rewards.

supervised fine-tuning:
{sft}
the same with a teacher beside it:
{taught}
preferences:
{preferences}
verification of its own samples:
{verification}
reinforcement learning (a recipe's algorithm decides its verb):
{presets}
any recipe:
{others}

RECIPE is a .yaml file, a run directory or the name of a shipped recipe; without it a tiny one runs.

examples:
  rlvr sft                                      a million-parameter model learns addition (2 minutes)
  rlvr dapo                                     DAPO improves it (2 minutes)
  rlvr dapo dapo_qwen7b --dry-run               what would run, resolved
  rlvr dapo my.yaml trainer.lr=5e-7 model=qwen2.5_1.5b
  rlvr dapo my.yaml algorithm/advantage=leave_one_out
  rlvr eval --model runs/tiny_dapo --bench addition

rlvr VERB --help tells more, rlvr explain KEY what a key means. rlvr --version prints the version.
documentation: {docs}
"""


def verbs() -> list[str]:
    """All of them, algorithms last."""
    return [*VERBS, *shipped_recipes.all_presets()]


def module_of(verb: str) -> str | None:
    """Name of the module in commands/ that has the verb; None: there is no such verb."""
    if verb in ("sft", "reward_model", "otv", *shipped_recipes.all_presets()):
        return "train"
    return verb.replace("-", "_") if verb in VERBS else None


def overview() -> str:
    """What `rlvr --help` prints."""
    lines = [f"  {verb:<16}{summary}" for verb, summary in VERBS.items()]
    return OVERVIEW.format(
        sft=lines[0],
        taught=_wrapped(shipped_recipes.distillation_presets()),
        preferences=f"{lines[1]}\n{_wrapped(shipped_recipes.preference_presets())}",
        verification=lines[2],
        presets=_wrapped(shipped_recipes.presets()),
        others="\n".join(lines[3:]),
        docs=DOCS / "index.md",
    )


def _wrapped(names: list[str]) -> str:
    lines: list[str] = []
    line = " "
    for name in names:
        if len(line) + len(name) > 90:
            lines, line = [*lines, line], " "
        line += f" {name}"
    return "\n".join([*lines, line])
