"""Feeds: the events of a topic, or of several, as their reader sees them."""

import asyncio
import math
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Literal, Self, TypeVar

from emogg_async._calls.call import deadline
from emogg_async._calls.frames import bare, frameless, twin
from emogg_async._calls.terms import MAX_TIMEOUT_SECONDS
from emogg_async._checks import number
from emogg_async._live.buffers import Buffer
from emogg_async._live.topics import OpenTopics, Topic, Topics, TopicState, Wish
from emogg_async._wire.live import Event
from emogg_async.errors import ConfigurationError, DeadlineError, EmoggError

__all__ = ["Feed"]

E_co = TypeVar("E_co", bound=Event, covariant=True)

State = Literal["waiting", "live", "reconnecting", "ended"]


class Branch:
    """One topic's events in a feed.

    Args:
        open_hub: Opens the client.
        wish: The topic to subscribe to.
        limit: The most events that wait for the reader.

    Attributes:
        buffer: The events that wait for the reader.
        error: The error that has ended it, until it is raised.
        has_entered: Whether the service has confirmed the subscription.
        is_over: Whether it has ended.
    """

    def __init__(self, open_hub: OpenTopics, wish: Wish, limit: int) -> None:
        self.wish = wish
        self.buffer: Buffer[Any] = Buffer(limit)
        self.topic: Topic | None = None
        self.error: EmoggError | None = None
        self.has_entered = self.is_over = False
        self._open_hub = open_hub
        self._feed: Feed[Any] | None = None
        self._hub: Topics | None = None

    def join(self, feed: "Feed[Any]") -> float:
        """Ask for the subscription, for *feed*; return when the time for it is up."""
        self._feed = feed
        self._hub, timeout = self._open_hub()
        self.topic = self._hub.join(self, self.wish)
        return self._hub.loop.time() + timeout

    def leave(self) -> None:
        """Leave the subscription."""
        if self._hub is not None and self.topic is not None:
            self._hub.leave(self, self.topic)

    def why_waiting(self) -> EmoggError:
        """Return the error for a feed whose time is up before this has entered."""
        assert self._hub is not None  # noqa: S101 - it has joined
        assert self.topic is not None  # noqa: S101
        return self._hub.why_waiting(self.topic)

    # -- as its topic sees it ------------------------------------------------------

    def put(self, event: Event) -> None:
        """Take an event."""
        dropped = self.buffer.put(event)
        if self._feed is not None:
            self._feed._arrived(self, dropped)
        if dropped and self._hub is not None:
            self._hub.slow()

    def enter(self) -> None:
        """Note that the subscription is confirmed."""
        self.has_entered = True
        if self._feed is not None:
            self._feed._wake()

    def end(self, error: EmoggError | None) -> None:
        """Note the end, by an error or quietly."""
        self.is_over, self.error = True, twin(error) if error else None
        if self._feed is not None:
            self._feed._arrived(self, False)


