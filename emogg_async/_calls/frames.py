"""The frames that an error keeps: the caller's, and none below.

A frame keeps alive whatever it saw: the token, the key of a stream, buffers. Error
trackers print all that.
"""

import asyncio
from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Final, TypeVar, cast

from emogg_async.errors import EmoggError

__all__ = ["ENDS", "bare", "frameless", "without_aiohttp"]

F = TypeVar("F", bound=Callable[..., Any])
E = TypeVar("E", bound=BaseException | None)

ENDS: Final = (EmoggError, asyncio.CancelledError)
"""What a call that has no bug ends in; the frames of a bug are needed to find it."""


def bare(error: E) -> E:
    """Take from *error*, and from what caused it, all frames and contexts; return it.

    It is for where a load ends. What a caller is handling becomes a context later.
    """
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = each.__context__ = None
        each = each.__cause__
    return error


def without_aiohttp(error: Exception) -> Exception:
    """Take from *error*, a bug, all frames down to the last of aiohttp's; return it.

    Those have the token in their locals. Those of a middleware are below them.
    """
    kept = each = error.__traceback__
    while each is not None:
        name = str(each.tb_frame.f_globals.get("__name__"))
        if name.partition(".")[0] == "aiohttp":
            kept = each.tb_next
        each = each.tb_next
    return error.with_traceback(kept)


def frameless(function: F) -> F:
    """Let the errors of *function* begin with the frame of whoever calls it.

    A `raise` that names no error adds no frame of its own.
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
