from __future__ import annotations

from importlib import import_module
from typing import Any, get_args

from verifiers.v1 import Env


def environment_class(taskset_id: str) -> type:
    return Env


def load_environment(config: Any) -> Env[Any]:
    module = import_module(config.taskset["id"].replace("-", "_"))
    [taskset] = [getattr(module, name) for name in module.__all__]
    made = get_args(taskset.__orig_bases__[0])[1](**config.taskset)
    return Env(config, taskset(made))
