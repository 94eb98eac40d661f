"""Tracebacks that end at the caller's frame, without frames of this package.

A frame keeps its local variables alive: the token, the key of a stream, buffers. Error
trackers print them all.
"""

import asyncio
import copy
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar, cast

from emogg_async.errors import EmoggError

__all__ = ["ENDS", "bare", "frameless", "twin", "without_aiohttp"]

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=BaseException | None)

ENDS: Final = (EmoggError, asyncio.CancelledError)
"""The errors that lose their frames. A bug keeps them: they are needed to find it."""


def bare(error: E) -> E:
    """Remove all frames and contexts from *error* and its causes; return it.

    Use it where a load ends: if a caller is handling another error, Python sets that as
    the context later.
    """
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = each.__context__ = None
        each = each.__cause__
    return error


def twin(error: EmoggError) -> EmoggError:
    """Return a copy of *error* for one of several waiters.

    Tracebacks of a shared error would add up.
    """
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied


def without_aiohttp(error: Exception) -> Exception:
    """Remove from *error*, a bug, all frames down to aiohttp's last; return it.

    aiohttp's frames have the token in their locals. The frames of a middleware are
    below them, and are kept.
    """
    kept = each = error.__traceback__
    while each is not None:
        name = str(each.tb_frame.f_globals.get("__name__"))
        if name.partition(".")[0] == "aiohttp":
            kept = each.tb_next
        each = each.tb_next
    return error.with_traceback(kept)


def frameless(function: F) -> F:
    """Remove the frames of *function* and below from its errors.

    A bare `raise` adds no frame, so that the traceback begins with the caller's.
    """

    @wraps(function)
    async def awaited(*args: Any, **options: Any) -> Any:
        try:
            return await function(*args, **options)
        except ENDS as error:
            error.__traceback__ = None
            raise

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except ENDS as error:
            error.__traceback__ = None
            raise

    return cast("F", awaited if iscoroutinefunction(function) else called)
