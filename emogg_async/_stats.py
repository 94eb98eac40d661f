"""Counters of what a client did."""

import attrs

__all__ = ["Counters", "Stats"]


@attrs.frozen(kw_only=True)
class Stats:
    """What a client has done since it was made; a snapshot."""

    calls: int = 0
    """Calls of its methods; each id of a bulk and each page of a listing is one."""

    requests: int = 0
    """HTTP requests sent, retries included."""

    retries: int = 0
    """Requests that repeated a failed one."""

    rate_limited: int = 0
    """Answers 429."""

    cache_hits: int = 0
    """Calls answered by the cache."""

    cache_misses: int = 0
    """Calls for which the cache was asked and had nothing fresh."""

    stale_served: int = 0
    """Calls answered by a past value, since the service could not answer."""

    coalesced: int = 0
    """Calls that joined a load which was already under way."""

    in_flight: int = 0
    """Requests that are out now."""

    waited: float = 0.0
    """Seconds that all calls together waited for a slot, or between two attempts."""


class Counters:
    """The mutable side of `Stats`."""

    __slots__ = tuple(field.name for field in attrs.fields(Stats))

    calls: int
    requests: int
    retries: int
    rate_limited: int
    cache_hits: int
    cache_misses: int
    stale_served: int
    coalesced: int
    in_flight: int
    waited: float

    def __init__(self) -> None:
        for field in attrs.fields(Stats):
            setattr(self, field.name, field.default)

    def snapshot(self) -> Stats:
        """Return what they read now."""
        return Stats(**{name: getattr(self, name) for name in self.__slots__})
