"""A bounded mapping that forgets what was used least recently, and what has expired."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["ExpiringLRU"]


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
