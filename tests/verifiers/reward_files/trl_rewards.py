"""In TRL's interface: accuracy with None where there is no gold, a form, a column with the length wanted."""

import re


def text_of(completion):
    return completion if isinstance(completion, str) else completion[0]["content"]


def accuracy(completions, solution, log_metric=None, log_extra=None, **kwargs):
    found = [
        None if gold is None else float(f"<answer>{gold}</answer>" in text_of(completion))
        for completion, gold in zip(completions, solution, strict=True)
    ]
    if log_metric is not None:
        log_metric("asked", len(found))
        log_extra("gold", solution)
    return found


def think_format(completions, **kwargs):
    return [float(bool(re.match(r"<think>.*?</think>", text_of(c), re.DOTALL))) for c in completions]


def near_length(prompts, completions, wanted, trainer_state=None, **kwargs):
    assert len(prompts) == len(completions) == len(wanted)
    return [-abs(len(text_of(c)) - length) / 10 for c, length in zip(completions, wanted, strict=True)]
