"""Many ids: workers that pull them, and a stream of what comes of each.

However many ids there are, only so many are in work or wait for the consumer. The tasks
belong to the `async with`: leaving it leaves nothing running.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from types import TracebackType
from typing import Generic, Self, TypeVar

from emogg_async import _context
from emogg_async._jobs import Jobs, keyed
from emogg_async._outcomes import Batch, Failed, Fetched, Outcome
from emogg_async.errors import ConfigurationError, EmoggError, InvalidArgumentError

__all__ = ["OutcomeStream", "check_call", "check_ids", "collect"]

T = TypeVar("T")

Drain = Callable[[], Awaitable[None]]


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


def check_call(call: object) -> None:
    """Refuse what cannot be called.

    Raises:
        InvalidArgumentError: *call* is no function.
    """
    if not callable(call):
        raise InvalidArgumentError(
            f"call: expected a function of one id, got {type(call).__name__}"
        )


class OutcomeStream(Generic[T]):
    """The outcomes of many calls, in the order in which they end.

    ::

        async with client.stream_sessions(ids) as outcomes:
            async for outcome in outcomes:
                ...
    """

    def __init__(self, jobs: Jobs[T], workers: int, drain: Drain) -> None:
        self._jobs = jobs
        self._workers = workers
        self._drain = drain
        self._tasks: list[asyncio.Task[None]] = []
        self._outcomes: deque[Outcome[T]] = deque()
        self._fatal: Exception | None = None
        self._entered = self._left = False

    async def __aenter__(self) -> Self:
        """Start the workers."""
        if self._entered:
            raise ConfigurationError("a stream of outcomes can be entered only once")
        self._entered = True
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        context = contextvars.copy_context()
        context.run(_context.priority.set, _context.BULK)
        context.run(_context.backlog.set, self._jobs.backlog)
        loop = asyncio.get_running_loop()
        for _ in range(self._workers):
            task = context.run(loop.create_task, self._work())  # which copies it
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
        self._left = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._drain()

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
        if self._left:
            raise ConfigurationError("the `async with` of this stream was left")
        while not self._outcomes:  # what was fetched before the end is not lost
            if self._fatal is not None:
                raise self._fatal
            if all(task.done() for task in self._tasks):
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        outcome = self._outcomes.popleft()
        if len(self._outcomes) < self._workers:
            self._room.set()
        return outcome

    async def _work(self) -> None:
        try:
            while self._fatal is None:
                # A slow consumer slows the workers. Each may add to what waits to be
                # taken, so there are never more than twice as many, and one page.
                while len(self._outcomes) >= self._workers:
                    self._room.clear()
                    await self._room.wait()
                if (outcomes := await self._jobs.do_next()) is None:
                    return
                self._outcomes.extend(outcomes)
                self._news.set()
        except (StopAsyncIteration, asyncio.CancelledError) as error:
            if _is_cancelled():
                raise
            # Raised by the call itself; for the consumer it would mean something else.
            self._fatal = RuntimeError(f"the call raised {type(error).__name__}")
            self._fatal.__cause__ = error
        except Exception as error:
            self._fatal = self._fatal or error


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def collect(
    make_jobs: Callable[[Iterable[str]], Jobs[T]],
    ids: Iterable[str],
    workers: int,
    drain: Drain,
) -> Batch[T]:
    """Do all jobs for *ids* and return what came of them, in the order of *ids*."""
    # One window over all: a batch is a mapping, so each id counts once.
    asked = keyed(ids)
    jobs = make_jobs(asked.values())  # type: ignore[arg-type]
    outcomes: dict[str, Outcome[T]] = {}
    stream = OutcomeStream(jobs, min(workers, len(asked)), drain)
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
