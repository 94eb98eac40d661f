"""What it takes to keep things in a backend that others use too: trust in nothing.

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
"""Part of every key: a release that stores something else must never read this."""

PATIENCE: Final = 0.1
"""Seconds that a backend may take; longer is a failure."""

IN_ALL: Final = 1.6
"""Times PATIENCE, that may be waited in vain between two answers, waits at the same
time counted once: so a server that hangs costs a caller less than 0.2 s, with one
question or with many, and one that hiccups for 0.15 s is not given up."""

ROUNDING: Final = 0.001
PARTS: Final = 5

ERRORS_IN_A_ROW: Final = 5
"""So many quick ones weigh as much as what may be waited in vain."""

PAUSE: Final = 5.0
"""Seconds for which a failing backend is left alone."""

LOG_INTERVAL: Final = 60.0


class Turns:
    """Lets those who change the same key do so one after the other, in their order."""

    def __init__(self) -> None:
        self._locks: dict[str, asyncio.Lock] = {}
        self._users: Counter[str] = Counter()

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Wait for the turn, which nobody has for longer than a backend may take."""
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
        of: What it belongs to; None when it stands for itself.
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
    """What was in an envelope."""

    value: T
    fresh_for: float
    """Seconds from now on; 0 and less: its freshness has ended so long ago."""

    asked_at: float
    """When the service was asked for it, by the wall clock of who stored it."""

    of: object
    """What it belongs to; from a backend, so it can be anything."""


def unwrapped(
    text: object, model: type[T], now: float, grace: float = 0.0
) -> Body[T] | None:
    """Return what is in an envelope and fresh; None for anything else there may be.

    What has been so until *grace* seconds ago is returned, too.
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


def _let_cancellation_pass() -> None:
    """Raise what a backend may have swallowed: the cancellation of this very task."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Limit:
    """A timeout after *seconds*, of which a turn of the loop uses up a part at most.

    Otherwise a loop that was busy for a tenth of a second would take that for the
    backend's, and switch the cache off just when there is most to do.
    """

    def __init__(self, seconds: float) -> None:
        self.timeout = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._part = seconds / PARTS
        self._wait(PARTS)

    def _wait(self, parts: int) -> None:
        self.timer = self._loop.call_later(self._part, self._after, parts - 1)

    def _after(self, parts: int) -> None:
        if parts:
            self._wait(parts)
        else:
            self.timeout.reschedule(self._loop.time())


class Guard:
    """Asks a backend, and lets nothing of what may go wrong there hurt a call."""

    def __init__(self) -> None:
        self._spent = 0.0
        self._failed_at = -math.inf
        self._paused_until = -math.inf
        self._quiet_until = -math.inf

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Return the backend's answer; None when it fails, hangs or is left alone."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return None
        patience = min(PATIENCE, IN_ALL * PATIENCE - self._spent)
        if patience < ROUNDING:
            # One finds out for all whether it is back, and may have to connect first.
            patience = IN_ALL * PATIENCE
            self._paused_until = now + PAUSE
        limit = _Limit(patience)
        try:
            async with limit.timeout:
                answer = await question()
        except (Exception, asyncio.CancelledError) as error:
            # Who leaves has waited, too: or calls that have less time than PATIENCE
            # would ask a server that hangs for ever, and none of them get any further.
            self._spend_since(now)
            _let_cancellation_pass()
            self._note(error, is_error=not limit.timeout.expired())
            return None
        finally:
            limit.timer.cancel()
        _let_cancellation_pass()
        self._spent, self._paused_until = 0.0, -math.inf
        return answer

    def _spend_since(self, asked_at: float) -> None:
        now = asyncio.get_running_loop().time()
        self._spend(now - max(asked_at, self._failed_at), now)
        self._failed_at = now

    def _spend(self, seconds: float, now: float) -> None:
        self._spent += seconds
        if self._spent > IN_ALL * PATIENCE - ROUNDING:
            self._paused_until = now + PAUSE

    def _note(self, error: BaseException, *, is_error: bool) -> None:
        now = asyncio.get_running_loop().time()
        if is_error:
            self._spend(IN_ALL * PATIENCE / ERRORS_IN_A_ROW, now)
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_INTERVAL
            # Its type alone: messages of backends quote keys, values and URLs.
            name = type(error).__name__
            log(logger, logging.WARNING, "the cache backend failed: %s", name)
