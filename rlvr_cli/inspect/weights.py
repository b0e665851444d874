"""`rlvr inspect weights`: models made of one base, compared with it weight by weight."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rlvr_cli.core.errors import UserError
from rlvr_cli.inspect.changed import changed_in_bf16
from rlvr_cli.inspect.entries import Compared, compare_entries
from rlvr_cli.inspect.folder import Folder, place
from rlvr_cli.inspect.measured import Measured, Weight
from rlvr_cli.inspect.spectra import EXACT_SIDE, Options, base_of, directions


def inspect(
    base: str, tuned: list[str], options: Options | None, tell: Callable[[int, int], None] = lambda *_: None
) -> Measured:
    """Compare models with their base. UserError where one cannot be read, or nothing is in common.

    `options`: None leaves directions out; `tell` hears how many weights are done, and of how many.
    """
    before = Folder(base, "BASE")
    after = [Folder(path, f"TUNED {path}") for path in tuned]
    measured = Measured(base, list(tuned), options)
    names = _in_common(measured, before, after)
    for done, name in enumerate(names):
        tell(done, len(names))
        measured.weights.append(_weight(name, before, after, options))
    tell(len(names), len(names))
    measured.told += _caveats(measured, before, after)
    return measured


def _weight(name: str, before: Folder, after: list[Folder], options: Options | None) -> Weight:
    layer, kind = place(name)
    shape = before.weights[name].shape
    entries = compare_entries(name, before, after)
    plain = Weight(name, layer, kind, shape, entries)
    if options is None or layer is None or not has_directions(shape, entries):
        return plain
    w0 = before.read(name)
    base = base_of(w0, options)
    found = []
    for folder in after:
        w1 = folder.read(name)
        found.append(directions(base, w1, changed_in_bf16(w0, w1), options))
    top = base.spectrum.values[: options.rank].tolist()
    return Weight(name, layer, kind, shape, entries, found, top, base.principal_not_low)


def has_directions(shape: tuple[int, ...], entries: Compared) -> bool:
    """A finite matrix."""
    return len(shape) == 2 and min(shape) > 1 and not any(each.not_finite for each in entries.models)


def _in_common(measured: Measured, base: Folder, tuned: list[Folder]) -> list[str]:
    """Weights of every model with the same shape, by layer and name; the others are told."""
    names = set(base.weights)
    for given, folder in zip(measured.models, tuned, strict=True):
        missing = sorted(set(base.weights) - set(folder.weights))
        more = sorted(set(folder.weights) - set(base.weights))
        here = set(base.weights) & set(folder.weights)
        other = sorted(name for name in here if folder.weights[name].shape != base.weights[name].shape)
        for found, what in ((missing, "not in"), (more, "only in"), (other, "of another shape in")):
            if found:
                are = "weight is" if len(found) == 1 else "weights are"
                measured.told.append(f"{len(found)} {are} {what} {given}, such as {found[0]}: left out")
        names = (names & here) - set(other)
    if not names:
        raise UserError(f"{measured.base} and the others have no weight of the same name and shape in common")
    return sorted(names, key=in_order)


def in_order(name: str) -> tuple[bool, int, str]:
    """Sorts names: what is outside of layers, then layer by layer."""
    layer, _ = place(name)
    return layer is not None, layer or 0, name


def _caveats(measured: Measured, base: Folder, tuned: list[Folder]) -> Iterator[str]:
    for model, (given, folder) in enumerate(zip(measured.models, tuned, strict=True)):
        broken = [weight for weight in measured.weights if weight.entries.models[model].not_finite]
        if broken:
            count = sum(weight.entries.models[model].not_finite for weight in broken)
            yield (
                f"{count} entries are NaN or infinite in {given} or its base, such as in {broken[0].name}; "
                "weights with such entries have no directions"
            )
        stored = {each.dtype for each in (*base.weights.values(), *folder.weights.values())}
        if other := sorted(stored - {"BF16"}):
            share = measured.total().kept_as_stored(model)
            yield (
                f"{given}: weights are stored as {', '.join(other)}; sparsity is that of bf16 copies, which "
                f"hide small updates. As stored {share:.1%} of the entries are the same"
            )
    stacked = [weight for weight in measured.weights if weight.counted and len(weight.shape) > 2]
    if stacked and measured.options is not None:
        yield f"{len(stacked)} stacked weights, such as {stacked[0].name}, have no directions"
    if any(not each.exact for weight in measured.weights for each in weight.directions):
        yield (
            f"of matrices whose smaller side is above {EXACT_SIDE} the singular values and directions are "
            "estimates of the largest; --exact computes all"
        )
