"""`emogg live` and `emogg sessions wait`, as real processes."""

import asyncio
import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

import pytest
from _terminal import (
    Watched,
    on_terminal,
    run,
    run_answering,
    run_on_terminal,
    run_watched,
    running,
)
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from waiting import until

from emogg_async._cli.output.charts import LONGEST
from emogg_async._cli.output.moving import Emotions, States, session_lines
from emogg_async._cli.output.sparklines import ramp_for
from emogg_async._text import UNSAFE
from emogg_async.models import (
    EmotionCounts,
    EmotionIntensities,
    EmotionMeasure,
    FrozenMapping,
    Gap,
    Session,
    SessionWorkerState,
    WorkerState,
)
from emogg_async.testing import EmoggEmulator

BEGAN = datetime(2024, 4, 1, 10, 30, tzinfo=UTC)
UNKNOWN_ID = "f" * 24
HOSTILE = "\x1b]0;pwned\x07\x1b[31m\x9b2J\r\n[red]x[/red] <script>\u202e 日本語"

BLOCKS = ramp_for("utf-8")
PLAIN = ramp_for("ascii")

needs_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")


@pytest.fixture
def active(emogg_emulator: EmoggEmulator) -> Session:
    """Give an active session, of which something is seen already."""
    session = emogg_emulator.add_session(
        state="active", ends_after=9_000, name="Weekly stand-up"
    )
    emogg_emulator.advance(60)
    return session


def finish(emulator: EmoggEmulator, *sessions: Session) -> None:
    """Finish sessions, and make clients look at them after what was sent before."""
    for session in sessions:
        emulator.update_session(session.id, state="finished")
    emulator.live.cut(1000)


async def subscribed(emulator: EmoggEmulator, number: int = 1) -> None:
    """Wait until there are so many subscriptions."""
    await until(lambda: len(emulator.live.subscriptions) == number)


async def cut(emulator: EmoggEmulator) -> None:
    """Cut the connection, and wait until there is a new one."""
    number = len(emulator.live.subscriptions)
    emulator.live.cut()
    await subscribed(emulator, number)


def line_of(pipe: IO[str] | None) -> Any:
    """Read a line of JSON."""
    assert pipe is not None
    return json.loads(pipe.readline())


def frames(watched: Watched) -> str:
    """Return what a terminal was shown, without control sequences."""
    shown = re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", watched.shown)
    return re.sub("[\r\n]+", "\n", shown)


async def reached(chart: Watched, emulator: EmoggEmulator) -> None:
    """Wait until a chart shows what happened a moment ago, or later."""
    now = f"{emulator.now():%H:%M:%S}"
    pattern = re.compile(r"(\d\d:\d\d:\d\d) UTC")
    await until(lambda: max(pattern.findall(chart.shown), default="") >= now)


# -- what is drawn ---------------------------------------------------------------------


def counts(second: float, gap: Gap | None = None, **emotions: int) -> EmotionCounts:
    """Make an event so many seconds after the beginning."""
    return EmotionCounts(
        session=UNKNOWN_ID,
        timestamp=BEGAN + timedelta(seconds=second),
        emotions=FrozenMapping(emotions),
        gap=gap,
    )


def gap_of(since: float, until: float, lost: int | None = None) -> Gap:
    """Make a gap between two seconds."""
    return Gap(
        since=BEGAN + timedelta(seconds=since),
        until=BEGAN + timedelta(seconds=until),
        reason="reconnected" if lost is None else "slow",
        lost=lost,
    )


def drawn(events: Sequence[Any], width: int = 80, period: float = 1.0) -> list[str]:
    """Draw events, and return the lines."""
    newest = Emotions(period)
    for event in events:
        newest.add(event)
    return [line.plain.rstrip() for line in newest.lines(width, BLOCKS)]


def test_an_event_has_a_cell() -> None:
    """Each event has a cell, the newest on the right; an emotion not seen is at 0."""
    lines = drawn([counts(1, focus=1), counts(2, shock=2), counts(3, focus=2)])
    assert lines == [
        f"{'now   peak':>80}",
        f"focus {'▄▁▇':>60}      2      2",
        f"shock {'▁▇▁':>60}      0      2",
        f"{'':6}╵1:00 ago",
    ]


def test_silence_is_empty() -> None:
    """Where no event came there is an empty cell for each that could have."""
    assert "▇  ▇" in drawn([counts(1, focus=2), counts(4.2, focus=2)])[1]
    slow = [counts(0, focus=2), counts(31, focus=2)]
    assert "▇  ▇" in drawn(slow, period=10)[1]


