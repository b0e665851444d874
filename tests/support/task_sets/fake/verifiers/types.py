from __future__ import annotations

from pydantic import BaseModel


class ClientConfig(BaseModel):
    api_base_url: str
    api_key_var: str
    max_retries: int = 10
