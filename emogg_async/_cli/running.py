"""How a command runs: with a client, until it is done or is told to stop."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar, cast

import click

from emogg_async import AsyncEmoggClient
from emogg_async._cli.exits import Exit
from emogg_async._cli.options import Connection
from emogg_async._cli.verbose import stats_line

__all__ = ["run"]

T = TypeVar("T")

Work = Callable[[AsyncEmoggClient], Awaitable[T]]


def run(connection: Connection, work: Work[T]) -> T:
    """Do *work* with a client that keeps nothing, and return its exit code, or so.

    SIGTERM ends it as Ctrl-C does: where it waits, so never within a line of output.

    Raises:
        KeyboardInterrupt: Ctrl-C.
        click.exceptions.Exit: It was told to stop.
    """
    try:
        return asyncio.run(_run(connection, work))
    except asyncio.CancelledError:
        raise click.exceptions.Exit(Exit.TERMINATED) from None


async def _run(connection: Connection, work: Work[T]) -> T:
    began = time.monotonic()
    # Flat memory matters more here than what a cache could save in one run.
    client = connection.client(cache=None)
    with _sigterm_cancels():
        try:
            async with client:
                return await work(client)
        finally:
            if connection.verbose:
                click.echo(stats_line(client.stats, time.monotonic() - began), err=True)


@contextmanager
def _sigterm_cancels() -> Iterator[None]:
    """Let SIGTERM cancel this task; a second one kills, as it usually does."""
    loop = asyncio.get_running_loop()
    task = cast("asyncio.Task[Any]", asyncio.current_task())

    def stop(number: int, _: FrameType | None) -> None:
        signal.signal(number, signal.SIG_DFL)
        loop.call_soon_threadsafe(task.cancel)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
