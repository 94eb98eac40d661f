"""All live connections of a client, and what they share with its other clients."""

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextvars import Context
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

import aiohttp

from emogg_async import events
from emogg_async._calls.telemetry import Counters, log
from emogg_async._live.buffers import Missing
from emogg_async._live.dialogue import Dialogue
from emogg_async._live.line import Line
from emogg_async._live.policy import LivePolicy
from emogg_async._live.slots import Slots
from emogg_async._live.topics import Sink, Topic, TopicState, Wish
from emogg_async._live.windows import Messages, SlidingWindow
from emogg_async._text import Secret
from emogg_async._wire.live import Answer, Happening
from emogg_async._wire.protocol import HANDSHAKE, status_error
from emogg_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DeadlineError,
    EmoggError,
    LiveLimitError,
    NotFoundError,
    NotSentError,
    ResponseShapeError,
    StatusError,
)
from emogg_async.models import Session, SessionState

__all__ = ["Hub", "shared_allowance"]

logger: Final = logging.getLogger("emogg_async.live")

LINGER_SECONDS: Final = 5.0
"""Seconds that a subscription outlives its last feed: the reload of a page."""

CONNECTIONS: Final = 90
CONNECTION_WINDOW: Final = 60.0
"""New connections within so many seconds, at most."""

UNREADABLE_EVERY: Final = 60.0
"""Seconds between two log lines about what cannot be read."""

_FINAL_HANDSHAKES: Final = frozenset({401, 403, 404, *range(300, 400)})
"""The answers to a client's first handshake that another try would meet again."""

_ENDED: Final = frozenset({SessionState.PROCESSING, SessionState.FINISHED})


class Allowance:
    """What the limits of the service leave to one user, for all clients in a loop.

    Args:
        loop: The event loop of those clients.
        rng: The source of jitter.
        window: Seconds in which messages count.

    Attributes:
        messages: The messages to the service.
        connections: The connections that were made.
        slots: The subscriptions.
        waiting: The topics without a slot, in their order, and who wants them.
        lines: How many connections there are, or are being made.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, rng: random.Random, window: float
    ) -> None:
        self.messages = Messages(window)
        self.connections = SlidingWindow(CONNECTION_WINDOW)
        self.slots = Slots(rng)
        self.waiting: dict[Topic, Hub] = {}
        self.lines = 0
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def pump(self) -> None:
        """Give free slots to the topics that wait, first come, first served.

        A topic whose client may have no more by its policy is passed over.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        now = self._loop.time()
        for topic, hub in [*self.waiting.items()]:
            if topic not in self.waiting:
                continue  # an eager task has failed, and its feeds with it
            if self.slots.take(hub.policy.subscriptions, now):
                del self.waiting[topic]
                hub.place(topic)
            else:
                hub.end_linger()
        if self.waiting and now < self.slots.probe_at < math.inf:
            self._timer = self._loop.call_at(
                self.slots.probe_at, self.pump, context=Context()
            )


_allowances: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[tuple[str, str], Allowance]
] = WeakKeyDictionary()


def shared_allowance(
    base_url: str, token: str, rng: random.Random, window: float
) -> Allowance:
    """Return the running loop's allowance for one user of one service."""
    loop = asyncio.get_running_loop()
    allowances = _allowances.setdefault(loop, WeakValueDictionary())
    allowance = allowances.get((base_url, token))
    if allowance is None:
        allowance = allowances[base_url, token] = Allowance(loop, rng, window)
    return allowance