class Feed(Generic[E_co]):
    """The live events of a session, in the order of their arrival.

    ::

        async with client.live.counts(session_id) as feed:
            async for event in feed:
                print(event.timestamp, event.emotions)

    Entering it returns once the service has confirmed the subscription. The iteration
    ends when the session has finished. Leaving the block leaves the feed; breaking out
    of the `for` does not. A feed is entered once, and read by one task at a time.

    A reader that is slower than the events loses the oldest ones, and finds a `gap` in
    the next event. It delays no other feed.

    Raises:
        AuthenticationError: The service refused the token.
        NotFoundError: The session does not exist or is gone, or the token may not see
            it.
        LiveLimitError: On entering: no subscription became free in time.
        DeadlineError: On entering: there was no connection in time.
        ConnectionLostError: There was no connection for `LivePolicy.outage` seconds.
        ClientClosedError: The client was closed.
    """

    def __init__(self, branches: Sequence[Branch]) -> None:
        self._branches = branches
        # The branch of each event that waits, and of each end, as they arrived.
        self._order: deque[Branch] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._is_used = self._is_entered = self._is_left = False

    @classmethod
    def merged(cls, feeds: "Sequence[Feed[E_co]]") -> "Feed[E_co]":
        """Return a feed over the branches of *feeds*, which are used up by that."""
        if len({*feeds}) < len(feeds):
            raise ConfigurationError("a feed can be merged only once")
        for feed in feeds:
            feed._check_unused()
        for feed in feeds:
            feed._is_used = True
        return cls([b for feed in feeds for b in feed._branches])

    def __repr__(self) -> str:
        return f"<Feed of {len(self._branches)} ({self.state})>"

    @property
    def latest(self) -> E_co | None:
        """The newest event that has arrived, read or not; None before the first."""
        newest: Any = None
        for branch in self._branches:
            event = branch.topic.latest if branch.topic else None
            if event and (newest is None or event.timestamp > newest.timestamp):
                newest = event
        return newest  # type: ignore[no-any-return]

    @property
    def dropped(self) -> int:
        """Number of events that this feed has lost because its reader was slow."""
        return sum(branch.buffer.dropped for branch in self._branches)

    @property
    def state(self) -> State:
        """Its progress.

        `waiting` before the service has confirmed it, `live` from then on, with or
        without events, `reconnecting` when it was live and is not, and `ended`.
        """
        left = [branch for branch in self._branches if not branch.is_over]
        if self._is_left or not left:
            return "ended"
        if not all(branch.has_entered for branch in left):
            return "waiting"
        live = all(b.topic and b.topic.state is TopicState.LIVE for b in left)
        return "live" if live else "reconnecting"

    @frameless
    async def __aenter__(self) -> Self:
        """Subscribe, and return once the service has confirmed it."""
        self._check_unused()
        self._is_used = self._is_entered = True
        try:
            times = [branch.join(self) for branch in self._branches]
            await self._wait_to_enter(min(*times, deadline.get()))
        except BaseException:
            self._leave()
            raise
        return self

    def _check_unused(self) -> None:
        if self._is_used:
            raise ConfigurationError("a feed can be entered or merged only once")

    async def _wait_to_enter(self, until: float) -> None:
        """Wait until each branch has entered or failed; raise if all have failed."""
        branches = self._branches
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while not all(b.has_entered or b.is_over for b in branches):
                    await self._news()
        for branch in branches:
            if not (branch.has_entered or branch.is_over):
                raise bare(branch.why_waiting())
        if not any(branch.has_entered for branch in branches):
            for branch in branches:
                if branch.error is not None:
                    raise bare(branch.error)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the feed; the subscription lingers for five seconds."""
        self._leave()

    def _leave(self) -> None:
        self._is_left = True
        self._order.clear()
        for branch in self._branches:
            branch.leave()
        self._wake()

    def __aiter__(self) -> Self:
        """Return the feed itself."""
        return self

    async def __anext__(self) -> E_co:
        """Return the next event, as soon as there is one."""
        while True:
            while self._order:
                branch = self._order.popleft()
                if branch.buffer:
                    return branch.buffer.take()  # type: ignore[no-any-return]
                if branch.error is not None:
                    error, branch.error = branch.error, None
                    raise bare(error)
            self._check_readable()
            try:
                await self._news()
            except asyncio.CancelledError as error:
                error.__traceback__ = None
                raise

    def _check_readable(self) -> None:
        """Raise an error if no event can come.

        Raises:
            StopAsyncIteration: The feed has ended.
            ConfigurationError: It was not entered or was left, or is read twice.
        """
        if not self._is_entered:
            raise ConfigurationError("enter a feed with `async with` first")
        if self._is_left:
            raise ConfigurationError("the `async with` of this feed was left")
        if all(branch.is_over for branch in self._branches):
            raise StopAsyncIteration
        if self._waiter is not None:
            raise ConfigurationError("another task is reading this feed")

    @frameless
    async def next(self, timeout: float | None = None) -> E_co:  # noqa: ASYNC109
        """Return the next event; if there is none in time, nothing is lost.

        Args:
            timeout: Seconds to wait; None waits as long as `client.deadline()` allows.

        Raises:
            DeadlineError: The time is up.
            StopAsyncIteration: The feed has ended.
            InvalidArgumentError: *timeout* is not a positive number.
        """
        until = deadline.get()
        if timeout is not None:
            number("timeout", timeout, above=0, at_most=MAX_TIMEOUT_SECONDS)
            until = min(until, asyncio.get_running_loop().time() + timeout)
        try:
            async with asyncio.timeout_at(until if until < math.inf else None):
                return await self.__anext__()
        except DeadlineError:
            raise  # it is a TimeoutError, too
        except TimeoutError:
            pass  # the error has neither its cause nor its frames
        late = DeadlineError("no live event in time")
        late.advice = "Wait longer, or look at the feed's state"
        raise late

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _arrived(self, branch: Branch, dropped: bool) -> None:
        if dropped:
            self._order.remove(branch)  # the first of it is the oldest
        self._order.append(branch)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
