"""aiocache's memory cache, made fit for months: a bounded LRU that expires.

The one that it is built on keeps everything, holds a timer for each entry, takes a time
to live of 0 for eternity, and forgets to expire what was stored under an earlier event
loop.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from aiocache.backends.memory import SimpleMemoryCache

__all__ = ["ExpiringLRU", "LRUMemoryCache"]


class ExpiringLRU:
    """A bounded mapping whose entries expire; plain and synchronous.

    Args:
        capacity: How much its entries weigh at most, all together.
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

    def get_expired(self, key: str) -> tuple[Any, float] | None:
        """Return what has expired under *key* and is still kept, and for how long."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        now = self._clock()
        left = entry[0] + self._grace - now
        if entry[0] > now or left <= 0:
            return None
        self._entries.move_to_end(key)
        return entry[1], left

    def put(self, key: str, value: object, ttl: float | None, weight: int = 1) -> None:
        """Store *value* for *ttl* seconds: None is for ever, 0 and less not at all."""
        self.pop(key)
        if ttl is not None and not ttl > 0:  # NaN too
            return
        expires = math.inf if ttl is None else self._clock() + ttl
        self._entries[key] = (expires, value, weight)
        self._weight += weight
        while self._weight > self._capacity:
            self._weight -= self._entries.popitem(last=False)[1][2]

    def pop(self, key: str, default: object = None) -> Any:
        """Remove *key* and return what was stored under it."""
        _, value, weight = self._entries.pop(key, (0.0, default, 0))
        self._weight -= weight
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)


class LRUMemoryCache(SimpleMemoryCache):
    """An aiocache cache over `ExpiringLRU`; it can be looked into without awaiting.

    Args:
        max_entries: How many entries it keeps at most, expired ones included.
        clock: The time in seconds; it never goes back.
        grace: Seconds for which an entry is kept after it has expired.
    """

    def __init__(
        self,
        max_entries: int,
        clock: Callable[[], float] = time.monotonic,
        grace: float = 0.0,
    ) -> None:
        # aiocache's own timeout costs more than all the rest, and loses cancellations.
        super().__init__(timeout=None)
        self._cache = ExpiringLRU(max_entries, clock, grace)
        self.peek = self._cache.get
        self.peek_expired = self._cache.get_expired

    async def _set(
        self,
        key: str,
        value: object,
        ttl: float | None = None,
        _cas_token: object = None,
        _conn: object = None,
    ) -> bool:
        if _cas_token is not None and _cas_token != self._cache.get(key):
            return False
        self._cache.put(key, value, ttl)
        return True

    async def _expire(self, key: str, ttl: float | None, _conn: object = None) -> bool:
        value = self._cache.get(key)
        if value is not None:
            self._cache.put(key, value, ttl or None)  # aiocache: 0 lifts the limit
        return value is not None

    async def _increment(self, key: str, delta: int, _conn: object = None) -> int:
        value = int(self._cache.get(key) or 0) + delta
        self._cache.put(key, value, None)
        return value

    async def _clear(self, namespace: str | None = None, _conn: object = None) -> bool:
        for key in list(self._cache):
            if key.startswith(namespace or ""):
                self._cache.pop(key)
        return True
