"""`emogg sessions`: what its commands can be told.

What they do is imported when they are called, so that help and completion stay cheap.
"""

import sys
from functools import partial
from typing import TYPE_CHECKING, Final

import click

from emogg_async._cli.ids import Wanted, wanted_options
from emogg_async._cli.options import (
    EXIT_CODES,
    Connection,
    Filters,
    Output,
    connection_options,
    dry_run_option,
    expand_option,
    filter_options,
    output_options,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emogg_async import AsyncEmoggClient, Session
    from emogg_async._cli.commands.get import Stream

__all__ = ["sessions"]

_ENDINGS: Final = f"""JSON is lossless. Elsewhere, what a terminal would obey is
replaced, and in CSV, what a spreadsheet would take for a formula begins with a '.

{EXIT_CODES}
"""

_any_form = output_options("table", "json", "jsonl", "csv")

_yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.group()
def sessions() -> None:
    """Get, list and export sessions; create, rename, stop and delete them."""


# -- what changes nothing --------------------------------------------------------------


@sessions.command(epilog=_ENDINGS)
@wanted_options
@expand_option
@_any_form
@connection_options
def get(
    wanted: Wanted, expand: tuple[str, ...], output: Output, connection: Connection
) -> int:
    """Get sessions by their ids, in the order given.

    With - the ids are read from standard input, one to a line; # begins a comment.
    Sessions are printed as ids come, in their order, and at most about a thousand are
    held back for it.

    Of several ids, each one that fails is told as a line of JSON on stderr.
    """
    from emogg_async._cli.commands.get import for_each  # noqa: PLC0415 - see above
    from emogg_async._cli.running import run  # noqa: PLC0415

    async def work(client: "AsyncEmoggClient") -> int:
        stream: Stream = client.stream_sessions
        if expand:  # no page of a bulk has it
            get_expanded = partial(client.get_session, expand=expand)
            stream = partial(client.stream, get_expanded)
        with output.writer() as writer:
            tally = await for_each(stream, wanted.source, writer)
        return tally.exit

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
    from emogg_async._cli.commands.listing import list_newest  # noqa: PLC0415 - see above
    from emogg_async._cli.running import run  # noqa: PLC0415

    async def work(client: "AsyncEmoggClient") -> int:
        return await list_newest(client, filters, limit, output, hints=hints)

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
    from emogg_async._cli.commands.export import export_all  # noqa: PLC0415 - see above

    return export_all(context, connection, filters, limit, output)


# -- what changes something ------------------------------------------------------------


@sessions.command(
    epilog=f"""\b
    Example:
      emogg sessions create "Weekly stand-up" rtmps://stream.example.com/live/key

    {EXIT_CODES} If it ends with 9, the session may or may not have been created; then
    it says how to look.
    """
)
@click.argument("name")
@click.argument("stream_uri")
@dry_run_option
@_any_form
@connection_options
def create(
    name: str, stream_uri: str, dry_run: bool, output: Output, connection: Connection
) -> int:
    """Create a session that analyses a stream.

    It is called NAME and printed. The stream at STREAM_URI is rtmp, rtsp or rtmps, at
    most 1080p; it is analysed at once.
    """
    from emogg_async._cli.commands.writing import look_for_it, write  # noqa: PLC0415 - see above

    async def call(client: "AsyncEmoggClient") -> "Sequence[Session]":
        return [await client.create_session(name, stream_uri)]

    return write(
        call, look_for_it, dry_run=dry_run, output=output, connection=connection
    )


@sessions.command(
    epilog=f"""\b
    Example:
      emogg sessions rename 660a881d62d82c07cd0c20af "Pitch, second try"

    {EXIT_CODES}
    """
)
@click.argument("session_id", metavar="ID")
@click.argument("name")
@dry_run_option
@_any_form
@connection_options
def rename(
    session_id: str, name: str, dry_run: bool, output: Output, connection: Connection
) -> int:
    """Give the session with this ID another NAME, and print it."""
    from emogg_async._cli.commands.writing import write  # noqa: PLC0415 - see above

    async def call(client: "AsyncEmoggClient") -> "Sequence[Session]":
        return [await client.update_session(session_id, name=name)]

    step = "Run it again: to rename it twice does no harm"
    return write(call, step, dry_run=dry_run, output=output, connection=connection)


@sessions.command(
    epilog=f"""\b
    Examples:
      emogg sessions stop 660a881d62d82c07cd0c20af
      emogg sessions list --state active --fields id -o csv --no-header |
        emogg sessions stop --yes -

    {EXIT_CODES}
    """
)
@wanted_options
@_yes_option
@dry_run_option
@_any_form
@connection_options
def stop(
    wanted: Wanted, yes: bool, dry_run: bool, output: Output, connection: Connection
) -> int:
    """Stop active sessions by their ids.

    On a terminal it shows them and asks first; elsewhere it demands --yes. What has
    become of them is printed.

    Of several ids, each one that fails is told as a line of JSON on stderr.
    """
    from emogg_async._cli.commands.writing import stop_each  # noqa: PLC0415 - see above

    return stop_each(
        wanted, yes=yes, dry_run=dry_run, output=output, connection=connection
    )


@sessions.command(
    epilog=f"""\b
    Examples:
      emogg sessions delete 660a881d62d82c07cd0c20af
      emogg sessions delete --from-file old.txt --dry-run
      emogg sessions delete --from-file old.txt --yes >gone.txt

    {EXIT_CODES}
    """
)
@wanted_options
@_yes_option
@dry_run_option
@connection_options
def delete(wanted: Wanted, yes: bool, dry_run: bool, connection: Connection) -> int:
    """Delete sessions by their ids, for good, with their emotional data.

    On a terminal it shows them and asks first; elsewhere it demands --yes. Sessions
    that are active have to be stopped first. The ids of those that are gone are
    printed.

    Of several ids, each one that fails is told as a line of JSON on stderr.
    """
    from emogg_async._cli.commands.writing import delete_each  # noqa: PLC0415 - see above

    return delete_each(wanted, yes=yes, dry_run=dry_run, connection=connection)
