"""A memcached of the tests' own: on loopback, and gone without a trace."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ports import free_port


class MemcachedServer:
    """A server that can be killed and stopped in its tracks."""

    def __init__(self, binary: str, port: int) -> None:
        self.port = port
        command = [binary, "-l", "127.0.0.1", "-p", str(port), "-U", "0"]
        command += ["-I", "512k"]  # the most that it takes as one value
        if os.getuid() == 0:
            command += ["-u", "root"]
        self._process = subprocess.Popen(command)

    def wait(self) -> None:
        """Wait until the server answers."""
        deadline = time.monotonic() + 10
        while True:
            try:
                return self.flush()
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def flush(self) -> None:
        """Forget all that is stored."""
        with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
            connection.sendall(b"flush_all\r\n")
            assert b"OK\r\n" == connection.recv(4)

    def hang(self) -> None:
        """Let the server stop in its tracks, its connections open."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the server go on."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the server without a farewell."""
        self._process.kill()
        self._process.wait()


@contextmanager
def memcached_serving() -> Iterator[MemcachedServer]:
    """Run a server; skip the test where there is none to run."""
    binary = shutil.which("memcached")
    if binary is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("no memcached")
    with free_port() as port:
        server = MemcachedServer(binary, port)
        try:
            server.wait()
            yield server
        finally:
            server.kill()
