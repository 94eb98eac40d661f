"""`emogg live`: its arguments and options.

Imports wait until the command runs, so that help and completion stay quick.
"""

from typing import Final, Literal, get_args

import click

from emogg_async import Frequency
from emogg_async._cli.ids import Wanted, wanted_options
from emogg_async._cli.options import EXIT_CODES, Connection, connection_options

__all__ = ["live"]

_EVERY: Final = get_args(Frequency)


@click.command(
    epilog=f"""\b
    Examples:
      emogg live 660a881d62d82c07cd0c20af
      emogg live --from-file ids.txt --every 10s --counts >counts.jsonl

    {EXIT_CODES}
    """
)
@wanted_options
@click.option(
    "--every",
    type=click.Choice(_EVERY),
    default=_EVERY[0],
    show_default=True,
    help="Time between two events of a session; not for --state.",
)
@click.option(
    "--counts",
    "kind",
    flag_value="counts",
    help="Follow how often each emotion is detected, not how strong it is.",
)
@click.option(
    "--state", "kind", flag_value="state", help="Follow the state of the worker."
)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(("chart", "jsonl")),
    help="Form of the events. Default: chart on a terminal, else jsonl.",
)
@connection_options
def live(
    wanted: Wanted,
    every: Frequency,
    kind: Literal["counts", "state"] | None,
    form: Literal["chart", "jsonl"] | None,
    connection: Connection,
) -> int:
    """Follow active sessions by their ids until they end, at most ten at once.

    On a terminal, a chart moves: a line for each emotion has the newest 60 events, all
    lines of a session in one scale. Elsewhere, each event is a line of JSON, written
    at once.

    Where events may be missing, the chart has a mark, and JSON lines have an object
    with "gap" in place of "emotions" or "state", just before the event after it.

    A session that has ended says so at once. With -, the ids are read from standard
    input, one to a line, until its end. If one of several ids fails, a line of JSON on
    stderr tells why.
    """
    from emogg_async._cli.commands.following import Following, follow  # noqa: PLC0415

    following = Following(kind=kind or "intensities", every=every, form=form)
    return follow(following, wanted, connection)
