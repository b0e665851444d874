"""Calls that wait, in threads of their own: one that never returns holds up nothing and no one's end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Any


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function returns or raises. Cancelled, it goes on by itself, and nobody waits for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    context = copy_context()

    def run() -> None:
        try:
            value = context.run(function, *args, **kwargs)
        except BaseException as error:
            _tell(loop, future, future.set_exception, _bearable(error))
        else:
            _tell(loop, future, future.set_result, value)

    threading.Thread(target=run, daemon=True).start()
    return await future


def _bearable(error: BaseException) -> Exception:
    """An error that a future may hold, and that ends nobody who waits for it."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}".rstrip(": "))


def _tell(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], setter: Callable[[Any], None], value: Any
) -> None:
    def tell() -> None:
        if not future.done():
            setter(value)

    with suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(tell)
