"""A recipe on given devices, as the formulas of memory and time need it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rlvr_cli.core.errors import UserError
from rlvr_cli.engine.attention import PACKED
from rlvr_cli.engine.model import AUTO
from rlvr_cli.engine.pack import REPEATED, WORTH_SHARING
from rlvr_cli.planning.gpus import NETWORK, SEQUENCES, Device
from rlvr_cli.planning.shapes import Shape, plain, shape_of
from rlvr_cli.schema import (
    DistillationRecipe,
    Model,
    Placement,
    Precision,
    PreferenceRecipe,
    Recipe,
    RolloutEngine,
    SFTRecipe,
    TeacherPolicy,
)
from rlvr_cli.schema.stages import stages_of

NODE = 8
"""Ranks of a machine where nobody says."""
BYTES = {Precision.fp32: 4, Precision.bf16: 2}
Shapes = Callable[[Model, bool], Shape]


def cached_shapes() -> Shapes:
    """`shape_of` that builds each model once: suggestions plan the same one many times."""
    known: dict[str, Shape] = {}

    def find(model: Model, values: bool = False) -> Shape:
        seen = model.vision, model.max_pixels
        key = repr(
            (model.path, model.revision, model.overrides, model.lora, model.mask, model.tiny, seen, values)
        )
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
    of_server: bool = False
    """Its ranks are the GPUs of the servers that sample."""
    machine: int = NODE
    """Ranks on one machine, at most."""

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

    @cached_property
    def teacher(self) -> Shape | None:
        """A teacher with weights of its own in this process."""
        recipe = self.recipe
        if not isinstance(recipe, Recipe | DistillationRecipe):
            return None
        settings, model = recipe.teacher, recipe.model
        if not recipe.algorithm.distillation.needs_teacher or settings.url is not None:
            return None
        if settings.path is not None:
            return self.shapes(replace(plain(model), path=settings.path), False)
        adapted = model.lora.keeps_start
        own = settings.policy is TeacherPolicy.ema or (settings.policy is TeacherPolicy.start and not adapted)
        return self.plain if own else None

    @property
    def sft(self) -> bool:
        return isinstance(self.recipe, SFTRecipe)

    @property
    def preference(self) -> Any:
        """The loss of a recipe of preferences; None in others."""
        return self.recipe.algorithm.preference if isinstance(self.recipe, PreferenceRecipe) else None

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
    def attention(self) -> str:
        """How it is computed: `ragged` (no padding, one kernel), `runs` (no padding, a call for every run of
        equal lengths, as on CPUs), `padded`, or `eager` (padded, and the scores are kept)."""
        name = self._attention
        if name == PACKED:
            return "ragged" if self.device.gpu else "runs"
        if name.startswith("flash_attention"):
            return "ragged"
        return "eager" if name == "eager" else "padded"

    @property
    def _attention(self) -> str:
        wanted = self.recipe.model.attention
        return (self.policy.suited or "sdpa") if wanted == AUTO else wanted

    @property
    def members(self) -> float:
        """Sequences of a group that have their prompt in the row once; 1: it is not shared."""
        if self.sft or self._attention != PACKED:
            return 1
        size = self.rl.batch.group_size
        saved = (size - 1) * self.prompt / (size * (self.prompt + self.response))
        if saved <= WORTH_SHARING:
            return 1
        again = REPEATED * self.prompt
        room = self.recipe.batch.tokens_per_microbatch - self.prompt + again
        return min(size, max(1, room // (self.response + again)))

    @property
    def row_tokens(self) -> float:
        """Tokens of the rows in which one rank's sequences of a step lie."""
        return self.sequences * (self.prompt / self.members + self.response)

    @property
    def master(self) -> bool:
        """Whether the optimizer changes an fp32 copy of the weights; ZeRO copies fp32 ones too."""
        return self.recipe.trainer.zero_stage >= 1 or self.recipe.trainer.precision is Precision.bf16

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
            each = 1 if self.preference is None or self.preference.unpaired else 2
            return -(-each * self.recipe.batch.examples_per_step // self.ranks)
        sizes = [s.batch.prompts_per_step * s.batch.group_size for s in stages_of(self.recipe)]
        return -(-max(sizes) // self.ranks)

    @cached_property
    def micro_tokens(self) -> int:
        """Most tokens of a micro-batch: the budget, but never less than one row or more than there are."""
        budget = max(self.recipe.batch.tokens_per_microbatch, self.longest)
        return min(budget, self.sequences * self.together * self.longest)

    @property
    def image_tokens(self) -> int:
        """Most tokens of a prompt that are images; in SFT of an example."""
        if self.policy.tower is None:
            return 0
        most = self.longest if self.sft else self.rl.rollout.max_prompt_tokens
        return min(self.policy.tower.most_tokens, most)

    @property
    def micro_images(self) -> float:
        """Tokens of images in a micro-batch where all its rows have one of their own, at most."""
        return max(1, self.piece_tokens // self.longest) * self.image_tokens

    @property
    def link(self) -> float:
        """Bytes a second that a rank sends where all take part: on several machines over the network."""
        return self.device.link if self.ranks <= self.machine else min(self.device.link, NETWORK)

    @property
    def together(self) -> int:
        """Ranks that share a micro-batch."""
        return self.recipe.trainer.sequence_parallel

    @property
    def piece_tokens(self) -> int:
        """Tokens of a micro-batch that one rank computes."""
        return -(-self.micro_tokens // self.together)

    def unshared(self, size: int) -> str | None:
        """Why groups of `size` ranks cannot share micro-batches; None where they can."""
        trainer = replace(self.recipe.trainer, ranks=None, sequence_parallel=size)
        packed = self._attention == PACKED
        models = [self.policy] if self.critic is None else [self.policy, self.critic]
        found = [trainer.no_groups(self.ranks)]
        return next(filter(None, found + [m.attention.no_shares(size, packed=packed) for m in models]), None)

    @property
    def engine_sequences(self) -> int:
        """Most sequences that the engine decodes at once."""
        given = self.rl.rollout.max_num_seqs
        if given is not None:
            return given
        return self.device.engine_sequences if self.vllm else SEQUENCES

    @property
    def split(self) -> int:
        """Ranks that run one rollout engine together, each with a part of the model."""
        return self.rl.rollout.tensor_parallel if self.vllm and not self.elsewhere else 1

    @property
    def elsewhere(self) -> bool:
        """The engines are servers, and no ranks'."""
        return not self.sft and not self.of_server and self.rl.rollout.placement is Placement.servers

    @property
    def servers(self) -> int:
        """Servers that sample for the ranks of a machine."""
        rollout = self.rl.rollout
        return len(rollout.servers.urls) or rollout.servers.started(rollout.tensor_parallel)

    @property
    def cache_token(self) -> float:
        """Bytes that a token takes in a rank's KV cache; of each layer at least one head."""
        shape = self.plain
        keys = max(shape.keys / self.split, shape.queries / shape.heads)
        return 2 * shape.layers * keys * self.engine_width

    @property
    def decoded(self) -> int:
        """Sequences that the engine decodes at once: those of all its ranks."""
        return min(self.engine_sequences, self.sequences * self.split)

    @cached_property
    def judges(self) -> dict[str, Shape]:
        """Reward models on the rank's GPU by verifier. Raises UserError where one is not known."""
        found = {}
        for key, verifier in ({} if self.sft else self.rl.verifiers).items():
            if getattr(verifier, "name", "") == "reward_model" and verifier.device != "cpu":
                try:
                    found[key] = self.shapes(Model(path=verifier.path), True)
                except UserError as error:
                    raise UserError(f"verifiers.{key}: {error}") from error
        return found

    @property
    def entropy_trains(self) -> bool:
        """Whether entropies have a gradient."""
        return isinstance(self.recipe, Recipe) and self.recipe.algorithm.entropy.needs_entropy

    @property
    def needs_reference(self) -> bool:
        if self.preference is not None:
            return bool(self.preference.needs_reference)
        return not self.sft and any(s.algorithm.kl.needs_reference for s in stages_of(self.rl))

    @property
    def holds_reference(self) -> bool:
        """With LoRA (but PiSSA) the reference is the policy without its adapters, until one is reset."""
        if not self.needs_reference:
            return False
        if self.sft:
            return not self.recipe.model.lora.keeps_start
        resets = self.rl.algorithm.reference.resets or any(s.reset_reference for s in self.rl.stages.values())
        return not self.rl.model.lora.keeps_start or resets
