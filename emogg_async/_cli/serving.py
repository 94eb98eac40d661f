"""How `emogg emulator` serves: until a signal, or while a command runs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import click

from emogg_async import ConfigurationError
from emogg_async._cli.exits import CommandError
from emogg_async._cli.signals import bell

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
            # $(…) reads until stdout is closed, and must not wait for our end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with bell() as ringing:
            while True:
                ringing.recv(4_096)


def introduce(server: "EmoggEmulator", end: str) -> None:
    """Print the variables for a shell, and hints for people.

    Args:
        server: The emulator, which serves already.
        end: The way to end it.
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
            "Once EMOGG_BASE_URL and EMOGG_API_TOKEN are set, try:\n"
            f"  emogg sessions get {found[0].id}",
            err=True,
        )


# -- while a command runs --------------------------------------------------------------


class _CannotRunError(CommandError):
    exit_code = 126  # as shells and `env` have it


class _NotThereError(_CannotRunError):
    exit_code = 127


def serve_command(server: "EmoggEmulator", command: Sequence[str]) -> int:
    """Serve while a command runs, with the emulator in its environment.

    Returns:
        The exit code of the command.

    Raises:
        CommandError: The command or the emulator cannot be started.
    """
    with started(server):
        found = {"EMOGG_BASE_URL": server.url, "EMOGG_API_TOKEN": server.token}
        try:
            process = _Relay(command, {**os.environ, **found})
        except OSError as error:
            is_there = not isinstance(error, FileNotFoundError)
            failure = _CannotRunError if is_there else _NotThereError
            what = f"cannot run {command[0]}: {error.strerror}"
            raise failure(what, "Name another command") from error
        return code_of(process.wait_and_relay())


def code_of(returned: int) -> int:
    """Return the exit code as shells do: 128 and its number for a signal."""
    return returned if returned >= 0 else 128 - returned


class _Relay(subprocess.Popen[bytes]):
    """A command that signals are passed on to, unless it has got them already.

    A terminal sends the signal of a key to all processes in its foreground. A signal
    that comes before the command has started waits for it.
    """

    pid = 0  # until there is a process

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._heard: list[int] = []
        # On Windows, the command gets Ctrl-C itself.
        if hasattr(os, "tcgetpgrp"):
            self._listen()
        super().__init__(command, env=environment)

    def _listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP):
            # A signal that is ignored, as under nohup, stays ignored.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._hear)
        # Ignored, without a handler or blocked, as some programs hand it down, the end
        # of the command would ring no bell.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})

    def wait_and_relay(self) -> int:
        """Wait for the end with signals passed on, also those that came before."""
        if hasattr(signal, "SIGCHLD"):
            with bell() as ringing:
                while self.poll() is None:
                    while self._heard:
                        with suppress(PermissionError):  # it may be another user's
                            self.send_signal(self._heard.pop(0))
                    ringing.recv(4_096)
        return self.wait()

    def _hear(self, number: int, _: FrameType | None) -> None:
        is_key = number in {signal.SIGINT, signal.SIGQUIT}
        if not (self.pid and is_key and _in_foreground()):
            self._heard.append(number)


def _in_foreground() -> bool:
    """Return whether keys of the terminal reach this process and its command."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)
