"""Realistic mistakes in recipes, made by a seeded generator from recipes that work."""

from __future__ import annotations

import copy
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import yaml

from rlvr_cli import compose

Tree = dict[str, Any]
BASES = (
    ("tiny_dapo", ()),
    ("tiny_dapo", ("algorithm=ppo", "trainer=zero1")),
    ("tiny_prorl", ()),
    ("tiny_sft", ()),
)
"""Recipe, overrides."""
FREE = ("overrides", "options", "columns")
"""Sections that hold keys of the user's own: any name is right there."""


@dataclass
class Case:
    """A command that must be refused."""

    label: str
    arguments: list[str]
    """Behind the verb; the recipe is `mine.yaml`."""
    files: dict[str, bytes] = field(default_factory=dict)
    names: tuple[str, ...] = ("mine.yaml",)
    """The message holds one of these: the file, the key or the words that are wrong."""
    verb: str = "train"
    dry: bool = True


@cache
def resolved(base: int) -> str:
    name, overrides = BASES[base]
    return compose.dump(compose.load(name, list(overrides)))


@cache
def parsed(base: int) -> Tree:
    tree: Tree = yaml.safe_load(resolved(base))
    return tree


def written(label: str, text: str | bytes | Tree, *names: str) -> Case:
    """A case whose recipe is this text or tree."""
    if isinstance(text, dict):
        text = yaml.safe_dump(text, allow_unicode=True, sort_keys=False)
    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return Case(label, ["mine.yaml"], {"mine.yaml": content}, names or ("mine.yaml",))


