"""What transformers' engine gives a model for rows of prompts, where that may see images."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from rlvr_cli.vision.processor import BAN, Processor
from rlvr_cli.vision.shown import embedded, show, tower_of


def auto_class(processor: Processor | None) -> Any:
    """What loads the model: transformers has the two kinds apart."""
    import transformers

    if processor is None:
        return transformers.AutoModelForCausalLM
    return transformers.AutoModelForImageTextToText


def inputs(model: Any, processor: Processor | None, ids_BT: Tensor, positions_BT: Tensor) -> dict[str, Any]:
    """Tokens (or, with images among them, embeddings [B, T, D]) and positions, [3, B, T] where it sees."""
    if processor is None:
        return {"input_ids": ids_BT, "position_ids": positions_BT}
    device = ids_BT.device
    ids_BT, positions_3BT, shown = show(ids_BT.cpu(), positions_BT.cpu(), processor)
    ids_BT, positions = ids_BT.to(device), {"position_ids": positions_3BT.to(device)}
    if shown is None:
        return {"input_ids": ids_BT} | positions
    return embedded(model.get_decoder(), tower_of(model), ids_BT, shown.to(device), frozen=True) | positions


def ahead(model: Any, processor: Processor | None, **given: Any) -> tuple[Tensor, Any]:
    """(logits [B, T, V], the cache) of `inputs`."""
    if processor is None:
        out = model(**given)
        return out.logits, out.past_key_values
    # The whole model would take images as pixels alone: what a tower's middle layers say goes in below it.
    out = model.get_decoder()(**given)
    return model.get_output_embeddings()(out.last_hidden_state), out.past_key_values


def allowed(logits_BV: Tensor, processor: Processor | None) -> Tensor:
    """With the tokens lowered that no response may hold."""
    if processor is not None:
        logits_BV[:, list(processor.banned)] += BAN
    return logits_BV
