"""`emogg emulator --background`, and `--stop`, which ends such an emulator.

The emulator listens on a socket in the temporary directory, named after its port, and
ends when somebody connects. A process id could belong to another process by then.
"""

import os
import re
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import click

from emogg_async._cli.exits import CommandError, Exit
from emogg_async._cli.serving import code_of, introduce, started
from emogg_async._cli.signals import bell

if TYPE_CHECKING:
    from emogg_async.testing import EmoggEmulator

__all__ = ["serve_in_background", "stop_background"]

PATIENCE: Final = 10.0
"""Seconds to wait for the end of an emulator."""

_URL: Final = re.compile(r"http://127\.0\.0\.1:(\d+)/?")


def serve_in_background(server: "EmoggEmulator") -> int:
    """Start a process that serves, and return once it does.

    Returns:
        The exit code.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _serve(server, writing)
        return Exit.OK
    os.close(writing)
    with open(reading, "rb") as pipe:
        if pipe.read():
            return Exit.OK
    # The child has printed why.
    return code_of(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _serve(server: "EmoggEmulator", ready: int) -> None:
    """Serve until somebody connects to the socket, or SIGTERM.

    Until it serves, Ctrl-C in the shell ends it.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    _close_all_but(ready)
    with started(server):
        port = urlsplit(server.url).port
        with _listening(port) as listener:
            introduce(server, f"`emogg emulator --stop --port {port}`")
            _leave_the_shell()
            os.write(ready, b".")
            os.close(ready)
            with bell() as ringing:
                select.select([listener, ringing], [], [])


def _close_all_but(file: int) -> None:
    """Close inherited files, as locks of the shell or pipes of other commands.

    The standard streams stay until everything is printed.
    """
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) != file:
            with suppress(OSError):  # the list itself had one, closed by now
                os.close(int(name))


def _leave_the_shell() -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    os.chdir("/")


def _socket_of(port: object) -> Path:
    return Path(tempfile.gettempdir(), f"emogg-emulator-{os.getuid()}-{port}.sock")


@contextmanager
def _listening(port: object) -> Iterator[socket.socket]:
    path = _socket_of(port)
    listener = socket.socket(socket.AF_UNIX)
    try:
        # The port is ours, so an old socket belongs to an emulator that died.
        path.unlink(missing_ok=True)
        listener.bind(os.fspath(path))
        path.chmod(0o600)
    except OSError as error:
        listener.close()
        raise CommandError(
            f"cannot make {path}: {error.strerror or error}",
            "Let TMPDIR name another directory",
        ) from error
    try:
        listener.listen()
        yield listener
    finally:
        path.unlink(missing_ok=True)
        # Whoever has connected waits until this process is gone, and it with it.
        listener.detach()


def stop_background(port: int) -> int:
    """End an emulator in the background, and wait for its end.

    Args:
        port: Its port; 0 takes the port of `EMOGG_BASE_URL`.

    Raises:
        CommandError: There is no such emulator, or it does not end.
    """
    found = _URL.fullmatch(os.environ.get("EMOGG_BASE_URL", ""))
    here = int(found[1]) if found else 0
    port = port or here
    if not port:
        raise CommandError("EMOGG_BASE_URL names no emulator", _which())
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        try:
            connection.connect(os.fspath(_socket_of(port)))
            with suppress(ConnectionResetError):  # its end, for it accepts none
                connection.recv(1)
        except TimeoutError:
            raise CommandError(
                f"the emulator on port {port} does not end", "Kill it"
            ) from None
        except OSError as error:
            with suppress(OSError):  # it may be another user's
                _socket_of(port).unlink(missing_ok=True)
            raise CommandError(
                f"no emulator is in the background on port {port}", _which()
            ) from error
    click.echo(f"Stopped the emulator on port {port}.", err=True)
    if port == here:
        click.echo("unset EMOGG_BASE_URL EMOGG_API_TOKEN")
    return Exit.OK


def _which() -> str:
    every = _socket_of("*")
    ports = sorted(
        path.stem.rpartition("-")[2] for path in every.parent.glob(every.name)
    )
    if not ports:
        return "Start one: `emogg emulator --background`"
    return f"Name one by --port; there may be one on {', '.join(ports)}"
