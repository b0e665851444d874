from __future__ import annotations

from typing import Any

from verifiers.v1.configs.env import SingleAgentEnvConfig


def concrete_type(cls: Any, bound: Any, *, origin: Any) -> type:
    return SingleAgentEnvConfig
