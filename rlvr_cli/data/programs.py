"""Gold answers of programming problems: tests, packed into JSON as the code verifier reads it."""

from __future__ import annotations

import json
from typing import Any

COLUMNS = ("test_list", "input_output", "tests", "private_test_cases", "test")
"""Of MBPP; TACO and APPS; plain; LiveCodeBench; HumanEval."""


def tests(raw: dict[str, Any], column: str, value: Any) -> str | None:
    """JSON text of the tests in a row; None where the column holds something else."""
    name = column.rpartition(".")[2].casefold()
    if name == "test" and isinstance(value, str) and isinstance(raw.get("entry_point"), str):
        prompt = raw.get("prompt")
        packed = {"test": value, "entry_point": raw["entry_point"]}
        return json.dumps({**packed, "prompt": prompt} if isinstance(prompt, str) else packed)
    if name == "test_list" and isinstance(value, list) and value:
        setup = raw.get("test_setup_code") or ""
        imports = raw.get("test_imports") or []
        return json.dumps({"test_list": value, "test_setup_code": setup, "test_imports": imports})
    if name in COLUMNS and isinstance(value, dict | list) and value:
        return json.dumps(value)
    return value if name in COLUMNS and isinstance(value, str) and value.strip() else None
