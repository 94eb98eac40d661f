"""What a client did, and who wants to know: counters, events, log lines, traces."""

import asyncio
import logging
import traceback
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from emogg_async import events
from emogg_async._wire.requests import get_session
from emogg_async.errors import EmoggError
from emogg_async.events import Event

if TYPE_CHECKING:
    from emogg_async._wire.protocol import Request

__all__ = ["Counters", "Instrument", "Stats", "Trace", "log"]

root: Final = logging.getLogger("emogg_async")
http: Final = logging.getLogger("emogg_async.http")
cache: Final = logging.getLogger("emogg_async.cache")

_LINES: Final[dict[type[Event], tuple[logging.Logger, str]]] = {
    events.AttemptFailed: (http, "attempt {0.attempt} failed: {0.error.headline}"),
    events.RateLimited: (http, "attempt {0.attempt} refused: {0.error.headline}"),
    events.RetryScheduled: (
        logging.getLogger("emogg_async.retry"),
        "{0.error.__class__.__name__}; trying again in {0.wait:.3f} s",
    ),
    events.Paced: (
        logging.getLogger("emogg_async.pacing"),
        "waited {0.wait:.3f} s for its turn",
    ),
    events.CacheHit: (cache, "cached"),
    events.CacheMiss: (cache, "not cached"),
    events.StaleServed: (cache, "served stale"),
}
"""Where each event is logged, and what of it."""


def log(logger: logging.Logger, level: int, line: str, *facts: object) -> None:
    """Log a line; a filter or handler that raises hurts no call.

    As `logging` does itself with what its handlers raise, it is shown.
    """
    try:
        logger.log(level, line, *facts)
    except Exception:
        if logging.raiseExceptions:
            traceback.print_exc()


class Trace(Protocol):
    """Sees one request with its resends, from within the task that carries it out."""

    def departs(self) -> Mapping[str, str]:
        """Note that it is sent; return the headers that it is to carry."""

    def answered(self, status: int) -> None:
        """Note that it was answered."""

    def failed(self, error: BaseException) -> None:
        """Note that it will have no answer."""

    def ends(self, error: BaseException | None) -> None:
        """End, with the *error* that the request ended in, if it did."""


class Instrument(Protocol):
    """Makes a trace for each request."""

    def __call__(self, request: "Request") -> Trace:
        """Begin to trace *request*, in the context of its load."""


@attrs.frozen(kw_only=True)
class Stats:
    """What a client has done since it was made; a snapshot."""

    calls: int = 0
    """Calls of its methods; each id of a bulk and each page of a listing is one."""

    requests: int = 0
    """HTTP requests sent, retries included, and those that failed before they left; not
    what aiohttp repeats by itself when a kept connection turns out dead."""

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
    """Requests that are out now; the only one that falls."""

    waited: float = 0.0
    """Seconds that all calls together waited for a slot, or between two attempts."""


class Counters:
    """The mutable side of `Stats`."""

    __slots__ = (
        *(field.name for field in attrs.fields(Stats)),
        "_is_dead",
        "_on_event",
        "instrument",
        "is_watched",
    )

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

    def __init__(self, on_event: Callable[[Event], object] | None = None) -> None:
        for field in attrs.fields(Stats):
            setattr(self, field.name, field.default)
        self.instrument: Instrument | None = None
        self._on_event = on_event
        self._is_dead = False
        self.look_around()

    def look_around(self) -> None:
        """Find out whether somebody hears of answers, hits and misses.

        Telling of those costs a test where nobody does; of what is rare, a call.
        It is done at each request, so that a log can be switched on at any time.
        """
        self.is_watched = (
            self._on_event is not None
            or http.isEnabledFor(logging.DEBUG)
            or cache.isEnabledFor(logging.DEBUG)
        )

    def hit(self, of: "Request | str") -> None:
        """Count a hit; *of* is the request that was spared, or its session's id."""
        self.cache_hits += 1
        if self.is_watched:
            self.tell_hit(of)

    def tell_hit(self, of: "Request | str") -> None:
        """Tell of a hit; only if `is_watched`, as it costs."""
        self.tell(events.CacheHit, _spared(of))

    def miss(self, of: "Request | str") -> None:
        """Count a miss; *of* is the request to make, or its session's id."""
        self.cache_misses += 1
        if self.is_watched:
            self.tell(events.CacheMiss, _spared(of))

    def stale(self, request: "Request", why: EmoggError | None = None) -> None:
        """Count that a past value stood in; *why* is None while that is remembered."""
        self.stale_served += 1
        if self.is_watched:
            self.tell(events.StaleServed, request, error=why)

    def tell(self, kind: type[Event], request: "Request", **facts: Any) -> None:
        """Tell of an event of that *kind*, if anybody listens."""
        logger, line = _LINES[kind]
        is_logged = logger.isEnabledFor(logging.DEBUG)
        if self._on_event is None and not is_logged:
            return
        event = kind(
            method=request.method,
            path=request.path,
            template=request.template,
            session_id=request.session_id or None,
            **facts,
        )
        if is_logged:
            told = event.method, event.path, line.format(event)
            log(logger, logging.DEBUG, "%s %s: %s", *told)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        # It must not hurt the call; nor is that cancelled by what runs to its end.
        except (Exception, asyncio.CancelledError) as error:
            if not self._is_dead:  # once: there may be thousands
                self._is_dead = True
                # Its type alone: nobody knows what its message quotes.
                name = type(error).__name__
                line = "on_event failed, and was not heard: %s"
                log(root, logging.WARNING, line, name)

    def snapshot(self) -> Stats:
        """Return what they read now."""
        names = (field.name for field in attrs.fields(Stats))
        return Stats(**{name: getattr(self, name) for name in names})


def _spared(of: "Request | str") -> "Request":
    return get_session(of) if isinstance(of, str) else of