def test_jitter_is_not_silence() -> None:
    """Events that come a little early or late stand side by side."""
    moments = (1, 2.3, 2.9, 4.2, 5)
    assert "▇" * 5 in drawn([counts(moment, focus=2) for moment in moments])[1]


def test_a_gap_is_filled() -> None:
    """A gap is filled with marks, and a line below says what may be missing."""
    events = [counts(1, focus=2), counts(5, gap_of(1, 5), focus=2)]
    lines = drawn(events)
    assert "▇░░░▇" in lines[1]
    assert lines[-1] == (
        "░ 10:30:01 to 10:30:05: events may be missing, as the connection was lost"
    )


def test_a_gap_without_time_is_seen() -> None:
    """A gap has a mark even if the event after it came in time."""
    lines = drawn([counts(1, focus=2), counts(2, gap_of(1, 2, lost=3), focus=2)])
    assert "▇░▇" in lines[1]
    assert "3 events missing, as this command was too slow" in lines[-1]


def test_gaps_leave() -> None:
    """A gap that has left the chart is not told of any more."""
    events = [counts(1, focus=2), counts(5, gap_of(1, 5), focus=2)]
    events += [counts(second, focus=2) for second in range(6, 6 + LONGEST)]
    assert "░" not in "".join(drawn(events))


def test_the_scale_stays() -> None:
    """A peak that has left the chart still counts in its scale."""
    events = [counts(0, focus=7)]
    events += [counts(second, focus=1) for second in range(1, 1 + LONGEST)]
    assert "▂▂▂" in drawn(events)[1]


texts = st.text(st.characters(), max_size=40) | st.sampled_from(["focus", HOSTILE])
gaps = st.none() | st.builds(
    Gap,
    since=st.none() | st.just(BEGAN),
    until=st.just(BEGAN),
    reason=st.sampled_from(["reconnected", "slow", "unreadable"]),
    lost=st.none() | st.integers(1, 10**6),
)
measures = st.builds(
    EmotionMeasure,
    people=st.integers(0, 9),
    quantity=st.floats(0, 10),
    intensity=st.floats(-1, 1e3),
)
streams = st.lists(
    st.builds(
        EmotionIntensities,
        session=st.just(UNKNOWN_ID),
        timestamp=st.datetimes(timezones=st.just(UTC)),
        emotions=st.dictionaries(texts, measures, max_size=5).map(FrozenMapping),
        gap=gaps,
    ),
    min_size=1,
    max_size=20,
)


@pytest.mark.property
@given(streams, st.integers(60, 200), st.sampled_from([BLOCKS, PLAIN]))
def test_any_events_fit(
    events: list[EmotionIntensities], width: int, ramp: Any
) -> None:
    """Whatever the events are, lines fit, and hold nothing that a terminal obeys."""
    newest = Emotions(1.0)
    for event in events:
        newest.add(event)
        for line in newest.lines(width, ramp)[: 1 + len(event.emotions)]:
            assert cell_len(line.plain) <= width
            assert not UNSAFE.search(line.plain)
    marks = "".join(line.plain for line in newest.lines(width, ramp))
    if events[-1].gap and events[-1].emotions:
        assert ramp.lost in marks


@pytest.mark.parametrize("width", [20, 40, 200])
def test_hostile_names_are_shown(emogg_emulator: EmoggEmulator, width: int) -> None:
    """A session's name fits into the terminal, which obeys nothing of it."""
    session = emogg_emulator.add_session(name=HOSTILE * 5)
    name, facts = session_lines(session, "reconnecting", States(), width, BLOCKS)
    assert cell_len(name.plain) <= width
    assert not UNSAFE.search(name.plain)
    assert facts.plain == f"reconnecting, no event yet, session {session.id}"


def test_states_are_changes() -> None:
    """A worker's state that is sent again is no change; only the newest are shown."""
    states = States()
    for second, state in enumerate("aabcdefg"):
        states.add(
            WorkerState(
                session=UNKNOWN_ID,
                timestamp=BEGAN + timedelta(seconds=second),
                state=SessionWorkerState(state),
            )
        )
    shown = [line.plain for line in states.lines(80, BLOCKS)]
    assert shown == [f"10:30:0{n}  {state}" for n, state in enumerate("cdefg", 3)]


# -- in a pipe -------------------------------------------------------------------------


