"""How long `rlvr inspect weights` takes on two models with the shapes of Qwen2.5-1.5B, and how much memory.

    OMP_NUM_THREADS=2 python benchmarks/weights.py --folder /tmp/weights

Writes both models first, random weights and the same with a small update, 6.2 GB together, where they are not
there yet. The command runs in a process of its own, whose peak of resident memory is the operating system's
number; files that it maps count in it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import Process
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

HIDDEN, WIDE, HEADS, KV_HEADS, HEAD, VOCABULARY = 1536, 8960, 12, 2, 128, 151_936
UPDATE = 3e-5
"""Standard deviation of the update; that of the weights is 0.02."""


def shapes(layer: int) -> dict[str, tuple[int, ...]]:
    queries, keys = HEADS * HEAD, KV_HEADS * HEAD
    found: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj.weight": (queries, HIDDEN),
        "self_attn.q_proj.bias": (queries,),
        "self_attn.k_proj.weight": (keys, HIDDEN),
        "self_attn.k_proj.bias": (keys,),
        "self_attn.v_proj.weight": (keys, HIDDEN),
        "self_attn.v_proj.bias": (keys,),
        "self_attn.o_proj.weight": (HIDDEN, queries),
        "mlp.gate_proj.weight": (WIDE, HIDDEN),
        "mlp.up_proj.weight": (WIDE, HIDDEN),
        "mlp.down_proj.weight": (HIDDEN, WIDE),
        "input_layernorm.weight": (HIDDEN,),
        "post_attention_layernorm.weight": (HIDDEN,),
    }
    return {f"model.layers.{layer}.{name}": shape for name, shape in found.items()}


def shards(layers: int, vocabulary: int) -> Iterator[dict[str, tuple[int, ...]]]:
    yield {"model.embed_tokens.weight": (vocabulary, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(layers):
        yield shapes(layer)


def write(folders: list[Path], layers: int, vocabulary: int) -> None:
    """The base, and the base with an update, in a file for each layer."""
    torch.manual_seed(0)
    index: dict[str, str] = {}
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    for number, shard in enumerate(shards(layers, vocabulary)):
        base = {name: torch.randn(shape).mul_(0.02) for name, shape in shard.items()}
        file = f"model-{number:05}.safetensors"
        save_file(_stored(base), folders[0] / file)
        for weight in base.values():
            weight.add_(torch.randn_like(weight), alpha=UPDATE)
        save_file(_stored(base), folders[1] / file)
        index |= dict.fromkeys(shard, file)
    for folder in folders:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))


def _stored(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: weight.bfloat16() for name, weight in weights.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=Path("runs/weights"), help="where the two models are")
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--json", type=Path, help="write what was measured")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="of rlvr inspect weights")
    options = parser.parse_args()
    folders = [options.folder / name for name in ("base", "tuned")]
    if not all((folder / "model.safetensors.index.json").exists() for folder in folders):
        # In a process of its own: a child's peak begins with its parent's size.
        made = Process(target=write, args=(folders, options.layers, options.vocabulary))
        made.start()
        made.join()
    command = [sys.executable, "-m", "rlvr_cli", "inspect", "weights", *map(str, folders), *options.options]
    begun = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": used.ru_utime + used.ru_stime,
        "peak_bytes": used.ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
    }
    print(done.stdout)
    print(
        f"{found['seconds']:.1f} s, {found['cpu_seconds']:.1f} s of all cores, "
        f"peak {found['peak_bytes'] / 1e9:.2f} GB, {found['threads']} threads"
    )
    if options.json:
        options.json.write_text(json.dumps(found | {"said": done.stdout}, indent=1))


if __name__ == "__main__":
    main()
