"""The cache of sessions: whose they are, how long they stay fresh, and where they lie.

Our own memory cache keeps the models themselves. Every other aiocache cache gets a JSON
envelope as text, so that nothing of ours is ever pickled into a shared place, and is
never trusted: whatever it raises, delays or makes up is a miss.

Source: https://aiocache.aio-libs.org.
"""

import asyncio
import hashlib
import hmac
import json
import logging
import math
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import attrs

from emogg_async._checks import non_negative, whole
from emogg_async._converter import structure, to_dict
from emogg_async.errors import EmoggError, InvalidArgumentError
from emogg_async.models import Session, SessionState

if TYPE_CHECKING:
    from emogg_async._memory import LRUMemoryCache

__all__ = ["CacheBackend", "CachePolicy", "SessionCache", "open_cache"]

T = TypeVar("T")

logger = logging.getLogger("emogg_async.cache")

SCHEMA: Final = "1"
"""Part of every key: a release that stores something else must never read this."""

JITTER: Final = 0.1
PATIENCE: Final = 0.1
"""Seconds that a backend may take; longer is a failure."""

PARTS: Final = 5

FAILURES_IN_A_ROW: Final = 5
PAUSE: Final = 5.0
"""Seconds for which a failing backend is left alone."""

LOG_INTERVAL: Final = 60.0


class CacheBackend(Protocol):
    """What a cache must do to hold our sessions; aiocache's caches do."""

    async def get(
        self, key: str, *, loads_fn: Callable[[Any], Any] | None = None
    ) -> Any:
        """Return `loads_fn` of what is stored under *key*, or of None."""

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: float | None = None,
        dumps_fn: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Store `dumps_fn` of *value* for *ttl* seconds."""

    async def delete(self, key: str) -> Any:
        """Remove *key*, if it is there."""

    async def multi_get(
        self, keys: list[str], *, loads_fn: Callable[[Any], Any] | None = None
    ) -> list[Any]:
        """Do what `get` does for each of *keys*."""


def _is_backend(_: object, attribute: Any, value: object) -> None:
    needed = ("get", "set", "delete", "multi_get")
    if value is not None and not all(hasattr(value, name) for name in needed):
        raise InvalidArgumentError(
            f"{attribute.name}: expected an aiocache cache with {', '.join(needed)}, "
            f"got {type(value).__name__}"
        )


@attrs.frozen(kw_only=True)
class CachePolicy:
    """What a client keeps, for how long and where.

    Each time is shortened or lengthened at random by up to a tenth, so that what was
    stored together does not expire together.

    Raises:
        InvalidArgumentError: A value is out of its range.
    """

    ttl: float = attrs.field(default=300.0, validator=non_negative)
    """Seconds for which a finished session stays fresh; 0 does not store it."""

    live_ttl: float = attrs.field(default=2.0, validator=non_negative)
    """Seconds for which any other session stays fresh; 0 does not store it."""

    max_entries: int = attrs.field(default=10_000, validator=whole(at_least=1))
    """Sessions kept in memory at most; the least recently used goes first. Without
    meaning for a *backend* of your own."""

    backend: CacheBackend | None = attrs.field(default=None, validator=_is_backend)
    """An aiocache cache to keep them in, perhaps shared; None is a cache in memory. It
    is yours: it is never closed or cleared."""

    def ttl_of(self, session: Session) -> float:
        """Return for how many seconds *session* may be kept; 0 is not at all."""
        finished = session.state == SessionState.FINISHED
        return self.ttl if finished else self.live_ttl


class SessionCache(Protocol):
    """A cache of one tenant's sessions, by id."""

    def peek(self, session_id: str, /) -> Session | None:
        """Return what can be had without waiting."""

    async def get(self, session_id: str) -> Session | None:
        """Return what is fresh."""

    async def get_many(self, session_ids: Sequence[str]) -> dict[str, Session]:
        """Return what is fresh of *session_ids*, by id."""

    async def put(self, session: Session) -> None:
        """Store *session*, if its state deserves it."""

    async def put_many(self, sessions: Iterable[Session]) -> None:
        """Do what `put` does for each of *sessions*."""


def open_cache(
    policy: CachePolicy, *, base_url: str, token: str, rng: random.Random
) -> SessionCache:
    """Open the cache that *policy* describes, for the user of *token* alone.

    Args:
        policy: What to keep, for how long and where.
        base_url: The service that the sessions come from.
        token: Whose sessions they are; nothing of it gets into a key.
        rng: The source of jitter.
    """
    tenant = hmac.new(token.encode(), base_url.encode(), hashlib.sha256).hexdigest()
    prefix = f"emogg:{SCHEMA}:{tenant[:16]}:session:"
    if policy.backend is not None:
        return _SharedCache(policy, policy.backend, prefix, rng)
    from emogg_async._memory import LRUMemoryCache  # noqa: PLC0415 - slow to import

    return _OwnCache(policy, LRUMemoryCache(policy.max_entries), prefix, rng)


def _jittered(ttl: float, rng: random.Random) -> float:
    return ttl * rng.uniform(1 - JITTER, 1 + JITTER)


