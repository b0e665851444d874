"""The whole user surface: every key a recipe may hold, its type, its default and what it means.

OmegaConf reads these classes, hence Enum instead of Literal, no frozen=True and no union of
dataclasses. Cross-field rules raise ValueError in __post_init__, which runs when the composed
config becomes objects. Nothing here imports torch: a bad recipe is refused in half a second.

Options of an algorithm axis and of a verifier are dataclasses beside their code
(`rlvr_cli/algorithms/*.py`, `rlvr_cli/verifiers/*.py`); `compose.py` puts them in the `Any` fields.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING


class Precision(Enum):
    fp32 = "fp32"
    bf16 = "bf16"


class Schedule(Enum):
    constant = "constant"
    linear = "linear"
    cosine = "cosine"


class Offload(Enum):
    none = "none"
    optimizer = "optimizer"
    all = "all"


class RolloutEngine(Enum):
    vllm = "vllm"
    hf = "hf"


class Chat(Enum):
    auto = "auto"
    always = "always"
    never = "never"


class Unscored(Enum):
    drop = "drop"
    zero = "zero"
    fail = "fail"


class Resume(Enum):
    auto = "auto"
    changed = "changed"
    never = "never"


class WandbMode(Enum):
    auto = "auto"
    online = "online"
    offline = "offline"
    disabled = "disabled"


class SampleFile(Enum):
    none = "none"
    jsonl = "jsonl"
    parquet = "parquet"


class ConsoleMode(Enum):
    auto = "auto"
    live = "live"
    plain = "plain"


@dataclass(kw_only=True)
class Lora:
    """Low-rank adapters (peft). rank 0 trains every weight."""

    rank: int = 0
    """Rank of the adapters; 0 switches LoRA off."""
    alpha: float = 32.0
    """Scale numerator: the update is multiplied by alpha / rank."""
    dropout: float = 0.0
    targets: str = "all-linear"
    """`all-linear`, or module names separated by commas."""


@dataclass(kw_only=True)
class TinyModel:
    """Shape of the randomly initialised Qwen2 model made when `model.path` is `builtin:tiny`."""

    hidden_size: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    max_positions: int = 2048


@dataclass(kw_only=True)
class Model:
    path: str = MISSING
    """Hugging Face folder, hub id, run directory (its `final/` is taken) or `builtin:tiny`."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    attention: str = "sdpa"
    """Attention implementation of transformers in the trainer: sdpa, eager, flash_attention_2, ..."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    trust_remote_code: bool = False
    chat_template: str | None = None
    """Path of a Jinja file that replaces the tokenizer's chat template."""
    overrides: dict[str, Any] = field(default_factory=dict)
    """Entries of the model's config.json to change, e.g. {max_position_embeddings: 32768}."""
    lora: Lora = field(default_factory=Lora)
    tiny: TinyModel = field(default_factory=TinyModel)


@dataclass(kw_only=True)
class Source:
    """One set of problems (RL, eval) or examples (SFT)."""

    path: str = MISSING
    """Hub id, `.jsonl` / `.json` / `.parquet` file or folder of them, `synthetic:<family>` or
    `reasoning_gym:<task>`."""
    config: str | None = None
    """Configuration name of a hub data set."""
    split: str = "train"
    layout: str | None = None
    """Layout of a benchmark whose rows are put together first (gpqa, livecodebench, ...); null: none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Maps our names (prompt, answer, id, ...) to the file's; empty: the layout is recognised."""
    prompt: str = "{prompt}"
    """Template around the problem text; `{prompt}` is replaced."""
    system: str | None = None
    """System message; needs a chat template."""
    chat: Chat = Chat.auto
    """Apply the chat template: auto = where the tokenizer has one."""
    shots: int = 0
    """Worked examples before each problem; only for layouts that have them (mbpp, mmlu_pro)."""
    shots_split: str | None = None
    """Where they come from: a split of the data set, or a file."""
    verifiers: list[str] = field(default_factory=list)
    """Keys of `verifiers` that score this source; the first decides what counts as correct. Where
    `columns` maps `verifiers`, a row's own list stands in their place."""
    weight: float = 1.0
    """Share of prompts drawn from this source, relative to the other sources."""
    limit: int | None = None
    """Use only the first so many rows."""
    deduplicate: bool = False
    """Keep only the first of rows with the same prompt."""
    options: dict[str, Any] = field(default_factory=dict)
    """Parameters of a synthetic family, e.g. {digits: 3}, or of a layout."""


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
    engine: RolloutEngine = RolloutEngine.vllm
    temperature: float = 1.0
    top_p: float = 1.0
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
    max_num_seqs: int = 256
    """Sequences the engine decodes at once."""
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
    seeded: bool = True
    """A seed per sample, so that a rollout repeats whatever it is batched with."""
    probe_tolerance: float | None = None
    """Largest mean |logprob difference| to the trainer after a sync; null: 1e-4 in fp32, 0.1 in bf16."""

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


