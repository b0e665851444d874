"""`--reward`: a file with a function of the user's, or a reward model, as a verifier's settings."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from rlvr_cli import verifiers
from rlvr_cli.core.errors import UserError
from rlvr_cli.core.model_paths import resolve_model
from rlvr_cli.schema import Verification

USUAL = ("compute_score", "reward", "reward_func", "reward_fn", "score")


def settings_of(given: str) -> dict[str, Any]:
    """Settings of a verifier with its name. UserError where there is no such function or model."""
    path, _, function = given.partition(":")
    if not path.endswith(".py"):
        return {"name": "reward_model", "path": resolve_model(given, "--reward")}
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"--reward: there is no file {path}")
    try:
        tree = ast.parse(file.read_text())
    except (SyntaxError, ValueError) as error:
        raise UserError(f"--reward: {path} is no Python: {error}") from error
    known = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name[0] != "_"
    ]
    chosen = (
        function
        or next((name for name in USUAL if name in known), None)
        or (known[0] if len(known) == 1 else "")
    )
    if chosen.split(".")[0] not in known:
        what = f"no function '{function}'" if function else "several functions" if known else "no function"
        raise UserError(
            f"--reward: {path} has {what}; name one with --reward {path}:FUNCTION (it has "
            f"{', '.join(known) or 'none'})"
        )
    return {"name": "python", "path": path, "function": chosen}


def described(settings: dict[str, Any]) -> str:
    """How the function will be called, as the verifier finds it out in a process of its own. UserError where
    it
    cannot be imported or called."""
    if settings["name"] != "python":
        return ""
    verifier: Any = verifiers.find("python")(
        **{key: value for key, value in settings.items() if key != "name"}
    )
    verifier.limits(Verification())
    return str(verifier.describe(None, Verification().timeout_s)[0])
