"""The child side of gym.py: `python -m rlvr_cli.data.gym_worker`, JSON on stdin, JSON on stdout.

An interpreter of its own because the library draws from global generators, prints, depends on the order of
sets (the parent sets PYTHONHASHSEED) and imports half a second of code the trainer has no other use for.
"""

from __future__ import annotations

import io
import json
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from hashlib import sha256
from itertools import count
from typing import Any

from rlvr_cli import gym
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.gym.scores import score

SUITE = "suite"
EVAL_SHARE = 0.25
"""More than the synthetic families hold out: slow tasks pay for each problem that is of the other split."""
DEFAULT_SIZE = {"train": 1000, "eval": 100}
CHUNK = 1000
"""Problems of one seed, after which the next is taken."""
MISSES = 2000
"""Draws in a row without a new problem after which a task counts as exhausted."""
ANY = "(any solution)"
"""Stands for the gold answer where a task has many and the library names none."""


def rows(name: str, split: str, options: dict[str, Any], seed: int) -> list[dict[str, Any]]:
    """Distinct problems of one task, or of a suite's tasks in turn."""
    if split not in DEFAULT_SIZE:
        raise UserError(f"reasoning_gym:{name} has no split '{split}'; it has {' and '.join(DEFAULT_SIZE)}")
    asked = options.pop("size", None)
    if asked is not None and (type(asked) is not int or asked < 1):
        raise UserError(f"options.size is {asked!r}; it must be a whole number of at least 1")
    size = asked or DEFAULT_SIZE[split]
    if name == SUITE:
        streams = [problems(task, split, {}, seed) for task in suite(options)]
    else:
        streams = [problems(name, split, options, seed)]
    found: list[dict[str, Any]] = []
    while streams and len(found) < size:
        for stream in list(streams):
            row = next(stream, None)
            if row is None:
                streams.remove(stream)
            elif len(found) < size:
                found.append(row)
    if asked is not None and len(found) < asked:
        raise UserError(
            f"reasoning_gym:{name} has only {len(found)} {split} problems with these options, not {asked}; "
            "lower options.size"
        )
    return found


def suite(options: Mapping[str, Any]) -> list[str]:
    """The tasks of `reasoning_gym:suite`."""
    for key in options:
        if key != "tasks":
            raise UserError(f"reasoning_gym:suite has no option '{key}'{hint(key, ('tasks', 'size'))}")
    tasks = options.get("tasks")
    if not isinstance(tasks, list) or not tasks or not all(isinstance(task, str) for task in tasks):
        raise UserError(f"reasoning_gym:suite needs options.tasks, a list of task names; it is {tasks!r}")
    if len(set(tasks)) < len(tasks):
        raise UserError(f"options.tasks of reasoning_gym:suite names a task twice: {', '.join(tasks)}")
    for task in tasks:
        gym.check_task(task)
    return tasks


def problems(task: str, split: str, options: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """New problems of a task in a fixed order, until it has no more."""
    gym.check_task(task)
    gym.check_options(task, options)
    scorer = gym.dataset(task, options)
    found: set[str] = set()
    misses = 0
    for item in items(task, split, options, seed):
        misses += 1
        if item["question"] not in found and side(item["question"]) == split:
            made = row(task, options, item)
            if fair(scorer, made):
                found.add(item["question"])
                misses = 0
                yield made
        if misses >= MISSES:
            return


def fair(scorer: Any, made: dict[str, Any]) -> bool:
    """Whether the gold answer, where there is one, is more than white space and right by its scorer.

    The empty string is a right answer of a few tasks, which no response could be told from having none.
    """
    if made["answer"] == ANY:
        return True
    return bool(made["answer"].strip()) and score(scorer, made["answer"], made["entry"]) == 1


def row(task: str, options: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """An item of the library in our columns, as it comes out of JSON."""
    gold = item["answer"] if item["answer"] is not None else gym.example(task, item)
    entry = {"task": task, "options": options, "answer": item["answer"], "metadata": item["metadata"]}
    return {
        "id": f"{task}-{sha256(item['question'].encode()).hexdigest()[:16]}",
        "prompt": item["question"],
        "answer": ANY if gold is None else str(gold),
        "completion": "" if gold is None else f"<answer>{gold}</answer>",
        "subject": task,
        "entry": json.loads(json.dumps(entry)),
    }


def items(task: str, split: str, options: dict[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """The library's items, seed after seed."""
    import numpy as np

    for chunk in count():
        text = f"{seed}/{task}/{split}/{chunk}"
        # numpy takes 32 bits, and the library adds the item's number.
        start = int.from_bytes(sha256(text.encode()).digest()[:4]) >> 1
        source = gym.dataset(task, {**options, "seed": start, "size": CHUNK})
        for number in range(CHUNK):
            random.seed(f"{text}/{number}")
            np.random.seed(start + number)
            try:
                item = source[number]
            except IndexError:  # word_ladder, when it finds no more pairs
                break
            yield item


def side(question: str) -> str:
    """The split a problem belongs to, by its text alone: train and eval never overlap, whatever the seeds."""
    return "eval" if int.from_bytes(sha256(question.encode()).digest()[:4]) < EVAL_SHARE * 2**32 else "train"


def main() -> None:
    request = json.load(sys.stdin)
    try:
        with redirect_stdout(io.StringIO()):
            reply: dict[str, Any] = {"rows": rows(**request)}
    except UserError as error:
        reply = {"error": str(error)}
    json.dump(reply, sys.stdout)


if __name__ == "__main__":
    main()
