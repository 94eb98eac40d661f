"""The cache of sessions: whose they are, how long they stay fresh, and where they lie.

What is derived from a finished session lies beside it, and is found only as long as the
cache has that very session: dropping or renaming it takes all of this with it, whatever
the parameters were, and in every process.

Our own memory cache keeps the models themselves. Every other aiocache cache gets a JSON
envelope as text, so that nothing of ours is ever pickled into a shared place, and is
never trusted: whatever it raises, delays or makes up is a miss.

Source: https://aiocache.aio-libs.org.
"""

import asyncio
import hashlib
import hmac
import json
import math
import random
import time
from collections.abc import (
    Callable,
    Iterable,
    Sequence,
)
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import attrs

from emogg_async._backend import SCHEMA, Guard, Turns, unwrapped, wrapped
from emogg_async._checks import non_negative, whole
from emogg_async._converter import to_dict
from emogg_async._lru import ExpiringLRU
from emogg_async._protocol import Request
from emogg_async._stale import Past, weight_of
from emogg_async.errors import InvalidArgumentError
from emogg_async.models import Session, SessionState

if TYPE_CHECKING:
    from emogg_async._memory import LRUMemoryCache

__all__ = ["CacheBackend", "CachePolicy", "SessionCache", "open_cache"]

T = TypeVar("T")

JITTER: Final = 0.1

NOTED_WRITES: Final = 10_000
"""Sessions of which it is known when they were last written."""


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
    """Seconds for which a finished session stays fresh, and what is derived from it;
    0 does not store it."""

    live_ttl: float = attrs.field(default=2.0, validator=non_negative)
    """Seconds for which any other session stays fresh; 0 does not store it."""

    stale_if_error: float = attrs.field(default=0.0, validator=non_negative)
    """Seconds after the end of its freshness for which a value stands in when the
    service cannot answer: a connection lost, the time up, a 5xx or no token in time.
    Its `stale` is True then. 0 is never."""

    max_entries: int = attrs.field(default=10_000, validator=whole(at_least=1))
    """Sessions kept in memory at most, past ones included, and as many intervals of
    timelines; the least recently used goes first. For a *backend* of your own it
    bounds only what is at hand for the outage of the moment."""

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

    async def get(self, session_id: str) -> Session | Past[Session] | None:
        """Return what is fresh, else what may stand in for it."""

    async def get_many(self, session_ids: Sequence[str]) -> dict[str, Session]:
        """Return what is fresh of *session_ids*, by id."""

    async def put(self, session: Session, asked_at: float | None = None) -> None:
        """Store *session*, if its state deserves it.

        Args:
            session: The session.
            asked_at: When the service was asked for it, by the wall clock; None is now.
        """

    async def put_many(
        self, sessions: Iterable[Session], asked_at: float | None = None
    ) -> None:
        """Do what `put` does for each of *sessions*."""

    async def get_derived(
        self, request: Request, model: type[T]
    ) -> tuple[Session | None, T | Past[T] | None]:
        """Return the session and what *request* asks about it.

        The one is None unless it is finished and fresh; the other may be past.
        """

    async def put_derived(self, request: Request, session: Session, value: T) -> None:
        """Store what *request* brought, for as long as *session* is the cached one."""

    async def drop(self, session_id: str) -> None:
        """Remove a session, and so all that is derived from it."""


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
    prefix = f"emogg:{SCHEMA}:{tenant[:16]}:"
    if policy.backend is not None:
        return _SharedCache(policy, policy.backend, prefix, rng)
    from emogg_async._memory import LRUMemoryCache  # noqa: PLC0415 - slow to import

    limits = policy.max_entries, time.monotonic, policy.stale_if_error
    sessions = LRUMemoryCache(*limits)
    # Apart, or one long timeline would push out hundreds of sessions.
    derived = ExpiringLRU(*limits)
    return _OwnCache(policy, sessions, derived, prefix, rng)


def _jittered(ttl: float, rng: random.Random) -> float:
    return ttl * rng.uniform(1 - JITTER, 1 + JITTER)


