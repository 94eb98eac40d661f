"""How a command runs with a client and is stopped, and what it logs."""

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

import attrs
import click

from emogg_async import AsyncEmoggClient, DeadlineError, Stats
from emogg_async._cli.exits import Exit
from emogg_async._cli.options import Connection
from emogg_async._cli.signals import run_loop
from emogg_async._text import printable
from emogg_async.events import Event, RetryScheduled

__all__ = ["RetryNotice", "log_to_stderr", "run", "stats_line"]

GRACE: Final = 1.0
"""Seconds in which a repeated signal is ignored: some launchers send each twice."""

UNSAID: Final = 1.0
"""Seconds of retries of which nothing is said."""

T = TypeVar("T")

Work = Callable[[AsyncEmoggClient], Awaitable[T]]


def run(connection: Connection, work: Work[T]) -> T:
    """Do *work* with a client without a cache, and return what it returns.

    Ctrl-C and SIGTERM cancel it where it waits, so never within a line of output. A
    second signal ends the process at once.

    Raises:
        KeyboardInterrupt: Ctrl-C cancelled it.
        click.exceptions.Exit: SIGTERM cancelled it.
    """
    if connection.verbose:
        log_to_stderr()
    stop = _Stop()
    with stop.on_signals():
        try:
            return run_loop(lambda: _run(connection, work, stop))
        except asyncio.CancelledError:
            if stop.number == signal.SIGINT:
                raise KeyboardInterrupt from None
            raise click.exceptions.Exit(Exit.TERMINATED) from None


async def _run(connection: Connection, work: Work[T], stop: "_Stop") -> T:
    stop.task = asyncio.current_task()
    began = time.monotonic()
    # A cache would grow with an export, and one run seldom asks twice.
    client = connection.client(cache=None, on_event=_listener(connection))
    try:
        async with client:
            return await work(client)
    finally:
        if connection.verbose:
            click.echo(stats_line(client.stats, time.monotonic() - began), err=True)


def _listener(connection: Connection) -> Callable[[Event], None] | None:
    """Return what tells of retries on a terminal; the log of `-v` does so itself."""
    if connection.quiet or connection.verbose or not sys.stderr.isatty():
        return None
    notice = RetryNotice()

    def listen(event: Event) -> None:
        if line := notice.take(event, time.monotonic()):
            click.echo(line, err=True)

    return listen


class RetryNotice:
    """Decides when to say that a request is tried again: once, after a second of it."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}  # by the path
        self._is_said = False

    def take(self, event: Event, now: float) -> str:
        """Take an event that comes at *now*; return a line to print, or ""."""
        if self._is_said or not isinstance(event, RetryScheduled):
            return ""
        if event.attempt == 2:  # the first has failed just now
            self._since[event.path] = now
        lost = now + event.wait - self._since.get(event.path, now)
        # An attempt that ran out of time has lost more than that already.
        if lost < UNSAID and not isinstance(event.error, DeadlineError):
            return ""
        self._is_said = True
        what = printable(event.error.headline)
        return f"{what}; trying again, attempt {event.attempt} in {event.wait:.1f} s."


class _Stop:
    """Cancels a task at the first signal; later ones have their usual effect."""

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None  # None before it begins
        self.number: int | None = None  # the first signal
        self._since = 0.0

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Handle signals inside; after a first one, until the process ends.

        A signal that is ignored, as in the background of a script, stays ignored.
        """
        both = (signal.SIGINT, signal.SIGTERM)
        heard = [each for each in both if signal.getsignal(each) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._hear) for number in heard}
        try:
            yield
        finally:
            if self.number is None:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def _hear(self, number: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is not None and now < self._since + GRACE:
            return
        if self.number is None and self.task is not None and not self.task.done():
            self.number, self._since = number, now
            loop = self.task.get_loop()
            loop.call_soon_threadsafe(self.task.cancel)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


class _Handler(logging.Handler):
    """Prints to the present stderr, which a progress line replaces by its own."""

    def emit(self, record: logging.LogRecord) -> None:
        print(printable(self.format(record)), file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Print the log of the package to stderr from now on."""
    logger = logging.getLogger("emogg_async")
    if any(isinstance(handler, _Handler) for handler in logger.handlers):
        return
    formatter = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s",
        "%Y-%m-%dT%H:%M:%S",
    )
    formatter.converter = time.gmtime
    handler = _Handler()
    handler.setFormatter(formatter)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def stats_line(stats: Stats, seconds: float) -> str:
    """Write in one line what a client did in *seconds*."""
    counted = attrs.asdict(stats) | {"waited": round(stats.waited, 3)}
    del counted["in_flight"]
    facts = counted | {"seconds": round(seconds, 3)}
    return "stats: " + " ".join(f"{name}={value}" for name, value in facts.items())
