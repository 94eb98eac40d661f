"""`emogg sessions export`: all sessions of an account, and how to resume.

If the list is sorted by time, newest first, all that is missing after a stop is older
than the last line. Each page is written at once, so whatever ends an export, whole
lines are left.
"""

import os
import shlex
import stat
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import click
from click.core import ParameterSource

from emogg_async import AsyncEmoggClient, EmoggError, Session
from emogg_async._cli.commands.listing import known_values, pages_of
from emogg_async._cli.exits import Exit, exit_of, explain
from emogg_async._cli.options import Connection, Filters, Output
from emogg_async._cli.running import run
from emogg_async._text import counted
from emogg_async._wire.protocol import format_datetime

__all__ = ["Position", "command_again", "export_all", "how_to_go_on"]

MILLISECOND: Final = timedelta(milliseconds=1)


def export_all(
    context: click.Context,
    connection: Connection,
    filters: Filters,
    limit: int | None,
    output: Output,
) -> int:
    """Write all sessions that match; if that ends early, say how to go on."""
    no_match = known_values(filters, quiet=connection.quiet)
    export = _Export(filters, limit, output, _is_watched(connection), no_match)
    try:
        return run(connection, export.run)
    except EmoggError as error:
        click.echo(explain(error), err=True)
        _advise(context, connection, export.position)
        return exit_of(error)
    except BrokenPipeError:  # the reader wants no more
        raise
    except (KeyboardInterrupt, click.exceptions.Exit, OSError):
        _advise(context, connection, export.position)
        raise


def _is_watched(connection: Connection) -> bool:
    """Return whether to show progress: not where the data themselves are shown."""
    return sys.stderr.isatty() and not sys.stdout.isatty() and not connection.quiet


def _is_piped() -> bool:
    """Return whether stdout is a pipe, whose reader may write to the same terminal."""
    return stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)


def _advise(
    context: click.Context, connection: Connection, position: "Position"
) -> None:
    advice = how_to_go_on(context, position)
    if advice and not connection.quiet:
        click.echo(advice, err=True)


@attrs.define
class Position:
    """How far an export has come.

    Attributes:
        count: The sessions written.
        reached: When the last of them was created; None before the first.
        ties: How many at the end were created in the same millisecond.
        is_sorted: Whether none was newer than the one before.
    """

    count: int = 0
    reached: datetime | None = None
    ties: int = 0
    is_sorted: bool = True

    def add(self, sessions: Iterable[Session]) -> None:
        """Take note of *sessions* that were written."""
        for session in sessions:
            moment, before = session.timestamp, self.reached
            if before is not None and moment > before:
                self.is_sorted = False
            self.ties = self.ties + 1 if moment == before else 1
            self.reached = moment
            self.count += 1


@attrs.define
class _Export:
    """One run of the command.

    Attributes:
        filters: The filters.
        limit: Sessions at most; None writes all.
        output: The form.
        is_watched: Whether to show the progress.
        no_match: The line on stderr if there is no session; "" is none.
        position: How far it has come.
    """

    filters: Filters
    limit: int | None
    output: Output
    is_watched: bool
    no_match: str
    position: Position = attrs.field(factory=Position)

    async def run(self, client: AsyncEmoggClient) -> Exit:
        """Write everything, and show the progress if somebody watches."""
        began = time.monotonic()
        with self._progress() as show, self.output.writer() as writer:
            async for page in pages_of(client, self.filters, self.limit):
                writer.write(page)
                self.position.add(page)
                show(self.position.count, client.stats.requests)
        if not self.position.count and self.no_match:
            click.echo(self.no_match, err=True)
        if self.is_watched:
            exported = counted(self.position.count, "session")
            requests = counted(client.stats.requests, "request")
            seconds = time.monotonic() - began
            click.echo(
                f"Exported {exported} with {requests} in {seconds:.1f} s.", err=True
            )
        return Exit.OK

    def _progress(self) -> AbstractContextManager[Callable[[int, int], None]]:
        if not self.is_watched or _is_piped():
            return nullcontext(lambda *_: None)
        from emogg_async._cli.output.progress import counting  # noqa: PLC0415 - loads rich

        return counting()


def how_to_go_on(context: click.Context, position: Position) -> str:
    """Say how to go on; nothing before the first session is written."""
    if position.reached is None:
        return ""
    stopped = f"Stopped after {counted(position.count, 'session')}."
    if not position.is_sorted:
        return f"{stopped} They are not sorted by time: to have all, start again."
    # The last millisecond is asked for again: other sessions may share it.
    changes: dict[str, Any] = {"started_before": position.reached + MILLISECOND}
    if (limit := context.params.get("limit")) is not None:
        changes["limit"] = limit - position.count + position.ties
    if context.params.get("form") == "csv":
        changes["no_header"] = True
    command = command_again(context, changes)
    twice = "the last ones may come twice"
    less = "some are left out if the list is not sorted by time"
    return f"{stopped} To go on, append; {twice}, and {less}:\n  {command} >> FILE"


def command_again(context: click.Context, changes: Mapping[str, Any]) -> str:
    """Write the command line of *context* again, with *changes*, for a shell."""
    values = dict(changes)
    for name, value in context.params.items():
        given = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if given and name not in values:
            values[name] = value
    words = context.command_path.split()
    for option in context.command.params:
        if option.name in values:
            words += _words(option, values[option.name])
    return shlex.join(words)


def _words(option: click.Parameter, value: Any) -> list[str]:
    name = max(option.opts, key=len)
    if isinstance(option, click.Option) and option.is_flag:
        return [name] if value else []
    return [name, _text(value)]


def _text(value: Any) -> str:
    match value:
        case datetime():
            return format_datetime(value)
        case float():
            return f"{value:g}"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
