"""A second opinion on a share of the samples: judged by another verifier, for the record only."""

from __future__ import annotations

from concurrent.futures import Future
from random import Random

from rlvr_cli.core import distributed
from rlvr_cli.core.types import Group, Reason, Verdict
from rlvr_cli.sampling.collect import Pool
from rlvr_cli.schema import Diagnosis
from rlvr_cli.tracking import Timer


class Audit:
    """Submits samples of finished groups to the pool while others are still being sampled.

    Which ones is a function of seed, prompt and sample: the same on any rank and after a resume.
    """

    def __init__(self, pool: Pool, settings: Diagnosis, seed: int) -> None:
        self._pool, self._seed = pool, seed
        self._verifier, self._share = settings.second_verifier, settings.second_share
        self._waiting: list[tuple[Group, int, Future[Verdict]]] = []

    def submit(self, group: Group) -> None:
        if self._verifier is None or group.problem.verifiers[:1] == [self._verifier]:
            return  # it would agree with itself
        random, problem = Random(f"{self._seed}/audit/{group.index}"), group.problem
        for sample, completion in enumerate(group.completions):
            if random.random() < self._share:
                alone = Group(problem=problem, index=group.index, completions=[completion])
                futures = self._pool.submit_group(
                    self._verifier, [completion.text], problem.golds, problem.extra, alone
                )
                self._waiting.append((group, sample, futures[0]))

    def settle(self, timer: Timer) -> None:
        """Wait for the verdicts; they go into `Group.audits`."""
        if not self._waiting:
            return
        with timer("audit"):
            for group, sample, future in self._waiting:
                group.audits[sample] = future.result()
        self._waiting = []


def audit_metrics(mine: list[Group], settings: Diagnosis) -> dict[str, float]:
    """How often the second verifier agrees, over all ranks' audited samples; all ranks must call it."""
    if settings.second_verifier is None:
        return {}
    pairs = [
        (group.correct[sample] == 1, verdict.reason is Reason.correct)
        for group in mine
        for sample, verdict in group.audits.items()
        if verdict.scored and group.correct[sample] == group.correct[sample]  # NaN: the first has no verdict
    ]
    judged = [pair for share in distributed.gather(pairs) for pair in share]
    accepted = [second for first, second in judged if first]
    return {
        "audit/samples": float(len(judged)),
        "audit/accepted": float(len(accepted)),
        "audit/rejected": float(accepted.count(False)),
    } | ({"audit/correct_fraction": sum(second for _, second in judged) / len(judged)} if judged else {})
