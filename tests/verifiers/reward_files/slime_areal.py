"""In slime's interface (one sample, a group) and in AReaL's."""

import asyncio


async def custom_rm(args, sample, **kwargs):
    await asyncio.sleep(0)
    return sample.metadata["scale"] * float(str(sample.label) in sample.response)


async def group_rm(args, samples, **kwargs):
    right = [float(str(sample.label) in sample.response) for sample in samples]
    return [each - sum(right) / len(right) for each in right]


def areal(prompt, completions, prompt_ids, completion_ids, answer, **row):
    return float(str(answer) in completions) + row["scale"]
