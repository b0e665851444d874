"""In EasyR1's interface."""

REWARD_NAME = "math"
REWARD_TYPE = "batch"


def compute_score(reward_inputs, format_weight=0.2):
    scores = []
    for each in reward_inputs:
        form = float("\\boxed{" in each["response"])
        accuracy = float(f"\\boxed{{{each['ground_truth']}}}" in each["response"])
        overall = (1 - format_weight) * accuracy + format_weight * form
        scores.append({"overall": overall, "format": form, "accuracy": accuracy})
    return scores
