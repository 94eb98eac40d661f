"""`emogg emulator`: the emulated service, for any program in any language."""

import os
import re
import signal
import sys
import time
from typing import Final, NoReturn

import click

from emogg_async import ConfigurationError, testing
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


@click.command()
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
def emulator(
    port: int,
    sessions: int,
    rate_limit: tuple[int, float] | None,
    seed: int,
    latency: float,
) -> NoReturn:
    """Serve made-up sessions as the Emogg API does, until Ctrl-C.

    What a client has to know is printed for the shell, and nothing after it. So this
    starts it in the background and points everything in the same shell at it:

        eval "$(emogg emulator &)"
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    server = testing.EmoggEmulator(
        port=port, sessions=sessions, rate_limit=rate_limit, seed=seed, latency=latency
    )
    try:
        server.start()
    except ConfigurationError as error:
        raise CommandError(error.message, "Choose another --port") from error
    with server:
        _introduce(server)
        while True:
            # Unlike the wait for a lock, this one ends by Ctrl-C on Windows, too.
            time.sleep(3_600)


def _introduce(server: "testing.EmoggEmulator") -> None:
    """Print what a shell has to know, and to people what they can do now."""
    click.echo(f"export EMOGG_BASE_URL={server.url}")
    click.echo(f"export EMOGG_API_TOKEN={server.token}")
    found = server.sessions
    click.echo(
        f"Serving {len(found)} made-up sessions until Ctrl-C, or: kill {os.getpid()}",
        err=True,
    )
    if found:
        click.echo(
            "With these two lines in another terminal, try there:\n"
            f"  emogg sessions get {found[0].id}",
            err=True,
        )
    if not sys.stdout.isatty():
        # Whoever reads until the end, as $(…) does, must not wait for the emulator's.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
