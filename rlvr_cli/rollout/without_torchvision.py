"""What vLLM needs to look at images on a machine without torchvision: four repairs, all in this process.

torch's CPU build has no torchvision that fits (the CUDA build of 0.28 fails to import beside 2.13.0+cpu),
and nothing of what is done here needs it: images are processed with PIL. Pinned, as it uses private parts:
vLLM 0.32.0 with transformers 5.15 to 5.19, where each repair was needed and enough. Where torchvision is
there nothing is changed.

1. vLLM imports `smart_resize` from transformers' module for torchvision; its twin for PIL has the same one.
2. vLLM looks at a model's class in a child process, which has none of these repairs: it is given the class.
3. transformers' processor of a model wants one for videos too, which needs torchvision: it is left out.
4. vLLM asks that one for the names of its arguments, so something that has them stands in its place.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

from rlvr_cli.core.errors import UserError

VLLM = "0.32.0"
TRANSFORMERS = ((5, 15), (5, 20))
"""From the first on, below the second."""
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
    import transformers.models.qwen2_vl.image_processing_pil_qwen2_vl as pil
    from transformers import Qwen2_5_VLProcessor
    from transformers.processing_utils import VideosKwargs

    sys.modules.setdefault(f"{BESIDE}_qwen2_vl", pil)
    processor: Any = Qwen2_5_VLProcessor
    processor.get_attributes = classmethod(lambda cls: ["image_processor", "tokenizer"])
    processor.video_processor = SimpleNamespace(valid_kwargs=VideosKwargs)
    from vllm import ModelRegistry
    from vllm.model_executor.models.qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

    ModelRegistry.register_model("Qwen2_5_VLForConditionalGeneration", Qwen2_5_VLForConditionalGeneration)
