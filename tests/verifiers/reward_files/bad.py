"""What must hurt nobody else."""

import os
import time


def compute_score(data_source, solution_str, ground_truth, extra_info=None):
    if solution_str == "hang":
        while True:
            pass
    if solution_str == "eat":
        return len([bytearray(64 << 20) for _ in range(1000)])
    if solution_str == "die":
        os._exit(7)
    if solution_str == "raise":
        raise KeyError("no such thing")
    if solution_str == "print":
        print("x" * 2_000_000)
    return {"text": "1", "none": None, "nan": float("nan"), "list": [1, 0]}.get(solution_str, 1.0)


def together(responses, answer, extra):
    if "hang" in responses:
        time.sleep(1000)
    if "short" in responses:
        return [1.0]
    if "raise" in responses:
        raise ValueError("all of them")
    return [float(len(responses)) for _ in responses]


async def waits(response, answer, extra):
    import asyncio

    await asyncio.sleep(1000 if response == "hang" else 0.3)
    return 1.0


def asks(completions, level, **kwargs):
    return [0.0 for _ in completions]
