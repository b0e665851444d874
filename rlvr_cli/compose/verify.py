"""The options of `rlvr verify` and `rlvr serve-verifier` -> verifiers and a source, checked like a recipe."""

from __future__ import annotations

from typing import Any

from rlvr_cli.compose import files, slips, user_code
from rlvr_cli.compose.overrides import apply, parse
from rlvr_cli.compose.strict import Place, build
from rlvr_cli.core import shipped_recipes
from rlvr_cli.core.errors import UserError, hint
from rlvr_cli.schema import VerifyRecipe


def load_verify(
    verifiers: list[str], options: list[str], data: str | None, overrides: list[str]
) -> VerifyRecipe:
    """`verifiers`: entries of conf/verifier, each under its own name; `options`: key=value for the only one.

    `data`: an entry of conf/data or conf/bench (whose verifier serves where none is named), or a path.
    """
    if options and len(verifiers) != 1:
        raise UserError("--option is for one verifier; of several, set verifiers.NAME.KEY=VALUE")
    settings = parse([*(f"verifiers.{verifiers[0]}.{option}" for option in options), *overrides])
    plugins, places = user_code.of_recipe(None, settings)
    known = slips.entries("verifier")
    for name in verifiers:
        if name not in known:
            raise UserError(f"there is no verifier '{name}'{hint(name, known)}")
    command = parse(
        [*(f"+verifier@verifiers.{name}={name}" for name in verifiers), *_data_group(data, verifiers)]
    )
    if settings.groups:
        raise UserError(f"{settings.groups[0]}: groups belong to recipes; name verifiers with --verifier")
    tree = files.compose(None, command)
    bench: dict[str, Any] = tree.pop("bench", {})
    if bench:
        tree["source"] = bench["source"]
        if not verifiers:
            tree["verifiers"] = {bench["verifier"]["name"]: bench["verifier"]}
    elif data is not None and "source" not in tree:
        tree["source"] = {"path": data}
    tree = apply(settings.values, tree) | {"plugins": plugins}
    if not tree.get("verifiers"):
        raise UserError(f"name a verifier: --verifier NAME{hint('', known)}")
    recipe = build(VerifyRecipe, tree, Place("command line", settings.keys(), places))
    for name, verifier in recipe.verifiers.items():
        if hasattr(verifier, "of_sample"):
            raise UserError(
                f"verifier '{name}' reads what an environment gave to an episode, and these are texts alone; "
                "rlvr eval --from RESULT judges stored episodes"
            )
        if getattr(verifier, "evolve_every", None) is not None:
            raise UserError(f"verifiers.{name}.evolve_every is for training; leave it out")
    return recipe


def _data_group(data: str | None, verifiers: list[str]) -> list[str]:
    """Training data where both have that name, unless only the bench says what verifies it."""
    groups = {"data": f"+data@source={data}", "bench": f"+bench@bench={data}"}
    found = [text for group, text in groups.items() if data in shipped_recipes.options(group)]
    return found[:1] if verifiers else found[-1:]
