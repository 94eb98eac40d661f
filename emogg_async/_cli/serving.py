"""How `emogg emulator` serves: until it is told to stop, or while a command runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from emogg_async import ConfigurationError
from emogg_async._cli.exits import CommandError

if TYPE_CHECKING:
    from emogg_async.testing import EmoggEmulator

__all__ = ["code_of", "introduce", "serve", "serve_command", "started"]


@contextmanager
def started(server: "EmoggEmulator") -> Iterator[None]:
    """Start an emulator, and stop it in the end.

    Raises:
        CommandError: It cannot listen on its port.
    """
    try:
        server.start()
    except ConfigurationError as error:
        raise CommandError(error.message, "Choose another --port") from error
    with server:
        yield


def serve(server: "EmoggEmulator") -> NoReturn:
    """Serve until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with started(server):
        introduce(server, "Ctrl-C")
        if not sys.stdout.isatty():
            # A reader that waits for the end, as $(…) does, must not wait for ours.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        while True:
            # Unlike the wait for a lock, this one ends by Ctrl-C on Windows, too.
            time.sleep(3_600)


def introduce(server: "EmoggEmulator", end: str) -> None:
    """Print what a shell has to know, and to people what they can do now.

    Args:
        server: It serves already.
        end: How to end it.
    """
    click.echo(f"export EMOGG_BASE_URL={server.url}")
    click.echo(f"export EMOGG_API_TOKEN={server.token}")
    found = server.sessions
    click.echo(
        f"Serving {len(found)} made-up sessions until {end}, or: kill {os.getpid()}",
        err=True,
    )
    if found:
        click.echo(
            "Where a shell has run these two lines, try:\n"
            f"  emogg sessions get {found[0].id}",
            err=True,
        )


# -- while a command runs --------------------------------------------------------------


class _CannotRunError(CommandError):
    exit_code = 126  # as shells and `env` have it


class _NotThereError(_CannotRunError):
    exit_code = 127


def serve_command(server: "EmoggEmulator", command: Sequence[str]) -> int:
    """Serve while a command runs, which finds the emulator in its environment.

    Returns:
        The exit code of the command.

    Raises:
        CommandError: The command or the emulator cannot be started.
    """
    with started(server):
        found = {"EMOGG_BASE_URL": server.url, "EMOGG_API_TOKEN": server.token}
        try:
            process = subprocess.Popen(command, env={**os.environ, **found})  # noqa: S603 - the user's own
        except OSError as error:
            is_there = not isinstance(error, FileNotFoundError)
            failure = _CannotRunError if is_there else _NotThereError
            what = f"cannot run {command[0]}: {error.strerror}"
            raise failure(what, "Name another command") from error
        if hasattr(os, "tcgetpgrp"):  # else Windows: what has the console gets Ctrl-C
            _pass_signals_on(process)
        return code_of(process.wait())


def code_of(returned: int) -> int:
    """Write what a process returned as shells do: 128 and the number of a signal."""
    return returned if returned >= 0 else 128 - returned


def _pass_signals_on(process: "subprocess.Popen[bytes]") -> None:
    """Pass signals on to a command, unless it has got them already.

    What a key sends reaches all that runs in the foreground of a terminal.
    """
    typed = {signal.SIGINT, signal.SIGQUIT}

    def pass_on(number: int, _: FrameType | None) -> None:
        if not (number in typed and _in_foreground()):
            process.send_signal(number)

    for number in (*typed, signal.SIGTERM, signal.SIGHUP):
        # What is ignored here, as by nohup, is ignored by the command, too.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)


def _in_foreground() -> bool:
    """Say whether what is typed at a terminal reaches this process and its command."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
