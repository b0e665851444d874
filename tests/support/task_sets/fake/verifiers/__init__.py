"""As much of the package verifiers 0.1.14 as rlvr asks: one turn, and a rubric."""

from __future__ import annotations

import asyncio
import inspect
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any


def chat(base_url: str, messages: Any, model: str) -> str:
    request = urllib.request.Request(
        f"{base_url}/chat/completions",
        json.dumps({"model": model, "messages": messages}).encode(),
        {"Content-Type": "application/json", "Authorization": "Bearer EMPTY"},
    )
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


class Rubric:
    has_group_rewards = False

    def __init__(self, funcs: list[Callable[..., Any]], weights: list[float]) -> None:
        self.funcs, self.weights = funcs, weights


class SingleTurnEnv:
    def __init__(self, dataset: Any, rubric: Rubric) -> None:
        self._dataset, self.rubric = dataset, rubric

    @property
    def requires_group_rollouts(self) -> bool:
        return self.rubric.has_group_rewards

    def get_dataset(self) -> Any:
        return self._dataset

    get_eval_dataset = get_dataset

    async def run_rollout(self, input: Any, client: Any, model: str, sampling_args: Any) -> dict[str, Any]:
        try:
            said = await asyncio.to_thread(chat, client.api_base_url, input["prompt"], model)
        except urllib.error.HTTPError as error:
            return {"reward": 0.0, "metrics": {}, "error": {"error": "ModelError", "message": str(error)}}
        given = {"completion": [{"role": "assistant", "content": said}], **input}
        scores: dict[str, float] = {}
        for func in self.rubric.funcs:
            found = func(**given)
            scores[func.__name__] = await found if inspect.isawaitable(found) else found
        reward = sum(w * s for w, s in zip(self.rubric.weights, scores.values(), strict=True))
        return {"reward": reward, "metrics": {**scores, "num_turns": 1.0}, "error": None}
