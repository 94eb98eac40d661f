"""Envelopes, locks and a guard: a shared backend is never trusted.

Source: https://aiocache.aio-libs.org.
"""

import asyncio
import json
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

import attrs

from emogg_async._calls.telemetry import log
from emogg_async._wire.converter import structure, to_dict
from emogg_async.errors import EmoggError

__all__ = ["SCHEMA", "Body", "Guard", "Turns", "unwrapped", "wrapped"]

T = TypeVar("T")

logger = logging.getLogger("emogg_async.cache")

SCHEMA: Final = "1"
"""Part of every key, so releases with another format do not read it."""

BACKEND_TIMEOUT: Final = 0.1
"""Seconds that a backend may take for an answer; a longer wait is a failure."""

IN_ALL: Final = 1.6
"""Timeouts that callers may wait in vain between two answers; waits at the same time
count once. A server that hangs therefore costs a caller less than 0.2 s, however many
questions there are, and a hiccup of 0.15 s does not switch the cache off."""

ROUNDING: Final = 0.001
"""Seconds of patience that count as none left."""

PARTS: Final = 5
"""Turns of the loop into which a timeout is divided."""

QUESTION_TIMEOUT: Final = 5.0
"""Seconds after which a question is cancelled."""

ERRORS_IN_A_ROW: Final = 5
"""Quick errors in a row after which a backend is left alone, as after `IN_ALL`."""

PAUSE: Final = 5.0
"""Seconds for which a failing backend is left alone."""

LOG_INTERVAL: Final = 60.0
"""Seconds from one log line about a failing backend to the next."""


class Turns:
    """Locks by key: changes of one key happen one after the other, in their order."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Wait for the turn. A holder keeps it only as long as a backend may take."""
        self._users[key] += 1
        try:
            async with self._locks.setdefault(key, asyncio.Lock()):
                yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key], self._locks[key]


def wrapped(
    value: Any,
    ttl: float,
    now: float,
    *,
    asked_at: float | None = None,
    of: str | None = None,
) -> str:
    """Put a model in an envelope.

    Args:
        value: The model.
        ttl: Seconds for which it stays fresh.
        now: The time, by the wall clock.
        asked_at: When the service was asked for it, by that clock; None is now.
        of: What it belongs to; None if it stands alone.
    """
    envelope = {
        "schema": SCHEMA,
        "asked_at": now if asked_at is None else asked_at,
        "stored_at": now,
        "fresh_until": now + ttl,
        "body": to_dict(value),
    }
    if of is not None:
        envelope["of"] = of
    return json.dumps(envelope, separators=(",", ":"))


@attrs.frozen
class Body(Generic[T]):
    """The contents of an envelope.

    Attributes:
        value: The model.
        fresh_for: Seconds for which it stays fresh; negative after its freshness.
        asked_at: When the service was asked for it, by the wall clock of the client
            that stored it.
        of: What it belongs to. It comes from a backend, so it can be anything.
    """

    value: T
    fresh_for: float
    asked_at: float
    of: object


def unwrapped(
    text: object, model: type[T], now: float, grace: float = 0.0
) -> Body[T] | None:
    """Return the contents of an envelope, fresh or past for less than *grace* seconds.

    For anything else that a backend returns, the result is None.
    """
    if not isinstance(text, str | bytes):
        return None
    try:
        envelope = json.loads(text)
        fresh_for = envelope["fresh_until"] - now
        value = structure(envelope["body"], model)
        of_ours = envelope["schema"] == SCHEMA
        asked_at = float(envelope["asked_at"])
        body = Body(value, fresh_for, asked_at, envelope.get("of"))
    except (EmoggError, ArithmeticError, LookupError, TypeError, ValueError):
        return None
    except RecursionError:
        return None
    return body if of_ours and fresh_for > -grace else None


async def _answer(question: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(QUESTION_TIMEOUT):
        return await question()


def _failure(task: "asyncio.Task[Any]") -> BaseException | None:
    """Return why a backend gave no answer, or None if it did."""
    if not task.done():
        return TimeoutError()
    return asyncio.CancelledError() if task.cancelled() else task.exception()


class Guard:
    """Asks a backend, and keeps its failures away from calls.

    Each question is a task of its own, which goes on when its callers leave. Clients
    like aiomcache lose their place on a connection if a question is cancelled.
    """

    def __init__(self) -> None:
        self._spent = 0.0
        self._failed_at = -math.inf
        self._paused_until = -math.inf
        self._quiet_until = -math.inf
        self._left: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """End the questions that nobody waits for any more, and forget all failures."""
        for task in self._left:
            task.cancel()
        if self._left:
            await asyncio.wait(self._left, timeout=BACKEND_TIMEOUT)
        self._spent, self._paused_until = 0.0, -math.inf

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Return the backend's answer; None when it fails, hangs or is left alone."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return None
        patience = min(BACKEND_TIMEOUT, IN_ALL * BACKEND_TIMEOUT - self._spent)
        if patience < ROUNDING:
            # One caller finds out for all whether it is back. It may have to connect.
            patience = IN_ALL * BACKEND_TIMEOUT
            self._paused_until = now + PAUSE
        task = asyncio.create_task(_answer(question))
        try:
            # A turn of the loop uses up a part at most. A loop that was busy for a
            # tenth of a second would otherwise blame the backend, and switch the cache
            # off just when there is most to do.
            for _ in range(PARTS):
                if not task.done():
                    await asyncio.wait([task], timeout=patience / PARTS)
        finally:
            failure = _failure(task)
            if failure is not None:
                # A caller that leaves has waited, too. Otherwise calls with less time
                # than the timeout would ask a hanging server again and again.
                self._spend_since(now)
                self._left.add(task)
                task.add_done_callback(self._forget)
        if failure is not None:
            self._note(failure, is_error=task.done())
            return None
        self._spent, self._paused_until = 0.0, -math.inf
        return task.result()

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        _failure(task)  # read, or asyncio would log it

    def _spend_since(self, asked_at: float) -> None:
        now = asyncio.get_running_loop().time()
        self._spend(now - max(asked_at, self._failed_at), now)
        self._failed_at = now

    def _spend(self, seconds: float, now: float) -> None:
        self._spent += seconds
        if self._spent > IN_ALL * BACKEND_TIMEOUT - ROUNDING:
            self._paused_until = now + PAUSE

    def _note(self, error: BaseException, *, is_error: bool) -> None:
        now = asyncio.get_running_loop().time()
        if is_error:
            self._spend(IN_ALL * BACKEND_TIMEOUT / ERRORS_IN_A_ROW, now)
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_INTERVAL
            # Only its type: messages of backends quote keys, values and URLs.
            name = type(error).__name__
            log(logger, logging.WARNING, "the cache backend failed: %s", name)
