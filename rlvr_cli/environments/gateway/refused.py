"""What a program is told in the place of a completion."""

from __future__ import annotations

from typing import Any

TOO_LONG = "context_length_exceeded"


class Refused(Exception):
    """An answer in OpenAI's form of errors. Clients repeat 408, 409, 429 and 5xx by themselves, never 400."""

    def __init__(self, text: str, *, status: int = 400, code: str | None = None) -> None:
        super().__init__(text)
        self.status, self.code = status, code

    @property
    def body(self) -> dict[str, Any]:
        kind = "authentication_error" if self.status == 401 else "invalid_request_error"
        return {"error": {"message": str(self), "type": kind, "param": None, "code": self.code}}
