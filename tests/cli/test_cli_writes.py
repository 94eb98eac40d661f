"""What the `emogg` command changes: sessions, sources and events.

What asks on a terminal, or is interrupted, runs as a process of its own.
"""

import csv
import io
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import pytest
from _terminal import (
    COMMAND,
    call,
    environment,
    run_answering,
    run_on_terminal,
    running,
)
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._cli.asking import question
from emogg_async.testing import EmoggEmulator

UNKNOWN_ID = "f" * 24
STREAM = "rtmps://stream.example.com/live"
HOSTILE = "\x1b]0;pwned\x07\x1b[31m\x9b2J\r\n[red]x[/red] <script>x</script> \u202e"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")

needs_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
needs_signals = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no such signals"
)

Emogg = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def emogg(capfd: pytest.CaptureFixture[str]) -> Emogg:
    """Give the command as a function, in this process."""
    return partial(call, capfd)


def ids_of(emulator: EmoggEmulator, state: str) -> list[str]:
    """Return the ids of the sessions in a state, newest first."""
    return [session.id for session in emulator.sessions if session.state == state]


def sent_to(emulator: EmoggEmulator) -> list[tuple[str, str]]:
    """Return method and path of all requests."""
    return [(request.method, request.path) for request in emulator.requests]


def shown(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what is left on a terminal when it has done as it was told."""
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", done.stdout).replace("\r\n", "\n")


def register(emogg: Emogg, session_id: str, form: str) -> str:
    """Register a source and return its id."""
    done = emogg("sources", "register", session_id, "Heart rate", "--format", form)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["id"])


# -- one write -------------------------------------------------------------------------


def test_create(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """What was created is printed, and is there."""
    done = emogg("sessions", "create", "Pitch", STREAM)
    assert (done.returncode, done.stderr) == (0, "")
    session = json.loads(done.stdout)
    assert (session["name"], session["state"]) == ("Pitch", "active")
    assert emogg_emulator.sessions[0].id == session["_id"]


def test_rename(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """The session is printed with its new name, in the form that was asked for."""
    session_id = emogg_emulator.sessions[3].id
    command = ("sessions", "rename", session_id, "Second try")
    done = emogg(*command, "-o", "csv", "--fields", "id,name")
    assert done.stdout == f"id,name\n{session_id},Second try\n"
    assert emogg_emulator.sessions[3].name == "Second try"


def test_register_and_send(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """A source takes the events of its format, numbers as people write them."""
    session_id = ids_of(emogg_emulator, "active")[0]
    scalar = register(emogg, session_id, "scalar")
    text = register(emogg, session_id, "text")
    send = ("events", "send", session_id)
    done = emogg(*send, scalar, "--time", "12", "--number", "-71.5")
    event = json.loads(done.stdout)
    assert (event["time"], event["data"], event["source"]) == (12, -71.5, scalar)
    done = emogg(*send, text, "--time", "1.5", "--text", "=demo", "-o", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["time"], row["data"], row["type"]) == ("1.5", "'=demo", "sensor_report")
    done = emogg(*send, text, "--time", "0", "--text", "", "--fields", "data")
    assert json.loads(done.stdout) == {"data": ""}


@needs_terminal
@pytest.mark.parametrize("columns", [80, 140])
def test_sources_are_a_table(emogg_emulator: EmoggEmulator, columns: int) -> None:
    """On a terminal a source is a line of a table, with what events need."""
    session_id = ids_of(emogg_emulator, "active")[0]
    command = ("sources", "register", session_id, HOSTILE, "--format", "text")
    done = run_on_terminal(*command, columns=columns, NO_COLOR="1")
    head, row = shown(done).splitlines()
    assert head.split() == ["id", "name", "format"]
    assert re.match(r"[0-9a-f-]{36} .*pwned.* text$", row)
    assert not OBEYED.search(row)


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("sessions", "create", "n" * 257, STREAM), "got 257"),
        (("sessions", "create", "Pitch", "http://example.com"), "rtmps://"),
        (("sessions", "create", "Pitch"), "STREAM_URI"),
        (("sessions", "rename", "nonsense", "n"), "session_id"),
        (("sessions", "rename", UNKNOWN_ID, ""), "name"),
        (("sources", "register", UNKNOWN_ID, "n", "--format", "xml"), "scalar"),
        (("sources", "register", UNKNOWN_ID, "n"), "--format"),
        (("events", "send", UNKNOWN_ID, "s", "--text", "t"), "--time"),
        (("events", "send", UNKNOWN_ID, "s", "--time", "1"), "--number"),
        (
            (
                *("events", "send", UNKNOWN_ID, "s", "--time", "1", "--text", "t"),
                *("--number", "1"),
            ),
            "--number",
        ),
        (("events", "send", UNKNOWN_ID, "s", "--time", "-1", "--text", "t"), "--time"),
        (("events", "send", UNKNOWN_ID, "s", "--time", "1", "--text", "t"), "source"),
    ],
)
@pytest.mark.parametrize("rehearsed", [(), ("--dry-run",)])
def test_refused_before_it_is_sent(
    emogg_emulator: EmoggEmulator,
    emogg: Emogg,
    command: tuple[str, ...],
    hint: str,
    rehearsed: tuple[str, ...],
) -> None:
    """What cannot be right is wrong usage, and nothing is sent."""
    done = emogg(*command, *rehearsed)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 2
    assert emogg_emulator.requests == ()


# -- what is unknown -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("sessions create Pitch rtmp://a/b", "`emogg sessions list --started-after 20"),
        ("sessions rename {} Pitch", "Run it again"),
        ("sources register {} n --format text", "`emogg sessions get {} --fields"),
        (
            "events send {} c1fcba18-15ec-457c-a1de-fcbb87aeaa0e --time 1 --text t",
            "twice",
        ),
    ],
)
def test_unknown_outcome(
    emogg_emulator: EmoggEmulator, emogg: Emogg, command: str, hint: str
) -> None:
    """A write whose answer was lost has a code of its own, and says how to look."""
    session_id = emogg_emulator.sessions[0].id
    emogg_emulator.fail("POST", fault="reset")
    emogg_emulator.fail("PATCH", fault="reset")
    done = emogg(*command.format(session_id).split(), "--timeout", "1")
    assert (done.returncode, done.stdout) == (9, "")
    what, next_step = done.stderr.splitlines()
    assert "nobody knows whether it took effect" in what
    assert hint.format(session_id) in next_step


def test_looking_finds_it(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """The command that an unknown outcome names finds what was created after all."""
    emogg_emulator.advance(time.time() - emogg_emulator.now().timestamp())
    emogg_emulator.fail("POST", fault="cut", times=1)
    done = emogg("sessions", "create", "Pitch", STREAM)
    assert done.returncode == 9
    found = re.search("`emogg (.*)`", done.stderr)
    assert found is not None
    again = emogg(*found[1].split(), "-o", "json", "--fields", "name")
    names = [session["name"] for session in json.loads(again.stdout)]
    expected = [s.name for s in emogg_emulator.sessions if s.name == "Pitch"]
    assert names == expected


@needs_signals
def test_interrupted_create(emogg_emulator: EmoggEmulator) -> None:
    """Ctrl-C while the answer is awaited ends with 130, and says how to look."""
    emogg_emulator.fail("POST", fault="hang")
    with running("sessions", "create", "Pitch", STREAM) as process:
        assert process.stderr is not None
        while not emogg_emulator.in_flight:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 130
        said = process.stderr.read()
    assert said.startswith(
        "It may have taken effect. Look before you repeat it: `emogg"
    )
    assert said.count("\n") == 1


# -- rehearsals ------------------------------------------------------------------------

WRITES = {
    "sessions create Pitch rtmp://a/b": (
        'POST /v1/sessions {{"name": "Pitch", "streamUri": "rtmp://a/b"}}'
    ),
    "sessions rename {0} Pitch": 'PATCH /v1/sessions/{0} {{"name": "Pitch"}}',
    "sessions stop {0}": "POST /v1/sessions/{0}/stop",
    "sessions delete {1}": "DELETE /v1/sessions/{1}",
    "sources register {0} n --format text": (
        'POST /v1/sessions/{0}/events {{"name": "n", "format": "text"}}'
    ),
    "events send {0} {2} --time 1 --number 2": (
        'POST /v1/sessions/{0}/sources/{2}/events {{"time": 1, "data": 2}}'
    ),
}


@pytest.mark.parametrize("command", WRITES)
def test_rehearsal(
    emogg_emulator: EmoggEmulator,
    emogg: Emogg,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """`--dry-run` shows what is then sent, sends nothing, and needs no token."""
    active = ids_of(emogg_emulator, "active")[0]
    finished = ids_of(emogg_emulator, "finished")[0]
    source = register(emogg, active, "scalar")
    begun = len(emogg_emulator.requests)
    words = command.format(active, finished, source).split()
    with monkeypatch.context() as patch:
        patch.delenv("EMOGG_API_TOKEN")
        done = emogg(*words, "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    line = done.stdout.removesuffix("\n")
    assert line == WRITES[command].format(active, finished, source)
    assert len(emogg_emulator.requests) == begun
    real = emogg(*words, *(["--yes"] if words[1] in {"stop", "delete"} else []))
    assert real.returncode == 0, real.stderr
    assert tuple(line.split(" ")[:2]) == sent_to(emogg_emulator)[-1]


def test_rehearsal_of_many(
    emogg_emulator: EmoggEmulator, emogg: Emogg, tmp_path: Path
) -> None:
    """All that would be sent is shown in order; what could not be is told."""
    ids = [session.id for session in emogg_emulator.sessions[:20]]
    path = tmp_path / "ids.txt"
    path.write_text("\n".join([*ids, "nonsense"]))
    done = emogg("sessions", "delete", "--from-file", str(path), "--dry-run")
    assert done.returncode == 3
    assert done.stdout.splitlines() == [f"DELETE /v1/sessions/{each}" for each in ids]
    assert json.loads(done.stderr)["id"] == "nonsense"
    assert emogg_emulator.requests == ()


def test_rehearsal_is_harmless(emogg: Emogg) -> None:
    """What a terminal would obey is shown as JSON has it."""
    name = HOSTILE.replace("\x00", "")
    done = emogg("sessions", "create", name, STREAM, "--dry-run")
    assert not OBEYED.search(done.stdout.removesuffix("\n"))
    assert json.loads(done.stdout.split(" ", 2)[2])["name"] == name


# -- several sessions ------------------------------------------------------------------


def test_stop_several(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """Those that can be are stopped and printed; each failure is a line of its own."""
    active = ids_of(emogg_emulator, "active")[:2]
    finished = ids_of(emogg_emulator, "finished")[0]
    ids = [active[0], finished, active[1].upper(), active[0]]
    done = emogg("sessions", "stop", *ids, "--yes")
    assert done.returncode == 3
    stopped = [json.loads(line) for line in done.stdout.splitlines()]
    assert [session["_id"] for session in stopped] == active
    assert {session["state"] for session in stopped} == {"finished"}
    failure = json.loads(done.stderr)
    assert (failure["id"], failure["status"]) == (finished, 400)
    assert f"`emogg sessions get {finished}`" in failure["next"]


def test_delete_several(
    emogg_emulator: EmoggEmulator, emogg: Emogg, tmp_path: Path
) -> None:
    """The ids of those that are gone are printed."""
    finished = ids_of(emogg_emulator, "finished")[:3]
    path = tmp_path / "ids.txt"
    path.write_text("\n".join([*finished, UNKNOWN_ID]))
    done = emogg("sessions", "delete", "--from-file", str(path), "--yes")
    assert done.returncode == 3
    assert done.stdout.split() == finished
    assert json.loads(done.stderr)["id"] == UNKNOWN_ID
    assert not {*finished} & {session.id for session in emogg_emulator.sessions}


def test_delete_from_stdin(emogg_emulator: EmoggEmulator) -> None:
    """Ids can come through a pipe, if there is no question to answer."""
    finished = ids_of(emogg_emulator, "finished")[:2]
    done = subprocess.run(
        [*COMMAND, "sessions", "delete", "-", "--yes"],
        env=environment(),
        input="\n".join(finished),
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    assert (done.stdout.split(), done.stderr) == (finished, "")


def test_delete_what_runs(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """An active session is not deleted, and it is said how it could be."""
    active = ids_of(emogg_emulator, "active")[0]
    done = emogg("sessions", "delete", active, "--yes")
    assert (done.returncode, done.stdout) == (1, "")
    assert f"`emogg sessions stop {active}`" in done.stderr.splitlines()[1]


@pytest.mark.parametrize(("times", "code"), [(1, 0), (None, 9)])
def test_delete_whose_answer_is_lost(
    emogg_emulator: EmoggEmulator, emogg: Emogg, times: int | None, code: int
) -> None:
    """A lost answer is settled by a repeat; if all are lost, it is unknown."""
    finished = ids_of(emogg_emulator, "finished")[0]
    emogg_emulator.fail("DELETE", fault="reset", times=times)
    done = emogg("sessions", "delete", finished, "--yes", "--timeout", "1")
    assert done.returncode == code
    assert done.stdout.split() == ([finished] if code == 0 else [])
    assert ("Run it again" in done.stderr) == (code != 0)


# -- questions -------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["stop", "delete"])
def test_yes_is_demanded(
    emogg_emulator: EmoggEmulator, emogg: Emogg, action: str
) -> None:
    """Without a terminal and without --yes, nothing is even looked up."""
    done = emogg("sessions", action, emogg_emulator.sessions[0].id)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[1] == "Add --yes to do it without a question."
    assert emogg_emulator.requests == ()


@needs_terminal
def test_yes_is_demanded_of_a_pipe(emogg_emulator: EmoggEmulator) -> None:
    """Where ids come through a pipe nobody could answer, whatever stdout is."""
    finished = ids_of(emogg_emulator, "finished")[0]
    done = run_on_terminal("sessions", "delete", "-", stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Add --yes" in done.stderr
    done = run_on_terminal("sessions", "delete", finished, stdin=subprocess.DEVNULL)
    assert (done.returncode, done.stdout) == (2, "")
    assert emogg_emulator.requests == ()


@needs_terminal
@pytest.mark.parametrize("columns", [80, 140])
def test_question(emogg_emulator: EmoggEmulator, columns: int) -> None:
    """A terminal is shown names, states and how many; a yes deletes just those."""
    finished, active = (
        ids_of(emogg_emulator, "finished"),
        ids_of(emogg_emulator, "active"),
    )
    emogg_emulator.update_session(finished[0], name=HOSTILE.replace("\u202e", ""))
    ids = [*finished[:2], UNKNOWN_ID, active[0]]
    command = ("sessions", "delete", *ids)
    done = run_answering(*command, answer="y\n", columns=columns, NO_COLOR="1")
    assert done.returncode == 3
    asked, _, rest = shown(done).partition(" [y/N] y\n")
    *table, left_alone, prompt = asked.splitlines()
    assert [line[:24] for line in table[1:]] == [*finished[:2], active[0]]
    assert "pwned" in table[1]
    assert not any(OBEYED.search(line) for line in table)
    assert left_alone == "1 id could not be looked up: left alone."
    assert prompt.startswith("Delete these 3 sessions (2 finished, 1 active) for good")
    done_with, _, failures = rest.partition("Deleted 2 sessions.\n")
    assert done_with.splitlines() == finished[:2]
    first, *lines = failures.splitlines()
    assert first == "2 of 4 ids failed:"
    assert {f"    {UNKNOWN_ID}", f"    {active[0]}"} <= {*lines}
    assert "  404: Session not found:" in lines
    assert ("DELETE", f"/v1/sessions/{UNKNOWN_ID}") not in sent_to(emogg_emulator)


@needs_terminal
@pytest.mark.parametrize(
    ("answer", "code"), [("\n", 1), ("no\n", 1), ("\x04", 1), ("\x03", 130)]
)
def test_no(emogg_emulator: EmoggEmulator, answer: str, code: int) -> None:
    """Whatever is no yes changes nothing; Ctrl-C ends at once, and cleanly."""
    active = ids_of(emogg_emulator, "active")[0]
    done = run_answering("sessions", "stop", active, answer=answer)
    assert done.returncode == code
    assert {method for method, _ in sent_to(emogg_emulator)} == {"GET"}
    *_, last = shown(done).splitlines()
    if code == 1:
        assert last == "Nothing was changed."
    else:
        assert last.startswith("Stop this active session? [y/N] ")
    assert done.stdout.endswith("\n")


@needs_terminal
def test_question_without_sessions(emogg_emulator: EmoggEmulator) -> None:
    """What cannot be looked up is told without a question."""
    done = run_answering("sessions", "stop", UNKNOWN_ID, answer="", prompt="404")
    assert done.returncode == 5
    assert "[y/N]" not in done.stdout
    ids = (UNKNOWN_ID, "e" * 24)
    done = run_answering("sessions", "stop", *ids, answer="", prompt="404")
    assert done.returncode == 5
    assert "[y/N]" not in done.stdout


@needs_terminal
@pytest.mark.parametrize("state", ["finished", "processing"])
def test_stop_of_a_stopped_session(emogg_emulator: EmoggEmulator, state: str) -> None:
    """Nobody is asked whether to stop a session that cannot be stopped."""
    stopped = emogg_emulator.add_session(state=state).id
    done = run_answering("sessions", "stop", stopped, answer="", prompt="session")
    assert done.returncode == 1
    what, next_step = shown(done).splitlines()
    assert what == f"Error: session {stopped} is {state}"
    assert next_step.endswith(f"`emogg sessions get {stopped}`.")
    assert {method for method, _ in sent_to(emogg_emulator)} == {"GET"}


@needs_terminal
def test_bad_id_of_a_file(emogg_emulator: EmoggEmulator, tmp_path: Path) -> None:
    """The next step names the file that has the id, alone or beside others."""
    path = tmp_path / "ids.txt"
    path.write_text("nonsense")
    command = ("sessions", "stop", "--from-file", str(path))
    done = run_answering(*command, answer="", prompt="Correct ")
    assert done.returncode == 2
    assert "".join(shown(done).splitlines()).endswith(f"Correct {path}.")


@needs_terminal
def test_stop_from_a_file(emogg_emulator: EmoggEmulator, tmp_path: Path) -> None:
    """Ids of a file can be asked about, too."""
    active = ids_of(emogg_emulator, "active")
    path = tmp_path / "ids.txt"
    path.write_text("\n".join(active))
    command = ("sessions", "stop", "--from-file", str(path), "--fields", "state")
    done = run_answering(*command, answer="yes\n", NO_COLOR="1")
    assert done.returncode == 0
    assert f"Stop these {len(active)} active sessions? [y/N] yes" in shown(done)
    assert shown(done).endswith(f"finished\nStopped {len(active)} sessions.\n")


@given(st.lists(st.sampled_from(["active", "finished", "pau\x1bsed"]), min_size=1))
def test_question_counts(states: list[str]) -> None:
    """The question says how many there are in each state, and is harmless."""
    session = EmoggEmulator(sessions=1).sessions[0]
    sessions = [attrs.evolve(session, state=type(session.state)(s)) for s in states]
    asked = question("Stop {}?", sessions)
    assert not OBEYED.search(asked)
    assert (f" {len(states)} " in asked) == (len(states) > 1)
    for state in {*states}:
        assert state.replace("\x1b", "\ufffd") in asked
    numbers = [int(each) for each in re.findall(r"\d+", asked)]
    if len({*states}) > 1:
        assert sum(numbers) == 2 * len(states)
