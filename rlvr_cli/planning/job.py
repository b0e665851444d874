"""A recipe on given devices, as the formulas of memory and time need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from rlvr_cli.planning.gpus import Device
from rlvr_cli.planning.shapes import Shape, plain, shape_of
from rlvr_cli.schema import Model, Precision, Recipe, RolloutEngine, SFTRecipe
from rlvr_cli.schema.stages import stages_of

BYTES = {Precision.fp32: 4, Precision.bf16: 2}
Shapes = Callable[[Model, bool], Shape]


def cached_shapes() -> Shapes:
    """`shape_of` that builds each model once: suggestions plan the same one many times."""
    known: dict[str, Shape] = {}

    def find(model: Model, values: bool = False) -> Shape:
        key = repr((model.path, model.revision, model.overrides, model.lora, model.tiny, values))
        if key not in known:
            known[key] = shape_of(model, values=values)
        return known[key]

    return find


@dataclass(frozen=True, kw_only=True)
class Job:
    """One recipe (in one stage), the device of a rank, the number of ranks, and the lengths to expect."""

    recipe: Recipe | SFTRecipe
    device: Device
    ranks: int
    shapes: Shapes
    response: float
    """Mean tokens of a response."""
    prompt: float
    """Mean tokens of a prompt; in SFT of a whole example, and `response` is 0."""
    kept: float = 1.0
    """Share of the groups sampled that pass the filter."""

    @cached_property
    def policy(self) -> Shape:
        return self.shapes(self.recipe.model, False)

    @cached_property
    def plain(self) -> Shape:
        """The policy without adapters."""
        return self.shapes(plain(self.recipe.model), False)

    @cached_property
    def critic(self) -> Shape | None:
        if self.sft or not self.rl.algorithm.advantage.needs_critic:
            return None
        given = self.rl.critic.path or self.rl.model.path
        return self.shapes(replace(self.rl.model, path=given), True)

    @property
    def sft(self) -> bool:
        return isinstance(self.recipe, SFTRecipe)

    @property
    def width(self) -> int:
        """Bytes of a number in the trainer's weights and activations."""
        return BYTES[self.recipe.trainer.precision]

    @property
    def rl(self) -> Recipe:
        assert isinstance(self.recipe, Recipe)
        return self.recipe

    @property
    def engine_width(self) -> int:
        return BYTES[self.rl.rollout.dtype or self.rl.trainer.precision]

    @property
    def vllm(self) -> bool:
        return not self.sft and self.rl.rollout.engine is RolloutEngine.vllm

    @property
    def packed(self) -> bool:
        """Rows hold several sequences, kept apart by an attention mask."""
        return isinstance(self.recipe, SFTRecipe) and self.recipe.algorithm.packing

    @cached_property
    def longest(self) -> int:
        """Most tokens of one row: prompt and response, in the longest stage; in SFT an example."""
        if isinstance(self.recipe, SFTRecipe):
            return self.recipe.algorithm.max_length
        rollout = self.recipe.rollout
        return rollout.max_prompt_tokens + max(s.rollout.max_tokens for s in stages_of(self.recipe))

    @cached_property
    def sequences(self) -> int:
        """Sequences that one rank samples and trains in a step, at most."""
        if isinstance(self.recipe, SFTRecipe):
            return -(-self.recipe.batch.examples_per_step // self.ranks)
        sizes = [s.batch.prompts_per_step * s.batch.group_size for s in stages_of(self.recipe)]
        return -(-max(sizes) // self.ranks)

    @cached_property
    def micro_tokens(self) -> int:
        """Most tokens of a micro-batch: the budget, but never less than one row or more than there are."""
        budget = max(self.recipe.batch.tokens_per_microbatch, self.longest)
        return min(budget, self.sequences * self.longest)

    @property
    def decoded(self) -> int:
        """Sequences that the engine decodes at once."""
        return min(self.rl.rollout.max_num_seqs, self.sequences)

    @property
    def needs_reference(self) -> bool:
        return not self.sft and any(s.algorithm.kl.needs_reference for s in stages_of(self.rl))

    @property
    def holds_reference(self) -> bool:
        """With LoRA the reference is the policy without its adapters, until one is reset."""
        if not self.needs_reference:
            return False
        resets = self.rl.algorithm.reference.resets or any(s.reset_reference for s in self.rl.stages.values())
        return not self.rl.model.lora.rank or resets
