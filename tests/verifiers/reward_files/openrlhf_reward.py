"""In OpenRLHF's interface: texts with their prompts, lists back."""


def reward_func(queries, prompts, labels, **kwargs):
    responses = [query[len(prompt) :] for query, prompt in zip(queries, prompts, strict=True)]
    scores = [float(str(label) in text) for label, text in zip(labels, responses, strict=True)]
    rewards = [2 * score - 0.5 for score in scores]
    logs = {"characters": [len(query) for query in queries]}
    return {"rewards": rewards, "scores": scores, "extra_logs": logs}
