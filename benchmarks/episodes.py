"""What waiting for tools costs: `python benchmarks/episodes.py`.

64 episodes of 4 turns on one vLLM engine, with a tool that takes 200 ms and with one that takes no time: the
same tokens, asked for in turns. The engine samples for others while some wait, so the ratio of the two is
near 1 where turns are long; where they are short it cannot be less than the three waits. Beside it: single
answers, without environment, by the token. Medians of several rounds, alternating.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from quiet import quiet
from waiting import Waiting

from rlvr_cli.core.rank_process import library_defaults
from rlvr_cli.core.types import Problem
from rlvr_cli.schema import Model, Precision, Rollout, TinyModel


def problem(number: int, environment: str | None) -> Problem:
    tokens = [4 + number % 50, 5, 6, 7]
    return Problem(
        id=f"{number}", prompt="", tokens=tokens, answer="", source="", verifiers=[], environment=environment
    )


def seconds(engine: Any, options: Namespace, environment: str | None) -> tuple[float, int]:
    """Of one round, and the tokens sampled in it."""
    from rlvr_cli.rollout import Request, Sampling

    requests = [
        Request(key=n, tokens=p.tokens, samples=1, seed=n, problem=p)
        for n in range(options.episodes)
        for p in [problem(n, environment)]
    ]
    said = (options.turns - 1) * len(Waiting().says) if environment is not None else 0
    sampling = Sampling(temperature=1.0, top_p=1.0, max_tokens=options.turns * options.tokens + said)
    began = perf_counter()
    found = [sample for _, samples in engine.generate(requests, sampling) for sample in samples]
    return perf_counter() - began, sum(sample.length for sample in found)


def measure(options: Namespace, folder: Path) -> dict[str, Any]:
    from rlvr_cli.engine.model import load_tokenizer
    from rlvr_cli.engine.tiny import make_tiny
    from rlvr_cli.environments.workers import Workers
    from rlvr_cli.episodes.driver import Episodes
    from rlvr_cli.rollout import make_engine

    shape = TinyModel(hidden_size=options.hidden, layers=options.layers, heads=4, kv_heads=2)
    make_tiny(folder, shape, seed=0)
    tokenizer = load_tokenizer(Model(path=str(folder)))
    inner = make_engine(
        Rollout(kv_cache_gb=0.5, max_num_seqs=options.episodes),
        path=str(folder),
        tokenizer=tokenizer,
        eos=[],
        seed=0,
        precision=Precision.fp32,
        max_model_len=1024,
    )
    common = {"max_turns": options.turns, "turn_tokens": options.tokens}
    environments = {"fast": Waiting(**common), "slow": Waiting(wait_s=options.wait_s, **common)}
    engine = Episodes(
        inner,
        environments,
        Workers(environments),
        tools={"fast": [], "slow": []},
        tokenizer=tokenizer,
        eos=[1],
        most_prompt=64,
    )
    kinds = {"single answers": None, "without wait": "fast", "with wait": "slow"}
    rounds: dict[str, list[float]] = {kind: [] for kind in kinds}
    tokens = {}
    try:
        for number in range(options.rounds + 1):
            for kind, name in kinds.items():
                took, tokens[kind] = seconds(engine, options, name)
                if number:  # the first is for compilation and caches
                    rounds[kind].append(took)
    finally:
        engine.close()
    medians = {kind: median(found) for kind, found in rounds.items()}
    return {
        "seconds": medians,
        "tokens": tokens,
        "ratio_of_wait": medians["with wait"] / medians["without wait"],
        "ratio_of_turns": medians["without wait"]
        / tokens["without wait"]
        / (medians["single answers"] / tokens["single answers"]),
    }


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=64)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64, help="of a turn")
    parser.add_argument("--wait-s", type=float, default=0.2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    os.environ.update(library_defaults(1, 0))
    with tempfile.TemporaryDirectory(prefix="episodes-") as folder, quiet(Path(folder)):
        found = measure(options, Path(folder) / "model")
    for kind, took in found["seconds"].items():
        print(f"{kind:15} {took:6.2f} s, {found['tokens'][kind]} tokens sampled")
    print(f"a tool that takes {options.wait_s:g} s: {found['ratio_of_wait']:.2f} x the time without the wait")
    print(f"turns instead of single answers: {found['ratio_of_turns']:.2f} x the time of a sampled token")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(found["ratio_of_wait"] > 1.3)


if __name__ == "__main__":
    main()
