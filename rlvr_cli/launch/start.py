"""Recipe -> ranks: what they run on, in which directory, and who starts them."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

from rlvr_cli import compose
from rlvr_cli.compose import find_plugins
from rlvr_cli.core.errors import UserError, told
from rlvr_cli.core.model_paths import resolve_model
from rlvr_cli.core.rank_process import die_with_parent, free_port, library_defaults, rank_environment
from rlvr_cli.core.recorded_code import recorded
from rlvr_cli.dry_run.look import look
from rlvr_cli.launch import prerequisites, rank, run_directory
from rlvr_cli.launch.directory_lock import lock
from rlvr_cli.launch.external_ranks import joined_ranks, on_its_gpu
from rlvr_cli.launch.supervise import run_to_end, supervise
from rlvr_cli.schema import (
    DistillationRecipe,
    EvalRecipe,
    ExperienceRecipe,
    OTVRecipe,
    PreferenceRecipe,
    ProfileRecipe,
    Recipe,
    RewardModelRecipe,
    SFTRecipe,
)

ENTRIES: dict[type, str] = {
    Recipe: "rlvr_cli.training.loop:rl",
    SFTRecipe: "rlvr_cli.training.sft:sft",
    PreferenceRecipe: "rlvr_cli.training.preferences:preferences",
    RewardModelRecipe: "rlvr_cli.training.reward_model:reward_model",
    DistillationRecipe: "rlvr_cli.training.kd:kd",
    OTVRecipe: "rlvr_cli.training.otv:otv",
    EvalRecipe: "rlvr_cli.evaluation.evaluate:evaluate",
    ProfileRecipe: "rlvr_cli.evaluation.profile:profile",
    ExperienceRecipe: "rlvr_cli.experience.learn:learn",
}


def launch(recipe: compose.AnyRecipe, entry: str | None = None) -> int:
    """Run the recipe to its end on every rank; returns the exit code of the command."""
    os.environ["RLVR_STARTED"] = str(time.time())  # checkpoint.must_save_by counts from here
    recipe, out = resolve(recipe)
    entry = entry or ENTRIES[type(recipe)]
    found = joined_ranks(os.environ)
    first = found is None or found["RANK"] == "0"
    if (
        entry == ENTRIES[type(recipe)]
        and not found
        and (done := run_directory.finished(recipe, out)) is not None
    ):
        print(f"rlvr: {done}", file=sys.stderr, flush=True)
        return rank.OK
    for line in look(recipe).warnings if first else []:
        print(f"rlvr: warning: {line}", file=sys.stderr, flush=True)
    gpus = prerequisites.count_gpus()
    joined = on_its_gpu(found, gpus) if found else None
    local = int(joined["LOCAL_WORLD_SIZE"]) if joined else ranks_here(recipe, gpus)
    prerequisites.check_groups(recipe, int(joined["WORLD_SIZE"]) if joined else local)
    if not isinstance(recipe, SFTRecipe):
        prerequisites.check_split(recipe.rollout, int(joined["WORLD_SIZE"]) if joined else local)
    os.environ.update(library_defaults(local, gpus))
    if joined and joined["RANK"] != "0":  # rank 0 prepares the directory; all composed the same recipe
        return run_here(recipe, out, entry, joined)
    find_plugins.tell()
    with lock(out):
        news = run_directory.prepare(recipe, out)
        print(f"rlvr: {news}; log: {rank.log_path(out, 0)}", file=sys.stderr, flush=True)
        if joined or (isinstance(recipe, EvalRecipe) and local == 1):
            if not joined and recorded(out):  # as ranks that are started: from the copies
                recipe = compose.read(out / "recipe.yaml")
            return run_here(recipe, out, entry, joined or rank_environment(0, 1, free_port()))
        if isinstance(recipe, EvalRecipe):  # not started again: what it has sampled is kept for who does
            return run_to_end(out, entry, local)
        return supervise(out, entry, local, recipe.faults)


def ranks_here(recipe: compose.AnyRecipe, gpus: int) -> int:
    """How many ranks to start on this machine."""
    if not isinstance(recipe, EvalRecipe):
        left = gpus if isinstance(recipe, SFTRecipe) else prerequisites.beside_servers(recipe.rollout, gpus)
        return prerequisites.count_ranks(recipe.trainer.ranks, left)
    if recipe.server.url is not None or recipe.rescore:  # no engine
        return 1
    left = prerequisites.beside_servers(recipe.rollout, gpus)
    return prerequisites.count_ranks(recipe.ranks, left, "ranks")


def run_here(recipe: compose.AnyRecipe, out: Path, entry: str, variables: dict[str, str]) -> int:
    """Be the rank these variables describe: an evaluation, or one of those that torchrun or srun started.

    A joined rank watches itself; restarts are its launcher's affair.
    """
    if rank.TORCHRUN in os.environ:  # killed, torchrun would leave its ranks behind
        die_with_parent(os.getppid())
    os.environ.update(variables)
    number = int(variables["RANK"])
    hang_s = None if isinstance(recipe, EvalRecipe) else recipe.faults.hang_s
    code = rank.run(recipe, out, entry, hang_s)
    if code in (rank.OK, rank.STOPPED, rank.INTERRUPTED):
        return code
    report = rank.read_report(out, number)
    assert report is not None  # `run` has written it
    if code == rank.USER_ERROR:
        raise UserError(report.cause)
    print(f"rlvr: failed: {told(report.cause)} ({report.where}, rank {number})", file=sys.stderr)
    print(f"rlvr: log: {rank.log_path(out, number)}", file=sys.stderr)
    return rank.FAILED


def resolve(recipe: compose.AnyRecipe) -> tuple[compose.AnyRecipe, Path]:
    """The recipe with its model found and its directory decided, checked before anything is written."""
    given = recipe.model.path
    prerequisites.check_tracker(recipe.tracker)
    if isinstance(recipe, EvalRecipe) and recipe.rescore:
        return _resolve_rescoring(recipe)
    if not (isinstance(recipe, EvalRecipe) and recipe.server.chat):  # there it may be a mere name
        recipe = replace(recipe, model=replace(recipe.model, path=resolve_model(given)))
    if isinstance(recipe, Recipe) and recipe.critic.path is not None:
        found = resolve_model(recipe.critic.path, "critic.path", ("critic", "final"))
        recipe = replace(recipe, critic=replace(recipe.critic, path=found))
    if isinstance(recipe, Recipe | DistillationRecipe) and recipe.teacher.path is not None:
        found = resolve_model(recipe.teacher.path, "teacher.path")
        recipe = replace(recipe, teacher=replace(recipe.teacher, path=found))
    if not isinstance(recipe, SFTRecipe) and not (isinstance(recipe, EvalRecipe) and recipe.server.url):
        prerequisites.check_engine(recipe.rollout)
    if isinstance(recipe, EvalRecipe) and recipe.out is None:
        recipe = replace(recipe, out=str(eval_directory(given)))
    assert recipe.out is not None
    return recipe, Path(recipe.out).expanduser()


def _resolve_rescoring(recipe: EvalRecipe) -> tuple[EvalRecipe, Path]:
    """Results go into `rescored/` beside the samples, never over them; the model need not be there."""
    folders = [Path(path).parent for path in recipe.rescore.values()]
    out = Path(recipe.out or folders[0] / "rescored").expanduser()
    if any(out.resolve() == folder.resolve() for folder in folders):
        raise UserError(f"out={out} would replace the results that are judged anew; set another one")
    return replace(recipe, out=str(out)), out


def eval_directory(model: str) -> Path:
    """`eval/` of the run the model belongs to, else a directory of its own under runs/."""
    for folder in (Path(model), Path(model).parent):
        if (folder / "recipe.yaml").is_file():
            return folder / "eval"
    return Path("runs") / f"eval-{model.strip('./').replace('/', '--').replace(':', '-')}"
