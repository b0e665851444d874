"""In verl's interface, scored -1 and 1: the last line that begins with "Answer:"."""


def normal(text):
    return text.strip().strip("$").replace(" ", "").replace("\\dfrac", "\\frac")


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    lines = [line for line in solution_str[-300:].splitlines() if line.startswith("Answer:")]
    pred = normal(lines[-1].removeprefix("Answer:")) if lines else "[INVALID]"
    acc = pred == normal(str(ground_truth))
    return {"score": 1.0 if acc else -1.0, "acc": acc, "pred": pred, "length": len(solution_str)}
