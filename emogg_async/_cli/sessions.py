"""`emogg sessions`: what its commands can be told.

What they do is imported when they are called, so that help and completion stay cheap.
"""

import sys
from typing import IO, TYPE_CHECKING, Final

import click

from emogg_async._cli.options import (
    Connection,
    Filters,
    Output,
    connection_options,
    filter_options,
    output_options,
)

if TYPE_CHECKING:
    from emogg_async import AsyncEmoggClient

__all__ = ["sessions"]

_ENDINGS: Final = """JSON is lossless. In CSV and in tables, what a terminal would obey
is replaced; in CSV, what a spreadsheet would take for a formula begins with a '.

`emogg help exit-codes` says how it can end.
"""

_any_form = output_options("table", "json", "jsonl", "csv")


@click.group()
def sessions() -> None:
    """Get, list and export sessions."""


@sessions.command(epilog=_ENDINGS)
@click.argument("session_ids", metavar="ID...|-", nargs=-1)
@click.option(
    "--from-file",
    metavar="FILE",
    type=click.File("rb"),
    help="Read the ids from a file.",
)
@_any_form
@connection_options
def get(
    session_ids: tuple[str, ...],
    from_file: IO[bytes] | None,
    output: Output,
    connection: Connection,
) -> int:
    """Get sessions by their ids, in the order given.

    With - the ids are read from standard input, one to a line; # begins a comment.
    Sessions are printed as ids come, in their order, and at most about a thousand are
    held back for it.

    Of several ids, each one that fails is told as a line of JSON on stderr.
    """
    from emogg_async._cli.get import get_all, get_as_read  # noqa: PLC0415 - see above
    from emogg_async._cli.running import run  # noqa: PLC0415

    reads_stdin = "-" in session_ids
    if bool(session_ids) + bool(from_file) != 1 or (reads_stdin and session_ids[1:]):
        raise click.UsageError("Give either ids, or - for standard input, or a file.")
    if reads_stdin:
        if sys.stdin is None:
            raise click.UsageError("Standard input is closed.")
        from_file = sys.stdin.buffer

    async def work(client: "AsyncEmoggClient") -> int:
        with output.writer() as writer:
            if from_file is None:
                return await get_all(client, session_ids, writer)
            return await get_as_read(client, from_file.fileno(), writer)

    return run(connection, work)


@sessions.command("list", epilog=_ENDINGS)
@filter_options
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    help="How many at most.",
)
@_any_form
@connection_options
def list_(filters: Filters, limit: int, output: Output, connection: Connection) -> int:
    """List the newest sessions of the account."""
    from emogg_async._cli.listing import list_newest  # noqa: PLC0415 - see above
    from emogg_async._cli.running import run  # noqa: PLC0415

    async def work(client: "AsyncEmoggClient") -> int:
        with output.writer() as writer:
            return await list_newest(client, filters, limit, writer, hints=hints)

    hints = sys.stderr.isatty() and not connection.quiet
    return run(connection, work)


@sessions.command(epilog=_ENDINGS)
@filter_options
@click.option("--limit", metavar="N", type=click.IntRange(1), help="How many at most.")
@output_options("jsonl", "csv", default="jsonl")
@connection_options
@click.pass_context
def export(
    context: click.Context,
    /,
    filters: Filters,
    limit: int | None,
    output: Output,
    connection: Connection,
) -> int:
    """Write every session of the account to standard output, newest first.

    Whatever ends it, it leaves whole lines, and says how to go on.
    """
    from emogg_async._cli.export import export_all  # noqa: PLC0415 - see above

    return export_all(context, connection, filters, limit, output)
