"""`emogg emulator`: the emulated service, for any program in any language."""

import os
import re
from typing import Any, Final

import click

from emogg_async import testing
from emogg_async._cli.exits import CommandError

__all__ = ["emulator"]

_RATE: Final = re.compile(r"([1-9]\d*)/(\d+(?:\.\d+)?)")


def _rate_limit(
    _: click.Context, __: click.Parameter, value: str
) -> tuple[int, float] | None:
    """Parse requests and seconds, e.g. `100/60`, or `none`."""
    if value == "none":
        return None
    parts = _RATE.fullmatch(value)
    if parts is None:
        raise click.BadParameter("expected REQUESTS/SECONDS, e.g. 100/60, or none")
    return int(parts[1]), float(parts[2])


@click.command(
    # From the first word on, all is the command's.
    context_settings={"allow_interspersed_args": False},
    epilog="""\b
    Examples:
      eval "$(emogg emulator --background)"
      eval "$(emogg emulator --stop)"
      emogg emulator --sessions 300 -- pytest tests
    """,
)
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    metavar="N",
    default=0,
    help="Where to listen on 127.0.0.1. Default: any free port.",
)
@click.option(
    "--sessions",
    type=click.IntRange(0, 1_000_000),
    metavar="N",
    default=25,
    show_default=True,
    help="How many sessions to make up.",
)
@click.option(
    "--rate-limit",
    callback=_rate_limit,
    metavar="N/SECONDS",
    default="10000/60",
    show_default=True,
    help="The token bucket of each user, or none.",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="The same seed makes up the same sessions.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0),
    metavar="SECONDS",
    default=0.0,
    show_default=True,
    help="How long every answer takes.",
)
@click.option(
    "--background", is_flag=True, help="Go on serving when this command has ended."
)
@click.option(
    "--stop",
    is_flag=True,
    help="End the one in the background at EMOGG_BASE_URL, or on --port.",
)
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def emulator(
    *,
    background: bool,
    stop: bool,
    command: tuple[str, ...],
    port: int,
    **settings: Any,
) -> int:
    """Serve made-up sessions as the Emogg API does, until Ctrl-C.

    What a client has to know is printed for the shell, and nothing after it.

    With --background it serves on in a session of its own, where no Ctrl-C reaches it,
    until --stop. With COMMAND, which gets EMOGG_BASE_URL and EMOGG_API_TOKEN, it serves
    as long as that runs, and ends with its exit code.
    """
    from emogg_async._cli.background import (  # noqa: PLC0415 - opens sockets
        serve_in_background,
        stop_background,
    )
    from emogg_async._cli.serving import serve, serve_command  # noqa: PLC0415

    if background + stop + bool(command) > 1:
        raise click.UsageError("Give only one of --background, --stop and a command.")
    if (background or stop) and not hasattr(os, "fork"):
        raise CommandError("Windows has no such background", "Use -- COMMAND")
    if stop:
        return stop_background(port)
    server = testing.EmoggEmulator(port=port, **settings)
    if background:
        return serve_in_background(server)
    if command:
        return serve_command(server, command)
    return serve(server)
