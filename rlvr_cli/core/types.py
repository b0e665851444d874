"""What flows through a run: Problem -> Completion -> Verdict -> Group -> Batch.

Tensor suffixes used everywhere: _P prompts, _G samples of one prompt, _B sequences (P*G, row-major),
_N response tokens of a batch laid end to end (sequence after sequence; lengths_B says where each ends),
_V vocabulary. Flat _N instead of padded [B, T]: memory and time follow the tokens there are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from rlvr_cli.core.verdict import Reason as Reason
from rlvr_cli.core.verdict import Verdict as Verdict

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from rlvr_cli.core.episode import Episode
    from rlvr_cli.core.probes import Probes


@dataclass(slots=True, kw_only=True)
class Raw:
    """What a row holds that a problem has in another form."""

    columns: dict[str, Any]
    """The columns of prompt, gold and id, as the data set has them; the others are in `Problem.extra`."""
    gold: Any
    """The gold answer in its own type; None where there is none."""


@dataclass(slots=True, kw_only=True)
class Problem:
    """One verifiable problem with its prompt already tokenised."""

    id: str
    """Unique within its source and stable over runs."""
    prompt: str
    """The prompt as the model sees it, template applied."""
    tokens: list[int]
    """The prompt's token ids."""
    answer: str
    """Gold answer, in the form its verifier reads; "" where its verifiers read none."""
    source: str
    """Key of the recipe's `data` (or name of the bench) it came from."""
    verifiers: list[str]
    """Names of the verifiers that score it; the first decides correctness."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further columns a verifier or a per-subject table may need; under `prompt`, the problem as its data
    set has it (text or messages), before any template."""
    alternatives: list[str] = field(default_factory=list)
    """Further gold answers: any of them counts as `answer` does."""
    messages: list[dict[str, str]] = field(default_factory=list)
    """The prompt as messages, for an environment, or for a server with a chat template of its own, which gets
    no `tokens`."""
    environment: str | None = None
    """Name of the recipe's environment that takes part in it; None: one answer to it."""
    raw: Raw | None = None
    """None where no verifier asks for it."""
    label: str | None = None
    """What its first verifier takes for the gold answer in the place of its golds; None: these."""

    @property
    def golds(self) -> list[str]:
        """All gold answers, of which any counts."""
        return [self.answer, *self.alternatives]

    def golds_of(self, verifier: str) -> list[str]:
        """Those that the verifier of this name judges by."""
        return self.golds if self.label is None or verifier != self.verifiers[0] else [self.label]


@dataclass(slots=True, frozen=True)
class Elsewhere:
    """Stands for an array that another rank has: its length is known, and any other use of it fails."""

    length: int

    def __len__(self) -> int:
        return self.length

    def __reduce__(self) -> tuple[type[Elsewhere], tuple[int]]:
        return Elsewhere, (self.length,)  # three travel with every sample: in half the time and fewer bytes

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(f"these {self.length} numbers are on another rank")


def elsewhere(length: int) -> Any:
    """An `Elsewhere` in the place of an array."""
    return Elsewhere(length)


@cache
def _no_tokens() -> np.ndarray:
    """One for all, which travels once however many samples have it."""
    import numpy as np  # here: verifiers and diagnosis know these types and load no numpy

    return np.zeros(0, np.int32)


@cache
def _all_sampled() -> np.ndarray:
    import numpy as np

    return np.zeros(0, bool)


