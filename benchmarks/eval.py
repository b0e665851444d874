"""`rlvr eval` against the bare sampling inside it: `python benchmarks/eval.py --model runs/tiny_sft`.

One side is what an evaluation does with a bench once the engine is up: `run_bench`, which samples every
problem k times and verifies the samples meanwhile, writes the partial file, and turns the verdicts into
scores and the result file. The other is plain `llm.generate` of the same prompts with the same sampling
parameters on the same vLLM engine. They alternate in one process, so that whatever else the machine does
hits both.
"""

from __future__ import annotations

import json
import os
import tempfile
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from quiet import quiet

from rlvr_cli import compose
from rlvr_cli.core import model_paths
from rlvr_cli.core.rank_process import library_defaults
from rlvr_cli.schema import Bench, EvalRecipe

Row = dict[str, float]
"""Seconds of an evaluation by phase, of the bare sampling, and the tokens of both."""


def bare(engine: Any, bench: Bench, prompts: list[list[int]]) -> int:
    """Sample the prompts as the evaluation did, seeds included; the number of tokens."""
    from vllm import SamplingParams

    from rlvr_cli.sampling.collect import request_seed

    params = [
        SamplingParams(
            n=bench.k,
            temperature=bench.temperature,
            top_p=bench.top_p,
            max_tokens=bench.max_tokens,
            seed=request_seed(bench.seed, index),
            stop_token_ids=engine.eos,
            detokenize=False,
        )
        for index in range(len(prompts))
    ]
    tokens = [{"prompt_token_ids": prompt} for prompt in prompts]
    outputs = engine.llm.generate(tokens, params, use_tqdm=False)
    return sum(len(sample.token_ids) for output in outputs for sample in output.outputs)


def measure(recipe: EvalRecipe, name: str, rounds: int, warm_up: int) -> list[Row]:
    from rlvr_cli.engine import process_group
    from rlvr_cli.engine.model import load_tokenizer
    from rlvr_cli.evaluation.bench import positions, prompt_limit, questions, run_bench, verifier_key
    from rlvr_cli.evaluation.outputs import write_result
    from rlvr_cli.evaluation.stored_samples import Partial
    from rlvr_cli.sampling.start_model import default_precision, start_engine
    from rlvr_cli.tracking import Timer
    from rlvr_cli.verifiers.pool import Pool

    process_group.initialise()
    bench, out, rows = recipe.benches[name], Path(str(recipe.out)), []
    tokenizer = load_tokenizer(recipe.model)
    room = positions(recipe.benches, recipe.rollout)
    engine: Any = start_engine(recipe.rollout, recipe.model, tokenizer, 0, default_precision(), room)
    asked = questions(name, bench, tokenizer, prompt_limit(bench, recipe.rollout))
    with Pool({verifier_key(name): bench.verifier}, recipe.verification) as pool:
        for number in range(warm_up + rounds):
            timer, partial = Timer(), Partial(out, name, str(number), 0)
            engine.llm.reset_prefix_cache()
            start = perf_counter()
            result = run_bench(name, bench, engine, pool, asked, timer=timer, partial=partial)
            write_result(out, name, bench, result)
            middle = perf_counter()
            engine.llm.reset_prefix_cache()
            again = perf_counter()
            tokens = bare(engine, bench, [problem.tokens for problem in asked.problems])
            row = {"evaluation": middle - start, "bare": perf_counter() - again, "tokens": float(tokens)}
            assert tokens == sum(sum(each["lengths"]) for each in result.rows), "the samples differ"
            row |= {key: seconds for key, seconds in timer.take().items() if key != "timing_s/step"}
            if number >= warm_up:
                rows.append(row)
            partial.close()
    engine.close()
    return rows


def run(options: Namespace, out: Path) -> dict[str, Any]:
    os.environ.update(library_defaults(1, 0))
    changed = [f"out={out}", "rollout=vllm", *options.overrides]
    model = model_paths.resolve_model(options.model)
    recipe = compose.load_eval(None, changed, benches=[options.bench], model=model)
    rows = measure(recipe, options.bench, options.rounds, options.warm_up)
    medians = {key: median(row[key] for row in rows) for key in rows[0]}
    return {
        "bench": options.bench,
        "rounds": len(rows),
        "medians": medians,
        "ratio": median(row["evaluation"] / row["bare"] for row in rows),
        "ratio of each round": [round(row["evaluation"] / row["bare"], 3) for row in rows],
    }


def show(result: dict[str, Any]) -> None:
    medians = result["medians"]
    print(f"{result['bench']}, median of {result['rounds']} rounds, {medians['tokens']:,.0f} tokens")
    print(f"  evaluation          {medians['evaluation']:7.3f} s")
    for key, seconds in medians.items():
        if key.startswith("timing_s/"):
            print(f"    {key.removeprefix('timing_s/'):<18}{seconds:7.3f} s")
    print(f"  plain llm.generate  {medians['bare']:7.3f} s")
    print(f"evaluation / plain llm.generate: {result['ratio']:.3f}")


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="runs/tiny_sft", help="model folder or run directory")
    parser.add_argument("--bench", default="addition", help="one bench whose problems are at hand")
    parser.add_argument("--rounds", type=int, default=7, help="rounds measured")
    parser.add_argument("--warm-up", type=int, default=2, help="rounds before them")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("overrides", nargs="*", help="key=value of the evaluation")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, quiet(Path(folder)):
        result = run(options, Path(folder) / "out")
    show(result)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