class _OwnCache:
    """Sessions in our own memory cache, as they are."""

    def __init__(
        self,
        policy: CachePolicy,
        backend: "LRUMemoryCache",
        prefix: str,
        rng: random.Random,
    ) -> None:
        self._policy = policy
        self._backend = backend
        self._lookup = backend.peek
        self._prefix = prefix
        self._rng = rng

    def peek(self, session_id: str, /) -> Session | None:
        session: Session | None = self._lookup(self._prefix + session_id)
        return session

    async def get(self, session_id: str) -> Session | None:
        return self.peek(session_id)

    async def get_many(self, session_ids: Sequence[str]) -> dict[str, Session]:
        found = ((each, self.peek(each)) for each in session_ids)
        return {each: session for each, session in found if session is not None}

    async def put(self, session: Session) -> None:
        if ttl := self._policy.ttl_of(session):
            key = self._prefix + session.id.lower()
            await self._backend.set(key, session, ttl=_jittered(ttl, self._rng))

    async def put_many(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            await self.put(session)


class _SharedCache:
    """Sessions in a backend that others use too: enveloped, and never trusted."""

    def __init__(
        self,
        policy: CachePolicy,
        backend: CacheBackend,
        prefix: str,
        rng: random.Random,
    ) -> None:
        self._policy = policy
        self._backend = backend
        self._prefix = prefix
        self._rng = rng
        self._guard = _Guard()

    def peek(self, _: str, /) -> Session | None:
        return None

    async def get(self, session_id: str) -> Session | None:
        key = self._prefix + session_id
        envelope = await self._guard.ask(
            lambda: self._backend.get(key, loads_fn=_as_text)
        )
        return self._accepted(session_id, envelope)

    async def get_many(self, session_ids: Sequence[str]) -> dict[str, Session]:
        keys = [self._prefix + each for each in session_ids]
        envelopes = await self._guard.ask(
            lambda: self._backend.multi_get(keys, loads_fn=_as_text)
        )
        if not isinstance(envelopes, list) or len(envelopes) != len(keys):
            return {}
        found = map(self._accepted, session_ids, envelopes)
        pairs = zip(session_ids, found, strict=True)
        return {each: session for each, session in pairs if session is not None}

    def _accepted(self, session_id: str, envelope: object) -> Session | None:
        session = _unwrapped(envelope, self._policy, time.time())
        return session if session and session.id.lower() == session_id else None

    async def put(self, session: Session) -> None:
        if not (ttl := self._policy.ttl_of(session)):
            return
        ttl = _jittered(ttl, self._rng)
        key = self._prefix + session.id.lower()
        envelope = _wrapped(session, ttl, time.time())
        await self._guard.ask(
            lambda: self._backend.set(key, envelope, ttl=ttl, dumps_fn=_as_text)
        )

    async def put_many(self, sessions: Iterable[Session]) -> None:
        # All at once: one by one, a page's would take a hundred round trips.
        await asyncio.gather(*map(self.put, sessions))


def _as_text(value: Any) -> Any:
    """Pass text through, in the place of the backend's own serializer."""
    return value


def _wrapped(session: Session, ttl: float, now: float) -> str:
    envelope = {
        "schema": SCHEMA,
        "stored_at": now,
        "fresh_until": now + ttl,
        "body": to_dict(session),
    }
    return json.dumps(envelope, separators=(",", ":"))


def _unwrapped(text: object, policy: CachePolicy, now: float) -> Session | None:
    """Return the fresh session in an envelope; None for anything else there may be."""
    if not isinstance(text, str | bytes):
        return None
    try:
        envelope = json.loads(text)
        fresh_for = envelope["fresh_until"] - now
        session = structure(envelope["body"], Session)
        of_ours = envelope["schema"] == SCHEMA
    except (EmoggError, ArithmeticError, LookupError, TypeError, ValueError):
        return None
    except RecursionError:
        return None
    # A clock that is ahead, or somebody else's policy, keeps nothing alive beyond ours.
    limit = policy.ttl_of(session) * (1 + JITTER)
    return session if of_ours and 0 < fresh_for <= limit else None


def _let_cancellation_pass() -> None:
    """Raise what a backend may have swallowed: the cancellation of this very task."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


class _Limit:
    """A timeout after PATIENCE, of which a turn of the loop uses up a part at most.

    Otherwise a loop that was busy for a tenth of a second would take that for the
    backend's, and switch the cache off just when there is most to do.
    """

    def __init__(self) -> None:
        self.timeout = asyncio.timeout(None)
        self._loop = asyncio.get_running_loop()
        self._wait(PARTS)

    def _wait(self, parts: int) -> None:
        self.timer = self._loop.call_later(PATIENCE / PARTS, self._after, parts - 1)

    def _after(self, parts: int) -> None:
        if parts:
            self._wait(parts)
        else:
            self.timeout.reschedule(self._loop.time())


class _Guard:
    """Asks a backend, and lets nothing of what may go wrong there hurt a call."""

    def __init__(self) -> None:
        self._failures = 0
        self._paused_until = -math.inf
        self._quiet_until = -math.inf

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Return the backend's answer; None when it fails, hangs or is left alone."""
        now = asyncio.get_running_loop().time()
        if now < self._paused_until:
            return None
        limit = _Limit()
        try:
            async with limit.timeout:
                answer = await question()
        except (Exception, asyncio.CancelledError) as error:
            _let_cancellation_pass()
            self._note(error, now)
            return None
        finally:
            limit.timer.cancel()
        _let_cancellation_pass()
        self._failures = 0
        return answer

    def _note(self, error: BaseException, now: float) -> None:
        self._failures += 1
        if self._failures >= FAILURES_IN_A_ROW:
            self._failures = 0
            self._paused_until = now + PAUSE
        if now >= self._quiet_until:
            self._quiet_until = now + LOG_INTERVAL
            # Its type alone: messages of backends quote keys, values and URLs.
            logger.warning("the cache backend failed: %s", type(error).__name__)