class _OwnCache:
    """Sessions in our own memory cache, as they are."""

    def __init__(
        self,
        policy: CachePolicy,
        backend: "LRUMemoryCache",
        derived: "ExpiringLRU",
        prefix: str,
        rng: random.Random,
    ) -> None:
        self._policy = policy
        self._backend = backend
        self._lookup = backend.peek
        self._derived = derived
        self._prefix = prefix + "session:"
        self._rng = rng

    def peek(self, session_id: str, /) -> Session | None:
        session: Session | None = self._lookup(self._prefix + session_id)
        return session

    async def get(self, session_id: str) -> Session | Past[Session] | None:
        return self._find(session_id)

    def _find(self, session_id: str) -> Session | Past[Session] | None:
        session = self.peek(session_id)
        if session is None:
            expired = self._backend.peek_expired(self._prefix + session_id)
            return Past(*expired) if expired else None
        return session

    async def get_many(self, session_ids: Sequence[str]) -> dict[str, Session]:
        found = ((each, self.peek(each)) for each in session_ids)
        return {each: session for each, session in found if session is not None}

    async def put(self, session: Session, asked_at: float | None = None) -> None:
        if ttl := self._policy.ttl_of(session):
            key = self._prefix + session.id.lower()
            await self._backend.set(key, session, ttl=_jittered(ttl, self._rng))

    async def put_many(
        self, sessions: Iterable[Session], asked_at: float | None = None
    ) -> None:
        for session in sessions:
            await self.put(session)

    async def get_derived(
        self, request: Request, model: type[T]
    ) -> tuple[Session | None, T | Past[T] | None]:
        found = self._find(request.session_id)
        session, lasts = _opened(found)
        if session is None:
            return None, None
        fresh = session if session is found else None
        entry = self._derived.get(request.target)
        if entry is None:
            expired = self._derived.get_expired(request.target)
            entry, left = expired or (None, lasts)
            lasts = min(lasts, left)
        if entry is None or entry[0] != session or type(entry[1]) is not model:
            return fresh, None
        return fresh, _aged(entry[1], lasts)

    async def put_derived(self, request: Request, session: Session, value: T) -> None:
        if ttl := self._policy.ttl_of(session):
            ttl = _jittered(ttl, self._rng)
            entry = session, value
            self._derived.put(request.target, entry, ttl, weight_of(value))

    async def drop(self, session_id: str) -> None:
        await self._backend.delete(self._prefix + session_id)


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
        self._prefix = prefix + "session:"
        self._derived_prefix = prefix + "derived:"
        self._rng = rng
        self._guard = Guard()
        self._turns = Turns()
        self._written: dict[str, float] = {}
        self._written_before = -math.inf

    def peek(self, _: str, /) -> Session | None:
        return None

    async def get(self, session_id: str) -> Session | Past[Session] | None:
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
        return {each: found for each, found in pairs if isinstance(found, Session)}

    def _accepted(
        self, session_id: str, envelope: object
    ) -> Session | Past[Session] | None:
        grace = self._policy.stale_if_error
        body = unwrapped(envelope, Session, time.time(), grace)
        if body is None:
            return None
        # Whoever asked before our own write may have stored it after that, and what a
        # backend has failed to delete, or stores late, is still there.
        written_at = self._written.get(session_id, self._written_before)
        if not body.asked_at > written_at:  # NaN neither
            return None
        session, fresh_for = body.value, body.fresh_for
        # A clock ahead, or another's policy, keeps nothing alive beyond our own.
        if fresh_for > self._policy.ttl_of(session) * (1 + JITTER):
            return None
        if session.id.lower() != session_id:
            return None
        return session if fresh_for > 0 else Past(session, fresh_for + grace)

    async def put(self, session: Session, asked_at: float | None = None) -> None:
        if ttl := self._policy.ttl_of(session):
            key = self._prefix + session.id.lower()
            await self._set(key, session, ttl, asked_at=asked_at)

    async def put_many(
        self, sessions: Iterable[Session], asked_at: float | None = None
    ) -> None:
        # All at once: one by one, a page's would take a hundred round trips.
        await asyncio.gather(*(self.put(session, asked_at) for session in sessions))

    async def _set(self, key: str, value: Any, ttl: float, **facts: Any) -> None:
        ttl = _jittered(ttl, self._rng)
        envelope = wrapped(value, ttl, time.time(), **facts)
        kept = ttl + self._policy.stale_if_error
        async with self._turns.of(key):
            await self._guard.ask(
                lambda: self._backend.set(key, envelope, ttl=kept, dumps_fn=_as_text)
            )

    async def get_derived(
        self, request: Request, model: type[T]
    ) -> tuple[Session | None, T | Past[T] | None]:
        keys = [
            self._prefix + request.session_id,
            self._derived_prefix + request.target,
        ]
        envelopes = await self._guard.ask(
            lambda: self._backend.multi_get(keys, loads_fn=_as_text)
        )
        if not isinstance(envelopes, list) or len(envelopes) != len(keys):
            return None, None
        found = self._accepted(request.session_id, envelopes[0])
        session, lasts = _opened(found)
        if session is None:
            return None, None
        fresh = session if session is found else None
        grace = self._policy.stale_if_error
        body = unwrapped(envelopes[1], model, time.time(), grace)
        if body is None:
            return fresh, None
        is_usable = (
            body.of == _fingerprint(session)
            and body.fresh_for <= self._policy.ttl * (1 + JITTER)
            and getattr(body.value, "session", "").lower() == request.session_id
        )
        if body.fresh_for <= 0:
            lasts = min(lasts, body.fresh_for + grace)
        return fresh, _aged(body.value, lasts) if is_usable else None

    async def put_derived(self, request: Request, session: Session, value: T) -> None:
        if ttl := self._policy.ttl_of(session):
            key = self._derived_prefix + request.target
            await self._set(key, value, ttl, of=_fingerprint(session))

    async def drop(self, session_id: str) -> None:
        key = self._prefix + session_id
        # What is noted first counts even if this is cut off.
        self._note_write(session_id)
        async with self._turns.of(key):  # a store under way is waited out
            await self._guard.ask(lambda: self._backend.delete(key))

    def _note_write(self, session_id: str) -> None:
        """From now on, pass by what was asked for until now of a session."""
        self._written.pop(session_id, None)
        self._written[session_id] = time.time()
        if len(self._written) > NOTED_WRITES:  # of all others, too, from then on
            oldest = self._written.pop(next(iter(self._written)))
            self._written_before = max(oldest, self._written_before)


def _opened(
    found: Session | Past[Session] | None,
) -> tuple[Session | None, float]:
    """Return a finished session, fresh or past, and how long it may stand in."""
    session = found.value if isinstance(found, Past) else found
    if session is None or session.state != SessionState.FINISHED:
        return None, math.inf
    return session, found.lasts if isinstance(found, Past) else math.inf


def _aged(value: T, lasts: float) -> T | Past[T]:
    """Return *value*, as a past one unless it lasts for ever."""
    return value if lasts == math.inf else Past(value, lasts)


def _fingerprint(session: Session) -> str:
    """Tell a session from every other, and from itself after a change."""
    text = json.dumps(to_dict(session), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _as_text(value: Any) -> Any:
    """Pass text through, in the place of the backend's own serializer."""
    return value
