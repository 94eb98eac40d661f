"""`emogg sessions export` as a real process: watched, stopped, and gone on with."""

import csv
import io
import json
import os
import re
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from _terminal import (
    COMMAND,
    environment,
    run,
    run_in_shell,
    run_on_terminal,
    run_watched,
    running,
)
from plainhttp import eventually

from emogg_async import to_dict
from emogg_async.testing import EmoggEmulator

needs_signals = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no such signals"
)
needs_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")

COUNT = 1_000


@pytest.fixture(scope="module")
def large() -> Iterator[EmoggEmulator]:
    """Start an emulator with many sessions, for all tests."""
    with EmoggEmulator(sessions=COUNT, rate_limit=(1_000_000, 60.0)) as emulator:
        yield emulator


@pytest.fixture
def account(
    large: EmoggEmulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EmoggEmulator]:
    """Give that emulator as new, and point the command at it."""
    monkeypatch.setenv("EMOGG_BASE_URL", large.url)
    monkeypatch.setenv("EMOGG_API_TOKEN", large.token)
    yield large
    large.reset()


def ids_of(account: EmoggEmulator) -> list[str]:
    """Return the ids of all sessions, newest first."""
    return [session.id for session in account.sessions]


def ids_in(lines: str) -> list[str]:
    """Return the ids in JSON lines, all of which are whole."""
    assert not lines or lines.endswith("\n")
    return [json.loads(line)["_id"] for line in lines.splitlines()]


def go_on(advice: str) -> "subprocess.CompletedProcess[str]":
    """Do what was said on stderr; the output is what should be appended."""
    command = advice.rstrip().splitlines()[-1]
    *words, into, file = shlex.split(command)
    assert [">>", "FILE"] == [into, file]
    assert "emogg" == words[0]
    return run(*words[1:])


def frames_of(screen: str) -> list[str]:
    """Return the lines that a terminal showed, one after the other."""
    plain = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", screen)
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()]


# -- what is exported ------------------------------------------------------------------


def test_export_writes_all(account: EmoggEmulator) -> None:
    """Every session is a line of the service's JSON, in spite of a short outage."""
    account.fail("GET", "/v1/sessions", status=503, times=2)
    done = run("sessions", "export")
    assert done.returncode == 0
    assert done.stderr == ""
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [to_dict(session) for session in account.sessions]


@needs_terminal
def test_export_on_a_terminal(account: EmoggEmulator) -> None:
    """On a terminal, too, an export is JSON lines, and no bar is drawn into it."""
    done = run_on_terminal("sessions", "export", "--limit", "150")
    assert done.returncode == 0
    assert ids_in(done.stdout.replace("\r\n", "\n")) == ids_of(account)[:150]


# -- the progress bar ------------------------------------------------------------------


@needs_terminal
@pytest.mark.parametrize("columns", [80, 140])
def test_export_shows_progress(account: EmoggEmulator, columns: int) -> None:
    """On a terminal there are sessions, requests and pace, in lines that fit."""
    account.latency = 0.03
    account.fail("GET", "/v1/sessions", status=503, times=1)
    done = run_watched("sessions", "export", "-v", columns=columns)
    assert done.returncode == 0
    assert ids_in(done.stdout) == ids_of(account)
    frames = frames_of(done.stderr)
    shown = [frame for frame in frames if " sessions, " in frame]
    assert shown
    assert all(len(frame) <= columns for frame in shown)
    assert any(
        re.search(r"^[\d,]+ sessions, \d+ requests, [\d,]+/s$", frame.rstrip())
        for frame in shown
    )
    assert any("DEBUG" in frame for frame in frames)
    assert re.search("Exported 1,000 sessions with 1[12] requests", done.stderr)


@needs_terminal
def test_export_can_be_quiet(account: EmoggEmulator) -> None:
    """`-q` shows nothing, even on a terminal, and no request is made to show it."""
    done = run_watched("sessions", "export", "-q", "--limit", "700")
    assert done.returncode == 0
    assert done.stderr == ""
    assert len(ids_in(done.stdout)) == 700
    assert len(account.requests) == 8


@needs_terminal
@pytest.mark.parametrize("reader", ["head -n 3", "tail -n 3"])
def test_export_draws_nothing_beside_a_pipe(
    account: EmoggEmulator, reader: str
) -> None:
    """What a pipe's reader writes to the terminal stands on lines of its own."""
    account.latency = 0.05
    command = ("sessions", "export", "--limit", "700")
    done = run_in_shell(f'"$@" | {reader}', *command)
    lines = [line for line in done.stdout.splitlines() if "{" in line]
    assert len(lines) == 3
    assert all("_id" in json.loads(line) for line in lines)
    assert "\x1b" not in done.stdout


# -- how it ends before the end --------------------------------------------------------