async def test_lines(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """In a pipe each event is a line at once, a gap too, and the end is a 0."""
    with running("live", active.id) as process:
        first = await asyncio.to_thread(line_of, process.stdout)
        assert first["session"] == active.id
        assert {*first} == {"session", "timestamp", "emotions"}
        assert all("intensity" in each for each in first["emotions"].values())
        await cut(emogg_emulator)
        line = first
        while "gap" not in line:
            before, line = line, await asyncio.to_thread(line_of, process.stdout)
        after = await asyncio.to_thread(line_of, process.stdout)
        assert line == {
            "session": active.id,
            "gap": {
                "since": before["timestamp"],
                "until": after["timestamp"],
                "reason": "reconnected",
                "lost": None,
            },
        }
        assert {*after} == {"session", "timestamp", "emotions"}
        finish(emogg_emulator, active)
        _, complaints = await asyncio.to_thread(process.communicate)
    assert process.returncode == 0
    assert complaints == ""


async def test_counts(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """`--counts` follows numbers, as often as `--every` says."""
    with running("live", active.id, "--counts", "--every", "3s") as process:
        await subscribed(emogg_emulator)
        (subscription,) = emogg_emulator.live.subscriptions
        assert subscription.key == f"{active.id}:3s"
        emogg_emulator.live.emit(active.id, {"focus": 3})
        line = await asyncio.to_thread(line_of, process.stdout)
        while line["emotions"] != {"focus": 3}:
            line = await asyncio.to_thread(line_of, process.stdout)


async def test_worker_state(emogg_emulator: EmoggEmulator) -> None:
    """`--state` follows the worker of a session that was created through the API."""
    async with emogg_emulator.client() as client:
        session = await client.create_session("Stand-up", "rtmps://a.example/b")
        with running("live", session.id, "--state") as process:
            line = await asyncio.to_thread(line_of, process.stdout)
            assert line["state"] == "working"
            await client.stop_session(session.id)
            emogg_emulator.live.cut()
            assert await asyncio.to_thread(process.wait) == 0


def test_no_worker(emogg_emulator: EmoggEmulator) -> None:
    """Where there is no worker to follow, the next step says why."""
    session = emogg_emulator.add_session(state="paused")
    done = run("live", session.id, "--state")
    assert done.returncode == 5
    assert "through the API" in done.stderr.splitlines()[1]


async def test_several(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """One of several sessions that is gone is named, and the others are followed on."""
    other = emogg_emulator.add_session(state="active", ends_after=9_000)
    with running("live", active.id, other.id, active.id.upper()) as process:
        await subscribed(emogg_emulator, 2)
        seen: set[str] = set()
        while seen != {active.id, other.id}:
            for session in (active, other):
                emogg_emulator.live.emit(session.id, {})
            line = await asyncio.to_thread(line_of, process.stdout)
            seen.add(line["session"])
        emogg_emulator.remove_session(other.id)
        emogg_emulator.live.cut()
        told = await asyncio.to_thread(line_of, process.stderr)
        assert (told["id"], told["status"]) == (other.id, 404)
        await subscribed(emogg_emulator)
        finish(emogg_emulator, active)
        _, complaints = await asyncio.to_thread(process.communicate)
    assert process.returncode == 3
    assert complaints == ""


async def test_one_of_several_is_unknown(
    emogg_emulator: EmoggEmulator, active: Session, tmp_path: Path
) -> None:
    """An unknown id is one line of JSON, and the others are followed."""
    ids = tmp_path / "ids.txt"
    ids.write_text(f"{UNKNOWN_ID}\n{active.id}  # ours\n")
    with running("live", "--from-file", str(ids)) as process:
        told = await asyncio.to_thread(line_of, process.stderr)
        assert (told["id"], told["error"]) == (UNKNOWN_ID, "NotFoundError")
        await subscribed(emogg_emulator)
        finish(emogg_emulator, active)
        assert await asyncio.to_thread(process.wait) == 3


async def test_chart_in_a_pipe(
    emogg_emulator: EmoggEmulator, active: Session, tmp_path: Path
) -> None:
    """`-o chart` leaves the last chart in a pipe; `-` takes ids from standard input."""
    ids = tmp_path / "ids.txt"
    ids.write_text(active.id)
    with (
        ids.open() as stdin,
        running("live", "-", "--counts", "-o", "chart", stdin=stdin) as process,
    ):
        await subscribed(emogg_emulator)
        emogg_emulator.live.emit(active.id, {"delight": 4})
        finish(emogg_emulator, active)
        shown, complaints = await asyncio.to_thread(process.communicate)
    assert (process.returncode, complaints) == (0, "")
    assert shown.count("Weekly stand-up") == 1
    assert "\x1b" not in shown
    assert re.search(r"^delight .* 4$", shown, re.MULTILINE)


@pytest.mark.parametrize("state", ["finished", "processing"])
def test_what_has_ended(emogg_emulator: EmoggEmulator, state: str) -> None:
    """A session that has ended says so at once, and nobody waits for it."""
    session = emogg_emulator.add_session(state=state)
    done = run("live", session.id)
    assert done.returncode == 0
    assert done.stdout == ""
    assert done.stderr.startswith(f"{session.id} is {state}, so nothing of it is live")
    assert emogg_emulator.live.handshakes == 0
    assert run("live", session.id, "-q").stderr == ""


def test_unknown_session(emogg_emulator: EmoggEmulator) -> None:
    """An id that does not exist is two lines and a 5."""
    del emogg_emulator
    done = run("live", UNKNOWN_ID)
    assert done.returncode == 5
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 2


def test_too_many(emogg_emulator: EmoggEmulator) -> None:
    """More sessions than the service has slots for are refused at once."""
    sessions = [emogg_emulator.add_session(state="active") for _ in range(11)]
    done = run("live", *(session.id for session in sessions))
    assert done.returncode == 2
    assert "10 sessions at once, and 11 are active" in done.stderr
    assert emogg_emulator.live.handshakes == 0


@pytest.mark.parametrize(
    ("path", "status", "end"),
    [
        ("channels:subscribe", 429, (6, "--timeout")),
        ("auth:token", 401, (4, "EMOGG_API_TOKEN")),
        ("handshake", 503, (7, "--timeout")),
        pytest.param(
            *("handshake", 403, (4, "Use a token that may do this")),
            marks=pytest.mark.soak,
        ),
    ],
)
def test_refusals(
    emogg_emulator: EmoggEmulator,
    active: Session,
    path: Any,
    status: int,
    end: tuple[int, str],
) -> None:
    """A channel that is refused ends as requests do, with two lines."""
    code, step = end
    emogg_emulator.live.refuse(path=path, status=status)
    done = run("live", active.id, "--timeout", "4")
    assert (done.returncode, done.stdout) == (code, "")
    what, next_step = done.stderr.splitlines()
    assert what.startswith("Error: ")
    assert step in next_step
    assert emogg_emulator.token not in done.stderr


async def test_closed_pipe(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """It ends quietly when nobody reads any more."""
    with running("live", active.id) as process:
        await asyncio.to_thread(line_of, process.stdout)
        assert process.stdout is not None
        process.stdout.close()
        emogg_emulator.advance(3)
        assert await asyncio.to_thread(process.wait) == 141
        assert process.stderr is not None
        assert process.stderr.read() == ""


# -- on a terminal ---------------------------------------------------------------------


@needs_terminal
async def test_chart(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """On a terminal a chart moves, marks a gap, and stays in the end."""
    with on_terminal("live", active.id) as chart:
        await subscribed(emogg_emulator)
        emogg_emulator.advance(20)
        await reached(chart, emogg_emulator)
        await cut(emogg_emulator)
        emogg_emulator.advance(40)
        await reached(chart, emogg_emulator)
        finish(emogg_emulator, active)
        assert await asyncio.to_thread(chart.wait) == 0
    assert "\x1b[1A" in chart.shown  # it goes up again, to draw in the same place
    assert chart.shown.rstrip().endswith("\x1b[?25h")  # and gives the cursor back
    shown = frames(chart)
    assert "\nreconnecting, 10:3" in shown
    last = shown[shown.rindex("Weekly stand-up") :]
    assert re.search(rf"\nended, 10:3\d:\d\d UTC, session {active.id}\n", last)
    # A line of an emotion, with the gap in it.
    assert re.search(r"\n\w+ +[▁▂▃▄▅▆▇ ]+░[▁▂▃▄▅▆▇░ ]+\d\.\d\d +\d\.\d\d\n", last)
    assert "events may be missing, as the connection was lost" in last


@needs_terminal
async def test_narrow_chart(emogg_emulator: EmoggEmulator) -> None:
    """A narrow terminal without colours gets lines that fit, and obeys no name."""
    session = emogg_emulator.add_session(
        state="active", ends_after=9_000, name=HOSTILE * 3
    )
    emogg_emulator.advance(60)
    with on_terminal("live", session.id, columns=40, NO_COLOR="1") as chart:
        await subscribed(emogg_emulator)
        emogg_emulator.advance(20)
        await reached(chart, emogg_emulator)
        finish(emogg_emulator, session)
        assert await asyncio.to_thread(chart.wait) == 0
    assert not UNSAFE.search(re.sub("[\n]", "", frames(chart)))
    assert not re.search(r"\x1b\[[\d;]*[34]\d", chart.shown)  # a colour
    assert max(map(cell_len, frames(chart).splitlines())) == 40


@needs_terminal
def test_ctrl_c(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """Ctrl-C ends it with 130; the chart stays, and the cursor comes back."""
    del emogg_emulator
    done = run_answering("live", active.id, prompt=" UTC", answer="\x03")
    assert done.returncode == 130
    assert "Traceback" not in done.stdout
    assert "Weekly stand-up" in done.stdout[done.stdout.index("^C") :]
    assert done.stdout.rstrip().endswith("\x1b[?25h")


@needs_terminal
def test_nothing_is_left_of_a_failure(
    emogg_emulator: EmoggEmulator, active: Session
) -> None:
    """If the channel is refused, no empty chart stays on the terminal."""
    emogg_emulator.live.refuse(path="auth:token", status=401)
    done = run_on_terminal("live", active.id)
    assert done.returncode == 4
    assert "connecting" in done.stdout
    assert done.stdout.rstrip().endswith("\x1b[2K")


@needs_terminal
async def test_dumb_terminal(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """A terminal on which nothing can move gets lines."""
    with on_terminal("live", active.id, TERM="dumb") as lines:
        await until(lambda: lines.shown.count("\n") >= 2)
        finish(emogg_emulator, active)
        assert await asyncio.to_thread(lines.wait) == 0
    assert json.loads(lines.shown.splitlines()[0])["session"] == active.id


# -- waiting for the end ---------------------------------------------------------------


def looks(emulator: EmoggEmulator, session: Session) -> int:
    """Return how often a session was asked for."""
    path = f"/v1/sessions/{session.id}"
    return sum(request.path == path for request in emulator.requests)


async def test_wait(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """`sessions wait` asks until all are finished, and prints them in order."""
    finished = emogg_emulator.add_session()
    arguments = ("sessions", "wait", active.id, finished.id, "--poll", "0.05")
    waits = asyncio.create_task(asyncio.to_thread(run, *arguments))
    await until(lambda: looks(emogg_emulator, active) > 2)
    emogg_emulator.fail("GET", "/v1/sessions/*", status=503, times=2)
    emogg_emulator.update_session(active.id, state="processing")
    seen = looks(emogg_emulator, active)
    await until(lambda: looks(emogg_emulator, active) > seen + 3)
    assert not waits.done()
    emogg_emulator.update_session(active.id, state="finished")
    done = await waits
    assert (done.returncode, done.stderr) == (0, "")
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert [each["_id"] for each in printed] == [active.id, finished.id]
    assert {each["state"] for each in printed} == {"finished"}


def test_wait_is_bounded(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """When `--within` is over it ends with 7, and says how to go on."""
    del emogg_emulator
    done = run("sessions", "wait", active.id, "--poll", "0.1", "--within", "0.5")
    assert (done.returncode, done.stdout) == (7, "")
    what, next_step = done.stderr.splitlines()
    assert "not finished in time" in what
    assert next_step == "Wait again, or longer with --within."


def test_wait_for_unknown(emogg_emulator: EmoggEmulator) -> None:
    """An unknown id is a 5; beside others it is one line, and they are printed."""
    finished = emogg_emulator.add_session()
    assert run("sessions", "wait", UNKNOWN_ID).returncode == 5
    done = run("sessions", "wait", UNKNOWN_ID, finished.id)
    assert done.returncode == 3
    assert json.loads(done.stderr)["id"] == UNKNOWN_ID
    assert json.loads(done.stdout)["_id"] == finished.id


@needs_terminal
async def test_wait_is_watched(emogg_emulator: EmoggEmulator, active: Session) -> None:
    """On a terminal one line tells how many have finished, and vanishes."""
    finished = emogg_emulator.add_session()
    arguments = ("sessions", "wait", active.id, finished.id, "--poll", "0.05")
    waits = asyncio.create_task(asyncio.to_thread(run_watched, *arguments))
    await until(lambda: looks(emogg_emulator, active) > 2)
    emogg_emulator.update_session(active.id, state="finished")
    done = await waits
    assert done.returncode == 0
    assert "Waiting, " in done.stderr
    assert done.stderr.rstrip().endswith("\x1b[2K")
    assert len(done.stdout.splitlines()) == 2
    quiet = run_watched("sessions", "wait", finished.id, "-q")
    assert quiet.stderr == ""
