"""In verl's interface: the last number after `####`, with a little for the form."""

import re


def compute_score(data_source, solution_str, ground_truth, extra_info=None, format_score=0.1):
    assert data_source == "openai/gsm8k" and extra_info["index"] >= 0
    extra_info["index"] = -1  # what a function does to its arguments is nobody else's concern
    found = re.findall(r"####\s*(-?[\d,.]+)", solution_str)
    if not found:
        return 0.0
    return 1.0 if found[-1].replace(",", "") == ground_truth else format_score
