"""Attention over sequences laid end to end in one row: no padding, no mask, nothing of the square of the row.

On CUDA one call of a kernel for ragged sequences (flash-attn's where it is installed, else torch's own),
elsewhere one scaled-dot-product call for every run of sequences of equal length. transformers calls it by its
name, `PACKED`.
"""

from __future__ import annotations

import importlib.util
import inspect
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from rlvr_cli.engine.ulysses import Ulysses

PACKED = "rlvr_packed"
"""Name under which transformers finds `packed_attention`."""
WINDOWED = {"full_attention", "sliding_attention"}
"""Kinds of layers that `packed_attention` computes."""
FOREIGN = ("s_aux", "softcap", "position_bias", "indices")
"""Arguments with which a model asks for more than softmax(QK')V; `packed_attention` has none of it."""


@dataclass(frozen=True, slots=True)
class Layout:
    """S sequences of a row of T tokens, together E tokens; best with equal lengths side by side.

    E is more than T where sequences share a prompt, which is in the row once.
    """

    lengths: tuple[int, ...]
    """Of the S sequences."""
    starts: Tensor
    """int32 [S + 1]: where each begins among the E tokens, and E."""
    expand: Tensor | None = None
    """[E]: index into the row of each token; None: the row as it lies."""
    collect: Tensor | None = None
    """[T]: index into the E tokens of each token of the row."""
    ulysses: Ulysses | None = None
    """The ranks the row is cut over, a piece each; None: it is whole."""

    @property
    def longest(self) -> int:
        return max(self.lengths)

    @property
    def width(self) -> int:
        """T"""
        return sum(self.lengths) if self.collect is None else len(self.collect)

    def to(self, device: torch.device) -> Layout:
        expand, collect = self.expand, self.collect
        return Layout(
            self.lengths,
            self.starts.to(device),
            None if expand is None else expand.to(device),
            None if collect is None else collect.to(device),
            self.ulysses,
        )


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    layout: Layout | None = None,
    **more: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each sequence to itself.

    query [1, H, T, D], key and value [1, K, T, D] -> [1, T, H, D]. Without a layout the row is one sequence.
    Where the row is cut over ranks these are of the own piece, and so is what comes back.
    Raises NotImplementedError where the model wants what this has not.
    """
    wanted = [name for name in FOREIGN if more.get(name) is not None]
    if wanted or not getattr(module, "is_causal", True) or attention_mask is not None:
        raise NotImplementedError(
            f"packed attention has no {', '.join(wanted) or 'masks'}; set model.attention=eager"
        )
    length = query.shape[2]
    if layout is None:
        layout = Layout((length,), torch.tensor([0, length], dtype=torch.int32, device=query.device))
    ragged = [x[0].transpose(0, 1) for x in (query, key, value)]  # [T, heads, D]
    if layout.ulysses is not None:
        ragged = layout.ulysses.by_heads(ragged, layout.width)
    if layout.expand is not None:
        ragged = [x[layout.expand] for x in ragged]
    window = sliding_window if sliding_window and sliding_window < layout.longest else None
    kernel = ragged_kernel(query, dropout)
    if kernel == "flash_attn":
        out_EHD = _flash_attn(ragged, layout, scaling, dropout, window)
    elif kernel == "torch":
        out_EHD = _varlen(ragged, layout, scaling, window)
    else:
        out_EHD = by_runs(ragged, layout.lengths, scaling, dropout, window)
    if layout.collect is not None:
        out_EHD = out_EHD[layout.collect]
    if layout.ulysses is not None:
        out_EHD = layout.ulysses.by_tokens(out_EHD)
    return out_EHD[None], None


def by_runs(
    ragged: list[Tensor], lengths: tuple[int, ...], scaling: float | None, dropout: float, window: int | None
) -> Tensor:
    """One call for every run of equal lengths, whose tokens are a batch as they lie: [E, H, D]."""
    parts = []
    runs = [(length, len(list(run))) for length, run in groupby(lengths)]
    spans = zip(*(x.split([length * count for length, count in runs]) for x in ragged), strict=True)
    for (length, count), span in zip(runs, spans, strict=True):
        query, key, value = (x.unflatten(0, (count, length)).transpose(1, 2) for x in span)
        if window is not None and window < length:
            out = _windowed(query, key, value, scaling, dropout, window)
        else:
            out = scaled_dot_product_attention(
                query, key, value, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=True
            )
        parts.append(out.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)


def _windowed(
    query: Tensor, key: Tensor, value: Tensor, scaling: float | None, dropout: float, window: int
) -> Tensor:
    """Attention of [n, heads, length, D] to the last `window` tokens, in blocks of as many queries.

    A block's mask is [window, 2 window] at most.
    """
    length, parts = query.shape[2], []
    for start in range(0, length, window):
        stop, first = min(start + window, length), max(0, start - window + 1)
        queries = torch.arange(start, stop, device=query.device)[:, None]
        keys = torch.arange(first, stop, device=query.device)
        parts.append(
            scaled_dot_product_attention(
                query[:, :, start:stop],
                key[:, :, first:stop],
                value[:, :, first:stop],
                attn_mask=(keys <= queries) & (keys > queries - window),
                dropout_p=dropout,
                scale=scaling,
                enable_gqa=True,
            )
        )
    return torch.cat(parts, 2)


def ragged_kernel(query: Tensor, dropout: float) -> str | None:
    """`flash_attn` or `torch`, where that computes such a query [1, H, T, D]; None: neither."""
    if not query.is_cuda or query.dtype not in (torch.float16, torch.bfloat16) or query.shape[-1] > 256:
        return None
    if installed("flash_attn"):
        return "flash_attn"
    return "torch" if installed("torch.nn.attention.varlen") and not dropout else None


@cache
def installed(module: str) -> bool:
    """Looked up once: every layer of every micro-batch asks."""
    return importlib.util.find_spec(module) is not None


def _flash_attn(
    ragged: list[Tensor], layout: Layout, scaling: float | None, dropout: float, window: int | None
) -> Tensor:
    from flash_attn import flash_attn_varlen_func

    out: Tensor = flash_attn_varlen_func(
        *ragged,
        layout.starts,
        layout.starts,
        layout.longest,
        layout.longest,
        dropout_p=dropout,
        softmax_scale=scaling,
        causal=True,
        window_size=(-1, -1) if window is None else (window - 1, 0),
    )
    return out


def _varlen(ragged: list[Tensor], layout: Layout, scaling: float | None, window: int | None) -> Tensor:
    """torch's, whose arguments have changed: `is_causal` before 2.11, `enable_gqa` after."""
    from torch.nn.attention import varlen

    call: Any = varlen.varlen_attn
    known = arguments_of(call)
    if "window_size" in known:
        how: dict[str, Any] = {"window_size": (-1 if window is None else window - 1, 0)}
    elif window is None:
        how = {"is_causal": True}
    else:
        return by_runs(ragged, layout.lengths, scaling, 0.0, window)
    query, key, value = ragged
    if "enable_gqa" in known:
        how["enable_gqa"] = True
    else:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    if "scale" in known:
        how["scale"] = scaling
    elif scaling is not None:  # the kernel's own is 1 / sqrt(D)
        query = query * (scaling * query.shape[-1] ** 0.5)
    out: Tensor = call(query, key, value, layout.starts, layout.starts, layout.longest, layout.longest, **how)
    return out


