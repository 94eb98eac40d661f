"""The examples, each run as its reader would: as a program, against the emulator."""

import asyncio
import io
import json
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import Final

import psutil
import pytest
from _terminal import Program
from plainhttp import eventually

from emogg_async.testing import EmoggEmulator

EXAMPLES: Final = Path(__file__).parent.parent / "examples"
NAMES: Final = sorted(path.name for path in EXAMPLES.glob("*.py"))
APPS: Final = ["aiohttp_app.py", "fastapi_app.py", "live_sse.py"]
"""They serve until they are stopped; `test_example_apps` and `test_live_sse` test them.
"""

ARCHIVE: Final = "archive.py"
"""It works on a directory; `test_archive` tests it."""

PROGRAMS: Final = [name for name in NAMES if name not in [*APPS, ARCHIVE]]
MISSING: Final = "65ea1530bb50af72b6e3dc1e"
ARGUMENTS: Final = {
    "bulk_fetch.py": ["-"],
    "fleet.py": ["-", "--processes", "2"],
    "live_meter.py": [MISSING],
}

pytestmark = pytest.mark.usefixtures("emogg_emulator")


def _command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]


def _run(
    name: str, *arguments: str, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run an example, and check that it prints no traceback."""
    run = subprocess.run(
        _command(name, *arguments),
        input=stdin,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=30,
    )
    assert "Traceback" not in run.stderr
    return run


def _call(
    name: str, *arguments: str, stdin: str = ""
) -> "subprocess.CompletedProcess[str]":
    """Run an example within this process, which is quicker."""
    code: object = 0
    stdout, stderr = io.StringIO(), io.StringIO()
    handlers = {
        each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [name, *arguments])
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        patch.setattr(sys, "stdout", stdout)
        patch.setattr(sys, "stderr", stderr)
        try:
            runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    if not isinstance(code, int):  # Python prints anything else, and ends with 1
        print(code, file=stderr)
        code = 1
    said = stdout.getvalue(), stderr.getvalue()
    return subprocess.CompletedProcess(arguments, code, *said)


def _run_each(name: str) -> "subprocess.CompletedProcess[str]":
    run = _run if name == "fleet.py" else _call  # a fleet has processes of its own
    return run(name, *ARGUMENTS.get(name, []), stdin=MISSING)


def test_all_examples_are_known() -> None:
    """A new example needs tests of its own here."""
    assert PROGRAMS == [
        "bulk_fetch.py",
        "fleet.py",
        "list_sessions.py",
        "live_meter.py",
        "month_of_timelines.py",
        "quickstart.py",
    ]
    assert sorted([*PROGRAMS, *APPS, ARCHIVE]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_usage_in_docstring(name: str) -> None:
    """Each example says at its top how it is run and what the environment holds."""
    source = (EXAMPLES / name).read_text(encoding="utf-8")
    docstring = source.split('"""')[1]
    assert f"python examples/{name}" in docstring
    assert "EMOGG_API_TOKEN" in docstring
    assert "EMOGG_BASE_URL" in docstring


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_token(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token, one line names the variable to set."""
    monkeypatch.delenv("EMOGG_API_TOKEN")
    run = _run_each(name)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr == "error: no token: pass token= or set EMOGG_API_TOKEN.\n"


@pytest.mark.parametrize("name", PROGRAMS)
def test_refused_token(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that the service refuses ends in one line, which does not hold it."""
    monkeypatch.setenv("EMOGG_API_TOKEN", "not-the-right-one")
    run = _run_each(name)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.startswith("error: 401: Invalid token (GET /")
    assert run.stderr.count("\n") == 1
    assert "not-the-right-one" not in run.stderr


@pytest.fixture
def _interruptible() -> Iterator[None]:
    """Let children heed SIGINT, even if this process was told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


FLEET_OF_ONE = ("-", "--processes", "1")


@contextmanager
def _at_work(
    emulator: EmoggEmulator, name: str, *arguments: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run an example until its request, which is never answered, is under way."""
    emulator.fail(fault="hang")
    with Program(
        _command(name, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(MISSING)
        process.stdin.close()
        process.stdin = None
        assert eventually(lambda: emulator.in_flight)
        yield process


signals = pytest.mark.skipif(
    sys.platform == "win32", reason="it has no such signal to send"
)


@signals
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.usefixtures("_interruptible")
def test_interrupt(name: str, emogg_emulator: EmoggEmulator) -> None:
    """Ctrl-C during a request ends an example at once, with one word."""
    with _at_work(emogg_emulator, name, *ARGUMENTS.get(name, [])) as process:
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (stdout, stderr) == ("", "interrupted\n")
    assert process.returncode == 130


async def test_picture(emogg_emulator: EmoggEmulator, tmp_path: Path) -> None:
    """The picture in the README is what `to_svg` draws today."""
    async with emogg_emulator.client() as client:
        timeline = await client.get_emotions_timeline("6606810e62d82c07cd0c20aa")
    drawn = tmp_path / "emotions.svg"
    drawn.write_text(timeline.to_svg(width=760) + "\n", encoding="utf-8")
    kept = EXAMPLES / drawn.name
    same = kept.read_text(encoding="utf-8") == drawn.read_text(encoding="utf-8")
    assert same, f"look at the new picture, and copy it: cp {drawn} {kept}"


def test_quickstart(emogg_emulator: EmoggEmulator) -> None:
    """The quickstart gets the newest session and prints what it is."""
    newest = emogg_emulator.sessions[0]
    run = _run("quickstart.py")
    assert (run.returncode, run.stderr) == (0, "")
    assert f"id:       {newest.id}\nname:     {newest.name!r}\n" in run.stdout
    assert "state:    active\ncreated:  2024-04-01 10:10 UTC\n" in run.stdout
    assert run.stdout.count("source:") == len(newest.sources) > 0
    paths = [item.path for item in emogg_emulator.requests]
    assert paths == ["/v1/sessions", f"/v1/sessions/{newest.id}"]


def test_quickstart_without_sessions(
    emogg_emulator: EmoggEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account without sessions is no error."""
    monkeypatch.setenv("EMOGG_API_TOKEN", emogg_emulator.add_token())
    run = _call("quickstart.py")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "This account has no sessions yet.\n"


def test_quickstart_name_is_harmless(emogg_emulator: EmoggEmulator) -> None:
    """The name of a session cannot command the terminal."""
    emogg_emulator.add_session(name="\x1b]0;owned\x07\x1b[2J")
    for name in ("quickstart.py", "list_sessions.py"):
        run = _call(name)
        assert "owned" in run.stdout
        assert "\x1b" not in run.stdout


def test_list_sessions(emogg_emulator: EmoggEmulator) -> None:
    """Without options, every session is a line, newest first."""
    run = _run("list_sessions.py")
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        session.id for session in emogg_emulator.sessions
    ]
    first = emogg_emulator.sessions[0]
    assert lines[0].endswith(f"2024-04-01 10:10 active       19.4 min {first.name!r}")


@pytest.mark.parametrize(
    "after", ["2024-03-25", "2024-03-25T00:00:00Z", "2024-03-25T02:00:00+02:00"]
)
def test_list_sessions_filters(after: str, emogg_emulator: EmoggEmulator) -> None:
    """The filters reach the service, and a date without an offset is UTC."""
    options = ("--state", "finished", "--type", "live_analysis", "--limit", "3")
    run = _call("list_sessions.py", *options, "--started-after", after)
    assert (run.returncode, run.stderr) == (0, "")
    finished = [item.id for item in emogg_emulator.sessions if item.state == "finished"]
    assert [line.split()[0] for line in run.stdout.splitlines()] == finished[:3]
    (request,) = emogg_emulator.requests
    assert dict(request.query) == {
        "state": "finished",
        "type": "live_analysis",
        "from": "2024-03-25T00:00:00.000Z",
        "limit": "3",
    }


def test_list_sessions_empty() -> None:
    """When nothing matches, it says so, and not where the lines go."""
    run = _call("list_sessions.py", "--state", "paused")
    assert (run.returncode, run.stdout) == (0, "")
    assert run.stderr == "no session matches\n"


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (("--limit", "-1"), "natural"),
        (("--limit", "x"), "natural"),
        (("--started-after", "yesterday"), "iso_date"),
    ],
)
def test_list_sessions_usage(
    options: tuple[str, str], kind: str, emogg_emulator: EmoggEmulator
) -> None:
    """An option that makes no sense is refused before any request."""
    run = _call("list_sessions.py", *options)
    assert (run.returncode, run.stdout) == (2, "")
    assert f"argument {options[0]}: invalid {kind} value" in run.stderr
    assert emogg_emulator.requests == ()


def test_bulk_fetch(emogg_emulator: EmoggEmulator, tmp_path: Path) -> None:
    """Each id of a file becomes a line of JSON, as the service has it."""
    ids = [session.id for session in emogg_emulator.sessions]
    path = tmp_path / "ids.txt"
    path.write_text("\n".join([ids[0].upper(), "", *ids[1:], ids[0], ""]))
    run = _run("bulk_fetch.py", str(path))
    assert run.returncode == 0
    fetched = {line["_id"]: line for line in map(json.loads, run.stdout.splitlines())}
    assert fetched.keys() == set(ids)
    assert fetched[ids[0]]["name"] == emogg_emulator.sessions[0].name
    assert run.stdout.count("\n") == len(ids)
    assert len(emogg_emulator.requests) <= 3  # pages answer most of them
    assert json.loads(run.stderr) == {"fetched": len(ids), "failed": 0}


def test_bulk_fetch_failures(emogg_emulator: EmoggEmulator) -> None:
    """An id that fails is a line on standard error and an exit code, and no more."""
    good = emogg_emulator.sessions[0].id
    run = _call("bulk_fetch.py", "-", stdin=f"{good}\r\n{MISSING}\r\nno id\r\n")
    assert run.returncode == 3
    assert [json.loads(line)["_id"] for line in run.stdout.splitlines()] == [good]
    *failures, summary = map(json.loads, run.stderr.splitlines())
    assert summary == {"fetched": 1, "failed": 2}
    by_id = {failure["id"]: failure for failure in failures}
    assert by_id.keys() == {MISSING, "no id"}
    assert by_id[MISSING]["error"] == "NotFoundError"
    assert by_id[MISSING]["message"].startswith("404: Session not found (GET ")
    assert by_id["no id"]["error"] == "InvalidArgumentError"


def test_bulk_fetch_nothing(emogg_emulator: EmoggEmulator) -> None:
    """No ids are no error, and no request."""
    run = _call("bulk_fetch.py", "-", stdin="\n")
    assert (run.returncode, run.stdout) == (0, "")
    assert json.loads(run.stderr) == {"fetched": 0, "failed": 0}
    assert emogg_emulator.requests == ()


def test_bulk_fetch_as_they_come(emogg_emulator: EmoggEmulator) -> None:
    """A session is written while others are still under way."""
    quick, slow = (session.id for session in emogg_emulator.sessions[:2])
    emogg_emulator.fail("GET", f"*/{slow}", fault="hang")
    with Program(
        _command("bulk_fetch.py", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{slow}\n{quick}\n")
        process.stdin.close()
        first = json.loads(process.stdout.readline())["_id"]
        under_way = eventually(lambda: emogg_emulator.in_flight == 1)
        process.kill()
    assert (first, under_way) == (quick, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "usage: bulk_fetch.py"),
        (("a", "b"), "usage: bulk_fetch.py"),
        (("no-such-file",), "error: [Errno 2] No such file or directory: "),
        ((sys.executable,), "error: 'utf-8' codec can't decode"),
    ],
)
def test_bulk_fetch_usage(arguments: tuple[str, ...], complaint: str) -> None:
    """A file that is not a list of ids is refused in one line."""
    run = _call("bulk_fetch.py", *arguments)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(complaint)
    assert run.stderr.count("\n") == 1


APRIL: Final = datetime(2024, 4, 1, tzinfo=UTC)


def _in_march(emulator: EmoggEmulator) -> list[str]:
    return [session.id for session in emulator.sessions if session.timestamp.month == 3]


def test_month_of_timelines(emogg_emulator: EmoggEmulator) -> None:
    """Each session of the month is a line of JSON: its timeline."""
    first = emogg_emulator.add_session(timestamp=datetime(2024, 3, 1, tzinfo=UTC)).id
    for day in (datetime(2024, 2, 29, 23, 59, tzinfo=UTC), APRIL):
        emogg_emulator.add_session(timestamp=day)
    run = _run("month_of_timelines.py", "2024-03")
    assert run.returncode == 0
    timelines = {
        line["session"]: line for line in map(json.loads, run.stdout.splitlines())
    }
    assert first in timelines
    assert sorted(timelines) == sorted(_in_march(emogg_emulator))
    assert any(line["timeline"] for line in timelines.values())
    assert json.loads(run.stderr) == {"fetched": len(timelines), "failed": 0}
    assert {("granularity", "300")} <= set(emogg_emulator.requests[-1].query)


def test_month_of_timelines_failures(emogg_emulator: EmoggEmulator) -> None:
    """A session whose timeline fails is a line on standard error and an exit code."""
    ids = _in_march(emogg_emulator)
    emogg_emulator.fail("GET", f"*/{ids[0]}/emotions/timeline", status=404)
    run = _call("month_of_timelines.py", "2024-03")
    assert run.returncode == 3
    failure, summary = map(json.loads, run.stderr.splitlines())
    assert failure["session"] == ids[0]
    assert failure["error"].startswith("404: ")
    assert summary == {"fetched": len(ids) - 1, "failed": 1}


def test_month_of_timelines_of_last_month(emogg_emulator: EmoggEmulator) -> None:
    """Without an argument it is the month before this one, from its first moment on."""
    run = _call("month_of_timelines.py")
    assert run.returncode == 0
    hint, summary = map(json.loads, run.stderr.splitlines())
    assert summary == {"fetched": 0, "failed": 0}
    (request,) = emogg_emulator.requests
    query = dict(request.query)
    begin = datetime.fromisoformat(query["from"]) + timedelta(milliseconds=1)
    end = datetime.fromisoformat(query["to"])
    now = datetime.now(UTC)
    assert (begin.day, end.day) == (1, 1)
    assert {begin.time(), end.time()} == {time_of_day(0)}
    assert f"no session began in {begin:%Y-%m}" in hint["hint"]
    assert "the emulator has 2024-03" in hint["hint"]  # as the tests above show
    assert 28 <= (end - begin).days <= 31
    assert end <= now < end + timedelta(days=32)


@pytest.mark.parametrize("argument", ["March", "2024-13", "2024", "", "2024-03-01"])
def test_month_of_timelines_usage(argument: str, emogg_emulator: EmoggEmulator) -> None:
    """An argument that is not a month is refused in one line, before any request."""
    run = _call("month_of_timelines.py", argument)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "usage: month_of_timelines.py [YYYY-MM]\n"
    assert emogg_emulator.requests == ()


def test_fleet_failures(emogg_emulator: EmoggEmulator) -> None:
    """An id that fails is a line on standard error and an exit code, and no more."""
    good = emogg_emulator.sessions[0].id
    run = _run("fleet.py", "-", "--processes", "2", stdin=f"{good}\n{MISSING}\nno-id\n")
    assert run.returncode == 3
    assert [json.loads(line)["_id"] for line in run.stdout.splitlines()] == [good]
    *failures, summary = map(json.loads, run.stderr.splitlines())
    assert (summary["fetched"], summary["failed"]) == (1, 2)
    assert {failure["id"]: failure["error"] for failure in failures} == {
        MISSING: "NotFoundError",
        "no-id": "InvalidArgumentError",
    }


def test_fleet_nothing(emogg_emulator: EmoggEmulator) -> None:
    """No ids are no error, and no request."""
    run = _run("fleet.py", *FLEET_OF_ONE, stdin="\n")
    assert (run.returncode, run.stdout) == (0, "")
    assert json.loads(run.stderr)["fetched"] == 0
    assert emogg_emulator.requests == ()


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        ((), 2, "usage: fleet.py"),
        (("-", "--processes", "0"), 2, "usage: fleet.py"),
        (("no-such-file",), 1, "error: [Errno 2] No such file or directory: "),
        (
            (*FLEET_OF_ONE, "--redis", "http://joe:hunter2@x"),
            1,
            "error: url: expected redis://",
        ),
    ],
)
def test_fleet_usage(arguments: tuple[str, ...], code: int, complaint: str) -> None:
    """A wrong argument is refused, and no URL is shown."""
    run = _run("fleet.py", *arguments)
    assert (run.returncode, run.stdout) == (code, "")
    assert run.stderr.startswith(complaint)
    assert "hunter2" not in run.stderr


def _members(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    children = psutil.Process(process.pid).children()
    return [each for each in children if "spawn_main" in " ".join(each.cmdline())]


@signals
def test_fleet_loses_a_process(emogg_emulator: EmoggEmulator) -> None:
    """A process that is killed ends the fleet, which says so and does not wait."""
    with _at_work(emogg_emulator, "fleet.py", *FLEET_OF_ONE) as process:
        for member in _members(process):
            member.kill()
        stdout, stderr = process.communicate(timeout=20)
    assert (process.returncode, stdout, stderr) == (1, "", "error: a process died\n")


@signals
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        ("SIGINT", 130, "interrupted\n"),
        ("SIGTERM", -15, ""),
        ("SIGKILL", -9, ""),
    ],
)
def test_fleet_is_ended(
    emogg_emulator: EmoggEmulator, number: str, code: int, said: str
) -> None:
    """All processes end with the first one, whatever ended that."""
    with _at_work(emogg_emulator, "fleet.py", *FLEET_OF_ONE) as process:
        members = _members(process)
        process.send_signal(signal.Signals[number])
        stdout, stderr = process.communicate(timeout=20)
        gone, alive = psutil.wait_procs(members, timeout=5)
    assert (code, "", said) == (process.returncode, stdout, stderr)
    assert (1, []) == (len(gone), alive)


@signals
def test_fleet_whose_output_is_closed(emogg_emulator: EmoggEmulator) -> None:
    """A reader that leaves, like `head`, ends the fleet without a complaint."""
    ids = [session.id for session in emogg_emulator.sessions]
    with Program(
        _command("fleet.py", "-", "--processes", "2"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        _, stderr = process.communicate("\n".join(ids), timeout=20)
    assert (141, "") == (process.returncode, stderr)


@contextmanager
def _metering(
    emulator: EmoggEmulator, session_id: str
) -> Iterator["subprocess.Popen[str]"]:
    """Run the meter until it listens to a session."""
    with Program(
        _command("live_meter.py", session_id),
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert eventually(lambda: emulator.live.subscriptions)
        yield process
        process.kill()


def _measured(intensity: float) -> dict[str, object]:
    return {"people": 1, "quantity": intensity, "intensity": intensity}


async def test_live_meter(emogg_emulator: EmoggEmulator) -> None:
    """The meter draws the newest event, a gap before it, and ends with its session."""
    session_id = emogg_emulator.add_session(state="active").id
    live = emogg_emulator.live
    with _metering(emogg_emulator, session_id) as process:
        live.emit(session_id, {"joy": _measured(0.1)})
        live.cut(1001)
        assert eventually(lambda: live.subscriptions)
        emotions = {"focus": _measured(0.25), "[/x]\x1b[2J": _measured(1.0)}
        live.emit(session_id, emotions)
        await asyncio.sleep(2.1)  # until it may ask for the session's state again
        async with emogg_emulator.client() as client:
            await client.stop_session(session_id)
        live.cut(1001)
        stdout, stderr = process.communicate(timeout=50)
    assert (process.returncode, stderr) == (0, "")
    title, strongest, weaker = [line.strip() for line in stdout.splitlines()]
    assert title.endswith(" · after a gap: reconnected")
    assert strongest.startswith("'[/x]\\x1b[2J'")
    assert strongest.endswith(" 1.00 " + 40 * "█")
    assert weaker.split() == ["'focus'", "0.25", 10 * "█"]


@signals
@pytest.mark.usefixtures("_interruptible")
def test_live_meter_is_interrupted(emogg_emulator: EmoggEmulator) -> None:
    """Ctrl-C while it listens ends the meter, with one word."""
    session_id = emogg_emulator.add_session(state="active").id
    with _metering(emogg_emulator, session_id) as process:
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (130, "interrupted\n")
    assert eventually(lambda: emogg_emulator.live.connections == 0)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "usage: live_meter.py SESSION-ID\n"),
        ((MISSING, MISSING), "usage: live_meter.py SESSION-ID\n"),
        ((MISSING,), "error: 404: "),
        (("x",), "error: session_id: expected "),
    ],
)
def test_live_meter_usage(arguments: tuple[str, ...], complaint: str) -> None:
    """A session that does not exist, or no ID, is refused in one line."""
    run = _call("live_meter.py", *arguments)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith(complaint)
    assert run.stderr.count("\n") == 1