@dataclass(slots=True, kw_only=True)
class Completion:
    tokens: np.ndarray
    """int32 [T]: token ids after the prompt, the end-of-sequence token included. Once the groups of all ranks
    have been collected tokens and logprobs are `Elsewhere` on ranks that do not train on them."""
    logprobs: np.ndarray
    """float32 [T]: log-probability of each token as sampled; empty where nobody asked."""
    text: str
    finished: bool
    """Ended by itself (False: truncated at max_tokens)."""
    versions: np.ndarray = field(default_factory=_no_tokens)
    """int32 [T]: the weights that sampled each token, counted as finished steps of the trainer (0: the start
    model); empty where `rollout.max_staleness` is 0. `Elsewhere` as the tokens are."""
    routes: np.ndarray = field(default_factory=_no_tokens)
    """uint8 or int16 [prompt + T - 1, L, k]: the experts that the engine sent each token through, of the
    prompt too (`core/routes.py`); empty where nobody asks. `Elsewhere` as the tokens are."""
    partial: bool = False
    """Begun: more tokens are to come."""
    sampled: np.ndarray = field(default_factory=_all_sampled)
    """bool [T]: which tokens the policy has sampled; the others are what an environment said. Empty: all of
    them. Whole on every rank."""
    prompt: np.ndarray = field(default_factory=_no_tokens)
    """int32: what comes before `tokens`, where an environment has begun otherwise than the problem does;
    empty: the problem's tokens. Whole on every rank."""
    episode: Episode | None = None
    """None: one answer to one prompt."""
    prompt_length: int | None = None
    """Tokens of the prompt, as the server says that has sampled; None: it does not, or there is none."""
    probes: Probes | None = None
    """What a one-token verifier has said of it; None: none was asked."""
    earlier: list[Completion] = field(default_factory=list)
    """Sequences of the same sample before this one, each with a prompt of its own, where a history was
    rewritten: every sampled token is in the sequence in which it was sampled."""
    path: tuple[int, ...] = ()
    """Of a leaf of a tree of responses (advantage=tree): which child each node on the way to it is. `tokens`
    is then the whole response, `sampled` those that no leaf before it has, perhaps none. Empty: no tree."""

    @property
    def rows(self) -> list[Completion]:
        """All sequences of the sample."""
        return [*self.earlier, self]

    @property
    def length(self) -> int:
        """Sampled tokens, of all its sequences."""
        return sum(row.row_length for row in self.rows)

    @property
    def response_length(self) -> int:
        """`length`, or of a leaf of a tree the tokens of its whole response."""
        return len(self.tokens) if self.path else self.length

    @property
    def row_length(self) -> int:
        """Sampled tokens of this sequence."""
        return int(self.sampled.sum()) if len(self.sampled) else len(self.tokens)

    def mask(self) -> np.ndarray:
        """`sampled`, whole where it is empty too."""
        import numpy as np

        return self.sampled if len(self.sampled) else np.ones(len(self.tokens), bool)

    def after(self, problem: Problem) -> np.ndarray:
        """The prompt that the tokens follow."""
        import numpy as np

        return self.prompt if len(self.prompt) else np.asarray(problem.tokens, np.int32)


@dataclass(slots=True, kw_only=True)
class Group:
    """A problem, its G completions and what they earned."""

    problem: Problem
    index: int
    """Position of the prompt in the sampler's order: identifies the group across ranks."""
    completions: list[Completion]
    verdicts: list[dict[str, Verdict]] = field(default_factory=list)
    """Per completion: verifier name -> verdict."""
    scores: list[float] = field(default_factory=list)
    """Per completion: weighted sum over verifiers; NaN where there is no verdict."""
    parts: list[dict[str, float]] = field(default_factory=list)
    """Per completion: what each verifier that has a say, gates apart, adds to the score."""
    scales: list[tuple[float | None, float]] = field(default_factory=list)
    """Per completion: the part of its score in [0, 1] (None: no such verifier had a say) and the part that is
    `Verdict.raw`; empty where no verdict is."""
    correct: list[float] = field(default_factory=list)
    """Per completion: 1.0 where the first verifier's reason is `correct`, else 0.0; NaN without a verdict.
    The first is the first that has a say."""
    first_scores: list[float] = field(default_factory=list)
    """Per completion: score of the first verifier, partial credit included, or its `judged`. Without a
    verdict NaN, or 0 where the recipe says so."""
    rewards: list[float] = field(default_factory=list)
    """Per completion: the shaped score, which advantages are made of."""
    advantages: list[float] = field(default_factory=list)
    """Per completion: mean advantage over its tokens; NaN where it was not trained on."""
    state_values: list[np.ndarray] = field(default_factory=list)
    """Per completion: float64 [T], value of the state before each token, NaN where not measured; or empty."""
    corrections: list[float] = field(default_factory=list)
    """Per completion: factor that reweighting put on its advantage, NaN where that is 0; empty without."""
    path_values: list[list[float]] = field(default_factory=list)
    """Per completion of a tree: values of the nodes on the way to it, root and leaf included; or empty."""
    audits: dict[int, Verdict] = field(default_factory=dict)
    """Sample -> verdict of `diagnosis.second_verifier`, for those it has judged."""


