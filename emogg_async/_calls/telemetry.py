"""Counters, events, log lines and traces of a client."""

import asyncio
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, Protocol

import attrs

from emogg_async import events
from emogg_async._wire.protocol import HANDSHAKE, Request
from emogg_async._wire.requests import get_session
from emogg_async.errors import EmoggError
from emogg_async.events import Event

__all__ = ["Counters", "Instrument", "Reminder", "Stats", "Trace", "log"]

root: Final = logging.getLogger("emogg_async")
http: Final = logging.getLogger("emogg_async.http")
cache: Final = logging.getLogger("emogg_async.cache")
live: Final = logging.getLogger("emogg_async.live")

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
    events.LiveConnected: (live, "connected"),
    events.LiveDisconnected: (live, "disconnected: {0.reason}"),
    events.GapSeen: (live, "a gap in session {0.session_id}: {0.gap.reason}"),
}
"""The logger and the line for each event."""

_LEVELS: Final[dict[type[Event], int]] = {events.RetryScheduled: logging.INFO}
"""The level of the line of each event; the others have DEBUG."""


def log(logger: logging.Logger, level: int, line: str, *facts: object) -> None:
    """Log a line; print the error of a filter or handler, and go on.

    `logging` does the same with the errors of its own handlers.
    """
    try:
        logger.log(level, line, *facts)
    except Exception:
        if logging.raiseExceptions:
            traceback.print_exc()


LiveCount = Literal["events", "dropped", "reconnects"]
"""What is counted of live channels, in `Stats` and by an instrument."""


class Trace(Protocol):
    """A trace of one request and its retries, called in the task that sends them."""

    def departs(self) -> Mapping[str, str]:
        """Note that the request is sent; return headers to add to it."""

    def answered(self, status: int) -> None:
        """Note the *status* of an answer."""

    def failed(self, error: BaseException) -> None:
        """Note that an attempt ended in *error*, without an answer."""

    def ends(self, error: BaseException | None) -> None:
        """End the trace; *error* is the error of the request, None if it succeeded."""


class Instrument(Protocol):
    """A function that makes a trace for each request, and counts live channels."""

    def __call__(self, request: Request) -> Trace:
        """Start a trace of *request*, in the context of its load."""

    def count(self, what: LiveCount) -> None:
        """Count one of *what* happens on live channels."""


@attrs.frozen(kw_only=True)
class Stats:
    """The counters of a client since it was made; a snapshot.

    Attributes:
        calls: Calls of its methods; each id of a bulk and each page of a listing counts
            as one.
        requests: HTTP requests, including retries and requests that failed before they
            were sent. Requests that aiohttp itself repeats on a dead connection do not
            count.
        retries: Requests that repeated a failed one.
        rate_limited: Answers with status 429.
        cache_hits: Calls answered by the cache.
        cache_misses: Calls for which the cache had no fresh value.
        stale_served: Calls answered by a past value because the service did not answer.
        coalesced: Calls that joined a load of another call.
        in_flight: Requests that are out now. It and the first two of live channels are
            the only counters that also fall.
        waited: Seconds that all calls together waited for their turn and between
            attempts.
        live_connections: Live connections that are open now.
        live_subscriptions: Live subscriptions that the service has confirmed and that
            have not ended.
        live_events: Live events received, each once for all feeds that share it.
        live_dropped: Live events that feeds have lost because their readers were slow.
        live_unreadable: Live messages that were passed over, as they could not be read
            or belonged to nothing.
        live_reconnects: Live connections that were lost, or failed, and made again.
    """

    calls: int = 0
    requests: int = 0
    retries: int = 0
    rate_limited: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    stale_served: int = 0
    coalesced: int = 0
    in_flight: int = 0
    waited: float = 0.0
    live_connections: int = 0
    live_subscriptions: int = 0
    live_events: int = 0
    live_dropped: int = 0
    live_unreadable: int = 0
    live_reconnects: int = 0


