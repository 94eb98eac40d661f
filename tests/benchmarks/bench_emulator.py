"""What emotions, timelines and sentiments cost the emulator, each of a new session.

The emulator runs in another process, whose CPU is told for each answer over HTTP, the
HTTP included; that of a session alone stands beside it.

    nox -s bench
    nox -s bench -- --against HEAD~1
"""

import http.client
import json
import pathlib
import platform
import subprocess
import sys
import time
from urllib.parse import urlsplit

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
from blocks import ROUNDS, Environment, checkouts, ratios, spread

from emogg_async.testing import EmoggEmulator

SESSIONS = 5
"""New sessions that are asked for in a block."""

MINUTES = (10, 60, 480)

PATHS = {
    "session": "",
    "emotions": "/emotions",
    "timeline, 60 s": "/emotions/timeline",
    "timeline, 5 s": "/emotions/timeline?granularity=5",
    "sentiments": "/audio/transcription-sentiment",
}

Row = tuple[str, int]


# -- a process that serves -------------------------------------------------------------


def serve() -> None:
    """Serve an emulator; add sessions and tell the CPU spent as standard input asks."""
    with EmoggEmulator(sessions=0, rate_limit=None) as emulator:
        print(json.dumps([emulator.url, emulator.token]), flush=True)
        for line in sys.stdin:
            minutes = int(line)
            made = [
                emulator.add_session(duration=60.0 * minutes).id
                for _ in range(SESSIONS if minutes else 0)
            ]
            print(json.dumps([time.process_time(), made]), flush=True)


# -- the process that asks -------------------------------------------------------------


class Measurer:
    """An emulator of one checkout, and its figures in milliseconds."""

    def __init__(self, environment: Environment) -> None:
        rows = [(name, minutes) for minutes in MINUTES for name in PATHS]
        self.figures: dict[Row, list[float]] = {row: [] for row in rows}
        self.adding: list[float] = []
        self.process = subprocess.Popen(
            [sys.executable, __file__, "serve"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        url, token = self._read()
        self._http = http.client.HTTPConnection(urlsplit(url).netloc)
        self._headers = {"Authorization": f"Bearer {token}"}

    def measure(self) -> None:
        """Add a figure to each row."""
        for (name, minutes), figures in self.figures.items():
            began, _ = self._say(0)
            added, ids = self._say(minutes)
            for session_id in ids:
                self._get(f"/v1/sessions/{session_id}{PATHS[name]}")
            ended, _ = self._say(0)
            self.adding.append((added - began) / SESSIONS * 1e3)
            figures.append((ended - added) / SESSIONS * 1e3)

    def _get(self, path: str) -> None:
        self._http.request("GET", path, headers=self._headers)
        response = self._http.getresponse()
        response.read()
        assert response.status == http.HTTPStatus.OK

    def _say(self, minutes: int) -> tuple[float, list[str]]:
        assert self.process.stdin is not None
        print(minutes, file=self.process.stdin, flush=True)
        return self._read()

    def _read(self):
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self) -> None:
        """Let the process end."""
        self._http.close()
        self.process.communicate()


def main() -> None:
    """Print the figures."""
    with checkouts() as found:
        measurers = {name: Measurer(each) for name, each in found.items()}
        for _ in range(ROUNDS + 1):
            for measurer in measurers.values():
                measurer.measure()
        for measurer in measurers.values():
            measurer.end()
    print(
        f"Python {platform.python_version()}; CPU of the emulator, "
        f"the median (least to most) of {ROUNDS} rounds, and of the first round before"
    )
    for name, measurer in measurers.items():
        print(f"{name}:")
        print(f"    add_session              {spread(measurer.adding)} ms")
        for (call, minutes), figures in measurer.figures.items():
            row = f"{call}, {minutes} min"
            print(f"    {row:<24} {spread(figures[1:])} ms, {figures[0]:.2f}")
    for name, measurer in list(measurers.items())[1:]:
        print(f"this over {name}, round by round:")
        for (call, minutes), figures in measurer.figures.items():
            pairs = ratios(measurers["this"].figures[call, minutes][1:], figures[1:])
            print(f"    {f'{call}, {minutes} min':<24} {spread(pairs)}")


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["serve"] else main()