@dataclass(kw_only=True)
class Verification:
    """The worker pool all verifiers share."""

    workers: int = 2
    """Worker processes per rank."""
    timeout_s: float = 6.0
    """Seconds after which the worker of a verdict is killed."""
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


@dataclass(kw_only=True)
class Hygiene:
    """What is looked for in the problems before training; found, it is reported, and refused if strict."""

    enabled: bool = True
    strict: bool = False
    """Refuse to train on duplicates, gold answers no verifier can use, or problems of the benchmarks."""
    ngram: int = 13
    """Words in a row that a problem must share with one of a benchmark to overlap with it."""
    examples: int = 5
    """Rows of each kind shown in `data_report.json`."""

    def __post_init__(self) -> None:
        if self.ngram < 2:
            raise ValueError(f"hygiene.ngram is {self.ngram}; it must be at least 2")
        if self.examples < 0:
            raise ValueError(f"hygiene.examples is {self.examples}; it must not be negative")


@dataclass(kw_only=True)
class Trainer:
    steps: int = 100
    response_tokens: int | None = None
    """Sampled response tokens after which training ends before `steps`: runs of equal cost. null: never."""
    lr: float = 1e-6
    warmup_steps: int = 0
    """Steps over which the learning rate rises linearly from 0."""
    schedule: Schedule = Schedule.constant
    """What the learning rate does after the warm-up: stay, or fall to `min_lr` at the last step."""
    min_lr: float = 0.0
    weight_decay: float = 0.0
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])
    eps: float = 1e-8
    zero_stage: int = 2
    """DeepSpeed ZeRO: 0 replicates, 1 shards optimizer state, 2 also gradients, 3 also weights."""
    offload: Offload = Offload.none
    """Keep the optimizer state (or with ZeRO-3 also the weights) in CPU memory."""
    precision: Precision = Precision.bf16
    """bf16 computes in bfloat16 and keeps fp32 master weights; fp32 is exact and for CPUs."""
    ranks: int | None = None
    """Processes on this machine; null: one per GPU, or 1 without GPUs. Ignored under torchrun or Slurm."""

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2, 3):
            raise ValueError(f"trainer.zero_stage is {self.zero_stage}; it must be 0, 1, 2 or 3")
        if self.steps < 1:
            raise ValueError(f"trainer.steps is {self.steps}; it must be at least 1")
        if self.response_tokens is not None and self.response_tokens < 1:
            raise ValueError(f"trainer.response_tokens is {self.response_tokens}; it must be at least 1")
        if self.lr < 0:
            raise ValueError(f"trainer.lr is {self.lr}; it must not be negative")
        if len(self.betas) != 2:
            raise ValueError(f"trainer.betas has {len(self.betas)} entries; it needs 2")
        if self.offload is Offload.all and self.zero_stage != 3:
            raise ValueError("trainer.offload=all moves the weights too and needs trainer.zero_stage=3")
        if self.offload is Offload.optimizer and self.zero_stage == 0:
            raise ValueError("trainer.offload=optimizer needs trainer.zero_stage of 1 or more")
        if self.ranks is not None and self.ranks < 1:
            raise ValueError(f"trainer.ranks is {self.ranks}; it must be at least 1")


