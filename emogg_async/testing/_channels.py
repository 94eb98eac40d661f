"""The service's end of live channels, without sockets or timers: it is told the time.

Each connection has a `Link`, whose `outbox` holds the texts to send and the close. All
times are seconds of the emulator's clock. Everything that is due later stands in one
agenda, sorted by time, and `tick` does it.
"""

import heapq
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from http import HTTPStatus
from itertools import count
from typing import Any, Final

import attrs

from emogg_async.testing._analysis import Analyst, counts, intensities
from emogg_async.testing._clock import EPOCH
from emogg_async.testing._guesses import (
    CLOSED_AS_SILENT,
    CLOSED_AS_WRONG,
    LONGEST_ANALYSIS,
    LiveGuesses,
)
from emogg_async.testing._limits import Allowance, LiveLimits, Usage
from emogg_async.testing._messages import (
    DROPPED,
    Close,
    LiveMessage,
    Message,
    Output,
    read_message,
    recorded,
    write_answer,
    write_event,
    write_refusal,
)
from emogg_async.testing._refusals import RefusalError, bad_request, not_found, phrase
from emogg_async.testing._stored import StoredSession, User, cut, milliseconds
from emogg_async.testing._walks import Moods
from emogg_async.testing._world import World

__all__ = ["Channels", "Link", "LiveSubscription", "RefusalRule"]

FREQUENCIES: Final[Mapping[str, int]] = {
    "1s": 1,
    "3s": 3,
    "5s": 5,
    "10s": 10,
    "30s": 30,
    "1m": 60,
    "5m": 300,
    "10m": 600,
}
"""Seconds of each frequency. Source: https://docs.emogg.com, "Channels"."""

COUNTS: Final = "session_emotions_counts"
INTENSITIES: Final = "session_emotions_intensities"
WORKER: Final = "session_worker_state"

_TYPES: Final = {COUNTS: "sec", INTENSITIES: "sei", WORKER: "sws"}
_ANALYSES: Final = {COUNTS: counts, INTENSITIES: intensities}

_STATUSES: Final = {"refuse": 429, "bad_request": 400, "forbid": 403, "close": 429}
"""Status for each answer to what exceeds a limit; a close has none that is sent."""

_KEPT: Final = 10_000
"""Number of messages that are kept: the newest ones."""

_BACKLOG: Final = 100_000
"""Number of outputs that a client may leave unread before its connection is dropped."""

_ADDRESSES: Final = 1_000
"""Number of addresses whose connections are counted; more start over."""

_PATIENCE: Final = 1.5
"""Seconds for which an ack waits for an event, so that one at 1 s precedes it."""

_SLACK: Final = 1e-6
"""Tolerance in seconds for rounding errors of floating point."""

_ID_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@attrs.frozen(kw_only=True)
class LiveSubscription:
    """A subscription of an open connection.

    Attributes:
        connection: Number of the connection, from 1 on.
        id: The `subscriptionId`.
        channel: Name of the channel.
        key: The key as subscribed to, `sessionId:frequency` or `sessionId`.
    """

    connection: int
    id: str
    channel: str
    key: str


@attrs.define(eq=False)
class RefusalRule:
    """A rule that refuses messages of one path, as often as `times` says."""

    path: str
    status: int
    times: int | None


@attrs.define(eq=False)
class Subscription:
    """A subscription, with the emotions of its session, which are costly to find anew.

    Attributes:
        ack: Its confirmation, while that waits for an event.
        last: Payload of the event before.
    """

    link: "Link"
    id: str
    channel: str
    key: str
    session_id: str
    every: int
    moods: Moods
    ack: str | None = None
    last: Any = None
    is_open: bool = True


@attrs.define(eq=False)
class Link:
    """A connection, as the service sees it.

    Attributes:
        number: Its number, from 1 on.
        notify: Function to call when the empty `outbox` is filled, from any thread.
        heard: When the client last sent something.
        user: User who is authenticated; None before.
        subscriptions: Its subscriptions by ID.
        outbox: Texts to send, and at last whether to close; only the reader removes.
        is_open: Whether it is neither closed nor about to be.
    """

    number: int
    notify: Callable[[], object]
    heard: float
    user: User | None = None
    subscriptions: dict[str, Subscription] = attrs.field(factory=dict)
    outbox: deque[Output] = attrs.field(factory=deque)
    is_open: bool = True

    def put(self, output: Output) -> None:
        """Append *output* to the outbox."""
        self.outbox.append(output)
        if len(self.outbox) == 1:
            self.notify()


