"""What runs in a program's process once it is confined. `mode` of the request says what:

    script   the source is the main program: standard input and output
    serve    the source is loaded, then requests are answered (objects.py)
    test     tester.py: a test, with the functions it tests in another process

A program can do to this file's code whatever it likes. It only ever speaks for itself: the channel
carries its own return values, which the host judges as data.
"""

from __future__ import annotations

import atexit
import builtins
import json
import random
import sys
import threading
import types
from typing import Any, BinaryIO

from rlvr_cli.verifiers.sandbox import objects, tester

CHANNEL = 3
"""Descriptor of the socket to the host."""
IMPORTS = """
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics, itertools
import functools, operator, io, sys, json, time, typing, decimal, fractions, queue, array, cmath
"""
"""What LiveCodeBench puts before every solution (lcb_runner/evaluation/testing_util.py), and some more."""
RECURSION = 50_000
"""Recursion limit, as in LiveCodeBench."""


_base: dict[str, Any] = {}


def prepare() -> None:
    """In the zygote: names every program starts with."""
    exec(IMPORTS, _base)
    vars(builtins).update(exit=sys.exit, quit=sys.exit)  # which the module site would have made
    sys.set_int_max_str_digits(0)  # a problem may be about long numbers; time is limited anyway


def module(name: str) -> dict[str, Any]:
    """Namespace of a new module that the program runs in."""
    made = types.ModuleType(name)
    vars(made).update(_base)
    made.__name__ = name
    sys.modules[name] = made
    return vars(made)


def run(job: dict[str, Any]) -> int:
    """Exit status of the program."""
    random.seed(0)  # the same program has the same verdict
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(0)
    sys.setrecursionlimit(RECURSION)
    # Buffered in one direction only: a program that ends abruptly has said what it has said.
    with open(CHANNEL, "rb", closefd=False) as answers:
        if job["mode"] == "script":
            return script(job["source"])
        if job["mode"] == "serve":
            return serve(job, answers)
        return tester.run(job, _base, tell, answers)


def tell(message: dict[str, Any]) -> None:
    """One message to the host."""
    with open(CHANNEL, "wb", closefd=False) as file:
        file.write(json.dumps(message).encode() + b"\n")


def script(source: str) -> int:
    """The program as Python would run it: its threads and its exit handlers belong to it."""
    status = 0
    try:
        exec(compile(source, "<program>", "exec", dont_inherit=True), module("__main__"))
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    # What the interpreter does at its end, which this process never reaches.
    vars(threading)["_shutdown"]()
    vars(atexit)["_run_exitfuncs"]()
    return status


def serve(job: dict[str, Any], requests: BinaryIO) -> int:
    served = objects.Served(module("candidate"), _base)
    try:
        exec(compile(job["source"], "<program>", "exec", dont_inherit=True), served.namespace)
    except BaseException as error:
        tell({"raised": objects.raised(error)})
        return 1
    tell({"loaded": True})
    for line in requests:
        tell(served.answer(json.loads(line)))
    return 0