def leaves(node: Tree, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in node.items():
        if key in FREE:
            continue
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def changed(tree: Tree, path: tuple[str, ...], value: Any) -> Tree:
    tree = copy.deepcopy(tree)
    node = tree
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return tree


def garbled(random: Random, word: str) -> str:
    """The word with a slip of the finger."""
    at = random.randrange(len(word))
    other = random.choice(string.ascii_lowercase)
    slips = [word[:at] + word[at + 1 :], word[:at] + other + word[at:], word[:at] + other + word[at + 1 :]]
    slips += [word + "s", word.upper(), word.replace("_", "-") + "_"]
    return next(s for s in random.sample(slips, len(slips)) if s and s != word)


# ------------------------------------------------------------------ kinds of mistakes


def misspelled_key(random: Random, base: int) -> Case:
    tree = copy.deepcopy(parsed(base))
    path, _ = random.choice([leaf for leaf in leaves(tree) if len(leaf[0]) > 1 and leaf[0][-1] != "name"])
    depth = random.randrange(1, len(path) + 1)
    node = tree
    for key in path[: depth - 1]:
        node = node[key]
    wrong = garbled(random, path[depth - 1])
    node[wrong] = node.pop(path[depth - 1])
    return written(f"{'.'.join(path[:depth])} -> {wrong}", tree, "mine.yaml")


WRONG: dict[type, list[Any]] = {
    int: ["many", 2.5, [1, 2], {"a": 1}, "1e-", "0x", "", True, None, -(10**30), 10**400, float("nan")],
    float: ["fast", [0.1], {"x": 1.0}, "1,5", "1e--3", True, None, float("inf"), float("nan"), 10**400, "5%"],
    bool: ["maybe", 2.5, [True], {"on": True}, "tru", "", None],
    list: ["text", 7, {"a": 1}, 1.5, True, None],
    dict: ["text", 7, [1], True, [], 0.5, "${name}"],
    str: [["a"], {"a": "b"}, "nul\0", "half \ud800", [[]], {}],
}


def wrong_type(random: Random, base: int) -> Case:
    tree = parsed(base)
    sections = [((key,), value) for key, value in tree.items() if isinstance(value, dict)]
    sections += [((k, n), v) for (k,), s in sections for n, v in s.items() if isinstance(v, dict)]
    path, value = random.choice([leaf for leaf in leaves(tree) if leaf[1] is not None] + sections)
    wrong = random.choice(WRONG[type(value)])
    key = ".".join(path)
    return written(f"{key}={wrong!r:.40}", changed(tree, path, wrong), "mine.yaml", key)


RANGES: dict[str, list[Any]] = {
    "seed": [-1],
    "name": ["", "a/b", "..", "a b", "🙂", "-"],
    "out": ["", ".", "~", "/", "./"],
    "model.path": ["", " "],
    "model.attention": [""],
    "model.lora.rank": [-1],
    "model.lora.alpha": [0, -2.0],
    "model.lora.dropout": [1.0, -0.1, 5],
    "model.tiny.layers": [0, -3],
    "batch.prompts_per_step": [0, -1, 7],
    "batch.group_size": [0, -8],
    "batch.updates_per_step": [0, 3, 1000],
    "batch.tokens_per_microbatch": [0, -1],
    "batch.examples_per_step": [0, -1],
    "rollout.temperature": [0, -1.0],
    "rollout.top_p": [0, 1.01, -0.5],
    "rollout.max_tokens": [0, -40],
    "rollout.max_prompt_tokens": [0, -1],
    "rollout.oversample": [0.5, 0, -1],
    "rollout.max_rounds": [0, -1],
    "rollout.max_num_seqs": [0, -256],
    "rollout.gpu_memory_utilization": [0, 1.5, -0.5, 90],
    "rollout.kv_cache_gb": [0, -1],
    "rollout.engine": ["vlm", "sglang", 3],
    "verification.workers": [0, -1],
    "verification.timeout_s": [0, -6],
    "verification.memory_mb": [-1],
    "verification.recycle_after": [0],
    "verification.unscored": ["ignore", 1],
    "verification.self_test_floor": [1.2, -0.1],
    "trainer.steps": [0, -5],
    "trainer.lr": [-1e-6],
    "trainer.warmup_steps": [-1],
    "trainer.min_lr": [-0.1],
    "trainer.schedule": ["cosin", "step"],
    "trainer.weight_decay": [-0.1],
    "trainer.betas": [[0.9], [0.9, 1.0], [0.9, 0.95, 0.99], [-1, 0.9], []],
    "trainer.eps": [0, -1e-8],
    "trainer.zero_stage": [4, -1],
    "trainer.offload": ["cpu", "all", "optimizer"],
    "trainer.precision": ["fp16", "int8"],
    "trainer.ranks": [0, -2],
    "trainer.response_tokens": [0],
    "critic.lr": [-1.0],
    "critic.pretrain_steps": [-1, 100000],
    "checkpoint.keep": [0],
    "checkpoint.every": [0, -10],
    "checkpoint.best": ["nowhere/avg@4", "addition", "addition/avg@999"],
    "eval.every": [0, -1],
    "eval.stop_at": [0.9],
    "algorithm.loss.name": ["clip", "", "gspo", 5],
    "algorithm.name": ["dappo", ""],
    "algorithm.loss.clip_ratio_low": [-0.1, 1.5],
    "algorithm.max_length": [0, -1],
    "algorithm.advantage.gamma": [0, 1.5],
    "data.train.weight": [-1],
    "data.train.limit": [0, -64],
    "data.train.verifiers": [[], ["mat"], ["math", "nope"]],
    "data.train.chat": ["sometimes"],
    "verifiers.math.name": ["mth", "", 3],
    "tracker.wandb": ["yes", "on-line"],
    "tracker.console": ["fancy"],
}


def out_of_range(random: Random, base: int) -> Case | None:
    key, values = random.choice(list(RANGES.items()))
    tree, path = parsed(base), tuple(key.split("."))
    if path not in dict(leaves(tree)):
        return None
    wrong = random.choice(values)
    return written(f"{key}={wrong!r}", changed(tree, path, wrong), "mine.yaml", key)


INTERPOLATIONS = """\
${nope} ${trainer.nope} ${oc.env:RLVR_NOT_SET_ANYWHERE} ${ ${name ${unknown:1} ${.} ${KEY}
${oc.env:} ${${name}} ${oc.decode:'['} a${nope}b ${..nope}"""


def interpolated(random: Random, base: int) -> Case:
    path, _ = random.choice(list(leaves(parsed(base))))
    key = ".".join(path)
    wrong = random.choice(INTERPOLATIONS.split()).replace("KEY", key)
    return written(f"{key}={wrong}", changed(parsed(base), path, wrong), "mine.yaml", key)


LINES = [
    *"""\
\t tab: 1~  [unclosed~ "open~key: : value~@at: 1~`tick`: 1~%directive~a: *alias~- a list item~just words~}: {
a: !!python/object:os.system x~<<: 5~<<<<<<< HEAD~=======~trainer: {steps: 3}~name: twice~x: !unknown 5~- 
a: b: c~a: &a [*a]~null: 3~1.5: 3~true: 2~2024-01-01: 3~é: 1~🙂: 2""".replace("\n", "~").split("~"),
    "? [a, b]\n: c",
    "? {a: 1}\n: 2",
]


def broken_text(random: Random, base: int) -> Case:
    text = resolved(base)
    lines = text.splitlines()
    at = random.randrange(2, len(lines))
    junk = bytes(random.randrange(256) for _ in range(random.choice([1, 40, 4000])))
    deep = random.choice([50, 300, 3000])
    texts: list[str | bytes] = [
        *["\n".join([*lines[:at], each, *lines[at:]]) for each in random.sample(LINES, 8)],
        *["", "# nothing\n", "- a\n- b\n", "just text", "42", "null", "[]", "--- \na: 1\n--- \nb: 2\n"],
        *[junk, text.encode()[:at] + junk + text.encode()[at:]],
        *[text.encode("utf-16"), b"\xff" + text.encode()],
        *[text + f"model: {'[' * deep}{']' * deep}\n", "a: {" * deep, f"x: {'{a: ' * deep}1{'}' * deep}\n"],
        *["\n".join(" " + line if n == at else line for n, line in enumerate(lines)), text + "\0"],
    ]
    return written("text", random.choice(texts))


ENTRIES = (
    """\
nowhere~mine~other~5~null~[a]~{}~{a: b, c: d}~algorithm: [a]~a: {b: c}~override model: tiny2
override nothing: x~model: ../x~model@: tiny~@x: y~/model: ''
algorithm/loss: nope~override algorithm/los: clipped~model: tiny
optional modl: tiny~model: null~data@data.train@x: addition~override algorithm/loss: 5~hydra: x~model: .~...
""".strip()
    .replace("\n", "~")
    .split("~")
)


def broken_defaults(random: Random, base: int) -> Case:
    good = ["algorithm: dapo", "data@data.train: addition", "verifier@verifiers.math: math", "rollout: hf"]
    good += ["model: tiny", "trainer: zero0", "_self_"]
    at = random.randrange(len(good))
    group, _, entry = good[at].partition(": ")
    lists = [
        *[[*good[:at], each, *good[at:]] for each in random.sample(ENTRIES, 10)],
        [*good[:at], f"{garbled(random, group)}: {entry}", *good[at + 1 :]],
        [*good[:at], f"{group}: {garbled(random, entry or 'x')}", *good[at + 1 :]],
        ["override model: tiny", *good],
        [*good[1:]],
    ]
    shapes = ["defaults: dapo\n", "defaults: {algorithm: dapo}\n", "defaults:\n", "defaults: 5\n"]
    chosen = random.choice([*lists, *lists, None])
    text = random.choice(shapes) if chosen is None else "defaults:\n" + "".join(f"  - {e}\n" for e in chosen)
    case = written(f"defaults {chosen or text.strip()}", text + "name: mine\n", "mine.yaml", "other.yaml")
    case.files["other.yaml"] = b"defaults: [mine, _self_]\n"
    return case


WORDS = """\
WRONG=VALUE +WRONG=1 ~WRONG KEY=[ KEY={a: KEY=${nope} --KEY=1 KEY='open KEY=a,b KEY TOP=7 TOP/LAST=x =VALUE
+modl=KEY KEY={a:[1} --LAST -x KEY=\0 KEY=(1) KEY=== KEY=range(1,3) KEY=choice(1) +TOP@x=KEY
nowhere.yaml .. mine.yml"""


def on_the_command_line(random: Random, base: int) -> Case:
    path, value = random.choice([leaf for leaf in leaves(parsed(base)) if leaf[0][-1] != "name"])
    key, wrong = ".".join(path), ".".join([*path[:-1], garbled(random, path[-1])])
    word = random.choice(WORDS.split())
    for name, text in (
        ("WRONG", wrong),
        ("VALUE", value),
        ("KEY", key),
        ("TOP", path[0]),
        ("LAST", path[-1]),
    ):
        word = word.replace(name, str(text))
    places = ("mine.yaml", "command line", word, word.lstrip("-+~"), key, wrong)
    case = written(f"command line {word!r}", resolved(base), *places)
    case.names += ("expected key=value", "one recipe at a time", "see rlvr train --help")
    case.arguments.append(word)
    return case


KINDS: list[Callable[[Random, int], Case | None]] = [
    misspelled_key,
    wrong_type,
    out_of_range,
    out_of_range,
    interpolated,
    broken_text,
    broken_text,
    broken_defaults,
    on_the_command_line,
]


def cases(seed: int) -> Iterator[Case]:
    """Endless; the same for the same seed."""
    random = Random(seed)
    while True:
        for kind in KINDS:
            case = kind(random, random.randrange(len(BASES)))
            if case is not None:
                yield case
