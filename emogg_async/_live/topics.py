"""A topic: one subscription, and the feeds that share it."""

import asyncio
import math
from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from emogg_async._live.buffers import Missing
from emogg_async._wire.live import WORKER_STATE, Channel, Event
from emogg_async.errors import EmoggError

if TYPE_CHECKING:
    from emogg_async._live.line import Line

__all__ = ["OpenTopics", "Sink", "Topic", "TopicState", "Topics", "Wish"]

LEAST_SILENCE: Final = 15.0
SILENT_PERIODS: Final = 3
"""A topic is silent after so many of its periods, and so many seconds at the least."""

LOOK_SECONDS: Final = 30.0
SLOW_LOOK_SECONDS: Final = 60.0
FAST_PERIOD: Final = 10.0
"""Seconds of silence after which the session is looked at: of topics with at most that
period, and of all others."""

RESUBSCRIBE_SECONDS: Final = 30.0
RESUBSCRIBE_GROWTH: Final = 4.0
"""Seconds of silence of an active session after which a topic is subscribed anew, and
how much longer the next such silence is. A session without faces is silent, too."""


class TopicState(Enum):
    """The progress of a subscription.

    Attributes:
        WAITING: It has no slot.
        PLACED: It has a slot and a connection, and is to be asked for.
        ASKED: It is being asked for.
        LIVE: The service has confirmed it.
        LEAVING: It is to be ended.
        DROPPING: It is being ended.
        GONE: It is over.
    """

    WAITING = auto()
    PLACED = auto()
    ASKED = auto()
    LIVE = auto()
    LEAVING = auto()
    DROPPING = auto()
    GONE = auto()


class Sink(Protocol):
    """The feed that events and the end of a topic are told."""

    def put(self, event: Any) -> None:
        """Take an event."""

    def enter(self) -> None:
        """Note that the subscription is confirmed."""

    def end(self, error: EmoggError | None) -> None:
        """Note the end, by an error or quietly."""


@attrs.frozen(eq=False)
class Wish:
    """What a feed wants to hear.

    Attributes:
        channel: The kind of the events.
        session_id: The session.
        every: The frequency as on the wire; empty for a worker's state.
        period: The seconds of that frequency; infinite for a worker's state.
    """

    channel: Channel[Any]
    session_id: str
    every: str
    period: float

    @property
    def key(self) -> str:
        """The key on the wire."""
        return f"{self.session_id}:{self.every}" if self.every else self.session_id


