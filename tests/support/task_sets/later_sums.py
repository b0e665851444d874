"""A task set in the later form of the package verifiers; also runs with the entry points in fake/."""

from __future__ import annotations

from collections.abc import Iterator

import verifiers.v1 as vf


class Sum(vf.TaskData):
    answer: str = ""


class SumTask(vf.Task[Sum]):
    @vf.reward(weight=1.0)
    async def right(self, trace: vf.Trace) -> float:
        return float((trace.last_reply or "").strip() == self.data.answer)


class SumsConfig(vf.TasksetConfig):
    tasks: int = 3


class Sums(vf.Taskset[SumTask, SumsConfig]):
    def load(self) -> Iterator[SumTask]:
        for n in range(self.config.tasks):
            yield SumTask(Sum(prompt=f"{n}+{n}", answer=str(2 * n)), self.config.task)


__all__ = ["Sums"]