@needs_signals
@pytest.mark.parametrize(
    ("number", "code", "unbuffered"),
    [
        (signal.SIGINT, 130, None),
        (signal.SIGTERM, 143, "1"),
        pytest.param(signal.SIGINT, 130, "1", marks=pytest.mark.soak),
        pytest.param(signal.SIGTERM, 143, None, marks=pytest.mark.soak),
    ],
)
def test_export_can_be_stopped(
    account: EmoggEmulator, number: signal.Signals, code: int, unbuffered: str | None
) -> None:
    """A signal leaves whole lines, even in a full pipe, and says how to go on."""
    with running("sessions", "export", PYTHONUNBUFFERED=unbuffered) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        output = process.stdout.readline()
        time.sleep(0.2)  # until the pipe is full
        process.send_signal(number)
        time.sleep(0.1)
        output += process.stdout.read()
        assert process.wait(timeout=10) == code
        advice = process.stderr.read()
    found = ids_in(output)
    assert found == ids_of(account)[: len(found)]
    assert 0 < len(found) < COUNT
    assert advice.startswith(
        f"Stopped after {len(found)} sessions. To go on, append; "
        "the last ones may come twice, "
        "and some are left out if the list is not sorted by time:\n"
    )
    assert advice.count("\n") == 2
    rest = go_on(advice)
    assert rest.returncode == 0
    assert list(dict.fromkeys(found + ids_in(rest.stdout))) == ids_of(account)


@needs_signals
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_export_can_be_stopped_twice(
    account: EmoggEmulator, number: signal.Signals, code: int
) -> None:
    """A signal that comes twice at once, as through some launchers, counts once."""
    account.latency = 0.05
    with running("sessions", "export") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        output = process.stdout.readline()
        for _ in range(3):
            process.send_signal(number)
            time.sleep(0.001)
        output += process.stdout.read()
        # A shell tells the same of both: the second one can find Python at its end.
        assert process.wait(timeout=10) in {code, -number}
        stopped, advice = process.stderr.read().splitlines()
    assert stopped.startswith(f"Stopped after {len(ids_in(output))} sessions.")
    assert ">> FILE" in advice


@needs_signals
def test_export_can_be_killed(account: EmoggEmulator) -> None:
    """Who insists, ends it even while it cannot write."""
    reading, writing = os.pipe()
    with (
        open(reading) as output,
        open(writing, "w") as pipe,
        running("sessions", "export", stdout=pipe) as process,
    ):
        output.readline()
        assert eventually(lambda: not select.select([], [pipe], [], 0)[1])  # it is full
        process.send_signal(signal.SIGINT)
        time.sleep(1.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130


def test_export_stops_at_an_error(account: EmoggEmulator, tmp_path: Path) -> None:
    """An outage that lasts leaves whole lines; what goes on makes one CSV of both."""
    account.fail("GET", "/v1/sessions", status=501)
    account.fail("GET", "/v1/sessions", delay=0.1, times=3)  # the first pages
    options = ("-o", "csv", "--state", "finished", "--fields", "id,name")
    path = tmp_path / "sessions.csv"
    done = run("sessions", "export", *options)
    path.write_text(done.stdout)
    account.reset()
    assert done.returncode == 8
    lines = done.stdout.splitlines()
    what, next_step, *advice = done.stderr.splitlines()
    assert what.startswith("Error: 501")
    assert "GET /v1/sessions, 1 attempt" in what
    assert next_step == "Try again later."
    assert advice[0].startswith(f"Stopped after {len(lines) - 1} sessions.")
    assert "--state finished" in advice[1]
    with path.open("a") as file:
        file.write(go_on("\n".join(advice)).stdout)
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    expected = [item.id for item in account.sessions if item.state == "finished"]
    assert list(dict.fromkeys(row["id"] for row in rows)) == expected
    assert len(expected) + 1 == len(rows)  # the last one before the outage comes twice


@needs_signals
@pytest.mark.parametrize("unbuffered", [None, "1"])
def test_export_into_a_full_disk(
    account: EmoggEmulator, tmp_path: Path, unbuffered: str | None
) -> None:
    """What a disk has no room for leaves whole lines, and says how to go on."""
    path = tmp_path / "sessions.jsonl"
    path.write_text(f"{'x' * 99}\n")
    limit = 'ulimit -f 200; exec "$@"'  # blocks of 512 bytes, in some shells of 1,024
    unmeasured = {"COVERAGE_PROCESS_CONFIG": None}  # its file would be cut off, too
    with path.open("a") as file:
        done = subprocess.run(
            ["/bin/sh", "-c", limit, "sh", *COMMAND, "sessions", "export"],
            env=environment(PYTHONUNBUFFERED=unbuffered, **unmeasured),
            stdout=file,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
    assert done.returncode == 1
    stopped, command, what, next_step = done.stderr.splitlines()
    assert what == "Error: cannot write: File too large"
    assert next_step == "Write elsewhere."
    first, _, found = path.read_text().partition("\n")
    assert first == "x" * 99
    written = ids_in(found)
    assert written == ids_of(account)[: len(written)]
    assert 100 < len(written) < COUNT
    assert "the last ones may come twice" in stopped
    rest = go_on(command)
    assert list(dict.fromkeys(written + ids_in(rest.stdout))) == ids_of(account)


def test_export_fails_at_once(account: EmoggEmulator) -> None:
    """What fails before the first session has nothing to go on from."""
    account.fail(status=401)
    done = run("sessions", "export")
    assert done.returncode == 4
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2


@needs_signals
def test_export_into_a_closed_pipe(account: EmoggEmulator) -> None:
    """A reader that has had enough ends it without a word."""
    with running("sessions", "export") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 141
        assert process.stderr.read() == ""
