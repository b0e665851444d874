"""Whether weight syncs leave anything behind: `python benchmarks/soak.py --syncs 10000`.

An engine takes the weights of a transformers model again and again, each time others, as after every step,
and is probed now and then; every hundred syncs it samples. With `--adapters` it keeps the start model, and is
sent adapters (`rollout.lora=adapter`). Resident memory of this process and of all that
it has started is noted on the way. The first tenth is for what fills up once (allocator, caches), for which
the engine samples once in so many numbers of sequences that oneDNN has as many kernels as it keeps. Exit
code 1 where the memory after the last sync is more than 2 % above that after the first tenth.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from time import perf_counter
from typing import Any

import psutil
from quiet import quiet

from rlvr_cli.core.rank_process import library_defaults
from rlvr_cli.schema import Lora, Model, Placement, Precision, Rollout, RolloutLora, TinyModel

SHAPE = TinyModel(hidden_size=64, layers=2, heads=2, kv_heads=1)
PROBE = list(range(4, 68))
LORA = Lora(rank=4, alpha=8.0)
LIMIT = 1.02


def resident() -> int:
    """Bytes of this process and of those below it, without files: pages of libraries come and go with what
    else the machine does. What they share is counted in each."""
    own = psutil.Process()
    return sum(map(_own_memory, (own, *own.children(recursive=True))))


def _own_memory(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def soak(options: Namespace, folder: Path, placement: Placement) -> dict[str, Any]:
    """Syncs, seconds of one, and resident MiB along the way."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import AutoModelForCausalLM

    from rlvr_cli.engine.model import load_tokenizer
    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.rollout import Request, Sampling, make_engine

    make_tiny(folder, SHAPE, seed=0)
    net: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    more: dict[str, Any] = {"out": folder} if placement is Placement.servers else {}
    weights, trained = net.named_parameters, [*net.parameters()]
    if options.adapters:
        adapted = get_peft_model(
            net, LoraConfig(r=LORA.rank, lora_alpha=LORA.alpha, target_modules=LORA.targets)
        )
        weights, more = get_peft_model_state_dict(adapted).items, more | {"lora": LORA}
        trained = [each for each in net.parameters() if each.requires_grad]
    way = RolloutLora.adapter if options.adapters else RolloutLora.merged
    engine = make_engine(
        Rollout(kv_cache_gb=0.25, placement=placement, lora=way),
        path=str(folder),
        tokenizer=load_tokenizer(Model(path=str(folder))),
        eos=[1],
        seed=0,
        precision=Precision.fp32,
        max_model_len=256,
        **more,
    )
    requests = [Request(key=n, tokens=[4, 5, 6, n % 50], samples=4, seed=n) for n in range(16)]
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=32)
    generator = torch.Generator().manual_seed(0)
    memory: list[int] = []
    began = perf_counter()
    try:
        for number in range(1, options.syncs + 1):
            with torch.no_grad():
                for parameter in trained:
                    parameter.add_(1e-4 * torch.randn(parameter.shape, generator=generator))
            engine.load(weights(), version=number)
            if number % 10 == 0:
                engine.probe(PROBE)
            if number % 100 == 0:
                assert len(list(engine.generate(requests, sampling))) == len(requests)
            if number == options.syncs // 20:
                fill_kernels(engine)
            if number % (options.syncs // 100) == 0:
                memory.append(resident())
        seconds = perf_counter() - began
    finally:
        engine.close()
    return {
        "syncs": options.syncs,
        "seconds_per_sync": seconds / options.syncs,
        "mib": [round(each / 2**20, 1) for each in memory],
        "grown": memory[-1] / memory[9],
    }


def fill_kernels(engine: Any) -> None:
    """Decode 1 to 128 sequences at once.

    A CPU's oneDNN keeps a kernel for each number of tokens that a layer's shape has met, 1,024 in all, and
    then the newest ones. Numbers come up for long: as the weights walk away responses end earlier, and a
    server's requests arrive one by one.
    """
    from rlvr_cli.rollout import Request, Sampling

    short = Sampling(temperature=1.0, top_p=1.0, max_tokens=4)
    for count in range(1, 129):
        request = Request(key=count, tokens=[4, 5, 6, 7], samples=count, seed=count)
        [(_, found)] = engine.generate([request], short)
        assert len(found) == count


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--syncs", type=int, default=10_000, help="at least 100")
    names = [placement.value for placement in Placement]
    parser.add_argument("--placements", nargs="+", choices=names, default=names)
    parser.add_argument("--adapters", action="store_true", help="sent alone, in the place of weights")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    if options.syncs < 100:
        parser.error("--syncs is at least 100")
    os.environ.update(library_defaults(1, 0))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder, quiet(Path(folder)):
        found = {name: soak(options, Path(folder) / name, Placement(name)) for name in options.placements}
    print("| engine | syncs | ms each | MiB after the first tenth | after half | after all | grown |")
    print("|---|---|---|---|---|---|---|")
    for name, row in found.items():
        tenth, half, last = row["mib"][9], row["mib"][49], row["mib"][-1]
        cells = [f"{row['syncs']:,}", f"{1000 * row['seconds_per_sync']:.1f}"]
        cells += [f"{each:,.0f}" for each in (tenth, half, last)]
        print(f"| {name} | {' | '.join(cells)} | {row['grown'] - 1:+.2%} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(int(any(row["grown"] > LIMIT for row in found.values())))


if __name__ == "__main__":
    main()
