"""aiocache's memory cache, made fit for months: a bounded LRU that expires.

The one that it is built on keeps everything, holds a timer for each entry, takes a time
to live of 0 for eternity, and forgets to expire what was stored under an earlier event
loop.
"""

import time
from collections.abc import Callable

from aiocache.backends.memory import SimpleMemoryCache

from emogg_async._caching.lru import ExpiringLRU

__all__ = ["LRUMemoryCache"]


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
