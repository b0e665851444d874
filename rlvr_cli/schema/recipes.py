"""Whole recipes: what a YAML file is, verb by verb."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from omegaconf import MISSING

from rlvr_cli.schema.data import Hygiene, Source
from rlvr_cli.schema.evaluation import Bench, Eval
from rlvr_cli.schema.model import Model, Precision
from rlvr_cli.schema.sampling import Batch, Rollout, RolloutEngine, Verification
from rlvr_cli.schema.select import Prune, Select, SelectBy
from rlvr_cli.schema.teacher import Teacher
from rlvr_cli.schema.training import Checkpoint, Critic, Faults, NonFinite, Trainer
from rlvr_cli.schema.watching import Controller, Diagnosis, Preflight, SampleFile, Tracker, WandbMode


class Resume(Enum):
    auto = "auto"
    changed = "changed"
    never = "never"


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
    plugins: list[str] = field(default_factory=list)
    """Your own Python: files, folders and packages beside this file or in the working directory, or installed
    modules. Options of algorithms, verifiers and data families are found in them as in rlvr."""
    seed: int = 0
    """Of the data order, the samples and whatever else is drawn."""
    model: Model = field(default_factory=Model)
    data: dict[str, Source] = field(default_factory=dict)
    hygiene: Hygiene = field(default_factory=Hygiene)
    batch: Batch = field(default_factory=Batch)
    rollout: Rollout = field(default_factory=Rollout)
    verifiers: dict[str, Any] = field(default_factory=dict)
    """What judges responses, under names of your own; `name` picks the verifier. Sources say which are
    theirs."""
    verification: Verification = field(default_factory=Verification)
    environments: dict[str, Any] = field(default_factory=dict)
    """What problems are played with, in turns, under names of your own; `name` picks the environment. Sources
    say which is theirs."""
    algorithm: Any = MISSING
    """One option for each of the thirteen parts of an algorithm; a preset fills them in."""
    teacher: Teacher = field(default_factory=Teacher)
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
    """Says that this is fine-tuning."""
    max_length: int = 2048
    """Longer examples are left out and counted."""
    max_grad_norm: float = 1.0
    """Gradients are scaled down to this norm; 0 leaves them alone."""


@dataclass(kw_only=True)
class SFTBatch:
    """How many examples train together."""

    examples_per_step: int = 128
    """Examples in one optimizer update; of preferences pairs, or labelled answers."""
    tokens_per_microbatch: int = 8192
    """Upper bound of tokens in one forward/backward of one rank."""

    def __post_init__(self) -> None:
        for name in ("examples_per_step", "tokens_per_microbatch"):
            if getattr(self, name) < 1:
                raise ValueError(f"batch.{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(kw_only=True)
class SFTEval:
    """Measurements on examples that are not trained on."""

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
    plugins: list[str] = field(default_factory=list)
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
        what = self.algorithm.name
        if self.trainer.response_tokens is not None:
            raise ValueError(
                f"trainer.response_tokens counts sampled tokens, and {what} samples none; use trainer.steps"
            )
        if self.faults.nonfinite is NonFinite.rollback:
            raise ValueError(
                f"faults.nonfinite=rollback is for reinforcement learning; {what} can stop or skip the update"
            )
        if self.checkpoint.best is not None:
            raise ValueError(f"checkpoint.best names the score of a bench, and {what} runs none; remove it")


class ServerApi(Enum):
    completions = "completions"
    chat = "chat"


@dataclass(kw_only=True)
class Server:
    """An OpenAI-compatible server that samples in the place of an engine of our own."""

    url: str | None = None
    """Base URL up to `/v1`; null: no server."""
    api: ServerApi = ServerApi.completions
    """completions takes token ids, made with the tokenizer of `model.path`. chat takes messages, which the
    server puts into its own template: `model.path` may then be a mere name."""
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

    @property
    def chat(self) -> bool:
        """A server samples, and is sent messages."""
        return self.url is not None and self.api is ServerApi.chat


@dataclass(kw_only=True)
class EvalRecipe:
    """Root of `rlvr eval`."""

    name: str = "eval"
    out: str | None = None
    """Where results go; null: `eval/` in the run directory of the model, or `runs/eval-<model>`."""
    plugins: list[str] = field(default_factory=list)
    """As in an RL recipe."""
    seed: int = 0
    model: Model = field(default_factory=Model)
    rollout: Rollout = field(default_factory=lambda: Rollout(gpu_memory_utilization=0.9, sleep=False))
    """As in an RL recipe, but the engine has the GPU to itself."""
    verification: Verification = field(default_factory=Verification)
    benches: dict[str, Bench] = field(default_factory=dict)
    precision: Precision | None = None
    """Weights and computation in the engine; null: bf16 on GPUs, fp32 on CPUs."""
    ranks: int | None = None
    """Processes of this machine that share the problems, each with an engine; null: one per GPU, or one."""
    server: Server = field(default_factory=Server)
    rescore: dict[str, str] = field(default_factory=dict)
    """Bench -> result file whose samples are judged in the place of new ones; `--from` fills it in."""
    samples: SampleFile = SampleFile.none
    """One more file with a row for each sample: `<bench>.samples.jsonl` or `.parquet`."""
    lm_eval: bool = False
    """Also write `results_lm_eval.json` in the format of lm-evaluation-harness."""
    select: Select = field(default_factory=Select)
    contamination: float | None = None
    """Share of each problem's text shown to see whether greedy decoding completes it; null: no probe."""
    tracker: Tracker = field(default_factory=lambda: Tracker(wandb=WandbMode.disabled))

    def __post_init__(self) -> None:
        if self.contamination is not None and not 0 < self.contamination < 1:
            raise ValueError(f"contamination is {self.contamination}; it must be between 0 and 1")
        if self.contamination is not None and self.server.chat:
            raise ValueError(
                "contamination shows a text that is cut off, and server.api=chat continues none; "
                "leave one out"
            )
        self._check_select()
        if self.ranks is not None and self.ranks > 1:
            if self.server.url is not None:
                raise ValueError(
                    f"ranks is {self.ranks}, but a server samples; raise server.connections instead"
                )
            if self.rescore:
                raise ValueError(
                    f"ranks is {self.ranks}, but nothing is sampled; raise verification.workers instead"
                )

    def _check_select(self) -> None:
        """A verifier reads the cache of the model itself, which a server of somebody else's does not show."""
        if self.select.by is SelectBy.majority:
            return
        if self.server.url is not None:
            raise ValueError("select.by=otv reads token ids, and a server gives text; leave server.url out")
        if self.select.verifier is None and not self.rescore:
            raise ValueError("select.by=otv needs select.verifier=RUN: a run of rlvr otv on this model")
        if any(bench.environment is not None for bench in self.benches.values()):
            raise ValueError("select.by=otv is for one answer to one prompt; these benches have environments")
        if self.select.prune is Prune.none:
            return
        if self.rollout.engine is not RolloutEngine.hf or self.rescore:
            raise ValueError(
                f"select.prune={self.select.prune.value} ends samples while they are sampled, by a cache "
                "that only the transformers engine shows; set rollout=hf, or leave it out: what pruning "
                "would save is told all the same"
            )


@dataclass(kw_only=True)
class VerifyRecipe:
    """Root of `rlvr verify` and `rlvr serve-verifier`, made from their options."""

    name: str = "verify"
    """Of what is judged, for messages."""
    plugins: list[str] = field(default_factory=list)
    """As in an RL recipe."""
    seed: int = 0
    source: Source | None = None
    """Scored responses, or for a self-test problems."""
    verifiers: dict[str, Any] = field(default_factory=dict)
    verification: Verification = field(default_factory=Verification)
