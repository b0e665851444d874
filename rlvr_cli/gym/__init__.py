"""Puzzles that data, verifiers and environments all know; reasoning-gym (Apache-2.0) is imported here alone.

`countdown.py` and `two_hop.py` are ours. With reasoning-gym `data/gym.py` makes problems, and
`verifiers/reasoning_gym.py` judges answers. Which of its tasks
may be used, and whose scorers are replaced (scores.py), was decided task by task by reading version 0.1.25:
a scorer must treat the answer as data and give full marks to right answers only.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from rlvr_cli.core.errors import UserError, hint

TASKS = frozenset(
    """
    ab acre advanced_geometry aiw arc_1d arc_agi base_conversion basic_arithmetic bf binary_alternation
    binary_matrix bitwise_arithmetic boxnet caesar_cipher calendar_arithmetic chain_sum circuit_logic
    codeio coin_flip color_cube_rotation complex_arithmetic count_bits count_primes countdown
    course_schedule cryptarithm decimal_arithmetic decimal_chain_sum dice emoji_mystery
    family_relationships figlet_font fraction_simplification futoshiki game_of_life game_of_life_halting
    gcd graph_color group_anagrams gsm_symbolic intermediate_integration isomorphic_strings jugs kakurasu
    knight_swap knights_knaves largest_island lcm leg_counting letter_counting letter_jumble
    list_functions mahjong_puzzle manipulate_matrix maze mini_sudoku modulo_grid n_queens needle_haystack
    number_filtering number_format number_sequence number_sorting palindrome_generation
    palindrome_partitioning path_star polynomial_equations polynomial_multiplication pool_matrix
    power_function prime_factorization products propositional_logic puzzle24 quantum_lock ransom_note
    rearc rectangle_count rotate_matrix rotten_oranges rubiks_cube rush_hour self_reference
    sentence_reordering shortest_path simple_equations simple_geometry simple_integration sokoban
    spell_backward spiral_matrix string_insertion string_manipulation string_splitting string_synthesis
    sudoku survo syllogism time_intervals tower_of_hanoi tsumego word_ladder word_sequence_reversal
    word_sorting zebra_puzzles
    """.split()  # noqa: SIM905 - a hundred lines of quotes otherwise
)
"""Tasks that may be used: all of 0.1.25 but `composite`, whose part `reasoning_gym:suite` has."""

EXAMPLES = {
    "graph_color": "possible_answer",
    "propositional_logic": "example_answer",
    "rubiks_cube": "example_correct_answer",
}
"""Where the metadata holds a right answer in tasks that have many and name none as the gold answer."""


class _Absent(ModuleType):
    """Stands for a package that is not installed, until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks for these
            raise AttributeError(name)
        raise UserError(
            f"this task needs {self.__name__}: pip install {self.__name__} (it has to be compiled)"
        )


@cache
def library() -> ModuleType:
    """The package `reasoning_gym`.

    Importing it imports all tasks, and zebra_puzzles with them, which needs pycosat. That one is published
    as C source only and cannot be built everywhere: where it is missing, an empty module stands in meanwhile.
    """
    if find_spec("pycosat") is not None:
        import reasoning_gym

        return reasoning_gym
    sys.modules["pycosat"] = _Absent("pycosat")
    try:
        import reasoning_gym
    finally:
        del sys.modules["pycosat"]
    return reasoning_gym


def check_task(task: str) -> None:
    """UserError for anything but one of TASKS."""
    if task not in TASKS:
        raise UserError(f"there is no task reasoning_gym:{task}{hint(task, {*TASKS, 'suite'}, 'tasks')}")


def check_options(task: str, options: Mapping[str, Any]) -> None:
    """UserError for a key the task's configuration lacks, or a value it does not take."""
    library()
    from reasoning_gym.factory import DATASETS

    config = DATASETS[task][1]
    known = {field.name: field for field in dataclasses.fields(config) if field.name not in ("seed", "size")}
    for key, value in options.items():
        if key not in known:
            raise UserError(f"reasoning_gym:{task} has no option '{key}'{hint(key, [*known, 'size'])}")
        default = known[key].default
        for kind in (bool, int, str):
            if type(default) is kind and type(value) is not kind:
                raise UserError(
                    f"options.{key} of reasoning_gym:{task} is {value!r}; it must be {kind.__name__}, "
                    f"for example {default!r}"
                )
    try:
        made = config(**options)
        if hasattr(made, "validate"):
            made.validate()
    except Exception as error:  # assertions mostly, and whatever a comparison of wrong types raises
        raise UserError(f"reasoning_gym:{task} does not take these options: {error}") from error


def dataset(task: str, options: Mapping[str, Any]) -> Any:
    """The library's data set of a task: its items and its scorer."""
    return library().create_dataset(task, **options)


def example(task: str, entry: Mapping[str, Any]) -> str | None:
    """A right answer where the entry has none; None where the library gives no example either."""
    if task not in EXAMPLES:
        return None
    found = entry["metadata"][EXAMPLES[task]]
    return found if isinstance(found, str) else json.dumps(found)
