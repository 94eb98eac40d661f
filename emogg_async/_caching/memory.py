"""The client's own cache: models as they are, in a bounded LRU of this process."""

import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from aiocache.backends.memory import SimpleMemoryCache

from emogg_async._caching.outages import Past
from emogg_async._caching.policy import JITTER, CachePolicy
from emogg_async._caching.shared import Origin, Origins
from emogg_async._wire.protocol import Request
from emogg_async.models import Session

__all__ = ["ExpiringLRU", "LRUMemoryCache", "OwnCache"]

T = TypeVar("T")


class ExpiringLRU:
    """A bounded mapping whose entries expire.

    Args:
        capacity: The weight of all its entries together at most; the least recently
            used go first.
        clock: The time in seconds; it never goes back.
        grace: Seconds for which an entry is kept after it has expired.
    """

    def __init__(
        self, capacity: int, clock: Callable[[], float], grace: float = 0.0
    ) -> None:
        self._capacity = capacity
        self._clock = clock
        self._grace = grace
        self._entries: OrderedDict[str, tuple[float, Any, int]] = OrderedDict()
        self._weight = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def get(self, key: str) -> Any:
        """Return what is stored under *key* and still fresh, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= (now := self._clock()):
            if entry[0] + self._grace <= now:
                self.pop(key)
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def find(self, key: str) -> Any:
        """Return what is kept under *key*, as a `Past` if it has expired, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        expires, value, _ = entry
        now = self._clock()
        if now < expires:
            found = value
        elif now < expires + self._grace:
            found = Past(value, expires + self._grace - now)
        else:
            self.pop(key)
            return None
        self._entries.move_to_end(key)
        return found

    def put(self, key: str, value: object, ttl: float | None, weight: int = 1) -> None:
        """Store *value* for *ttl* seconds: None is for ever, 0 and less not at all."""
        entries = self._entries
        if key in entries:
            self.pop(key)
        if ttl is not None and not ttl > 0:  # NaN too
            return
        expires = math.inf if ttl is None else self._clock() + ttl
        entries[key] = (expires, value, weight)
        self._weight += weight
        while self._weight > self._capacity:
            self._weight -= entries.popitem(last=False)[1][2]

    def pop(self, key: str, default: object = None) -> Any:
        """Remove *key* and return what was stored under it."""
        _, value, weight = self._entries.pop(key, (0.0, default, 0))
        self._weight -= weight
        return value


class LRUMemoryCache(SimpleMemoryCache):
    """aiocache's memory cache over an `ExpiringLRU`.

    This package leaves times to live to aiocache, in memory as in any backend. Its own
    memory cache is not fit for months: it keeps everything, holds a
    timer for each entry, takes a time to live of 0 for eternity, and forgets to expire
    entries of an earlier event loop. The client calls the methods of `entries` without
    aiocache's wrappers, since those run plugins and timeouts that it does not have.

    Args:
        max_entries: How many entries it keeps at most, expired ones included.
        clock: The time in seconds; it never goes back.
        grace: Seconds for which an entry is kept after it has expired.

    Attributes:
        entries: The mapping that holds them.
    """

    def __init__(
        self,
        max_entries: int,
        clock: Callable[[], float] = time.monotonic,
        grace: float = 0.0,
    ) -> None:
        # aiocache's own timeout costs more than all the rest, and loses cancellations.
        super().__init__(timeout=None)
        self._cache = self.entries = ExpiringLRU(max_entries, clock, grace)

    async def _set(
        self,
        key: str,
        value: object,
        ttl: float | None = None,
        _cas_token: object = None,
        _conn: object = None,
    ) -> bool:
        self.entries.put(key, value, ttl)
        return True


class OwnCache:
    """A `SessionCache` of this client alone.

    Args:
        policy: What to keep, and for how long.
        rng: The source of jitter.
    """

    is_shared = False

    def __init__(self, policy: CachePolicy, rng: random.Random) -> None:
        self.policy = policy
        self._jitter = partial(rng.uniform, 1 - JITTER, 1 + JITTER)
        limits = policy.max_entries, time.monotonic, policy.stale_if_error
        self._sessions = LRUMemoryCache(*limits).entries
        # Kept apart: one long timeline would push out hundreds of sessions.
        self._derived = ExpiringLRU(*limits)
        self._marks: WeakValueDictionary[str, _Mark] = WeakValueDictionary()
        self.peek = self._sessions.get

    async def get(self, session_id: str) -> Session | Past[Session] | None:
        found: Session | Past[Session] | None = self._sessions.find(session_id)
        return found

    async def get_many(
        self, session_ids: Sequence[str]
    ) -> dict[str, Session | Past[Session]]:
        found = zip(session_ids, map(self._sessions.find, session_ids), strict=True)
        return {each: value for each, value in found if value is not None}

    async def put(self, session: Session, asked_at: float | None = None) -> None:
        ttl = self.policy.ttl_of(session) * self._jitter()
        self._sessions.put(session.id.lower(), session, ttl)

    async def put_many(
        self, sessions: Iterable[Session], asked_at: float | None = None
    ) -> None:
        for session in sessions:
            await self.put(session)

    async def get_derived(
        self, request: Request, model: type[T]
    ) -> tuple[Origin | None, T | Past[T] | None]:
        # It lives as long as anything that is derived from the session.
        mark = self._marks.setdefault(request.session_id, _Mark())
        found = self._sessions.find(request.session_id)
        origins = Origins(found, mark, self.policy.stale_if_error)
        entry, lasts = self._derived.find(request.target), math.inf
        if isinstance(entry, Past):
            entry, lasts = entry.value, entry.lasts
        if entry is None or type(entry[1]) is not model:
            return origins.now, None
        return origins.now, origins.allowed(entry[1], entry[0], lasts)

    async def put_derived(
        self, request: Request, origin: Origin, value: T, asked_at: float
    ) -> None:
        ttl = self.policy.ttl_of(origin.session) * self._jitter()
        weight = 1 + len(getattr(value, "intervals", ()))
        self._derived.put(request.target, (origin, value), ttl, weight)

    async def drop(self, session_id: str, *, is_written: bool) -> None:
        self._marks.pop(session_id, None)
        self._sessions.pop(session_id)

    async def close(self) -> None:
        pass


class _Mark:
    """Equal to nothing but itself."""

    __slots__ = ("__weakref__",)
