from __future__ import annotations

from pydantic import BaseModel


class EvalClientConfig(BaseModel):
    base_url: str
    api_key_var: str