@cache
def arguments_of(call: Any) -> frozenset[str]:
    return frozenset(inspect.signature(call).parameters)


def arguments(model: Any, layout: Layout | None) -> dict[str, Any]:
    """What a transformers model is called with besides tokens and positions for a row that lies like this.

    Its own flash attention is told where the sequences lie: from positions it would guess it for single rows
    only.
    """
    if layout is None:
        return {}
    if model.config._attn_implementation == PACKED:
        return {"layout": layout}
    ends = {"cu_seq_lens_q": layout.starts, "cu_seq_lens_k": layout.starts}
    return ends | {"max_length_q": layout.longest, "max_length_k": layout.longest}


def register() -> None:
    """Make the name known to transformers, with no mask. Calling it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED, packed_attention)
    AttentionMaskInterface.register(PACKED, lambda *args, **kwargs: None)


def suited(hf: Any) -> str | None:
    """The implementation for this model by what it says of itself; None: transformers' choice, padded."""
    text = hf.config.get_text_config()
    if getattr(text, "attn_logit_softcapping", None) is not None:
        return "eager"  # sdpa leaves the cap out without a word
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    return PACKED if hf._supports_attention_backend and hf._supports_sdpa and kinds <= WINDOWED else None


def for_language(hf: Any, name: str) -> str | dict[str, str]:
    """The implementation for the language part of a model alone, where it has another."""
    text = hf.config.get_text_config()
    return name if text is hf.config else {"text_config": name}


def pads(hf: Any) -> bool:
    """Whether the implementation this model has been given needs rows of one sequence each."""
    name = hf.config.get_text_config()._attn_implementation
    return name != PACKED and not name.startswith("flash_attention")


def shares_prompts(hf: Any) -> bool:
    """Whether a prompt may be in a row once for several sequences."""
    return bool(hf.config.get_text_config()._attn_implementation == PACKED)
