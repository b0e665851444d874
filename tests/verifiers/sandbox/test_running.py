"""Limits of programs, as the host keeps them: no box is started here."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

import pytest

from rlvr_cli.verifiers.sandbox import Isolation, Limits, host, shared
from rlvr_cli.verifiers.sandbox.running import Outcome, Program


class Writer:
    """A box whose program writes so many bytes and ends with code 0."""

    def __init__(self, limits: Limits, size: int) -> None:
        self.limits, self.size = limits, size
        self.control, self._end = os.pipe()

    def send(self, descriptors: list[int]) -> None:
        self.thread = threading.Thread(target=self._write, args=(os.dup(descriptors[2]),))
        self.thread.start()

    def _write(self, output: int) -> None:
        with suppress(BrokenPipeError), open(output, "wb") as file:
            file.write(b"x" * self.size)
        os.write(self._end, b".")

    def kill(self) -> None: ...

    def ended(self, deadline: float) -> int:
        return 0

    def close(self) -> None:
        self.thread.join()
        os.close(self.control)
        os.close(self._end)


def outcome(limits: Limits, size: int) -> Outcome:
    box: Any = Writer(limits, size)
    program = Program(box, {}, b"")
    try:
        return program.finish(host.monotonic() + 20)
    finally:
        program.close()
        box.close()


def test_a_program_may_write_so_many_mebibytes_and_not_one_byte_more() -> None:
    held = outcome(Limits(output_mb=2), 2 * 1024 * 1024)
    assert held.clean and len(held.stdout) == 2 * 1024 * 1024
    assert outcome(Limits(output_mb=2), 2 * 1024 * 1024 + 1).stopped == "output"


def test_a_sandbox_is_shared_by_programs_with_the_same_limits_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "choose", lambda isolation: isolation.value)
    monkeypatch.setattr(host, "_mine", threading.local())
    small, large = Limits(memory_mb=200), Limits(memory_mb=600)
    first = shared(Isolation.bwrap, small)
    assert shared(Isolation.bwrap, large).limits == large and first.limits == small
    assert shared(Isolation.bwrap, Limits(memory_mb=200)) is first
    assert shared(Isolation.userns, small).tier == "userns"
