"""Stage 3: weights broadcast to a rollout server that has a GPU of its own, and is killed meanwhile."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from gpu_checks.findings import Findings
from gpu_checks.shapes import config, write_model
from rlvr_cli.engine.model import load_tokenizer
from rlvr_cli.rollout import make_engine
from rlvr_cli.schema import Model, Placement, Precision, Rollout, Servers, Transfer

PROBE = list(range(4, 68))
LIMITS = {Precision.fp32: 1e-4, Precision.bf16: 0.3}
"""Mean |logprob difference| of server and trainer; on a GPU fp32 is not tried."""
SYNCS = 5


def run(findings: Findings, folder: Path, *, tiny: bool) -> None:
    cuda = torch.cuda.is_available()
    dtype, precision = (torch.bfloat16, Precision.bf16) if cuda else (torch.float32, Precision.fp32)
    path = write_model(folder / "servers", config("0.5B", tiny=tiny), dtype)
    from transformers import AutoModelForCausalLM

    net: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).to("cuda" if cuda else "cpu")
    engine: Any = make_engine(
        Rollout(
            kv_cache_gb=0.25,
            gpu_memory_utilization=0.5,
            placement=Placement.servers,
            servers=Servers(transfer=Transfer.broadcast, threads=None if cuda else 1, timeout_s=60.0),
        ),
        path=str(path),
        tokenizer=load_tokenizer(Model(path=str(path))),
        eos=[1],
        seed=0,
        precision=precision,
        max_model_len=256,
        out=folder,
    )
    try:
        broadcast(findings, engine, net, LIMITS[precision])
        death(findings, engine, net, LIMITS[precision])
    finally:
        engine.close()


def broadcast(findings: Findings, engine: Any, net: nn.Module, limit: float) -> None:
    """New weights, proved bit by bit by the server, and the seconds of a sync."""
    seconds, verified = [], 1.0
    for _ in range(SYNCS):
        changed(net)
        began = perf_counter()
        verified = min(verified, engine.load(net.named_parameters()).verified)
        seconds.append(perf_counter() - began)
    gap, size = gap_of(engine, net), sum(p.nbytes for p in net.parameters())
    said = (
        f"{verified:.1%} of the numbers proved equal; {median(seconds):.2f} s for {size / 2**20:,.0f} MiB; "
    )
    said += f"logprobs {gap:.1e} apart (at most {limit:g})"
    passed = verified > 0 and gap <= limit
    findings.check(name_of(engine), passed, said, verified=verified, seconds=median(seconds), gap=gap)


def death(findings: Findings, engine: Any, net: nn.Module, limit: float) -> None:
    """The server is killed when half of the weights are on their way: it comes back with all of them."""
    changed(net)
    pid = engine._fleet.replicas[0].process.pid
    child = int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    began = perf_counter()
    engine.load(halfway(net, lambda: os.kill(child, signal.SIGKILL)))
    seconds, gap = perf_counter() - began, gap_of(engine, net)
    back = engine.measures()["rollout/server_restarts"]
    said = f"{back:.0f} of 1 back after {seconds:.0f} s, logprobs {gap:.1e} apart (at most {limit:g})"
    passed = back == 1 and gap <= limit
    findings.check("a server killed while weights are sent to it", passed, said, seconds=seconds, gap=gap)


def halfway(net: nn.Module, act: Callable[[], None]) -> Iterator[tuple[str, Tensor]]:
    """The weights, with something done before the second half."""
    weights = list(net.named_parameters())
    for number, item in enumerate(weights):
        if number == len(weights) // 2:
            act()
        yield item


def name_of(engine: Any) -> str:
    return "servers by NCCL" if engine._fleet.backend == "nccl" else "servers by NCCL (here gloo)"


@torch.no_grad()
def changed(net: nn.Module) -> None:
    for parameter in net.parameters():
        parameter.mul_(1.01)


@torch.no_grad()
def gap_of(engine: Any, net: Any) -> float:
    tokens = torch.tensor(PROBE, device=next(net.parameters()).device)
    logits = net(tokens[None]).logits[0, :-1].float().log_softmax(-1)
    theirs = logits.gather(1, tokens[1:, None])[:, 0].cpu()
    return float((torch.tensor(engine.probe(PROBE)) - theirs).abs().mean())
