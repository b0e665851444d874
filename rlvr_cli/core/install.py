"""The commands that install what is missing, for messages."""

from __future__ import annotations

ENGINE = {"gpu": "pip install '.[gpu]' in the checkout", "cpu": "make setup in the checkout"}
"""vLLM, by the machine it is for. Not `.[cpu]`: its torch is on few package indexes, and make knows where."""
