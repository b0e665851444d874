"""What runs in the interpreter that has the package `verifiers`, as a script: it knows nothing of rlvr.

`python task_set_child.py '{"package": ..., "args": {}, "split": "train", "agent": {}}'`. Lines of JSON come
in and go out (task_sets.py); what the task set prints goes to standard error. The package's first form has
`load_environment` in a task set's module, the form of 0.2 and later exports a Taskset in `__all__`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

FIRST_FORM = "load_environment"


class Cannot(Exception):
    """Why the task set cannot be had, in a line."""


class FirstForm:
    """verifiers up to 0.1."""

    def __init__(self, asked: dict[str, Any], make: Callable[..., Any]) -> None:
        self._env = make(**asked["args"])
        if not hasattr(self._env, "run_rollout"):
            raise Cannot(f"{type(self._env).__name__} has no run_rollout: take verifiers 0.1.14")
        if getattr(self._env, "requires_group_rollouts", False):
            raise Cannot("its rubric scores whole groups, and episodes are played one by one here")
        train = asked["split"] == "train"
        self._tasks = self._env.get_dataset() if train else self._env.get_eval_dataset()

    def rows(self) -> list[dict[str, Any]]:
        return [
            {"prompt": _plain(row["prompt"]), "answer": row.get("answer") or None, "info": row.get("info")}
            for row in self._tasks
        ]

    async def play(self, index: int, base_url: str, model: str) -> dict[str, Any]:
        from verifiers.types import ClientConfig

        client = ClientConfig(api_base_url=base_url, api_key_var="RLVR_SESSION", max_retries=2)
        found = await self._env.run_rollout(dict(self._tasks[index]), client, model, {})
        if error := found.get("error"):
            return {"error": _line(error if isinstance(error, str) else json.dumps(error, default=str))}
        return {"value": {**_numbers(found.get("metrics")), "reward": found["reward"]}}


class Later:
    """verifiers.v1, of 0.2 and later."""

    def __init__(self, asked: dict[str, Any]) -> None:
        from verifiers.v1.configs.env import EnvConfig
        from verifiers.v1.env import Env
        from verifiers.v1.utils.generic import concrete_type
        from verifiers.v1.utils.loaders import environment_class, load_environment

        if asked["split"] != "train":
            raise Cannot("task sets of this form have no splits; leave split at train")
        kind = concrete_type(environment_class(asked["package"]), EnvConfig, origin=Env)
        config = {"taskset": {**asked["args"], "id": asked["package"]}}
        if "agent" in kind.model_fields:
            config["agent"] = asked["agent"]
        self._env = load_environment(kind.model_validate(config))
        if not self._env.taskset.bounded:
            raise Cannot("it has no end: give it one by its own arguments")
        self._tasks = list(self._env.taskset)
        self._serving: contextlib.AsyncExitStack | None = None
        self._lock: asyncio.Lock | None = None

    def rows(self) -> list[dict[str, Any]]:
        return [self._row(json.loads(task.data.model_dump_json())) for task in self._tasks]

    def _row(self, data: dict[str, Any]) -> dict[str, Any]:
        said = data.get("prompt") or ""
        prompt = [{"role": "user", "content": said}] if isinstance(said, str) else said
        if data.get("system_prompt"):
            prompt = [{"role": "system", "content": data["system_prompt"]}, *prompt]
        answer = data.get("answer")
        return {"prompt": _plain(prompt), "answer": None if answer is None else str(answer), "info": data}

    async def play(self, index: int, base_url: str, model: str) -> dict[str, Any]:
        from verifiers.v1.clients import ModelContext
        from verifiers.v1.configs.client import EvalClientConfig

        self._lock = self._lock or asyncio.Lock()
        async with self._lock:
            if self._serving is None:  # until this process ends
                serving = contextlib.AsyncExitStack()
                await serving.enter_async_context(self._env.serving())
                self._serving = serving
        client = EvalClientConfig(base_url=base_url, api_key_var="RLVR_SESSION")
        episode = await self._env.run_episode(self._tasks[index], ModelContext(model=model, client=client))
        faults = [*episode.errors, *(e for trace in episode.traces for e in trace.errors)]
        if not episode.ok or faults:
            return {"error": _line(f"{faults[0].type}: {faults[0].message}" if faults else "it failed")}
        metrics = {k: v for trace in episode.traces for k, v in trace.metrics.items()}
        parts = {k: r.value for trace in episode.traces for k, r in trace.rewards.items() if r is not None}
        reward = sum(trace.reward for trace in episode.traces) / len(episode.traces)
        return {"value": {**_numbers(parts), **_numbers(metrics), "reward": reward}}


def load(asked: dict[str, Any]) -> Any:
    """The task set, in the form it has."""
    name = asked["package"].replace("-", "_").split("/")[-1]
    try:
        import verifiers
    except ImportError as error:
        raise Cannot(f"{sys.executable} has no package verifiers: {error}") from error
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if getattr(error, "name", None) != name:
            raise
        if not os.path.isdir(os.path.join(os.path.dirname(verifiers.__file__), "v1", "tasksets", name)):
            raise Cannot(f"{sys.executable} has no module {name}: install the task set there") from error
        module = None  # one that verifiers brings
    later = module is None or not hasattr(module, FIRST_FORM) or _exports_taskset(module)
    return Later(asked) if later else FirstForm(asked, getattr(module, FIRST_FORM))


def _exports_taskset(module: Any) -> bool:
    named = [getattr(module, name, None) for name in getattr(module, "__all__", [])]
    kinds = [each for each in named if isinstance(each, type)]
    return any(base.__name__ == "Taskset" for kind in kinds for base in kind.__mro__)


def _plain(messages: Any) -> Any:
    if isinstance(messages, str):
        return [{"role": "user", "content": messages}]
    return [m if isinstance(m, dict) else m.model_dump(exclude_none=True) for m in messages]


def _numbers(found: Any) -> dict[str, float]:
    items = (found or {}).items()
    return {str(k): float(v) for k, v in items if isinstance(v, (bool, int, float))}


def _line(text: str) -> str:
    return " ".join(text.split())[:300]


class Served:
    """Plays what is asked, several at once, until standard input ends."""

    def __init__(self, tasks: Any, answers: Any) -> None:
        self._tasks, self._answers = tasks, answers
        self._running: dict[int, asyncio.Task[None]] = {}

    def say(self, message: dict[str, Any]) -> None:
        self._answers.write(json.dumps(message, default=str) + "\n")
        self._answers.flush()

    def take(self, asked: dict[str, Any]) -> None:
        number = asked["number"]
        if asked.get("cancel"):
            if (task := self._running.get(number)) is not None:
                task.cancel()
        else:
            self._running[number] = asyncio.get_running_loop().create_task(self._play(number, asked))

    async def _play(self, number: int, asked: dict[str, Any]) -> None:
        try:
            answer = await self._tasks.play(asked["index"], asked["base_url"], asked["model"])
        except asyncio.CancelledError:
            answer = {"error": "it was ended"}
        except (Exception, SystemExit) as error:  # of any kind: the task set's own code
            answer = {"error": _line(f"{type(error).__name__}: {error}")}
        self._running.pop(number, None)
        self.say({"number": number, **answer})

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()

        def listen() -> None:  # a thread: it notices the end where the loop hangs
            for line in sys.stdin:
                loop.call_soon_threadsafe(self.take, json.loads(line))
            _end()

        threading.Thread(target=listen, daemon=True).start()
        await asyncio.Event().wait()


def _end() -> None:
    if os.getpgid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)  # with the programs that it has started
    os._exit(0)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what the task set prints is no answer
    asked = json.loads(sys.argv[1])
    served = Served(None, answers)
    try:
        tasks = served._tasks = load(asked)
        if asked.get("rows"):
            served.say({"rows": tasks.rows()})
        else:
            served.say({"ready": type(tasks).__name__, "tasks": len(tasks._tasks)})
            asyncio.run(served.serve())
    except Cannot as error:
        served.say({"refused": str(error)})
    except (Exception, SystemExit) as error:  # of any kind: the task set's own code
        if not isinstance(error, ImportError):
            import traceback

            traceback.print_exc()
        served.say({"refused": _line(f"{type(error).__name__}: {error}")})
    answers.flush()
    _end()


if __name__ == "__main__":
    main()
