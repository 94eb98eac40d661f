"""`emogg events`: arguments and options of its command."""

from typing import Any

import click

from emogg_async._cli.numbers import Number
from emogg_async._cli.options import (
    EXIT_CODES,
    connection_options,
    dry_run_option,
    output_options,
)

__all__ = ["events"]


@click.group()
def events() -> None:
    """Send events of your own sources to a session."""


@events.command(
    epilog=f"""\b
    Examples:
      emogg events send 660a881d62d82c07cd0c20af \\
        c1fcba18-15ec-457c-a1de-fcbb87aeaa0e --time 12.5 --number 71
      emogg events send 660a881d62d82c07cd0c20af \\
        7b1f7a52-9f3c-4a55-8f0e-0f5f7c2f8a11 --time 90 --text "demo begins"

    {EXIT_CODES}
    """
)
@click.argument("session_id")
@click.argument("source_id")
@click.option(
    "--time",
    metavar="SECONDS",
    type=Number(0),
    required=True,
    help="Time of the event, from the session's start.",
)
@click.option("--text", metavar="TEXT", help="The event of a source of text.")
@click.option("--number", metavar="N", type=float, help="The event of a scalar source.")
@dry_run_option
@output_options(kind="event", example="time,data")
@connection_options
def send(
    *,
    session_id: str,
    source_id: str,
    time: float,
    text: str | None,
    number: float | None,
    **options: Any,
) -> int:
    """Send an event of a registered source, and print it.

    `emogg sources register` prints the SOURCE_ID.
    """
    from emogg_async._cli.commands.writing import write  # noqa: PLC0415 - connects

    if (text is None) == (number is None):
        raise click.UsageError(
            "Give either --text, for a source of text, or --number, for a scalar one."
        )
    data = _whole(number) if text is None and number is not None else text or ""

    return write(
        lambda client: client.send_event(
            session_id, source_id, time=_whole(time), data=data
        ),
        "Nothing lists events: if you send it again, it may be there twice",
        **options,
    )


def _whole(number: float) -> float:
    """Write 3.0 as 3, as people do."""
    return int(number) if number.is_integer() else number