class Hub:
    """The live connections of an open client.

    Args:
        policy: The limits.
        token: The token.
        allowance: What the limits leave to the user.
        secret: The token and more that no error may show.
        open_socket: Makes a connection.
        look: Gets a session, through the cache.
        counters: Counts and reports.
        rng: The source of jitter.
    """

    def __init__(
        self,
        policy: LivePolicy,
        token: str,
        allowance: Allowance,
        *,
        secret: Secret,
        open_socket: Callable[[], Awaitable[aiohttp.ClientWebSocketResponse]],
        look: Callable[[str], Awaitable[Session]],
        counters: Counters,
        rng: random.Random,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.policy = policy
        self.rng = rng
        self._token = token
        self._secret = secret
        self._allowance = allowance
        self._open_socket = open_socket
        self._look = look
        self._counters = counters
        self._topics: dict[tuple[str, str], Topic] = {}
        self._lines: dict[Line, asyncio.Task[None]] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._was_connected = False
        self._is_closed = False
        self._unreadable_at = -math.inf

    # -- feeds ---------------------------------------------------------------------

    def join(self, sink: Sink, wish: Wish) -> Topic:
        """Let a feed share the topic, which is made if there is none."""
        if self._is_closed:
            raise ClientClosedError("the client is closed")
        place = wish.channel.name, wish.key
        topic = self._topics.get(place)
        if topic is None:
            topic = self._topics[place] = Topic(wish)
        _stop_linger(topic)
        if topic.state is TopicState.LEAVING:  # nothing was sent yet
            topic.state = TopicState.LIVE
        if topic.state is TopicState.LIVE:
            topic.join(sink)
            self._watch_silence()
            return topic
        topic.entering[sink] = None
        if topic.state is TopicState.WAITING:
            self._allowance.waiting.setdefault(topic, self)
            self._allowance.pump()
        return topic

    def leave(self, sink: Sink, topic: Topic) -> None:
        """Let a feed go; the last one leaves a subscription that lingers."""
        topic.sinks.pop(sink, None)
        topic.entering.pop(sink, None)
        if topic.is_wanted or topic.linger is not None:
            return
        if topic.state is TopicState.LIVE:
            if self._allowance.waiting:
                self._expire(topic)
            else:
                topic.linger = self.loop.call_later(
                    LINGER_SECONDS, self._expire, topic, context=Context()
                )
        elif topic.state in {TopicState.WAITING, TopicState.PLACED}:
            self._discard(topic)

    def why_waiting(self, topic: Topic) -> EmoggError:
        """Return the error for a feed whose time is up before it has entered."""
        error: EmoggError
        if topic.line is None or topic.refusal is not None:
            in_use = self._allowance.slots.in_use
            error = LiveLimitError(
                f"no live subscription is free: {in_use} of "
                f"{self.policy.subscriptions} are in use here",
                in_use=in_use,
            )
            error.__cause__ = topic.refusal
        else:
            error = DeadlineError("the live channel was not confirmed in time")
            error.__cause__ = topic.line.failure
        return error

    def end(self, session_id: str) -> None:
        """End all feeds of a session quietly: it is over."""
        self.fail(self._about(session_id), None)

    def fail(self, topics: Sequence[Topic], error: EmoggError | None) -> None:
        """End all feeds of *topics*, by an error or quietly."""
        for topic in topics:  # they take no slot that another one gives back
            self._allowance.waiting.pop(topic, None)
        for topic in topics:
            topic.end(error)
            if topic.state is TopicState.LIVE:
                self._expire(topic)
            elif topic.state in {TopicState.WAITING, TopicState.PLACED}:
                self._discard(topic)

    def fail_all(self, error: EmoggError) -> None:
        """End all feeds by *error*; a feed that comes later tries anew."""
        self._was_connected = False
        self.fail([*self._topics.values()], error)

    async def close(self) -> None:
        """End all feeds and connections."""
        self._is_closed = True
        self.fail_all(ClientClosedError("the client was closed"))
        if self._watch is not None:
            self._watch.cancel()
        tasks = [*self._lines.values(), *self._looks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for topic in [*self._topics.values()]:
            self._discard(topic)

    # -- topics --------------------------------------------------------------------

    def place(self, topic: Topic) -> None:
        """Give *topic*, which has a slot, to the first connection with room."""
        for line in self._lines:
            if len(line.topics) < self.policy.per_connection:
                line.add(topic)
                return
        line = Line(self)
        line.add(topic)  # before the start, which may be at once
        self._allowance.lines += 1
        self._lines[line] = self._start(line.run())
        self._lines[line].add_done_callback(partial(self._ended, line))

    def _ended(self, line: Line, task: "asyncio.Task[None]") -> None:
        """Note the end of a connection; topics that came last go to another one.

        It is cancelled if the client is closed, or if the loop ends without that.
        """
        del self._lines[line]
        self._allowance.lines -= 1
        for topic in [*line.topics]:
            if task.cancelled():
                self._discard_failed(topic, ClientClosedError("the event loop ends"))
            elif topic.is_wanted:
                line.remove(topic)
                self._allowance.slots.give()
                self._queue(topic)
            else:
                self._discard(topic)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Start a task without the context of the call that makes it necessary."""
        # Not `create_task(context=…)`: some task factories do not know the argument.
        return Context().run(self.loop.create_task, work)

    def _queue(self, topic: Topic) -> None:
        topic.state = TopicState.WAITING
        self._allowance.waiting[topic] = self
        self._allowance.pump()

    def _expire(self, topic: Topic) -> None:
        """End a subscription that no feed has any more."""
        _stop_linger(topic)
        topic.state = TopicState.LEAVING
        if topic.line is not None:
            topic.line.wake()

    def end_linger(self) -> None:
        """End the oldest subscription that lingers: a topic waits for its slot."""
        for topic in self._topics.values():
            if topic.linger is not None:
                self._expire(topic)
                break

    def _discard(self, topic: Topic) -> None:
        """Forget *topic*, which the service does not know."""
        if topic.state is TopicState.GONE:
            return
        topic.state = TopicState.GONE
        self._topics.pop((topic.channel.name, topic.key), None)
        self._allowance.waiting.pop(topic, None)
        _stop_linger(topic)
        if topic.line is not None:
            topic.line.remove(topic)
            self._allowance.slots.give()
        self._allowance.pump()

    def confirmed(self, topic: Topic, subscription: str) -> None:
        """Note that the service has confirmed a subscription."""
        self._allowance.slots.confirmed(self.loop.time())
        self._counters.live_subscriptions += 1
        self._admit(topic, subscription)
        self._allowance.pump()

    def kept(self, topic: Topic) -> None:
        """Note that the service has refused to end a subscription, which lives on."""
        self._admit(topic, topic.id)

    def _admit(self, topic: Topic, subscription: str) -> None:
        """Let the feeds of *topic* enter; end it if there is none."""
        topic.confirm(subscription, self.loop.time())
        if not topic.is_wanted:
            self._expire(topic)
        self._watch_silence()

    def interrupted(self, topic: Topic) -> None:
        """Note that a subscription is gone; it is asked for again if it is wanted."""
        if topic.is_wanted and topic.line is not None:
            topic.line.forget(topic)
            topic.interrupt()
            topic.line.add(topic)
        else:
            self._discard(topic)

    def refused(self, topic: Topic, answer: Answer) -> None:
        """Note the refusal of a subscription: it is unknown, or one too many."""
        error = self.error_of(answer)
        if isinstance(error, AuthenticationError):
            self._discard_failed(topic, error)
            self.fail_all(error)
        elif isinstance(error, NotFoundError):
            error.message += f": {topic.session_id}"
            error.args = (error.message,)
            self._discard_failed(topic, error)
        else:
            topic.refusal = error
            if topic.line is not None:
                topic.line.remove(topic)
            self._allowance.slots.refused(self.loop.time())
            if topic.is_wanted:
                self._queue(topic)
            else:
                self._discard(topic)

    def _discard_failed(self, topic: Topic, error: EmoggError) -> None:
        topic.end(error)
        self._discard(topic)

    # -- events --------------------------------------------------------------------

    def happened(self, topic: Topic, happening: Happening) -> None:
        """Give an event to the feeds of its topic."""
        try:
            event = topic.channel.event(topic.session_id, happening)
        except ResponseShapeError as error:
            topic.miss(Missing("unreadable", 1))
            self.unreadable(error)
            return
        self._counters.count_live("events")
        published = topic.publish(event, self.loop.time())
        if published.gap is not None:
            self._counters.tell_live(
                events.GapSeen, session_id=topic.session_id, gap=published.gap
            )

    def slow(self) -> None:
        """Count an event that a slow feed has lost."""
        self._counters.count_live("dropped")

    def unreadable(self, error: EmoggError | None) -> None:
        """Note a message that cannot be read, in the log once a minute."""
        self._counters.live_unreadable += 1
        now = self.loop.time()
        if now >= self._unreadable_at + UNREADABLE_EVERY:
            self._unreadable_at = now
            what = error.headline if error else "it belongs to nothing"
            log(logger, logging.DEBUG, "a live message was passed over: %s", what)

    # -- silence -------------------------------------------------------------------

    def _watch_silence(self) -> None:
        """Set the timer for the next look at a session."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        at = min((each.look_at for each in self._topics.values()), default=math.inf)
        if at < math.inf and not self._is_closed:
            self._watch = self.loop.call_at(at, self._look_around, context=Context())

    def _look_around(self) -> None:
        self._watch = None
        now = self.loop.time()
        due = {e.session_id for e in self._topics.values() if e.look_at <= now}
        for session_id in due:
            for topic in self._about(session_id):  # one look for all of them
                if topic.state is TopicState.LIVE:
                    topic.looked_at, topic.is_unsure = now, False
            if session_id not in self._looks:
                look = self._looks[session_id] = self._start(self._look_at(session_id))
                look.add_done_callback(partial(self._looked, session_id))
        self._watch_silence()

    async def _look_at(self, session_id: str) -> None:
        """End the feeds of a session that is over; subscribe silent ones anew."""
        try:
            session = await self._look(session_id)
        except NotFoundError as error:
            self.fail(self._about(session_id), error)
        except EmoggError:
            pass  # the next look may succeed
        else:
            if session.state in _ENDED:
                self.end(session_id)
            for topic in self._about(session_id):
                if topic.is_to_resubscribe(self.loop.time()):
                    self._expire(topic)

    def _looked(self, session_id: str, _: object) -> None:
        del self._looks[session_id]

    def _about(self, session_id: str) -> list[Topic]:
        return [each for each in self._topics.values() if each.session_id == session_id]

    # -- connections ---------------------------------------------------------------

    def connect_at(self, now: float) -> float:
        """Return when another connection may be made: *now*, or later."""
        return self._allowance.connections.free_at(now, CONNECTIONS)

    async def dial(self) -> aiohttp.ClientWebSocketResponse:
        """Make a connection.

        Raises:
            EmoggError: There is none.
        """
        self._allowance.connections.note(self.loop.time())
        return await self._open_socket()

    def dialogue(self, topics: Collection[Topic], now: float) -> Dialogue:
        """Begin the messages of a new connection."""
        return Dialogue(
            self.policy,
            self._token,
            topics,
            messages=self._allowance.messages,
            connections=lambda: self._allowance.lines,
            now=now,
        )

    def forgotten(self) -> None:
        """Count a subscription less."""
        self._counters.live_subscriptions -= 1

    def closed(self, *, was_connected: bool) -> None:
        """Note that a connection is closed."""
        if was_connected:
            self._counters.live_connections -= 1

    def connected(self) -> None:
        """Note that a connection is open and the token accepted."""
        self._was_connected = True
        self._counters.live_connections += 1
        self._counters.tell_live(events.LiveConnected)

    def disconnected(self, reason: str, wait: float | None) -> None:
        """Note the end of a connection, or that there was none."""
        if wait is not None:
            self._counters.count_live("reconnects")
        self._counters.tell_live(events.LiveDisconnected, reason=reason, wait=wait)

    def is_final(self, error: EmoggError) -> bool:
        """Tell whether no other try would end better."""
        if isinstance(error, AuthenticationError | ConfigurationError):
            return True
        if self._was_connected:
            return False
        if isinstance(error, NotSentError):
            return error.final
        if isinstance(error, StatusError):
            return error.status in _FINAL_HANDSHAKES
        return isinstance(error, ResponseShapeError)

    def error_of(self, answer: Answer) -> StatusError:
        """Return the error for an answer with a status that is not 200."""
        return status_error(HANDSHAKE, answer.status, answer.message, self._secret)


def _stop_linger(topic: Topic) -> None:
    if topic.linger is not None:
        topic.linger.cancel()
        topic.linger = None
