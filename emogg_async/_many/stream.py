"""The stream of a bulk: workers that do its jobs, and their outcomes as they come.

The number of ids in work, and of outcomes that wait for the consumer, is bounded. The
tasks belong to the `async with` block and end with it.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from emogg_async._calls.call import BULK, backlog, priority
from emogg_async._calls.frames import bare
from emogg_async._many.jobs import WINDOW, Asked, Jobs, chunks, keyed
from emogg_async._many.outcomes import Batch, Fetched, Outcome
from emogg_async.errors import ConfigurationError, EmoggError, InvalidArgumentError

__all__ = ["OutcomeStream", "check_call", "check_ids", "collect"]

T = TypeVar("T")

Drain = Callable[[], Awaitable[None]]

RECANCEL_SECONDS: Final = 1.0
"""The time in which a cancelled call may clean up before it is cancelled again."""

ABANDON_SECONDS: Final = 5.0
"""The time after which a call that ignores its cancellation is reported and left."""


def check_ids(ids: object, *, asynchronous: bool) -> None:
    """Check that *ids* is a collection of ids, and not a single one.

    Raises:
        InvalidArgumentError: *ids* cannot be iterated, or is text.
    """
    kinds = (Iterable, AsyncIterable) if asynchronous else (Iterable,)
    if isinstance(ids, str | bytes) or not isinstance(ids, kinds):
        raise InvalidArgumentError(
            f"session_ids: expected several ids, got {type(ids).__name__}"
        )


def check_call(call: object) -> None:
    """Check that *call* can be called.

    Raises:
        InvalidArgumentError: *call* cannot be called.
    """
    if not callable(call):
        raise InvalidArgumentError(
            f"call: expected a function of one id, got {type(call).__name__}"
        )


class OutcomeStream(AsyncIterator[Outcome[T]], Generic[T]):
    """The outcomes of many calls, in the order in which they end.

    `AsyncEmoggClient.stream_sessions` and `stream` make it. It is iterated once, inside
    its `async with`.

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
        self._fatal: BaseException | None = None
        self._origin: TracebackType | None = None
        self._entered = self._left = False
        self._running = 0

    async def __aenter__(self) -> Self:
        """Start the workers."""
        if self._entered:
            raise ConfigurationError("a stream of outcomes can be entered only once")
        self._entered = True
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        context = contextvars.copy_context()
        context.run(priority.set, BULK)
        context.run(backlog.set, self._jobs.backlog)
        loop = asyncio.get_running_loop()
        for _ in range(self._workers):
            task = context.run(loop.create_task, self._work())  # each task copies it
            task.add_done_callback(self._note_end)
            self._tasks.append(task)
        self._running = self._workers
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the workers, and wait until they have ended.

        A call that ignores its cancellation is cancelled again each second. After five
        seconds it is left running and reported to the loop's exception handler.
        """
        self._left = self._jobs.is_stopped = True
        try:
            await self._end_workers()
        finally:
            await self._drain()

    async def _end_workers(self) -> None:
        now = asyncio.get_running_loop().time
        abandoned_at = now() + ABANDON_SECONDS
        interruption: asyncio.CancelledError | None = None
        while running := [task for task in self._tasks if not task.done()]:
            if now() >= abandoned_at:
                _report(running)
                break
            for task in running:
                task.cancel()
            try:
                await asyncio.wait(running, timeout=RECANCEL_SECONDS)
            except asyncio.CancelledError as error:  # cancel them again at once
                interruption = error
        if interruption is not None:
            raise interruption

    def __aiter__(self) -> Self:
        """Return the stream itself."""
        return self

    async def __anext__(self) -> Outcome[T]:
        """Return the next outcome.

        Raises:
            AuthenticationError: The token was refused, so no other id can succeed.
            ClientClosedError: The client was closed meanwhile.
            CancelledError: Other code cancelled a worker, as when a loop shuts down.
        """
        await self._wait()
        outcome = self._outcomes.popleft()
        if len(self._outcomes) < self._workers:
            self._room.set()
        return outcome

    async def take(self) -> list[Outcome[T]]:
        """Return all outcomes that are there, at least one; raise as `__anext__`."""
        await self._wait()
        outcomes = [*self._outcomes]
        self._outcomes.clear()
        self._room.set()
        return outcomes

    async def _wait(self) -> None:
        """Wait until there is an outcome."""
        if not self._entered:
            raise ConfigurationError(
                "enter a stream of outcomes with `async with` first"
            )
        while not self._left and not self._outcomes:  # outcomes come before the error
            if isinstance(self._fatal, EmoggError):
                raise bare(self._fatal)  # its frames would keep a worker alive
            if self._fatal is not None:
                raise self._fatal.with_traceback(self._origin)
            if not self._running:
                raise StopAsyncIteration
            self._news.clear()
            try:
                await self._news.wait()
            except asyncio.CancelledError as error:
                error.__traceback__ = None
                raise
        if self._left:
            raise ConfigurationError("the `async with` of this stream was left")

    async def _work(self) -> None:
        try:
            while self._fatal is None:
                # A slow consumer slows the workers. Each worker may add an outcome to
                # those that wait, so there are at most twice as many as workers, and
                # one page.
                while len(self._outcomes) >= self._workers:
                    self._room.clear()
                    await self._room.wait()
                outcomes = await self._jobs.do_next()
                self._outcomes.extend(outcomes or ())
                self._news.set()
                # After the block was left, a call that ignored its cancellation is the
                # last one of its worker.
                if outcomes is None or self._left:
                    return
        except (StopAsyncIteration, asyncio.CancelledError) as error:
            if self._left or _is_cancelled():
                raise asyncio.CancelledError from error
            # The call raised it, and it would tell the consumer of an end.
            fatal = RuntimeError(f"the call raised {type(error).__name__}")
            fatal.__cause__ = error
            self._end(fatal)
        except BaseException as error:
            self._end(error)
            if isinstance(error, KeyboardInterrupt | SystemExit):
                raise  # asyncio ends the loop by it

    def _end(self, error: BaseException) -> None:
        """End the bulk with the first *error*, and keep its traceback.

        Each raise would add frames to it.
        """
        if self._fatal is None:
            self._fatal, self._origin = error, error.__traceback__

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._running -= 1
        if task.cancelled():
            # What it had begun is lost, and it may have been the only one awake.
            self._end(asyncio.CancelledError("a worker of this bulk was cancelled"))
        else:
            task.exception()  # asyncio logs an error that is not looked at
        self._news.set()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _report(running: Iterable[asyncio.Task[None]]) -> None:
    """Tell the loop's exception handler of tasks that are left running."""
    for task in running:
        task.get_loop().call_exception_handler(
            {
                "message": "A call of a bulk ignores its cancellation and still runs "
                f"{ABANDON_SECONDS:g} s after the bulk was left",
                "task": task,
            }
        )


