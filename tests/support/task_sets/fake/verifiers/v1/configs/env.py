from __future__ import annotations

from typing import Any

from pydantic import BaseModel


class EnvConfig(BaseModel):
    taskset: dict[str, Any]


class SingleAgentEnvConfig(EnvConfig):
    agent: dict[str, Any]
