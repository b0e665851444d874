"""The whole user surface: every key a recipe may hold, its type, its default and what it means.

OmegaConf reads these classes, hence Enum instead of Literal, no frozen=True and no union of
dataclasses. Cross-field rules raise ValueError in __post_init__, which runs when the composed
config becomes objects. Nothing here imports torch: a bad recipe is refused in half a second.

Options of an algorithm axis and of a verifier are dataclasses beside their code
(`rlvr_cli/algorithms/*.py`, `rlvr_cli/verifiers/*.py`); `compose/` puts them in the `Any` fields.
"""

from __future__ import annotations

from rlvr_cli.schema.data import Chat, Hygiene, Source, VerifiersBy
from rlvr_cli.schema.difficulty import Difficulty, DifficultyBy, DifficultyWeight, Unprofiled
from rlvr_cli.schema.distilling import DistillationRecipe, Distilling
from rlvr_cli.schema.evaluation import Bench, Eval
from rlvr_cli.schema.experience import Editor, Experience, ExperienceBatch, ExperienceRecipe, LibraryForm
from rlvr_cli.schema.labels import Labels, LabelsKept
from rlvr_cli.schema.model import Lora, LoraInit, MaskKind, Model, Precision, TinyModel, Vision, WeightMask
from rlvr_cli.schema.one_token import OTV, ConfidenceLoss, OTVEval, OTVRecipe, PseudoLabel
from rlvr_cli.schema.overlap import OnUpdate, Overlap, TooOld
from rlvr_cli.schema.placement import Placement, Servers, Transfer
from rlvr_cli.schema.preferences import Preference, PreferenceEval, PreferenceRecipe
from rlvr_cli.schema.profile import ProfileRecipe
from rlvr_cli.schema.recipes import (
    SFT,
    EvalRecipe,
    Recipe,
    Resume,
    Server,
    ServerApi,
    SFTBatch,
    SFTEval,
    SFTRecipe,
    Stage,
    VerifyRecipe,
)
from rlvr_cli.schema.reward_modeling import RewardModeling, RewardModelRecipe
from rlvr_cli.schema.sampling import (
    Batch,
    Rollout,
    RolloutEngine,
    RolloutLora,
    RoutingReplay,
    Unscored,
    Verification,
)
from rlvr_cli.schema.select import Prune, Select, SelectBy, TraceScore
from rlvr_cli.schema.teacher import Context, Teacher, TeacherPolicy
from rlvr_cli.schema.training import (
    Checkpoint,
    Critic,
    Faults,
    Kernels,
    NonFinite,
    Offload,
    Schedule,
    Trainer,
)
from rlvr_cli.schema.watching import (
    Action,
    Actions,
    ConsoleMode,
    Controller,
    Diagnosis,
    Preflight,
    SampleFile,
    Tracker,
    WandbMode,
)

__all__ = [
    "OTV",
    "SFT",
    "Action",
    "Actions",
    "Batch",
    "Bench",
    "Chat",
    "Checkpoint",
    "ConfidenceLoss",
    "ConsoleMode",
    "Context",
    "Controller",
    "Critic",
    "Diagnosis",
    "Difficulty",
    "DifficultyBy",
    "DifficultyWeight",
    "DistillationRecipe",
    "Distilling",
    "Editor",
    "Eval",
    "EvalRecipe",
    "Experience",
    "ExperienceBatch",
    "ExperienceRecipe",
    "Faults",
    "Hygiene",
    "Kernels",
    "Labels",
    "LabelsKept",
    "LibraryForm",
    "Lora",
    "LoraInit",
    "MaskKind",
    "Model",
    "NonFinite",
    "OTVEval",
    "OTVRecipe",
    "Offload",
    "OnUpdate",
    "Overlap",
    "Placement",
    "Precision",
    "Preference",
    "PreferenceEval",
    "PreferenceRecipe",
    "Preflight",
    "ProfileRecipe",
    "Prune",
    "PseudoLabel",
    "Recipe",
    "Resume",
    "RewardModelRecipe",
    "RewardModeling",
    "Rollout",
    "RolloutEngine",
    "RolloutLora",
    "RoutingReplay",
    "SFTBatch",
    "SFTEval",
    "SFTRecipe",
    "SampleFile",
    "Schedule",
    "Select",
    "SelectBy",
    "Server",
    "ServerApi",
    "Servers",
    "Source",
    "Stage",
    "Teacher",
    "TeacherPolicy",
    "TinyModel",
    "TooOld",
    "TraceScore",
    "Tracker",
    "Trainer",
    "Transfer",
    "Unprofiled",
    "Unscored",
    "Verification",
    "VerifiersBy",
    "VerifyRecipe",
    "Vision",
    "WandbMode",
    "WeightMask",
]
