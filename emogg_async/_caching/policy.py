"""The choices of users about caching: lifetimes and places.

Source: https://aiocache.aio-libs.org.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs

from emogg_async._checks import non_negative, whole
from emogg_async.errors import InvalidArgumentError
from emogg_async.models import Session, SessionState

__all__ = ["JITTER", "CacheBackend", "CachePolicy"]

JITTER: Final = 0.1
"""Share by which a time to live is shortened or lengthened at most."""


class CacheBackend(Protocol):
    """The methods that a cache needs to hold sessions; aiocache's caches have them."""

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
    """The contents of a client's cache, their lifetimes and their place.

    Each time to live is shortened or lengthened at random by up to a tenth, so that
    values stored together do not expire together.

    Attributes:
        ttl: Seconds for which a finished session and its emotions and sentiment stay
            fresh; 0 does not store them. The second request within that time for
            emotions or sentiment of a session of unknown state gets the session first.
        live_ttl: Seconds for which any other session stays fresh; 0 does not store it.
            Emotions and sentiment of a session that is live, or of unknown state, stay
            fresh as long, but no longer than *ttl*.
        stale_if_error: Seconds after the end of its freshness for which a value is
            served when the service cannot answer: after a lost connection, a timeout, a
            5xx, or without a token of the rate limit in time. Its `stale` is True then.
            0 never serves one.
        max_entries: Sessions kept in memory at most, past ones included, and as many
            intervals of timelines; the least recently used go first. A *backend* of
            your own has its own limits.
        backend: An aiocache cache to keep them in, perhaps shared; None is a cache in
            memory. It is yours: it is never closed or cleared.

    Raises:
        InvalidArgumentError: A value is out of its range.
    """

    ttl: float = attrs.field(default=300.0, validator=non_negative)
    live_ttl: float = attrs.field(default=2.0, validator=non_negative)
    stale_if_error: float = attrs.field(default=0.0, validator=non_negative)
    max_entries: int = attrs.field(default=10_000, validator=whole(at_least=1))
    backend: CacheBackend | None = attrs.field(default=None, validator=_is_backend)

    def ttl_of(self, session: Session | None) -> float:
        """Return for how many seconds *session* may be kept; 0 is not at all.

        None stands for a session that is not known to be finished, when it is about
        what is derived from it.
        """
        if session is None:
            return min(self.ttl, self.live_ttl)
        finished = session.state == SessionState.FINISHED
        return self.ttl if finished else self.live_ttl