async def collect(
    make_jobs: Callable[[Iterable[str]], Jobs[T]],
    ids: Iterable[str],
    workers: int,
    drain: Drain,
) -> Batch[T]:
    """Do all jobs for *ids*, and return their outcomes in the order of *ids*."""
    # A batch is a mapping, so duplicates are found among all ids.
    asked = Asked()
    for some in chunks(list(ids)):  # *ids* may change between turns
        asked.update(keyed(some))
        await _turn(some)
    jobs = make_jobs(asked)
    fetched: dict[str, T] = {}
    failed: dict[str, EmoggError] = {}
    stream = OutcomeStream(jobs, min(workers, len(asked)), drain)
    async with stream:
        with suppress(StopAsyncIteration):
            while True:
                for outcome in await stream.take():
                    if isinstance(outcome, Fetched):  # quicker than `match`
                        fetched[outcome.session_id] = outcome.value
                    else:
                        failed[outcome.session_id] = outcome.error
    values: dict[str, T] = {}
    errors: dict[str, EmoggError] = {}
    for keys in chunks(asked):
        for key in keys:
            if key in failed:
                errors[key] = failed.pop(key)
            else:
                values[key] = fetched.pop(key)
        await _turn(keys)
    return Batch(values, errors)


async def _turn(chunk: list[Any]) -> None:
    """Let the loop turn after a full *chunk*; a shorter one is the last."""
    if len(chunk) == WINDOW:
        await asyncio.sleep(0)