class Channels:
    """Live channels of all users; safe to use from any thread.

    `receive` and `tick` look into the analysis, and belong to the server's thread.

    Attributes:
        guesses: Switches for what the reference leaves open.
        limits: Limits of users and addresses.
        handshakes: Number of handshakes that have arrived.
        silent_until: Time before which nothing is answered, sent or closed.
    """

    def __init__(self, world: World, analyst: Analyst, seed: int) -> None:
        self.guesses = LiveGuesses()
        self.limits = LiveLimits()
        self.handshakes = 0
        self.silent_until = 0.0
        self.lock = threading.RLock()
        self._world = world
        self._analyst = analyst
        self._rng = random.Random(f"{seed}:live")  # noqa: S311 - repeatable, not secret
        self._numbers = count(1)
        self._order = count()
        self._agenda: list[tuple[float, int, Callable[[float], None]]] = []
        self._links: dict[int, Link] = {}
        self._usage: dict[str, Usage] = {}
        self._addresses: dict[str, Allowance] = {}
        self._rules: list[RefusalRule] = []
        self._received: deque[LiveMessage] = deque(maxlen=_KEPT)

    # -- connections -------------------------------------------------------------------

    def admit(self, address: str, now: float) -> int | None:
        """Count a handshake; return the status that refuses it, or None."""
        with self.lock:
            self.handshakes += 1
            if status := self._ruled("handshake"):
                return status
            if len(self._addresses) >= _ADDRESSES:
                self._addresses.clear()
            used = self._addresses.setdefault(address, Allowance())
            may = self._may(used, self.limits.connections, now)
            return None if may else HTTPStatus.TOO_MANY_REQUESTS

    def _may(self, used: Allowance, most: int, now: float) -> bool:
        """Count one more of at most *most* in the window, unless that is too many."""
        rolling = self.guesses.window == "rolling"
        return used.take(now, most, self.limits.window, rolling=rolling)

    def connect(self, notify: Callable[[], object], now: float) -> Link:
        """Return the link of a new connection."""
        with self.lock:
            link = Link(next(self._numbers), notify, now)
            self._links[link.number] = link
            self._plan(now + self.limits.silence, partial(self._check_silence, link))
            return link

    def disconnect(self, link: Link, now: float, *, clean: bool) -> None:
        """Forget *link*, whose connection is gone, and whether after a close."""
        with self.lock:
            if not link.is_open:
                return
            link.is_open = False
            del self._links[link.number]
            if link.user is not None:
                usage, taken = self._usage_of(link.user), len(link.subscriptions)
                usage.subscriptions -= taken
                if not clean and self.guesses.slots_kept:
                    usage.keep(taken, now + self.guesses.slots_kept)
            for subscription in link.subscriptions.values():
                subscription.is_open = False
            link.subscriptions.clear()

    def close(self, link: Link, code: int, now: float) -> None:
        """Close *link* cleanly by *code*, after what is to be sent before."""
        with self.lock:
            if link.is_open:
                self.disconnect(link, now, clean=True)
                link.put(Close(code))

    def drop(self, link: Link, now: float) -> None:
        """Drop *link* at once, without a closing handshake."""
        with self.lock:
            if link.is_open:
                self.disconnect(link, now, clean=False)
                link.outbox.clear()
                link.put(DROPPED)

    @property
    def links(self) -> tuple[Link, ...]:
        """The open connections."""
        with self.lock:
            return tuple(self._links.values())

    # -- time --------------------------------------------------------------------------

    def next_due(self) -> float | None:
        """Return when `tick` has something to do, or None if there is nothing."""
        with self.lock:
            return self._agenda[0][0] if self._agenda else None

    def tick(self, now: float) -> None:
        """Do all that is due by *now*, in order, each as of its own time."""
        with self.lock:
            while self._agenda and self._agenda[0][0] <= now + _SLACK:
                due, _, action = heapq.heappop(self._agenda)
                action(due)

    def skip(self, seconds: float) -> None:
        """Do not count *seconds*, by which the clock moves, as the clients' silence."""
        with self.lock:
            for link in self._links.values():
                link.heard += seconds

    def go_silent(self, until: float) -> None:
        """Answer, send and close nothing before *until*."""
        with self.lock:
            self.silent_until = until
            self._plan(until, lambda _: None)

    def _plan(self, due: float, action: Callable[[float], None]) -> None:
        heapq.heappush(self._agenda, (due, next(self._order), action))

    def is_silent(self, now: float) -> bool:
        """Tell whether nothing is answered at *now*."""
        return now + _SLACK < self.silent_until

    def _check_silence(self, link: Link, now: float) -> None:
        if not link.is_open:
            return
        due = max(link.heard + self.limits.silence, self.silent_until)
        if due <= now + _SLACK:
            self.close(link, CLOSED_AS_SILENT, now)
        else:
            self._plan(due, partial(self._check_silence, link))

    # -- messages ----------------------------------------------------------------------

    @property
    def messages(self) -> tuple[LiveMessage, ...]:
        """The newest messages, oldest first, without tokens."""
        with self.lock:
            return tuple(self._received)

    def refuse(self, rule: RefusalRule) -> None:
        """Put *rule* in force, before all others."""
        with self.lock:
            self._rules.insert(0, rule)

    def receive(self, link: Link, text: str | None, now: float) -> None:
        """Take a message from *link*; None is one that is no text."""
        with self.lock:
            if not link.is_open:
                return
            link.heard = now
            message = read_message(text)
            self._record(link, message, now)
            if self.is_silent(now):
                return
            if message is None or (link.user is None and message.path != "auth:token"):
                self.close(link, CLOSED_AS_WRONG, now)
                return
            try:
                answer = self._handle(link, message, now)
            except RefusalError as error:
                self._refuse(link, message, error, now)
            else:
                if answer is not None:
                    link.put(answer)

    def _record(self, link: Link, message: Message | None, now: float) -> None:
        secret = link.user.token if link.user else None
        self._received.append(recorded(message, link.number, _date(now), secret))

    def _refuse(
        self, link: Link, message: Message, error: RefusalError, now: float
    ) -> None:
        is_over = isinstance(error, _OverLimitError)
        if not is_over or self.guesses.over_limit != "close":
            link.put(write_refusal(message, error, self.guesses))
            if link.user is not None:
                return
        self.close(link, CLOSED_AS_WRONG, now)

    def _ruled(self, path: str) -> int | None:
        """Return the status of the newest rule for *path*, and count its use."""
        for rule in self._rules:
            if rule.path == path:
                if rule.times is not None:
                    rule.times -= 1
                    if not rule.times:
                        self._rules.remove(rule)
                return rule.status
        return None

    def _handle(self, link: Link, message: Message, now: float) -> str | None:
        """Return the answer to *message*, or None if it comes later."""
        if link.user is not None and (
            message.path != "ping" or self.guesses.pings_count
        ):
            self._count(link.user, now)
        if status := self._ruled(message.path):
            raise RefusalError(status, phrase(status))
        match message.path:
            case "auth:token":
                return self._authenticate(link, message, now)
            case "ping":
                return write_answer(message, {"ts": milliseconds(_date(now))})
            case "channels:subscribe":
                return self._subscribe(link, message, now)
            case "channels:unsubscribe":
                return self._unsubscribe(link, message)
        raise not_found("Path")

    def _count(self, user: User, now: float) -> None:
        if not self._may(self._usage_of(user).messages, self.limits.messages, now):
            raise self._over("Too many messages")

    def _over(self, message: str) -> RefusalError:
        return _OverLimitError(_STATUSES[self.guesses.over_limit], message)

    def _usage_of(self, user: User) -> Usage:
        return self._usage.setdefault(user.id, Usage())

    def _authenticate(self, link: Link, message: Message, now: float) -> str:
        if link.user is not None:
            raise bad_request("Already authenticated")
        token = (message.body or {}).get("token")
        user = self._world.user(token) if isinstance(token, str) else None
        if user is None:
            raise RefusalError(HTTPStatus.UNAUTHORIZED, "Invalid token")
        self._count(user, now)
        link.user = user
        return write_answer(message, None)

    # -- subscriptions -----------------------------------------------------------------

    @property
    def subscriptions(self) -> tuple[LiveSubscription, ...]:
        """The subscriptions of open connections, connection by connection."""
        return tuple(
            LiveSubscription(
                connection=each.link.number,
                id=each.id,
                channel=each.channel,
                key=each.key,
            )
            for each in self._open()
        )

    def _open(self) -> list[Subscription]:
        with self.lock:
            links = self._links.values()
            return [each for link in links for each in link.subscriptions.values()]

    def _subscribe(self, link: Link, message: Message, now: float) -> str | None:
        channel, key = _texts(message, "channel", "key")
        assert link.user is not None  # noqa: S101 - it is authenticated
        stored, every = self._find(link.user, channel, key)
        usage = self._usage_of(link.user)
        if len(link.subscriptions) >= self.limits.per_connection:
            raise self._over("Too many subscriptions of this connection")
        if usage.taken(now) >= self.limits.per_user:
            raise self._over("Too many subscriptions")
        new_id = "".join(self._rng.choices(_ID_LETTERS, k=14))
        moods = self._analyst.moods(stored.id)
        made = Subscription(link, new_id, channel, key, stored.id, every, moods)
        link.subscriptions[new_id] = made
        usage.subscriptions += 1
        answer = write_answer(message, {"subscriptionId": new_id})
        if self.guesses.event_before_ack:
            made.ack = answer
            self._plan(now + _PATIENCE, lambda _: self._confirm(made))
        else:
            link.put(answer)
        if channel == WORKER:
            self._tell_state(made, stored, now)
        else:
            lived = now - _begun(stored)
            self._await(made, stored, max(0, int((lived + _SLACK) // every)) + 1)
        return None

    def _unsubscribe(self, link: Link, message: Message) -> str:
        (wanted,) = _texts(message, "subscriptionId")
        found = link.subscriptions.pop(wanted, None)
        if found is None:
            raise not_found("Subscription")
        assert link.user is not None  # noqa: S101 - it has a subscription
        self._usage_of(link.user).subscriptions -= 1
        self._confirm(found)
        found.is_open = False
        return write_answer(message, {})

    def _find(self, user: User, channel: str, key: str) -> tuple[StoredSession, int]:
        """Return the session and the seconds that *key* names."""
        session_id, _, frequency = key.partition(":")
        stored = self._world.get(user, session_id)
        every = FREQUENCIES.get(frequency, 0)
        is_worker = channel == WORKER and stored.has_worker and key == session_id
        if not (is_worker or (channel in _ANALYSES and every)):
            raise not_found("Channel")
        return stored, every

    def _confirm(self, subscription: Subscription) -> None:
        """Send the ack that waited for an event."""
        ack, subscription.ack = subscription.ack, None
        if ack is not None and subscription.is_open:
            subscription.link.put(ack)

    # -- events ------------------------------------------------------------------------

    def emit(
        self, session_id: str, channels: frozenset[str], payload: object, now: float
    ) -> None:
        """Send *payload* as an event to the subscriptions of *channels*."""
        with self.lock:
            for each in self._open():
                if each.session_id == session_id and each.channel in channels:
                    self._send(each, _date(now), payload, now)

    def send(self, text: str, now: float) -> None:
        """Send *text* as it is to all connections, unless the service is silent."""
        with self.lock:
            if not self.is_silent(now):
                for link in self._links.values():
                    link.put(text)

    def tell_states(self, session_id: str, now: float) -> None:
        """Tell a session's subscribers what its worker does, if that is new to them."""
        with self.lock:
            for each in self._open():
                stored = self._world.find(session_id)
                if each.session_id == session_id and each.channel == WORKER and stored:
                    self._tell_state(each, stored, now)

    def _tell_state(
        self, subscription: Subscription, stored: StoredSession, now: float
    ) -> None:
        state = stored.worker_state(_date(now))
        if state is not None and state != subscription.last:
            self._send(subscription, _date(now), state, now)

    def _await(
        self, subscription: Subscription, stored: StoredSession, number: int
    ) -> None:
        """Plan the event at the end of interval *number*, from 1 on."""
        due = _begun(stored) + number * subscription.every
        self._plan(due, lambda now: self._tell(subscription, number, now))

    def _tell(self, subscription: Subscription, number: int, now: float) -> None:
        """Send the event of interval *number*, unless there is nothing to tell."""
        stored = self._world.find(subscription.session_id)
        lived = number * subscription.every
        if not (stored and subscription.is_open and stored.grows_to(lived)):
            return
        if lived > LONGEST_ANALYSIS:
            return
        self._await(subscription, stored, number + 1)
        analyse = _ANALYSES[subscription.channel]
        payload = analyse(subscription.moods, lived, subscription.every)
        if payload is not None:
            at = stored.timestamp + timedelta(seconds=lived)
            self._send(subscription, at, payload, now)

    def _send(
        self, subscription: Subscription, at: datetime, payload: object, now: float
    ) -> None:
        is_same = payload == subscription.last
        subscription.last = payload
        if self.is_silent(now) or (is_same and not self.guesses.repeats_unchanged):
            return
        stamp: str | int = milliseconds(at)
        if self.guesses.timestamps == "ms":
            stamp = int(cut(at).timestamp() * 1000)
        kind = _TYPES[subscription.channel]
        link = subscription.link
        link.put(write_event(subscription.id, stamp, kind, payload))
        self._confirm(subscription)
        if len(link.outbox) > _BACKLOG:
            self.drop(link, now)


class _OverLimitError(RefusalError):
    """A limit is exceeded."""


def _date(now: float) -> datetime:
    return EPOCH + timedelta(seconds=now)


def _begun(stored: StoredSession) -> float:
    """Return when a session began, in seconds of the emulator's clock."""
    return (stored.timestamp - EPOCH).total_seconds()


def _texts(message: Message, *names: str) -> list[str]:
    """Return the fields of the body of *message* by *names*; they must be text."""
    body = message.body or {}
    for name in names:
        if not isinstance(body.get(name), str):
            raise bad_request(f'"{name}" must be a string')
    return [body[name] for name in names]
