"""The cache of sessions: whose they are, how long they stay fresh, and where they lie.

What is derived from a finished session lies beside it, and is found only as long as the
cache has that very session, and nobody has written it since: a write takes all of this
with it, whatever the parameters were, and in every process.

Our own memory cache keeps the models themselves; `_shared` is about all others.

Source: https://aiocache.aio-libs.org.
"""

import hashlib
import hmac
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from weakref import WeakValueDictionary

import attrs

from emogg_async._caching.guard import SCHEMA
from emogg_async._caching.lru import ExpiringLRU
from emogg_async._caching.outages import Past, weight_of
from emogg_async._caching.shared import Origin, SharedCache, aged, jittered, opened
from emogg_async._checks import non_negative, whole
from emogg_async._wire.protocol import Request
from emogg_async.errors import InvalidArgumentError
from emogg_async.models import Session, SessionState

if TYPE_CHECKING:
    from emogg_async._caching.memory import LRUMemoryCache

__all__ = ["CacheBackend", "CachePolicy", "SessionCache", "open_cache"]

T = TypeVar("T")


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
        """Store *session*, if its state deserves it; else remove what it replaces.

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
    ) -> tuple[Origin | None, T | Past[T] | None]:
        """Return what *request* asks about a session, and what that belongs to.

        The one is None unless the session is finished and fresh; the other may be past.
        """

    async def put_derived(self, request: Request, origin: Origin, value: T) -> None:
        """Store what *request* brought, for as long as it belongs to *origin*."""

    async def drop(self, session_id: str, *, is_written: bool) -> None:
        """Remove a session; when it *is_written*, what is derived from it goes too."""

    async def close(self) -> None:
        """End what goes on by itself; what is stored stays."""


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
        return SharedCache(policy, policy.backend, prefix, rng)
    from emogg_async._caching.memory import LRUMemoryCache  # noqa: PLC0415 - slow to import

    limits = policy.max_entries, time.monotonic, policy.stale_if_error
    sessions = LRUMemoryCache(*limits)
    # Apart, or one long timeline would push out hundreds of sessions.
    derived = ExpiringLRU(*limits)
    return _OwnCache(policy, sessions, derived, prefix, rng)


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
        self._marks: WeakValueDictionary[str, _Mark] = WeakValueDictionary()
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
        key = self._prefix + session.id.lower()
        if ttl := self._policy.ttl_of(session):
            await self._backend.set(key, session, ttl=jittered(ttl, self._rng))
        else:
            await self._backend.delete(key)

    async def put_many(
        self, sessions: Iterable[Session], asked_at: float | None = None
    ) -> None:
        for session in sessions:
            await self.put(session)

    async def get_derived(
        self, request: Request, model: type[T]
    ) -> tuple[Origin | None, T | Past[T] | None]:
        found = self._find(request.session_id)
        session, lasts = opened(found)
        if session is None:
            return None, None
        # Alive for as long as anything that is derived from the session.
        mark = self._marks.setdefault(request.session_id, _Mark())
        origin = Origin(session, mark)
        fresh = origin if session is found else None
        entry = self._derived.get(request.target)
        if entry is None:
            expired = self._derived.get_expired(request.target)
            entry, left = expired or (None, lasts)
            lasts = min(lasts, left)
        if entry is None or entry[0] != origin or type(entry[1]) is not model:
            return fresh, None
        return fresh, aged(entry[1], lasts)

    async def put_derived(self, request: Request, origin: Origin, value: T) -> None:
        if ttl := self._policy.ttl_of(origin.session):
            ttl = jittered(ttl, self._rng)
            entry = origin, value
            self._derived.put(request.target, entry, ttl, weight_of(value))

    async def drop(self, session_id: str, *, is_written: bool) -> None:
        if is_written:
            self._marks.pop(session_id, None)
        await self._backend.delete(self._prefix + session_id)

    async def close(self) -> None:
        pass


class _Mark:
    """Equal to nothing but itself."""

    __slots__ = ("__weakref__",)
