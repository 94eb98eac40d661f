"""An example app as its users run it: a process under its real server, and a probe."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import attrs
import psutil

EXAMPLES: Final = Path(__file__).parent.parent / "examples"

# What is run instead of the example itself: the same, after a handler for SIGUSR1 that
# writes down what only the process can know of itself.
_WITH_PROBE: Final = """
import asyncio, gc, json, os, runpy, signal, sys
from emogg_async import AsyncEmoggClient

def probe(number, frame):
    gc.collect()
    known = gc.get_objects()
    facts = {
        "tasks": len(asyncio.all_tasks(asyncio.get_running_loop())),
        "clients": sum(type(each) is AsyncEmoggClient for each in known),
    }
    with open(sys.argv[1] + ".new", "w") as file:
        json.dump(facts, file)
    os.rename(sys.argv[1] + ".new", sys.argv[1])

signal.signal(signal.SIGUSR1, probe)
runpy.run_path(sys.argv[2], run_name="__main__")
"""


@attrs.define
class WebProcess:
    """An example app that runs."""

    url: str
    process: "subprocess.Popen[bytes]"
    notes: Path
    """Where the probe writes."""

    stderr: Path
    """Where its standard error goes."""

    def probe(self) -> dict[str, int]:
        """Count tasks and clients in the process, and its sockets."""
        self.notes.unlink(missing_ok=True)
        self.process.send_signal(signal.SIGUSR1)
        give_up = time.monotonic() + 10
        while not self.notes.exists() and time.monotonic() < give_up:
            time.sleep(0.005)
        facts: dict[str, int] = json.loads(self.notes.read_text())
        return facts | {"sockets": len(self._sockets())}

    def count_upstream(self, port: int) -> int:
        """Count its connections to *port*."""
        return sum(
            bool(each.raddr) and each.raddr.port == port for each in self._sockets()
        )

    def wait_for_port(self) -> int:
        """Wait until it listens, and return its port."""
        give_up = time.monotonic() + 50
        while time.monotonic() < give_up and self.process.poll() is None:
            for each in self._sockets():
                if each.status == psutil.CONN_LISTEN:
                    return int(each.laddr.port)
            time.sleep(0.02)
        raise RuntimeError(f"it does not serve: {self.complaints()}")

    def _sockets(self) -> list[Any]:
        return psutil.Process(self.process.pid).net_connections("tcp")

    def stop(self) -> int:
        """Ask it to end, as process managers do; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def complaints(self) -> list[str]:
        """Return what it has written to standard error that is no INFO of uvicorn."""
        lines = self.stderr.read_text().splitlines()
        return [line for line in lines if not line.startswith("INFO:  ")]


@contextmanager
def running(
    name: str, directory: Path, *, url: str, token: str
) -> Iterator[WebProcess]:
    """Run an example app against the service at *url*, from its start to its end."""
    notes, stderr = directory / "probe.json", directory / "stderr.txt"
    with stderr.open("w") as file:
        process = subprocess.Popen(
            [
                *(sys.executable, "-W", "error", "-c", _WITH_PROBE),
                *(str(notes), str(EXAMPLES / name)),
            ],
            env=os.environ
            | {"PORT": "0", "EMOGG_API_TOKEN": token, "EMOGG_BASE_URL": url},
            stdout=subprocess.DEVNULL,
            stderr=file,
        )
    try:
        app = WebProcess("", process, notes, stderr)
        app.url = f"http://127.0.0.1:{app.wait_for_port()}"
        yield app
    finally:
        process.kill()
        process.wait()


class Visited(NamedTuple):
    """What a visitor was answered."""

    status: int
    headers: Mapping[str, str]
    body: Any


async def visit(visitors: aiohttp.ClientSession, path: str) -> Visited:
    """Get *path*, as one visitor."""
    async with visitors.get(path) as response:
        return Visited(response.status, response.headers, await response.json())