class Counters:
    """The mutable counters behind `Stats`, and the events and log lines.

    Args:
        on_event: Gets each event; None reports nothing.

    Attributes:
        instrument: Makes a trace for each request; None traces nothing.
        is_watched: Whether anything listens to hits and misses. They are frequent,
            so without a listener they cost no more than a look at this flag. Each miss
            updates it, so that a log can be switched on at any time.
    """

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
    live_connections: int
    live_subscriptions: int
    live_events: int
    live_dropped: int
    live_unreadable: int
    live_reconnects: int

    def __init__(self, on_event: Callable[[Event], object] | None = None) -> None:
        for field in attrs.fields(Stats):
            setattr(self, field.name, field.default)
        self.instrument: Instrument | None = None
        self._on_event = on_event
        self._is_dead = False
        self.is_watched = on_event is not None or cache.isEnabledFor(logging.DEBUG)

    def hit(self, of: Request | str) -> None:
        """Count a hit; *of* is the request that it saved, or the session's id."""
        self.cache_hits += 1
        if self.is_watched:
            self.tell_hit(of)

    def tell_hit(self, of: Request | str) -> None:
        """Report a hit; call it only if `is_watched`, as it is slow."""
        self.tell(events.CacheHit, _spared(of))

    def miss(self, of: Request | str) -> None:
        """Count a miss; *of* is the request to make, or the session's id."""
        self.cache_misses += 1
        if self.is_watched:
            self.tell(events.CacheMiss, _spared(of))
        self.is_watched = self._on_event is not None or cache.isEnabledFor(
            logging.DEBUG
        )

    def stale(self, request: Request, why: EmoggError | None = None) -> None:
        """Count a stale value; *why* is the error, None during a known outage."""
        self.stale_served += 1
        self.tell(events.StaleServed, request, error=why)

    def tell(self, kind: type[Event], request: Request, **facts: Any) -> None:
        """Report an event of that *kind* to the log and to `on_event`."""
        logger, line = _LINES[kind]
        level = _LEVELS.get(kind, logging.DEBUG)
        is_logged = logger.isEnabledFor(level)
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
            log(logger, level, "%s %s: %s", *told)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        # Errors of a listener must not affect the call. A CancelledError cannot be a
        # cancellation of it, as the listener does not await.
        except (Exception, asyncio.CancelledError) as error:
            if not self._is_dead:  # log only the first: there may be thousands
                self._is_dead = True
                # Only its type: its message may quote secrets.
                name = type(error).__name__
                line = "on_event failed, and was not heard: %s"
                log(root, logging.WARNING, line, name)

    def count_live(self, what: LiveCount) -> None:
        """Count one of *what* happens on live channels."""
        name = f"live_{what}"
        setattr(self, name, getattr(self, name) + 1)
        if self.instrument is not None:
            self.instrument.count(what)

    def tell_live(
        self, kind: type[Event], session_id: str | None = None, **facts: Any
    ) -> None:
        """Report an event of the live connections."""
        request = HANDSHAKE
        if session_id is not None:
            request = attrs.evolve(HANDSHAKE, session_id=session_id)
        self.tell(kind, request, **facts)

    def snapshot(self) -> Stats:
        """Return the counters as they are now."""
        names = (field.name for field in attrs.fields(Stats))
        return Stats(**{name: getattr(self, name) for name in names})


def _spared(of: Request | str) -> Request:
    return get_session(of) if isinstance(of, str) else of


class Reminder:
    """Warns of a client that is forgotten open; only that client holds it.

    Python hides a `ResourceWarning` by default, so the log has the same text.
    """

    __slots__ = ("_made_at", "_open_at")

    def __init__(self) -> None:
        self._open_at: str | None = None
        self._made_at = _place_of_caller() if _is_debug_mode() else None

    def opened(self, base_url: str) -> None:
        """Note that the client is open, and that somebody has to close it."""
        self._open_at = base_url

    def closed(self) -> None:
        """Note that the client was closed."""
        self._open_at = None

    def __del__(self) -> None:
        """Warn if the client is still open, unless Python itself ends."""
        if self._open_at is None or sys.is_finalizing():
            return
        text = f"AsyncEmoggClient {self._open_at} was not closed"
        if self._made_at is not None:
            text += f"; it was made at {self._made_at}"
        log(root, logging.WARNING, "%s", text)
        warnings.warn(text, ResourceWarning, source=self, stacklevel=1)


def _is_debug_mode() -> bool:
    """Return whether asyncio's debug mode is on, or will be in a loop made now."""
    try:
        return asyncio.get_running_loop().get_debug()
    except RuntimeError:
        return sys.flags.dev_mode or bool(os.environ.get("PYTHONASYNCIODEBUG"))


def _place_of_caller() -> str | None:
    """Return the file and the line from which this package was called."""
    package = __name__.partition(".")[0]
    for frame, line in traceback.walk_stack(None):
        if frame.f_globals.get("__name__", "").partition(".")[0] != package:
            return f"{frame.f_code.co_filename}:{line}"
    return None
