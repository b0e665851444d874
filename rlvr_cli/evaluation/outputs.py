"""What an evaluation leaves on disk: result files, samples as rows, lm-evaluation-harness's format.

Nothing here depends on the clock: the same evaluation writes the same bytes.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rlvr_cli import __version__
from rlvr_cli.core import code_behind
from rlvr_cli.core.episode_rows import columns
from rlvr_cli.core.files import encodable, write_atomically
from rlvr_cli.evaluation.bench import Evaluation, missing
from rlvr_cli.evaluation.breakdown import by_subject, distributions
from rlvr_cli.evaluation.scores import curves
from rlvr_cli.evaluation.selection import cut_short
from rlvr_cli.schema import Bench, EvalRecipe, SampleFile
from rlvr_cli.schema.score_names import powers
from rlvr_cli.tracking import versions
from rlvr_cli.tracking.journal import to_line

SECTIONS = ("source", "verifier", "tracked", "environment")
"""Of a bench, which stand beside its protocol in a result file."""


def write_result(folder: Path, name: str, bench: Bench, result: Evaluation, **context: Any) -> Path:
    """`eval/<bench>.json`: numbers, protocol, the user's code that judged, versions and every sample."""
    protocol = {k: v for k, v in vars(bench).items() if k not in SECTIONS}
    tracked = {key: _settings(each) for key, each in bench.tracked.items()}
    played = None if bench.environment is None else _container(bench.environment)
    whole = [] if cut_short(result.rows) else result.rows
    content = {
        "bench": name,
        "summary": result.summary,
        "curves": curves(whole) if whole else {},
        "tables": by_subject(whole),
        "distributions": distributions(result.rows),
        "missing": dict(missing(result.rows).most_common(10)),
        "protocol": protocol,
        "source": _container(bench.source),
        "verifier": _settings(bench.verifier),
        **({"tracked": tracked} if tracked else {}),
        **({"environment": played} if played is not None else {}),
        **({"experiences": result.experiences} if result.experiences is not None else {}),
        "code": code_behind.of_verifier(bench.verifier),
        "versions": {"rlvr": __version__} | versions(),
        **context,
        "problems": result.rows,
    }
    path = folder / f"{name}.json"
    # str: dates and the like among the extra columns of a data set
    write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")
    return path


def _container(section: Any) -> Any:
    return OmegaConf.to_container(OmegaConf.structured(section), enum_to_str=True)


def _settings(verifier: Any) -> dict[str, Any]:
    """The options of a verifier, and not what it has found out meanwhile."""
    values = {field.name: getattr(verifier, field.name) for field in fields(verifier)}
    return {name: getattr(value, "value", value) for name, value in values.items()}


def sample_rows(bench: str, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One row for each sample."""
    several = any("alternatives" in row for row in rows)
    for row in rows:
        golds = {"answer": row["answer"]} | ({"alternatives": row.get("alternatives", [])} if several else {})
        for number, response in enumerate(row["responses"]):
            yield {
                "bench": bench,
                "id": row["id"],
                "sample": number,
                "prompt": row["prompt"],
                "response": response,
                **golds,
                "extracted": row["extracted"][number],
                "correct": row["correct"][number],
                "score": row["scores"][number],
                "reason": row["reasons"][number],
                "detail": row["details"][number],
                "tokens": row["lengths"][number],
                "truncated": row["truncated"][number],
                **(columns(row["episodes"][number]) if "episodes" in row else {}),
            }


def write_samples(folder: Path, bench: str, rows: list[dict[str, Any]], kind: SampleFile) -> Path | None:
    """`<bench>.samples.jsonl` or `.parquet`."""
    if kind is SampleFile.none:
        return None
    path = folder / f"{bench}.samples.{kind.value}"
    samples = list(sample_rows(bench, rows))
    if kind is SampleFile.jsonl:
        write_atomically(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in samples))
    else:
        import pyarrow as pa
        import pyarrow.parquet as parquet

        buffer = io.BytesIO()
        texts = [
            {name: encodable(x) if isinstance(x, str) else x for name, x in row.items()} for row in samples
        ]
        parquet.write_table(pa.Table.from_pylist(texts), buffer)
        write_atomically(path, buffer.getvalue())
    return path


def write_disputed(folder: Path, rows: list[dict[str, Any]]) -> None:
    """`disputed.jsonl`, in place of an earlier one; none where there is nothing to look at."""
    path = folder / "disputed.jsonl"
    if rows:
        write_atomically(path, "".join(map(to_line, rows)))
    else:
        path.unlink(missing_ok=True)


def write_lm_eval(folder: Path, recipe: EvalRecipe, results: list[str]) -> Path:
    """`results_lm_eval.json`: the keys that readers of lm-evaluation-harness's results files look at."""
    content: dict[str, Any] = {key: {} for key in ("results", "configs", "versions", "n-shot", "n-samples")}
    content["higher_is_better"] = {}
    for path in results:
        stored = json.loads(Path(path).read_bytes())
        name, summary, k = stored["bench"], stored["summary"], stored["protocol"]["k"]
        half = (summary.get("ci95_high", 0.0) - summary.get("ci95_low", 0.0)) / (2 * 1.96)
        metrics = {"alias": name, "acc,none": summary.get(f"avg@{k}", "N/A")}
        metrics |= {f"{kind}_fraction,none": summary[f"{kind}_fraction"] for kind in ("timeout", "crash")}
        metrics["acc_stderr,none"] = half if "ci95_low" in summary else "N/A"
        for j in stored["protocol"]["pass_at"] or powers(k):
            metrics |= {f"pass@{j},none": summary.get(f"pass@{j}", "N/A"), f"pass@{j}_stderr,none": "N/A"}
        content["results"][name] = metrics
        content["configs"][name] = config_of(stored)
        content["versions"][name] = stored["versions"]["rlvr"]
        content["n-shot"][name] = stored["source"]["shots"]
        asked = int(summary["problems"])
        content["n-samples"][name] = {
            "original": asked + int(summary["left_out"] + summary.get("no_gold", 0)),
            "effective": asked,
        }
        content["higher_is_better"][name] = {
            m.partition(",")[0]: True for m in metrics if m.endswith("@1,none")
        }
        content["higher_is_better"][name]["acc"] = True
    content["config"] = {"model": "rlvr", "model_args": f"pretrained={recipe.model.path}", "limit": None}
    content["config"] |= {"random_seed": recipe.seed}
    content["model_name"] = recipe.model.path
    target = folder / "results_lm_eval.json"
    write_atomically(target, json.dumps(content, indent=2) + "\n")
    return target


def config_of(stored: dict[str, Any]) -> dict[str, Any]:
    protocol, source = stored["protocol"], stored["source"]
    return {
        "task": stored["bench"],
        "dataset_path": source["path"],
        "dataset_name": source["config"],
        "test_split": source["split"],
        "doc_to_text": source["prompt"],
        "output_type": "generate_until",
        "repeats": protocol["k"],
        "num_fewshot": source["shots"],
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "generation_kwargs": {
            "do_sample": protocol["temperature"] > 0,
            "temperature": protocol["temperature"],
            "top_p": protocol["top_p"],
            "max_gen_toks": protocol["max_tokens"],
            "until": protocol["stop"],
        },
        "metadata": {"verifier": stored["verifier"]["name"], "note": protocol["note"]},
    }