class Topic:
    """A channel and its key, and all feeds of it.

    Times are on the loop's clock.

    Args:
        wish: What it is about.

    Attributes:
        channel: The kind of its events.
        session_id: The session.
        key: Its key on the wire.
        state: The progress of its subscription.
        id: The id of its subscription on the present connection; empty if it has none.
        line: Its connection; None while it waits for a slot.
        sinks: Its feeds that have entered.
        entering: Its feeds that wait for the subscription.
        latest: Its newest event; None before the first.
        heard_at: When it last brought an event, or was confirmed.
        asked_at: When its silence last made us send a ping.
        looked_at: When its session was last looked at.
        is_unsure: Whether the session may have ended while the topic was interrupted.
        refusal: The service's last refusal; None if there was none.
        was_live: Whether the subscription was ever confirmed.
        linger: The timer that ends it after its last feed has left.
    """

    def __init__(self, wish: Wish) -> None:
        self.channel = wish.channel
        self.session_id = wish.session_id
        self.key = wish.key
        self.state = TopicState.WAITING
        self.id = ""
        self.line: Line | None = None
        self.sinks: dict[Sink, None] = {}
        self.entering: dict[Sink, None] = {}
        self.latest: Event | None = None
        self.heard_at = math.inf
        self.asked_at = -math.inf
        self.looked_at = -math.inf
        self.is_unsure = False
        self.refusal: EmoggError | None = None
        self.was_live = False
        self.linger: asyncio.TimerHandle | None = None
        self._missing: Missing | None = None
        self._patience = RESUBSCRIBE_SECONDS
        is_fast = wish.period <= FAST_PERIOD
        self._look_after = LOOK_SECONDS if is_fast else SLOW_LOOK_SECONDS
        self._silent_after = max(LEAST_SILENCE, SILENT_PERIODS * wish.period)

    @property
    def is_wanted(self) -> bool:
        """Whether it has a feed."""
        return bool(self.sinks or self.entering)

    @property
    def wants_change(self) -> bool:
        """Whether its connection has something to send for it."""
        return self.state in {TopicState.PLACED, TopicState.LEAVING}

    @property
    def ask_at(self) -> float:
        """When its silence makes us send a ping, once in each silence."""
        if self.state is not TopicState.LIVE or self.asked_at >= self.heard_at:
            return math.inf
        return self.heard_at + self._silent_after

    @property
    def look_at(self) -> float:
        """When its session is to be looked at."""
        if self.state is not TopicState.LIVE or not self.sinks:
            return math.inf
        if self.is_unsure:
            return self.looked_at
        return max(self.heard_at, self.looked_at) + self._look_after

    def confirm(self, subscription: str, now: float) -> None:
        """Note that the service has confirmed it; its feeds enter."""
        self.state, self.id = TopicState.LIVE, subscription
        self.heard_at, self.refusal = now, None
        self.was_live = True
        for sink in [*self.entering]:
            self.join(sink)
        self.entering.clear()

    def join(self, sink: Sink) -> None:
        """Let a feed in, which begins with the newest event."""
        self.sinks[sink] = None
        sink.enter()
        if self.latest is not None:
            sink.put(self.latest)

    def interrupt(self) -> None:
        """Note that events may be missed from now on.

        A worker's state is sent anew with each subscription, so none is missed. Feeds
        that are still to enter begin with what comes after that.
        """
        if not self.sinks:
            self.latest = None
        if self.channel is not WORKER_STATE:
            self.miss(Missing("reconnected", None))

    def miss(self, missing: Missing) -> None:
        """Note that events are missing before the next one.

        A feed that joins later begins with the newest event, and so needs it as well.
        """
        if self.sinks or self.latest is not None:
            self._missing = missing + self._missing

    def publish(self, event: Event, now: float) -> Event:
        """Give an event to all feeds, and return it with its gap."""
        self.heard_at = now
        self._patience = RESUBSCRIBE_SECONDS
        marked = event
        if self._missing is not None:
            since = self.latest.timestamp if self.latest is not None else None
            marked = self._missing.before(event, since)
            self._missing = None
        self.latest = event
        for sink in self.sinks:
            sink.put(marked)
        return marked

    def is_to_resubscribe(self, now: float) -> bool:
        """Tell whether it has been silent for long although its session is active."""
        if self.channel is WORKER_STATE or self.state is not TopicState.LIVE:
            return False
        if now < self.heard_at + self._patience:
            return False
        self._patience *= RESUBSCRIBE_GROWTH
        return True

    def end(self, error: EmoggError | None = None) -> None:
        """End all feeds, by an error or quietly."""
        sinks = [*self.sinks, *self.entering]
        self.sinks.clear()
        self.entering.clear()
        self._missing = None
        for sink in sinks:
            sink.end(error)


class Topics(Protocol):
    """The topics of an open client, as its feeds see them."""

    loop: asyncio.AbstractEventLoop

    def join(self, sink: Sink, wish: Wish) -> Topic:
        """Let a feed share the topic that it wants."""

    def leave(self, sink: Sink, topic: Topic) -> None:
        """Let a feed go."""

    def why_waiting(self, topic: Topic) -> EmoggError:
        """Return the error for a feed whose time is up before it has entered."""

    def slow(self) -> None:
        """Count an event that a slow feed has lost."""


OpenTopics = Callable[[], tuple[Topics, float]]
"""Opens a client; returns its topics and the seconds that entering may take."""
