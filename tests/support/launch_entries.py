"""Entry points that ranks run in test_launch.py and test_restarts.py."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import TextIO

from rlvr_cli.compose import AnyRecipe
from rlvr_cli.core.errors import Hopeless, UserError
from rlvr_cli.core.heartbeat import heart

LIBC = ctypes.CDLL(None)


def note(recipe: AnyRecipe, text: str) -> None:
    assert recipe.out is not None
    with open(Path(recipe.out) / f"notes{os.environ['RANK']}", "a") as file:
        file.write(f"{text}\n")


def speak(recipe: AnyRecipe, terminal: TextIO) -> None:
    """Noise on every channel, one line for the user."""
    print("python noise")
    print("python complaint", file=sys.stderr)
    os.system("echo child noise")
    LIBC.puts(b"C noise")
    LIBC.fflush(None)
    print(f"hello of rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}", file=terminal)
    note(recipe, f"{os.environ['OMP_NUM_THREADS']} {os.environ['MASTER_PORT']} {recipe.seed}")


def wrong(recipe: AnyRecipe, terminal: TextIO) -> None:
    """The last rank's user has made a mistake; the others fail because it has gone."""
    if int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
        raise UserError("data.train: no such\nfile")
    time.sleep(0.3)
    raise RuntimeError("connection closed by peer")


def broken(recipe: AnyRecipe, terminal: TextIO) -> None:
    if os.environ["RANK"] == "0":
        raise ZeroDivisionError("three lines\nof\nmessage")
    time.sleep(60)


def killed(recipe: AnyRecipe, terminal: TextIO) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait(recipe: AnyRecipe, terminal: TextIO) -> None:
    """Ends well on the first signal, and notes every one it gets."""
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: received.append(number))
    note(recipe, f"pid {os.getpid()}")
    end = time.time() + 60
    while not received and time.time() < end:
        time.sleep(0.02)
    time.sleep(0.5)  # a second delivery would come now
    note(recipe, f"signals {[int(number) for number in received]}")


def stops(recipe: AnyRecipe, terminal: TextIO) -> bool:
    """Ends before its end; the first rank still has something to do when the others have gone."""
    if os.environ["RANK"] == "0":
        time.sleep(4)
        note(recipe, "saved")
    return False


def stubborn(recipe: AnyRecipe, terminal: TextIO) -> None:
    """Ignores what it is told and has a child of its own."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        time.sleep(120)
        os._exit(0)
    note(recipe, f"pid {os.getpid()}")
    note(recipe, f"pid {child}")
    time.sleep(120)


def attempt(recipe: AnyRecipe) -> int:
    """Which one this is, from 1; notes it with the rendezvous."""
    note(recipe, f"port {os.environ['MASTER_PORT']}")
    assert recipe.out is not None
    return len((Path(recipe.out) / f"notes{os.environ['RANK']}").read_text().splitlines())


def checkpoint(recipe: AnyRecipe, step: int) -> None:
    assert recipe.out is not None
    (Path(recipe.out) / "checkpoints" / f"step_{step}").mkdir(parents=True, exist_ok=True)


def climbing(recipe: AnyRecipe, terminal: TextIO) -> None:
    """Each attempt comes one checkpoint further and fails at the same place, the fourth one ends."""
    number = attempt(recipe)
    heart.step(7)
    heart.enter("rollout")
    if os.environ["RANK"] == "0":
        checkpoint(recipe, number)
        print(f"attempt {number}", file=terminal)
        time.sleep(0.5 if number == 4 else 60)
    elif number < 4:
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)


def unlucky(recipe: AnyRecipe, terminal: TextIO) -> None:
    """Another failure each time."""
    raise [ValueError, KeyError, OSError, MemoryError][attempt(recipe) % 4]("of chance")


def hopeless(recipe: AnyRecipe, terminal: TextIO) -> None:
    raise Hopeless("all is lost")


def hung(recipe: AnyRecipe, terminal: TextIO) -> None:
    """Takes its time to start; then the last rank stands still, and the others wait for it."""
    time.sleep(3.5)
    heart.step(11)
    heart.enter("rollout")
    last = int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1
    if last and recipe.seed == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif last:
        time.sleep(600)
    with heart.waiting("gather"):
        time.sleep(600)


def slow(recipe: AnyRecipe, terminal: TextIO) -> None:
    """Slower than the watchdog's patience, but it goes on."""
    heart.enter("update")
    for _ in range(18):
        time.sleep(0.25)
        heart.beat()
