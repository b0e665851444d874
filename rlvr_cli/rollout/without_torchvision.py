"""What vLLM needs to look at images on a machine without torchvision: four repairs, all in this process.

torch's CPU build has no torchvision that fits (the CUDA build of 0.28 fails to import beside 2.13.0+cpu),
and nothing of what is done here needs it: images are processed with PIL. Pinned, as it uses private parts:
vLLM 0.32.0 with transformers 5.15 to 5.19, where each repair was needed and enough. Where torchvision is
there nothing is changed.

1. vLLM imports `smart_resize` from transformers' module for torchvision; its twin for PIL has the same one.
2. vLLM looks at a model's class in a child process, which has none of these repairs: it is given the class.
3. transformers' processor of a model wants one for videos too, which needs torchvision: it is left out.
4. vLLM asks that one for the names of its arguments and for sizes, so something that has them stands in its
   place.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib import import_module
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from rlvr_cli.core.errors import UserError

VLLM = "0.32.0"
TRANSFORMERS = ((5, 15), (5, 20))
"""From the first on, below the second."""
KINDS = {"Qwen2VL": "qwen2_vl", "Qwen2_5_VL": "qwen2_5_vl", "Qwen3VL": "qwen3_vl"}
"""What the classes of a kind of model begin with, and vLLM's module of it."""
OF_VIDEOS = {"temporal_patch_size": 2, "size": {"shortest_edge": 4096, "longest_edge": 25_165_824}}
"""Of a processor of videos, of which there are none: vLLM works out how large one could be."""
BESIDE = "transformers.models.qwen2_vl.image_processing"


def repair() -> None:
    """Make what is missing; calling it again changes nothing.

    Raises UserError where torchvision is missing and the versions are others than those this is written for.
    """
    if importlib.util.find_spec("torchvision") is not None:
        return
    import vllm

    found = tuple(int(part) for part in version("transformers").split(".")[:2])
    low, high = TRANSFORMERS
    if vllm.__version__.split("+")[0] != VLLM or not low <= found < high:
        raise UserError(
            f"rollout=vllm looks at images with torchvision, or without it in vLLM {VLLM} with transformers "
            f"{'.'.join(map(str, low))} to {high[0]}.{high[1] - 1}; install torchvision, or take rollout=hf"
        )
    import transformers
    import transformers.models.qwen2_vl.image_processing_pil_qwen2_vl as pil
    from transformers.processing_utils import VideosKwargs
    from vllm import ModelRegistry

    sys.modules.setdefault(f"{BESIDE}_qwen2_vl", pil)
    for name in KINDS:
        processor: Any = getattr(transformers, f"{name}Processor")
        processor.get_attributes = classmethod(lambda cls: ["image_processor", "tokenizer"])
        processor.video_processor = SimpleNamespace(valid_kwargs=VideosKwargs, **OF_VIDEOS)
        causal = f"{name}ForConditionalGeneration"
        module = import_module(f"vllm.model_executor.models.{KINDS[name]}")
        ModelRegistry.register_model(causal, getattr(module, causal))
