"""`emogg sessions export`: every session of an account, and how to go on after a stop.

It is told to stop between two pages only, and a page is written at once. So whatever
ends it, whole lines are left, and what is missing is older than the last one.
"""

import os
import stat
import sys
import time
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import click

from emogg_async import AsyncEmoggClient, EmoggError, Session
from emogg_async._cli.commands.listing import pages_of
from emogg_async._cli.exits import Exit, exit_of, explain
from emogg_async._cli.horizon import Horizon
from emogg_async._cli.options import Connection, Filters, Output
from emogg_async._cli.resume import Position, how_to_go_on
from emogg_async._cli.running import run
from emogg_async._text import counted

if TYPE_CHECKING:
    from emogg_async._cli.output.progress import Bar

__all__ = ["export_all"]

FIRST_LOOK: Final = 3
"""Pages before it is worth requests to find out how many there are."""

PATIENCE: Final = 2.0
"""Seconds that each of them may take."""


def export_all(
    context: click.Context,
    connection: Connection,
    filters: Filters,
    limit: int | None,
    output: Output,
) -> int:
    """Write all sessions that match; if that ends early, say how to go on."""
    export = _Export(filters, limit, output, _is_watched(connection))
    try:
        return run(connection, export.run)
    except EmoggError as error:
        click.echo(explain(error), err=True)
        _advise(context, connection, export.position)
        return exit_of(error)
    except BrokenPipeError:  # who reads no more wants no more
        raise
    except (KeyboardInterrupt, click.exceptions.Exit, OSError):
        _advise(context, connection, export.position)
        raise


def _is_watched(connection: Connection) -> bool:
    """Say whether to tell of progress: not where the data themselves are shown."""
    return sys.stderr.isatty() and not sys.stdout.isatty() and not connection.quiet


def _is_piped() -> bool:
    """Say whether stdout is a pipe, whose reader may write to the same terminal."""
    return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)


def _advise(context: click.Context, connection: Connection, position: Position) -> None:
    advice = how_to_go_on(context, position)
    if advice and not connection.quiet:
        click.echo(advice, err=True)


@attrs.define
class _Export:
    """One run of the command."""

    filters: Filters
    limit: int | None
    output: Output
    is_watched: bool
    position: Position = attrs.field(factory=Position)

    async def run(self, client: AsyncEmoggClient) -> Exit:
        """Write everything, under a progress bar if somebody watches."""
        began = time.monotonic()
        if self.is_watched and not _is_piped():
            from emogg_async._cli.output.progress import Bar  # noqa: PLC0415 - loads rich

            with Bar() as bar:
                await self._write_all(client, bar)
        else:
            await self._write_all(client, None)
        if not self.is_watched:
            return Exit.OK
        exported = counted(self.position.count, "session")
        requests = counted(client.stats.requests, "request")
        seconds = time.monotonic() - began
        click.echo(f"Exported {exported} with {requests} in {seconds:.1f} s.", err=True)
        return Exit.OK

    async def _write_all(self, client: AsyncEmoggClient, bar: "Bar | None") -> None:
        position, pages = self.position, 0
        horizon = Horizon(
            partial(self._newest_before, client), self.filters.started_after
        )
        with self.output.writer() as writer:
            async for page in pages_of(client, self.filters, self.limit):
                writer.write(page)
                position.add(page)
                pages += 1
                if bar is not None:
                    if pages >= FIRST_LOOK and self.limit is None:
                        await horizon.look(position)
                    total = horizon.total(position, self.limit)
                    bar.update(position.count, client.stats.requests, total)

    async def _newest_before(
        self, client: AsyncEmoggClient, moment: datetime
    ) -> Session | None:
        filters = attrs.evolve(self.filters, started_before=moment)
        with client.deadline(PATIENCE):
            return await client.list_sessions(
                **filters.arguments(), page_size=1
            ).first()