@dataclass(kw_only=True)
class Critic:
    """Value model of `algorithm.advantage=gae`. What is not here (ZeRO, precision, LoRA) is the policy's."""

    path: str | None = None
    """Start weights, as `model.path`, or a PPO run, whose critic is taken; null: those of the policy."""
    lr: float | None = None
    """null: 5 times `trainer.lr`."""
    warmup_steps: int = 0
    """Steps over which its learning rate rises linearly from 0; then it stays."""
    weight_decay: float = 0.0
    max_grad_norm: float | None = 1.0
    """Largest norm of its gradient; null: no clipping."""
    pretrain_steps: int = 0
    """First steps that train the critic alone, before the policy moves."""

    def __post_init__(self) -> None:
        for name in ("lr", "warmup_steps", "weight_decay", "pretrain_steps"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"critic.{name} is {value}; it must not be negative")
        if self.max_grad_norm is not None and not self.max_grad_norm > 0:
            raise ValueError(f"critic.max_grad_norm is {self.max_grad_norm}; it must be positive or null")

    def rate(self, trainer: Trainer) -> float:
        """Its learning rate after the warm-up."""
        return 5 * trainer.lr if self.lr is None else self.lr


@dataclass(kw_only=True)
class Checkpoint:
    every: int | None = None
    """Steps between checkpoints; null: only when the run ends or is interrupted."""
    keep: int = 2
    """Checkpoints kept; older ones are deleted."""
    best: str | None = None
    """`<bench>/<metric>` whose best checkpoint is kept besides and exported to `best/`; null: none."""
    background: bool = True
    """Write from a copy in CPU memory while training goes on; false: training waits, without a copy."""
    must_save_by: float | None = None
    """Hours after the start of the command by which a run must have saved and stopped; null: the end of the
    Slurm job, where there is one."""

    def __post_init__(self) -> None:
        if self.every is not None and self.every < 1:
            raise ValueError(f"checkpoint.every is {self.every}; it must be at least 1")
        if self.keep < 1:
            raise ValueError(f"checkpoint.keep is {self.keep}; it must be at least 1")
        if self.must_save_by is not None and not self.must_save_by > 0:
            raise ValueError(f"checkpoint.must_save_by is {self.must_save_by}; it must be above 0 hours")


class NonFinite(Enum):
    stop = "stop"
    skip = "skip"
    rollback = "rollback"


@dataclass(kw_only=True)
class Faults:
    """What becomes of a run that fails."""

    nonfinite: NonFinite = NonFinite.stop
    """An update meets NaN or infinity, before anything has changed: end the run, leave the update out, or go
    back to the newest checkpoint and on with other data."""
    max_restarts: int = 3
    """Times a run that failed is started again from its newest checkpoint."""
    hang_s: float | None = 1800.0
    """Seconds without a sign of life after which a rank counts as hung, which is a failure; null: never."""

    def __post_init__(self) -> None:
        if self.max_restarts < 0:
            raise ValueError(f"faults.max_restarts is {self.max_restarts}; it must be at least 0")
        if self.hang_s is not None and self.hang_s <= 0:
            raise ValueError(f"faults.hang_s is {self.hang_s}; it must be above 0")


@dataclass(kw_only=True)
class Bench:
    """A benchmark: where its problems come from, how they are asked and how often."""

    source: Source = MISSING
    verifier: Any = MISSING
    """One entry like those of `verifiers`."""
    k: int = 1
    """Samples per problem."""
    temperature: float = 1.0
    """0 is greedy."""
    top_p: float = 1.0
    max_tokens: int = 1024
    max_prompt_tokens: int | None = None
    """Problems with a longer prompt are left out and counted; null: `rollout.max_prompt_tokens`."""
    stop: list[str] = field(default_factory=list)
    """Strings that end a response besides the end-of-sequence token."""
    seed: int = 0
    pass_at: list[int] = field(default_factory=list)
    """The j of the pass@j to report; empty: powers of two up to k, and k."""
    majority: bool = True
    """Report maj@j; off where answers cannot be compared as text (programs, essays)."""
    problems: int | None = None
    """How many there are, for the list; another number found is warned of. null: not known."""
    note: str = ""
    """Origin, licence and protocol, for the reader."""


