"""`emogg sources`: arguments and options of its command."""

from typing import Any, Literal

import click

from emogg_async._cli.options import (
    EXIT_CODES,
    connection_options,
    dry_run_option,
    output_options,
)

__all__ = ["sources"]


@click.group()
def sources() -> None:
    """Register sources of your own, e.g. sensors, with a session."""


@sources.command(
    epilog=f"""\b
    Example:
      emogg sources register 660a881d62d82c07cd0c20af "Heart rate" --format scalar

    {EXIT_CODES}
    """
)
@click.argument("session_id")
@click.argument("name")
@click.option(
    "--format",
    "format_",
    type=click.Choice(("text", "scalar")),
    required=True,
    help="What its events carry: text, or a number.",
)
@dry_run_option
@output_options(kind="source", example="id,name")
@connection_options
def register(
    *,
    session_id: str,
    name: str,
    format_: Literal["text", "scalar"],
    **options: Any,
) -> int:
    """Register a source called NAME with a session, and print it.

    `emogg events send` takes its id.
    """
    from emogg_async._cli.commands.writing import write  # noqa: PLC0415 - connects

    return write(
        lambda client: client.register_source(session_id, name=name, format=format_),
        "Look before you repeat it: "
        f"`emogg sessions get {session_id} --fields sources -o json`",
        **options,
    )
