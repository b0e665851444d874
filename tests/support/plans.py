"""What the tests of `rlvr plan` share: recipes as jobs on given devices, and lines of their memory."""

from dataclasses import replace
from functools import cache
from typing import Any

from rlvr_cli import compose
from rlvr_cli.planning.gpus import GPUS
from rlvr_cli.planning.items import Memory
from rlvr_cli.planning.job import Job, cached_shapes
from rlvr_cli.planning.shapes import Shape

PUBLISHED = {
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": 1_777_088_000,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
}
"""Sums over the tensors of the published safetensors files."""
SHAPES = cached_shapes()


def job(*overrides: str, gpu: str = "h100", ranks: int = 8, recipe: str = "dapo_qwen7b") -> Job:
    loaded: Any = compose.load(recipe, list(overrides))
    return Job(recipe=loaded, device=GPUS[gpu], ranks=ranks, shapes=SHAPES, response=1000.0, prompt=500.0)


PLAIN = cache(job)
"""The same without overrides: composing takes half a second."""
SHORT = cache(lambda: job(recipe="grpo_qwen1.5b_gsm8k", ranks=1))
"""Many short sequences on one GPU."""


def changed(given_: Job, section: str, **values: Any) -> Job:
    """With other values in a section of the recipe."""
    recipe: Any = given_.recipe
    return replace(given_, recipe=replace(recipe, **{section: replace(getattr(recipe, section), **values)}))


def with_parts(given: Job, **parts: Shape) -> Job:
    """With other models than the recipe's."""
    made = replace(given)
    made.__dict__.update(parts)
    return made


def line(memory: Memory, name: str, phase: str = "update") -> float:
    return sum(item.phases.get(phase, 0.0) for item in memory.items if item.name == name)


def held(memory: Memory, phase: str) -> float:
    """By vLLM."""
    return sum(item.phases.get(phase, 0.0) for item in memory.items if item.name.startswith("vLLM"))
