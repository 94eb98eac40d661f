"""One connection's messages: what to send, when, and what an answer belongs to.

It is told the time, and does no I/O. A connection first authenticates, and sends
nothing else until the answer. One subscribe or unsubscribe is under way at a time.
"""

import math
from collections.abc import Callable, Collection
from itertools import count
from typing import Final, Literal

import attrs

from emogg_async._live.policy import LivePolicy
from emogg_async._live.topics import Topic, TopicState
from emogg_async._live.windows import Messages
from emogg_async._wire import live as wire
from emogg_async._wire.live import Answer

__all__ = ["IDLE_SECONDS", "Dialogue", "Lost", "Request"]

IDLE_SECONDS: Final = 30.0
"""Seconds after which a connection without subscriptions closes."""


@attrs.frozen
class Lost:
    """The connection is of no more use.

    Attributes:
        reason: Why, in plain words.
        is_clean: Whether to end it by a closing handshake.
    """

    reason: str
    is_clean: bool = False


@attrs.frozen
class Request:
    """A request that is under way.

    Attributes:
        path: Its path.
        number: Its id.
        due: When it must have been answered.
        topic: What it is about; None for the token.
    """

    path: Literal["auth:token", "channels:subscribe", "channels:unsubscribe"]
    number: int
    due: float
    topic: Topic | None = None


class Dialogue:
    """The messages of one connection, from its opening to its end.

    Args:
        policy: The limits.
        token: The token.
        topics: The topics of this connection, each with its state.
        messages: The messages of the user in the last minute.
        connections: Returns how many connections are open, this one included.
        now: The time when it was opened.

    Attributes:
        is_authenticated: Whether the service has accepted the token.
        lost: Why the connection has ended; None while it lives.
    """

    def __init__(
        self,
        policy: LivePolicy,
        token: str,
        topics: Collection[Topic],
        *,
        messages: Messages,
        connections: Callable[[], int],
        now: float,
    ) -> None:
        self._policy = policy
        self._token = token
        self._topics = topics
        self._messages = messages
        self._connections = connections
        self._numbers = count(1)
        self._pings: dict[int, float] = {}
        self._ping_at = now + policy.ping
        self._idle_since = now
        self._rests_until = now
        self.under_way: Request | None = None
        self.is_authenticated = False
        self.lost: Lost | None = None

    def next(self, now: float) -> str | float | Lost:
        """Return the text to send now, or when to ask again, or the end."""
        self.lost = self.lost or self._overdue(now)
        if self.lost is not None:
            return self.lost
        for send in (self._authenticate, self._sign_of_life, self._change):
            step = send(now)
            if isinstance(step, str):
                return step
            if not self.is_authenticated:
                break
        idle = self._idle(now)
        if isinstance(idle, Lost):
            self.lost = idle
            return idle
        return min(idle, self._wake_at(now))

    def _overdue(self, now: float) -> Lost | None:
        path = ""
        if self.under_way is not None and now >= self.under_way.due:
            path = self.under_way.path
        elif self._pings and now >= min(self._pings.values()):
            path = "ping"
        if not path:
            return None
        return Lost(f"no answer to {path} within {self._policy.pong:g} s")

    def _authenticate(self, now: float) -> str | None:
        if self.is_authenticated or self.under_way is not None:
            return None
        if self._free_at(now, requests=False) > now:
            return None
        return wire.authenticate(self._begin("auth:token", now), self._token)

    def _sign_of_life(self, now: float) -> str | None:
        silent = [topic for topic in self._topics if now >= topic.ask_at]
        is_regular = now >= self._ping_at
        if not (is_regular or silent):
            return None
        # Regular pings have a reserve; those for a silent topic wait for room.
        if is_regular and self._messages.free_at(now, self._policy.messages) > now:
            return None
        if not is_regular and self._free_at(now, requests=False) > now:
            return None
        self._messages.note(now, is_sign=is_regular)
        for topic in silent:
            topic.asked_at = now
        number = next(self._numbers)
        self._pings[number] = now + self._policy.pong
        self._ping_at = now + self._policy.ping
        return wire.ping(number)

    def _change(self, now: float) -> str | None:
        if self.under_way is not None or self._change_at(now) > now:
            return None
        # An unsubscribe comes last, because one that is always refused stays due.
        for topic in self._topics:
            if topic.state is TopicState.PLACED:
                topic.state = TopicState.ASKED
                number = self._begin("channels:subscribe", now, topic)
                return wire.subscribe(number, topic.channel.name, topic.key)
        for topic in self._topics:
            if topic.state is TopicState.LEAVING:
                topic.state = TopicState.DROPPING
                number = self._begin("channels:unsubscribe", now, topic)
                return wire.unsubscribe(number, topic.id)
        return None

    def _begin(
        self,
        path: Literal["auth:token", "channels:subscribe", "channels:unsubscribe"],
        now: float,
        topic: Topic | None = None,
    ) -> int:
        self._messages.note(now)
        number = next(self._numbers)
        self.under_way = Request(path, number, now + self._policy.pong, topic)
        return number

    def _free_at(self, now: float, *, requests: bool) -> float:
        """Return when a message may go that leaves the reserve untouched.

        The reserve has the pings of all connections for a window; for requests also
        the first message of each connection, should all of them be made again.
        """
        policy = self._policy
        kept = policy.pings + (1 if requests else 0)
        return self._messages.free_at(now, policy.messages, kept * self._connections())

    def rest(self, now: float) -> None:
        """Change no subscription for a while: the service has refused to end one."""
        self._rests_until = now + self._policy.pong

    def _change_at(self, now: float) -> float:
        return max(self._rests_until, self._free_at(now, requests=True))

    def _idle(self, now: float) -> Lost | float:
        if self._topics:
            self._idle_since = math.inf
            return math.inf
        if self._idle_since == math.inf:
            self._idle_since = now
        ends = self._idle_since + IDLE_SECONDS
        return Lost("idle", is_clean=True) if now >= ends else ends

    def _wake_at(self, now: float) -> float:
        """Return when something may be due."""
        if not self.is_authenticated and self.under_way is None:
            return self._free_at(now, requests=False)
        times = [*self._pings.values()]
        if self.under_way is not None:
            times.append(self.under_way.due)
        elif any(topic.wants_change for topic in self._topics):
            times.append(self._change_at(now))
        if self.is_authenticated:
            ask_at = min((topic.ask_at for topic in self._topics), default=math.inf)
            full = self._messages.free_at(now, self._policy.messages)
            times.append(max(self._ping_at, full))
            times.append(max(ask_at, self._free_at(now, requests=False)))
        return min(times)

    def settle(self, answer: Answer) -> Request | None:
        """Return the request that *answer* belongs to, which is no longer under way.

        None means that it belongs to a ping, or to nothing that is under way. A refusal
        without an id belongs to what is under way.
        """
        request = self.under_way
        if request is not None and (
            answer.id == request.number
            or (answer.id is None and answer.path == request.path)
            or (answer.id is None and answer.status != 200 and answer.path != "ping")
        ):
            self.under_way = None
            return request
        if answer.id in self._pings:
            del self._pings[answer.id]
        elif self._pings and answer.id is None:
            del self._pings[min(self._pings)]
        return None
