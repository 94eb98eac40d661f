"""`emogg sessions`: arguments and options of its commands.

Imports wait until a command runs, so that help and completion stay quick.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from emogg_async._cli.ids import Wanted, wanted_options
from emogg_async._cli.numbers import Number, WholeNumber
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
    from emogg_async import AsyncEmoggClient
    from emogg_async._cli.commands.get import Stream

__all__ = ["sessions"]

_ENDINGS: Final = f"""JSON is lossless. Other forms replace control characters, and
CSV puts a ' before text that a spreadsheet would take for a formula.

{EXIT_CODES}
"""

_any_form = output_options()

_yes_option = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.group()
def sessions() -> None:
    """Get, list, export and await sessions; create, rename, stop and delete them."""


# -- reading ---------------------------------------------------------------------------


@sessions.command(epilog=_ENDINGS)
@wanted_options
@expand_option
@_any_form
@connection_options
def get(
    wanted: Wanted, expand: tuple[str, ...], output: Output, connection: Connection
) -> int:
    """Get sessions by their ids, in the order given.

    On a terminal, one session is a page of all its fields, and several are a table.

    With -, the ids are read from standard input, one to a line; # begins a comment. A
    line can also be a JSON object with an id, as of `emogg sessions list -o jsonl`.
    Sessions are printed while ids come, in their order; at most about a thousand are
    held for that.

    If some of several ids fail, stderr tells why: in a line of JSON for each, or on a
    terminal in one summary below the results.
    """
    from emogg_async._cli.commands.get import for_each  # noqa: PLC0415 - see above
    from emogg_async._cli.running import run  # noqa: PLC0415

    async def work(client: "AsyncEmoggClient") -> int:
        stream: Stream = client.stream_sessions
        if expand:  # a bulk cannot expand
            get_expanded = partial(client.get_session, expand=expand)
            stream = partial(client.stream, get_expanded)
        with output.writer(is_single=wanted.is_single) as writer:
            tally = await for_each(stream, wanted, writer)
        return tally.exit

    return run(connection, work)


@sessions.command("list", epilog=_ENDINGS)
@filter_options
@click.option(
    "--limit",
    metavar="N",
    type=WholeNumber(1),
    default=30,
    show_default=True,
    help="Number of sessions at most.",
)
@_any_form
@connection_options
def list_(filters: Filters, limit: int, output: Output, connection: Connection) -> int:
    """List the newest sessions of the account."""
    from emogg_async._cli.commands.listing import list_newest  # noqa: PLC0415 - see above
    from emogg_async._cli.running import run  # noqa: PLC0415

    async def work(client: "AsyncEmoggClient") -> int:
        return await list_newest(client, filters, limit, output, quiet=connection.quiet)

    return run(connection, work)


@sessions.command(epilog=_ENDINGS)
@filter_options
@click.option(
    "--limit", metavar="N", type=WholeNumber(1), help="Number of sessions at most."
)
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
    """Write all sessions of the account to standard output.

    The newest come first. If it ends early, whole lines are left, and it tells how to
    go on.
    """
    from emogg_async._cli.commands.export import export_all  # noqa: PLC0415 - see above

    return export_all(context, connection, filters, limit, output)


@sessions.command(
    epilog=f"""\b
    Examples:
      emogg sessions wait 660a881d62d82c07cd0c20af
      emogg sessions wait --from-file ids.txt --poll 30 --within 3600 -o csv

    {EXIT_CODES}
    """
)
@wanted_options
@click.option(
    "--poll",
    metavar="SECONDS",
    type=Number(0, min_open=True),
    default=5.0,
    show_default=True,
    help="Time between two requests for a session.",
)
@click.option(
    "--within",
    metavar="SECONDS",
    type=Number(0, min_open=True),
    help="Time limit of all of it. Default: none.",
)
@_any_form
@connection_options
def wait(wanted: Wanted, **options: Any) -> int:
    """Wait until sessions are finished, and print them in order.

    Outages and the rate limit do not end it: it asks again. If --within is over
    first, it ends with 7.

    With -, the ids are read from standard input, one to a line.

    If some of several ids fail, stderr tells why: in a line of JSON for each, or on a
    terminal in one summary below the results.
    """
    from emogg_async._cli.commands.awaiting import wait_for_each  # noqa: PLC0415 - see above

    return wait_for_each(wanted, **options)


# -- writing ---------------------------------------------------------------------------


@sessions.command(
    epilog=f"""\b
    Example:
      emogg sessions create "Weekly stand-up" rtmps://stream.example.com/live/key

    {EXIT_CODES} After a 9, the session may or may not have been created, and a
    message tells how to look for it.
    """
)
@click.argument("name")
@click.argument("stream_uri")
@dry_run_option
@_any_form
@connection_options
def create(name: str, stream_uri: str, **options: Any) -> int:
    """Create a session that analyses a stream.

    The session is called NAME, and is printed. STREAM_URI is that of an rtmp, rtsp or
    rtmps stream of at most 1080p; its analysis begins at once.
    """
    from emogg_async._cli.commands.writing import look_for_it, write  # noqa: PLC0415 - see above

    return write(
        lambda client: client.create_session(name, stream_uri), look_for_it, **options
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
def rename(session_id: str, name: str, **options: Any) -> int:
    """Give the session with this ID another NAME, and print it."""
    from emogg_async._cli.commands.writing import write  # noqa: PLC0415 - see above

    return write(
        lambda client: client.update_session(session_id, name=name),
        "Run it again: to rename it twice does no harm",
        **options,
    )


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
def stop(output: Output, **options: Any) -> int:
    """Stop active sessions by their ids.

    On a terminal it shows them and asks first; elsewhere it demands --yes. The stopped
    sessions are printed.

    If some of several ids fail, stderr tells why: in a line of JSON for each, or on a
    terminal in one summary below the results.
    """
    from emogg_async._cli.commands.writing import STOP, change_each  # noqa: PLC0415 - see above

    return change_each(STOP, output.writer, **options)


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
def delete(**options: Any) -> int:
    """Delete sessions by their ids, for good, with their emotional data.

    On a terminal it shows them and asks first; elsewhere it demands --yes. Active
    sessions have to be stopped first. The ids of the deleted sessions are printed.

    If some of several ids fail, stderr tells why: in a line of JSON for each, or on a
    terminal in one summary below the results.
    """
    from emogg_async._cli.commands.writing import DELETE, change_each, lines  # noqa: PLC0415 - see above

    return change_each(DELETE, lines, **options)