@dataclass(slots=True, kw_only=True)
class Batch:
    """The sequences of one optimizer update (CPU tensors); all but the tokens is known whole to every rank.

    RL: sequence = prompt + response, trained on the response. SFT: trained on the completions.
    """

    sequences: list[np.ndarray]
    """int32 token ids of each sequence; `Elsewhere` where another rank owns it."""
    trained: list[np.ndarray]
    """bool, same lengths: which tokens have a loss (never the first of a sequence)."""
    weights_N: Tensor
    """What each trained token's loss is multiplied by before summing: 0 for masked tokens, and the
    aggregation's normaliser over the whole update, so that any split sums to the same loss."""
    rollout_logprobs_N: Tensor | None = None
    advantages_N: Tensor | None = None
    old_logprobs_N: Tensor | None = None
    """Trainer logprobs at the start of the step; None: the update is on-policy and takes its own."""
    ages_N: Tensor | None = None
    """Steps between the weights that sampled each token and those of the step's start, where that matters."""
    mismatch_scale_N: Tensor | None = None
    """Factor on the weights of `algorithm.mismatch`, which only the whole update knows."""
    ref_logprobs_N: Tensor | None = None
    teacher_logprobs_N: Tensor | None = None
    """Where the teacher's opinion is part of the advantages."""
    teacher_weights_N: Tensor | None = None
    """What each token's divergence from the teacher is multiplied by before summing; 0: it has no teacher
    there."""
    teacher_prompts: list[np.ndarray | None] | None = None
    """What the teacher reads in the place of each sequence's prompt; None: the sequence has no teacher.
    Without the list it reads what the policy reads."""
    chosen_N: Tensor | None = None
    """bool: the tokens that the loss treats apart, where it picks some of a whole update."""
    values_N: Tensor | None = None
    """The critic's values at the start of the step."""
    returns_N: Tensor | None = None
    """What the critic is trained towards."""
    labels_N: Tensor | None = None
    """What the confidence of a one-token verifier is trained towards, from 0 to 1."""
    idle_tokens: int = 0
    """Tokens with a weight of sequences that were left out because all their advantages are 0."""
    samples: list[int] = field(default_factory=list)
    """Which of the step's samples each sequence is, counted through its groups in order."""
    owners: list[int] | None = None
    """The rank that has and computes each sequence; None: every rank has all, and they are dealt."""
    routes: list[np.ndarray] | None = None
    """Of each sequence the experts that its tokens went through before (`core/routes.py`), for the ranks that
    have it; None: the trainer chooses."""
    notes: Tensor | None = None
    """[kinds, N] float32: what the update saw at each token of this rank's share, 0 elsewhere."""

    def per_token(self) -> dict[str, Tensor]:
        """The tensors there are with a number for each trained token: `weights` is `weights_N`, and so on."""
        whole = {
            "weights": self.weights_N,
            "rollout_logprobs": self.rollout_logprobs_N,
            "advantages": self.advantages_N,
            "old_logprobs": self.old_logprobs_N,
            "ages": self.ages_N,
            "mismatch_scale": self.mismatch_scale_N,
            "ref_logprobs": self.ref_logprobs_N,
            "teacher_logprobs": self.teacher_logprobs_N,
            "teacher_weights": self.teacher_weights_N,
            "chosen": self.chosen_N,
            "values": self.values_N,
            "returns": self.returns_N,
            "labels": self.labels_N,
        }
        return {name: x_N for name, x_N in whole.items() if x_N is not None}

    @property
    def lengths_B(self) -> list[int]:
        """Trained tokens of each sequence."""
        return [int(mask.sum()) for mask in self.trained]
