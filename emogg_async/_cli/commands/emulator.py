"""`emogg emulator`: serves the emulated service to programs in any language."""

import os
import re
from typing import Any, Final

import click

from emogg_async import testing
from emogg_async._cli.exits import CommandError
from emogg_async._cli.numbers import Number, WholeNumber

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
    # Options after the first word belong to that command.
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
    type=WholeNumber(0, 65_535),
    metavar="N",
    default=0,
    help="Port on 127.0.0.1. Default: any free port.",
)
@click.option(
    "--sessions",
    type=WholeNumber(0, 1_000_000),
    metavar="N",
    default=25,
    show_default=True,
    help="Number of made-up sessions.",
)
@click.option(
    "--rate-limit",
    callback=_rate_limit,
    metavar="N/SECONDS",
    default="10000/60",
    show_default=True,
    help="Token bucket of each user, or none.",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of the sessions; the same seed makes the same ones.",
)
@click.option(
    "--latency",
    type=Number(0),
    metavar="SECONDS",
    default=0.0,
    show_default=True,
    help="Time until each answer.",
)
@click.option(
    "--background", is_flag=True, help="Keep serving after this command has ended."
)
@click.option(
    "--stop",
    is_flag=True,
    help="End the background emulator at EMOGG_BASE_URL, or on --port.",
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

    It prints the variables EMOGG_BASE_URL and EMOGG_API_TOKEN for the shell.

    With --background it keeps serving, out of reach of Ctrl-C, until --stop. With
    COMMAND, which gets both variables, it serves as long as COMMAND runs, and ends with
    its exit code.
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
