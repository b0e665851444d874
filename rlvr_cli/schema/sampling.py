"""Rollouts: how many, from which engine, judged by whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from rlvr_cli.schema.model import Precision
from rlvr_cli.schema.overlap import OnUpdate, Overlap, TooOld, check_overlap
from rlvr_cli.schema.placement import Placement, Servers


class RolloutEngine(Enum):
    vllm = "vllm"
    hf = "hf"


class RolloutLora(Enum):
    merged = "merged"
    adapter = "adapter"


class RoutingReplay(Enum):
    none = "none"
    measure = "measure"
    r2 = "r2"
    r3 = "r3"

    @property
    def recorded(self) -> bool:
        """Whether the engine has to say which experts it has chosen."""
        return self in (RoutingReplay.measure, RoutingReplay.r3)


class Unscored(Enum):
    drop = "drop"
    zero = "zero"
    fail = "fail"


@dataclass(kw_only=True)
class Batch:
    """The one batch vocabulary; everything else is derived and printed at start."""

    prompts_per_step: int = 32
    """P: prompts whose groups train in one step."""
    group_size: int = 8
    """G: completions sampled for each prompt."""
    updates_per_step: int = 1
    """Optimizer updates for each batch of rollouts; 1 is strictly on-policy."""
    tokens_per_microbatch: int = 8192
    """Upper bound of (padded) tokens in one forward/backward of one rank."""

    def __post_init__(self) -> None:
        for name in ("prompts_per_step", "group_size", "updates_per_step", "tokens_per_microbatch"):
            if getattr(self, name) < 1:
                raise ValueError(f"batch.{name} is {getattr(self, name)}; it must be at least 1")
        if self.prompts_per_step % self.updates_per_step:
            raise ValueError(
                f"batch.updates_per_step ({self.updates_per_step}) must divide "
                f"batch.prompts_per_step ({self.prompts_per_step})"
            )


@dataclass(kw_only=True)
class Rollout:
    """How responses are sampled."""

    engine: RolloutEngine = RolloutEngine.vllm
    """vllm, or hf: plain transformers, slow and everywhere."""
    placement: Placement = Placement.in_process
    """in_process: an engine in each rank; servers: vLLM in processes of its own, on GPUs of its own."""
    servers: Servers = field(default_factory=Servers)
    """The servers, where `placement` is servers."""
    temperature: float = 1.0
    """Of sampling; the trainer divides its logits by the same."""
    top_p: float = 1.0
    """Samples come from the likeliest tokens that have this share together; leave it at 1 for training."""
    max_prompt_tokens: int = 1024
    """Problems with a longer prompt are left out and counted."""
    max_tokens: int = 1024
    """Longest response, in tokens; reaching it counts as truncated."""
    stop: list[str] = field(default_factory=list)
    """Strings that end a response besides the end-of-sequence token."""
    oversample: float = 1.0
    """Prompts generated per prompt still missing when dynamic sampling refills the batch."""
    max_rounds: int = 10
    """Generation rounds after which a step trains on the groups it has."""
    max_num_seqs: int | None = None
    """Sequences the engine decodes at once; null: vLLM's own number (1024 on an H100), without a GPU 256."""
    gpu_memory_utilization: float = 0.5
    """Share of GPU memory for the vLLM engine, weights and KV cache together."""
    kv_cache_gb: float = 1.0
    """KV cache of the CPU engine, in GiB."""
    enforce_eager: bool | None = None
    """No CUDA graphs / compilation; null: eager on CPU, graphs on GPU."""
    sleep: bool = True
    """On GPUs, free the engine's memory while the trainer works."""
    dtype: Precision | None = None
    """Weights in the engine; null: the trainer's precision."""
    tensor_parallel: int = 1
    """GPUs that one engine of vLLM is split over. In process as many ranks run it together, and the number of
    ranks is a multiple of it (docs/placements.md)."""
    lora: RolloutLora = RolloutLora.merged
    """Of a run that trains `model.lora`. merged: the engine is sent whole weights, with the adapters in them.
    adapter: it keeps the start model and is sent the adapters alone (docs/placements.md)."""
    routing_replay: RoutingReplay = RoutingReplay.none
    """Of a mixture of experts: which experts the trainer sends a token through. none: those that it would
    choose; r3: those that the engine chose when it sampled; r2: those that the trainer chose at the start of
    the step; measure: as none, told how often the engine's were others (docs/routing_replay.md)."""
    seeded: bool = True
    """A seed per sample, so that a rollout repeats whatever it is batched with."""
    probe_tolerance: float | None = None
    """Largest mean |logprob difference| of engine and trainer on prompts of the run, at start and after each
    sync. null: at start 1e-4 in fp32 (5e-3 on GPUs) and 0.3 in bf16, later 3 times what was found at start,
    but at least 1e-4 (5e-3) and 0.02."""
    max_staleness: int = 0
    """Steps by which the weights that sampled a token may lie behind those it trains. 0: a step samples, then
    trains; above, prompts are begun ahead (docs/overlap.md)."""
    overlap: Overlap = Overlap.between
    """between: a step ends its sampling with the first groups that suffice, the rest goes on in the next;
    beside: a thread samples while the trainer works."""
    on_update: OnUpdate = OnUpdate.recompute
    """Beside, what runs when new weights come: recompute (stop, go on under these), keep (go on with keys and
    values of the old ones, a mixture that no policy is), or finish first."""
    too_old: TooOld = TooOld.wait
    """A group that would get older than max_staleness: wait for it, or drop and count it."""
    max_concurrent: int | None = None
    """Prompts begun and unfinished at once, over all ranks; null: as many as max_staleness allows."""

    def __post_init__(self) -> None:
        if self.temperature <= 0:
            raise ValueError(
                f"rollout.temperature is {self.temperature}; it must be above 0 (eval may be greedy)"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(f"rollout.top_p is {self.top_p}; it must be in (0, 1]")
        if self.max_tokens < 1:
            raise ValueError(f"rollout.max_tokens is {self.max_tokens}; it must be at least 1")
        if self.oversample < 1:
            raise ValueError(f"rollout.oversample is {self.oversample}; it must be at least 1")
        self._check_vllm()
        check_overlap(self)

    def _check_vllm(self) -> None:
        """What only vLLM has, and what it needs."""
        if self.tensor_parallel < 1:
            raise ValueError(f"rollout.tensor_parallel is {self.tensor_parallel}; it must be at least 1")
        if self.engine is RolloutEngine.hf:
            for name in ("tensor_parallel", "lora"):
                if getattr(self, name) not in (1, RolloutLora.merged):
                    raise ValueError(
                        f"rollout.{name} is for vLLM, and rollout.engine is hf; leave it out, or choose "
                        "rollout=vllm"
                    )
        if self.tensor_parallel > 1 and not self.seeded:
            raise ValueError(
                "rollout.seeded=false does not go with rollout.tensor_parallel: ranks with one engine must "
                "draw the same; leave one of the two out"
            )


@dataclass(kw_only=True)
class Verification:
    """The worker pool all verifiers share."""

    workers: int = 2
    """Worker processes per rank."""
    timeout_s: float = 6.0
    """Seconds of computing after which a verdict is `refused`; by the clock, twice that is the end."""
    start_s: float = 120.0
    """Seconds a worker has to start and to load what its verifiers need."""
    memory_mb: int = 2048
    """Address space of a worker; 0: no limit."""
    recycle_after: int = 1000
    """Verdicts after which a worker is replaced."""
    unscored: Unscored = Unscored.drop
    """A sample whose verifier timed out or crashed: drop it, score it 0, or fail the run."""
    self_test_floor: float | None = None
    """Share of gold and of wrong answers a source's first verifier must judge rightly; null: not tested."""
    self_test_rows: int = 64
    """Rows of each source the test takes."""

    def __post_init__(self) -> None:
        if self.self_test_floor is not None and not 0 <= self.self_test_floor <= 1:
            raise ValueError(
                f"verification.self_test_floor is {self.self_test_floor}; it must be from 0 to 1"
            )
        if self.self_test_rows < 1:
            raise ValueError(f"verification.self_test_rows is {self.self_test_rows}; it must be at least 1")