@dataclass(kw_only=True)
class Preflight:
    """A look at what the start model makes of the problems before the first step; hopeless is refused."""

    enabled: bool | None = None
    """null: where `trainer.steps` is 200 or more."""
    prompts: int = 32
    """Prompts sampled, each as often as `batch.group_size` says but at most 16 times; of a recipe that seems
    hopeless four times as many."""

    def __post_init__(self) -> None:
        if self.prompts < 1:
            raise ValueError(f"preflight.prompts is {self.prompts}; it must be at least 1")

    def wanted(self, steps: int) -> bool:
        """Whether a run of so many steps does one."""
        return steps >= 200 if self.enabled is None else self.enabled


@dataclass(kw_only=True)
class Eval:
    benches: dict[str, Bench] = field(default_factory=dict)
    """Add one with `+bench@eval.benches.aime24=aime24`."""
    every: int | None = None
    """Steps between evaluations; null: none in between."""
    at_start: bool = True
    at_end: bool = True


@dataclass(kw_only=True)
class Diagnosis:
    """Rules that read the metrics of every step and say in words what goes wrong."""

    enabled: bool = True
    window: int = 8
    """Steps over which a sign must last: the median of the newest so many is judged, or held against the
    median of the first so many."""
    cooldown: int = 50
    """Steps before a finding that was over is said again."""
    truncated: float = 0.15
    """Share of truncated responses above which `truncation` is found."""
    zero_signal: float = 0.8
    """Share of groups without a signal above which `all_wrong` or `all_right` is found."""
    unscored: float = 0.02
    """Share of samples without a verdict above which `verdicts_lost` is found."""
    ref_kl: float = 1.0
    """KL to the reference, in nats per token, above which `kl_drift` is found whatever the reward does."""
    slowdown: float = 2.0
    """Factor on the seconds per token above which `slow_phase` is found, if one phase is responsible."""
    second_verifier: str | None = None
    """Entry of `verifiers` that judges a share of the samples besides, for the record only; null: none."""
    second_share: float = 0.1
    """Share of the samples it judges."""

    def __post_init__(self) -> None:
        for name, least in (("window", 2), ("cooldown", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"diagnosis.{name} is {getattr(self, name)}; it must be at least {least}")
        for name in ("truncated", "zero_signal", "unscored", "second_share"):
            if not 0 < getattr(self, name) <= 1:
                raise ValueError(f"diagnosis.{name} is {getattr(self, name)}; it must be above 0, at most 1")
        if not self.ref_kl > 0:
            raise ValueError(f"diagnosis.ref_kl is {self.ref_kl}; it must be positive")
        if not self.slowdown > 1:
            raise ValueError(f"diagnosis.slowdown is {self.slowdown}; it must be above 1")


class Action(Enum):
    none = "none"
    lower_lr = "lower_lr"
    raise_clip = "raise_clip"
    reset_reference = "reset_reference"
    rollback = "rollback"


@dataclass(kw_only=True)
class Actions:
    """Finding -> what the controller does about it."""

    entropy_collapse: Action = Action.lower_lr
    entropy_explosion: Action = Action.rollback
    kl_drift: Action = Action.lower_lr
    gradient_explosion: Action = Action.lower_lr
    mismatch_growth: Action = Action.lower_lr
    length_collapse: Action = Action.none
    eval_regression: Action = Action.rollback


@dataclass(kw_only=True)
class Controller:
    """Acts on findings of `diagnosis`; off unless asked for."""

    enabled: bool = False
    actions: Actions = field(default_factory=Actions)
    """lower_lr multiplies the learning rate; raise_clip lets ratios rise further; reset_reference makes the
    policy the reference; rollback goes back to a checkpoint and also lowers the learning rate."""
    every: int = 20
    """Least steps between two actions; a finding that lasts longer is acted on again."""
    max_actions: int = 5
    """Actions in the whole run."""
    lr_factor: float = 0.5
    """What lower_lr multiplies the learning rate by."""
    clip_step: float = 0.04
    """What raise_clip adds to `algorithm.loss.clip_ratio_high`."""
    clip_max: float = 0.4
    """Highest `algorithm.loss.clip_ratio_high` it sets."""

    def __post_init__(self) -> None:
        for name in ("every", "max_actions"):
            if getattr(self, name) < 1:
                raise ValueError(f"controller.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.lr_factor < 1:
            raise ValueError(f"controller.lr_factor is {self.lr_factor}; it must be between 0 and 1")
        for name in ("clip_step", "clip_max"):
            if not getattr(self, name) > 0:
                raise ValueError(f"controller.{name} is {getattr(self, name)}; it must be positive")


@dataclass(kw_only=True)
class Tracker:
    wandb: WandbMode = WandbMode.auto
    """auto: online with a login, offline without; offline runs are uploaded by `wandb sync`."""
    project: str = "rlvr"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    console: ConsoleMode = ConsoleMode.auto
    """auto: a live view on a terminal, one line a step otherwise."""
    rollouts: bool = True
    """Write every prompt, completion, verdict, reward and advantage to `rollouts/`."""
    tokens: bool = False
    """With `rollouts`: also every token, the logprob it was sampled with, and what the update saw at it."""


@dataclass(kw_only=True)
class Stage:
    """What changes after a step of a long run; a null key stays as it was in the stage before."""

    after: int = MISSING
    """Finished steps after which the stage begins; it lasts until the next one does."""
    reset_reference: bool = False
    """When it begins, the policy becomes the reference of the KL penalty."""
    reset_optimizer: bool = False
    """When it begins, the optimizer forgets its moments and the learning rate's warm-up starts again."""
    weights: dict[str, float] = field(default_factory=dict)
    """Source -> its new `data.<source>.weight`; 0 leaves it out."""
    prompts_per_step: int | None = None
    """`batch.prompts_per_step`"""
    group_size: int | None = None
    """`batch.group_size`"""
    max_tokens: int | None = None
    """`rollout.max_tokens`"""
    temperature: float | None = None
    """`rollout.temperature`"""
    lr: float | None = None
    """`trainer.lr`"""
    kl_coef: float | None = None
    """`algorithm.kl.coef`"""
    shaping: Any = None
    """An option in the place of `algorithm.shaping`: {name: stop_properly, coef: 0}."""


@dataclass(kw_only=True)
class Recipe:
    """Root of every RL recipe."""

    name: str = MISSING
    """Name of the run."""
    out: str = "runs/${name}"
    """Run directory."""
    resume: Resume = Resume.auto
    """Where `out` holds a run. auto: continue the same recipe; changed: continue with whatever is different;
    never: refuse."""
    seed: int = 0
    model: Model = field(default_factory=Model)
    data: dict[str, Source] = field(default_factory=dict)
    hygiene: Hygiene = field(default_factory=Hygiene)
    batch: Batch = field(default_factory=Batch)
    rollout: Rollout = field(default_factory=Rollout)
    verifiers: dict[str, Any] = field(default_factory=dict)
    verification: Verification = field(default_factory=Verification)
    algorithm: Any = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    critic: Critic = field(default_factory=Critic)
    stages: dict[str, Stage] = field(default_factory=dict)
    """Changes on the way, in the order in which they come; until the first, the recipe is as written."""
    preflight: Preflight = field(default_factory=Preflight)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    faults: Faults = field(default_factory=Faults)
    eval: Eval = field(default_factory=Eval)
    diagnosis: Diagnosis = field(default_factory=Diagnosis)
    controller: Controller = field(default_factory=Controller)
    tracker: Tracker = field(default_factory=Tracker)


@dataclass(kw_only=True)
class SFT:
    """Stands in the place of an algorithm in a supervised fine-tuning recipe."""

    name: str = "sft"
    packing: bool = True
    """Put several examples in one row; attention and positions do not cross from one to the next."""
    max_length: int = 2048
    """Longer examples are left out and counted."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them alone."""


@dataclass(kw_only=True)
class SFTBatch:
    examples_per_step: int = 128
    """Examples in one optimizer update."""
    tokens_per_microbatch: int = 8192
    """Upper bound of tokens in one forward/backward of one rank."""

    def __post_init__(self) -> None:
        for name in ("examples_per_step", "tokens_per_microbatch"):
            if getattr(self, name) < 1:
                raise ValueError(f"batch.{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(kw_only=True)
class SFTEval:
    source: Source | None = None
    """Examples whose loss and token accuracy are measured; null: none."""
    every: int | None = None
    """Steps between measurements; null: only at the end."""
    limit: int = 256
    """Examples measured."""
    stop_at: float | None = None
    """Token accuracy at which training ends before `trainer.steps`; null: never."""

    def __post_init__(self) -> None:
        if self.stop_at is not None and (self.source is None or self.every is None):
            raise ValueError("eval.stop_at needs eval.source and eval.every, or it is never looked at")


@dataclass(kw_only=True)
class SFTRecipe:
    """Root of a supervised fine-tuning recipe."""

    name: str = MISSING
    out: str = "runs/${name}"
    resume: Resume = Resume.auto
    """As in an RL recipe."""
    seed: int = 0
    model: Model = field(default_factory=Model)
    data: dict[str, Source] = field(default_factory=dict)
    batch: SFTBatch = field(default_factory=SFTBatch)
    algorithm: SFT = field(default_factory=SFT)
    trainer: Trainer = field(default_factory=Trainer)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    faults: Faults = field(default_factory=Faults)
    eval: SFTEval = field(default_factory=SFTEval)
    tracker: Tracker = field(default_factory=Tracker)

    def __post_init__(self) -> None:
        if self.trainer.response_tokens is not None:
            raise ValueError(
                "trainer.response_tokens counts sampled tokens, and sft samples none; use trainer.steps"
            )
        if self.faults.nonfinite is NonFinite.rollback:
            raise ValueError(
                "faults.nonfinite=rollback is for reinforcement learning; sft can stop or skip the update"
            )
        if self.checkpoint.best is not None:
            raise ValueError("checkpoint.best names the score of a bench, and sft runs none; remove it")


@dataclass(kw_only=True)
class Server:
    """An OpenAI-compatible server that samples in the place of an engine of our own."""

    url: str | None = None
    """Base URL up to `/v1`; null: no server. The tokenizer is still that of `model.path`."""
    model: str | None = None
    """Name of the model there; null: `model.path`."""
    key: str = "OPENAI_API_KEY"
    """Environment variable that holds the key; need not be set."""
    connections: int = 32
    """Requests at once."""
    timeout_s: float = 600.0
    """Longest wait for one response."""

    def __post_init__(self) -> None:
        if self.connections < 1:
            raise ValueError(f"server.connections is {self.connections}; it must be at least 1")
        if self.timeout_s <= 0:
            raise ValueError(f"server.timeout_s is {self.timeout_s}; it must be above 0")


@dataclass(kw_only=True)
class EvalRecipe:
    """Root of `rlvr eval`."""

    name: str = "eval"
    out: str | None = None
    """Where results go; null: `eval/` in the run directory of the model, or `runs/eval-<model>`."""
    seed: int = 0
    model: Model = field(default_factory=Model)
    rollout: Rollout = field(default_factory=Rollout)
    verification: Verification = field(default_factory=Verification)
    benches: dict[str, Bench] = field(default_factory=dict)
    precision: Precision | None = None
    """Weights and computation in the engine; null: bf16 on GPUs, fp32 on CPUs."""
    server: Server = field(default_factory=Server)
    rescore: dict[str, str] = field(default_factory=dict)
    """Bench -> result file whose samples are judged in the place of new ones; `--from` fills it in."""
    samples: SampleFile = SampleFile.none
    """One more file with a row for each sample: `<bench>.samples.jsonl` or `.parquet`."""
    lm_eval: bool = False
    """Also write `results_lm_eval.json` in the format of lm-evaluation-harness."""
    contamination: float | None = None
    """Share of each problem's text shown to see whether greedy decoding completes it; null: no probe."""
    tracker: Tracker = field(default_factory=lambda: Tracker(wandb=WandbMode.disabled))

    def __post_init__(self) -> None:
        if self.contamination is not None and not 0 < self.contamination < 1:
            raise ValueError(f"contamination is {self.contamination}; it must be between 0 and 1")


@dataclass(kw_only=True)
class VerifyRecipe:
    """Root of `rlvr verify` and `rlvr serve-verifier`, made from their options."""

    name: str = "verify"
    seed: int = 0
    source: Source | None = None
    """Scored responses, or for a self-test problems."""
    verifiers: dict[str, Any] = field(default_factory=dict)
    verification: Verification = field(default_factory=Verification)
