"""Many ids: workers that pull them, and a stream of what comes of each.

However many ids there are, only so many are in work or wait for the consumer. The tasks
belong to the `async with`: leaving it leaves nothing running.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from itertools import islice
from math import inf
from operator import length_hint
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

from emogg_async import _context
from emogg_async._outcomes import Batch, Failed, Fetched, Outcome
from emogg_async._protocol import check_session_id
from emogg_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    EmoggError,
    InvalidArgumentError,
)

__all__ = ["OutcomeStream", "check_ids", "collect"]

T = TypeVar("T")

Ids = Iterable[str] | AsyncIterable[str]
Call = Callable[[str], Awaitable[T]]
Settle = Callable[[], Awaitable[None]]

WINDOW: Final = 1_000
"""Ids among which duplicates are found."""

_FATAL = (AuthenticationError, ClientClosedError)
"""What makes every other id pointless."""


def check_ids(ids: object, *, asynchronous: bool) -> None:
    """Refuse what is no collection of ids, a `str` above all.

    Raises:
        InvalidArgumentError: *ids* cannot be iterated, or is one id.
    """
    kinds = (Iterable, AsyncIterable) if asynchronous else (Iterable,)
    if isinstance(ids, str | bytes) or not isinstance(ids, kinds):
        raise InvalidArgumentError(
            f"session_ids: expected several ids, got {type(ids).__name__}"
        )


def _distinct(ids: Iterable[object]) -> Iterator[tuple[str, object]]:
    """Yield each id once in a window, as the key of its outcome and as it was given."""
    source = iter(ids)
    while window := list(islice(source, WINDOW)):
        yield from {_key(given): given for given in window}.items()


def _key(given: object) -> str:
    try:
        return check_session_id(given)
    except InvalidArgumentError:
        return given if isinstance(given, str) else repr(given)


class OutcomeStream(Generic[T]):
    """The outcomes of many calls, in the order in which they end.

    ::

        async with client.stream_sessions(ids) as outcomes:
            async for outcome in outcomes:
                ...
    """

    def __init__(self, call: Call[T], ids: Ids, workers: int, settle: Settle) -> None:
        self._call = call
        self._ids = ids
        self._workers = workers
        self._settle = settle
        self._tasks: list[asyncio.Task[None]] = []
        self._outcomes: deque[Outcome[T]] = deque()
        self._fatal: Exception | None = None
        self._entered = False
        # As the pacer wants to know it; what has no length may be endless.
        self._backlog = _context.Backlog(length_hint(ids, 0) or inf)

    async def __aenter__(self) -> Self:
        """Start the workers."""
        if self._entered:
            raise ConfigurationError("a stream of outcomes can be entered only once")
        self._entered = True
        self._news = asyncio.Event()
        # Outcomes that wait to be taken count too: a slow consumer slows the workers.
        self._room = asyncio.Semaphore(2 * self._workers)
        self._source = _Source(self._ids)
        context = contextvars.copy_context()
        context.run(_context.priority.set, _context.Priority.BULK)
        context.run(_context.backlog.set, self._backlog)
        loop = asyncio.get_running_loop()
        for _ in range(self._workers):
            task = loop.create_task(self._work(), context=context.copy())
            task.add_done_callback(lambda _: self._news.set())
            self._tasks.append(task)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the workers and wait until they have ended."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._settle()

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Outcome[T]:
        """Return the next outcome.

        Raises:
            AuthenticationError: The token was refused; no other id would fare better.
            ClientClosedError: The client was closed meanwhile.
        """
        if not self._entered:
            raise ConfigurationError(
                "enter a stream of outcomes with `async with` first"
            )
        while self._fatal is None:
            if self._outcomes:
                self._room.release()
                return self._outcomes.popleft()
            if all(task.done() for task in self._tasks):
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        raise self._fatal

    async def _work(self) -> None:
        try:
            while self._fatal is None:
                await self._room.acquire()
                if (item := await self._source.next()) is None:
                    return
                self._backlog.left -= 1
                self._outcomes.append(await self._outcome(*item))
                self._news.set()
        except StopAsyncIteration as error:  # the consumer would take it for the end
            self._fatal = RuntimeError("the call raised StopAsyncIteration")
            self._fatal.__cause__ = error
        except Exception as error:
            self._fatal = self._fatal or error

    async def _outcome(self, key: str, given: object) -> Outcome[T]:
        try:
            return Fetched(key, await self._call(given))  # type: ignore[arg-type]
        except _FATAL:
            raise
        except EmoggError as error:
            return Failed(key, error)


class _Source:
    """One iterator over ids of either kind, for all workers."""

    def __init__(self, ids: Ids) -> None:
        self._lock = asyncio.Lock()
        self._items: Iterator[tuple[str, object]] | None = None
        if isinstance(ids, AsyncIterable):
            self._async_ids = aiter(ids)
        else:
            self._items = _distinct(ids)

    async def next(self) -> tuple[str, object] | None:
        """Return the key of the next outcome and its id as given; None at the end."""
        if self._items is not None:
            return next(self._items, None)
        async with self._lock:  # an async generator takes one caller at a time
            try:
                given = await anext(self._async_ids)
            except StopAsyncIteration:
                return None
        return _key(given), given


async def collect(
    call: Call[T], ids: Iterable[str], workers: int, settle: Settle
) -> Batch[T]:
    """Make all calls and return what came of them, in the order of *ids*."""
    # One window over all: a batch is a mapping, so each id counts once.
    asked = {_key(given): given for given in ids}
    outcomes: dict[str, Outcome[T]] = {}
    stream = OutcomeStream(call, asked.values(), min(workers, len(asked)), settle)
    async with stream:
        async for outcome in stream:
            outcomes[outcome.session_id] = outcome
    fetched: dict[str, T] = {}
    failed: dict[str, EmoggError] = {}
    for key in asked:
        match outcomes[key]:
            case Fetched(session_id=_, value=value):
                fetched[key] = value
            case Failed(session_id=_, error=error):
                failed[key] = error
    return Batch(fetched, failed)
