"""What is recorded of a run, and what watches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


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
class Preflight:
    """A look at what the start model makes of the problems before the first step; hopeless is refused."""

    enabled: bool | None = None
    """null: where `trainer.steps` is 200 or more; a shorter run has a brief first look at problems, verifiers
    and a model that no run beside it has passed with, and says what is hopeless instead of refusing it."""
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
class Diagnosis:
    """Rules that read the metrics of every step and say in words what goes wrong."""

    enabled: bool = True
    """Watch at all."""
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
    canary: str | None = None
    """Entry of `eval.benches` whose gold answers are false on purpose: a score that rises there is a leak or
    a fooled verifier; null: none."""

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
    """When `entropy_collapse` is found."""
    entropy_explosion: Action = Action.rollback
    """When `entropy_explosion` is found."""
    kl_drift: Action = Action.lower_lr
    """When `kl_drift` is found."""
    gradient_explosion: Action = Action.lower_lr
    """When `gradient_explosion` is found."""
    mismatch_growth: Action = Action.lower_lr
    """When `mismatch_growth` is found."""
    length_collapse: Action = Action.none
    """When `length_collapse` is found."""
    eval_regression: Action = Action.rollback
    """When `eval_regression` is found."""


@dataclass(kw_only=True)
class Controller:
    """Acts on findings of `diagnosis`; off unless asked for."""

    enabled: bool = False
    """Act at all; needs `diagnosis.enabled`."""
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
    """What is recorded of a run, and where it is shown."""

    wandb: WandbMode = WandbMode.auto
    """auto: online with a login, offline without; offline runs are uploaded by `wandb sync`."""
    project: str = "rlvr"
    """W&B project."""
    entity: str | None = None
    """W&B user or team; null: your own."""
    tags: list[str] = field(default_factory=list)
    """Tags of the W&B run."""
    tensorboard: bool = False
    """Also write TensorBoard event files to `tensorboard/` of the run directory: same metrics, same names."""
    console: ConsoleMode = ConsoleMode.auto
    """auto: a live view on a terminal, one line a step otherwise."""
    rollouts: bool = True
    """Write every prompt, completion, verdict, reward and advantage to `rollouts/`."""
    tokens: bool = False
    """With `rollouts`: also every token, the logprob it was sampled with, and what the update saw at it."""
    images: int = 32
    """New images of a step, and of a bench's evaluation, that are kept reduced beside its records, for the
    report; each once. 0: none."""

    def __post_init__(self) -> None:
        if self.images < 0:
            raise ValueError(f"tracker.images is {self.images}; it must be at least 0")
