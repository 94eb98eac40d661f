"""`emogg sessions get` and `emogg sessions list`, against a real emulator.

What depends on pipes, terminals or signals runs as a process of its own.
"""

import csv
import io
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from _terminal import (
    COMMAND,
    PYTHON,
    Program,
    call,
    environment,
    run,
    run_in_shell,
    run_on_terminal,
    run_watched,
    running,
)
from rich.cells import cell_len

from emogg_async import to_dict, to_json
from emogg_async._cli.output.fields import FIELDS
from emogg_async.testing import EmoggEmulator

UNKNOWN_ID = "f" * 24
HOSTILE = "\x1b]0;pwned\x07\x1b[31m\x9b2J\r\n[red]x[/red] :smile: \u202e\ud800 Ü"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")

needs_signals = pytest.mark.skipif(
    os.name == "nt", reason="Windows has no such signals"
)
needs_terminal = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")

Emogg = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def emogg(capfd: pytest.CaptureFixture[str]) -> Emogg:
    """Give the command as a function, in this process."""
    return partial(call, capfd)


def ids_of(emulator: EmoggEmulator, count: int) -> list[str]:
    """Return the ids of the newest sessions."""
    return [session.id for session in emulator.sessions[:count]]


def without_colours(text: str) -> str:
    """Return what is left of *text* on a terminal when it has done as it was told."""
    return re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", text).replace("\r\n", "\n")


# -- get: what is fetched --------------------------------------------------------------


def test_get_prints_json_lines(emogg_emulator: EmoggEmulator) -> None:
    """In a pipe, each session is a line of the service's JSON, in the order asked."""
    sessions = emogg_emulator.sessions[:3]
    emogg_emulator.fail("GET", f"*/{sessions[0].id}", delay=0.3)
    ids = [session.id for session in sessions]
    done = run("sessions", "get", *ids, ids[1].upper())
    assert done.returncode == 0
    assert done.stderr == ""
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == [to_dict(session) for session in (*sessions, sessions[1])]


def test_get_prints_at_once(emogg_emulator: EmoggEmulator) -> None:
    """A session is printed as soon as those before it are, not when all are there."""
    first, second = ids_of(emogg_emulator, 2)
    emogg_emulator.fail("GET", f"*/{second}", fault="hang")
    with running("sessions", "get", first, second) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["_id"] == first


def test_get_prints_text_as_it_is(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """JSON lines keep letters readable."""
    session_id = emogg_emulator.add_session(name="Übung 佐藤").id
    assert "Übung 佐藤" in emogg("sessions", "get", session_id).stdout


@needs_terminal
@pytest.mark.parametrize(("columns", "sources"), [(80, "src"), (140, "sources")])
def test_get_draws_a_table(
    emogg_emulator: EmoggEmulator, columns: int, sources: str
) -> None:
    """On a terminal the sessions are a table that fits, with whole ids."""
    ids = ids_of(emogg_emulator, 8)
    emogg_emulator.update_session(ids[0], name="n" * 256, state="paused")
    done = run_on_terminal("sessions", "get", *ids, columns=columns, NO_COLOR="1")
    assert done.returncode == 0
    head, *rows = without_colours(done.stdout).splitlines()
    assert head.split()[:3] == ["id", "name", "state"]
    assert sources in head.split()
    assert [row.split()[0] for row in rows] == ids
    assert all(len(row) <= columns for row in rows)
    assert "n…" in rows[0]
    assert "paused" in rows[0]


def test_get_cuts_nothing_in_a_pipe(
    emogg_emulator: EmoggEmulator, emogg: Emogg
) -> None:
    """A table in a pipe has everything in full, and no escape codes."""
    session_id = emogg_emulator.add_session(name="n" * 256, duration=3_725.0).id
    done = emogg("sessions", "get", session_id, "-o", "table")
    assert "n" * 256 in done.stdout
    assert " 1:02:05" in done.stdout
    assert "\x1b" not in done.stdout


@needs_terminal
def test_get_honours_no_color(emogg_emulator: EmoggEmulator) -> None:
    """NO_COLOR turns the colours off that are there otherwise."""
    ids = ids_of(emogg_emulator, 1)
    colour = re.compile(r"\x1b\[(?:\d;)*[349]\d")
    assert colour.search(run_on_terminal("sessions", "get", *ids).stdout)
    plain = run_on_terminal("sessions", "get", *ids, NO_COLOR="1")
    assert ids[0] in plain.stdout
    assert not colour.search(plain.stdout)


@needs_terminal
@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_hostile_names_are_harmless(emogg_emulator: EmoggEmulator, form: str) -> None:
    """Nothing in a name reaches the terminal as a control character or as markup."""
    session = emogg_emulator.sessions[0]
    wire = to_dict(session) | {"name": HOSTILE}
    emogg_emulator.fail("GET", f"*/{session.id}", status=200, body=wire)
    done = run_on_terminal(
        "sessions", "get", session.id, "-o", form, columns=140, NO_COLOR="1"
    )
    assert done.returncode == 0, done.stderr
    assert "[red]x[/red] :smile:" in done.stdout
    shown = without_colours(done.stdout)
    assert not OBEYED.search(shown)
    if form == "json":
        assert json.loads(shown)[0]["name"] == HOSTILE


def test_hostile_messages_are_harmless(
    emogg_emulator: EmoggEmulator, emogg: Emogg
) -> None:
    """Nothing in the service's own message reaches the terminal as a command."""
    ids = ids_of(emogg_emulator, 2)
    body = {"error": True, "status": 418, "message": f"a{HOSTILE}z"}
    emogg_emulator.fail(status=418, body=body)
    for done in (emogg("sessions", "get", ids[0]), emogg("sessions", "get", *ids)):
        assert done.returncode == 1
        assert "pwned" in done.stderr
        assert done.stderr.count("\n") == 2
        assert not OBEYED.search(done.stderr)


# -- get: one session ----------------------------------------------------------------


@needs_terminal
def test_get_shows_a_page(emogg_emulator: EmoggEmulator) -> None:
    """On a terminal, one session is a page that names every field and its value."""
    session = next(
        each for each in emogg_emulator.sessions if each.meta and len(each.sources) == 2
    )
    done = run_on_terminal("sessions", "get", session.id, NO_COLOR="1")
    assert done.returncode == 0
    lines = without_colours(done.stdout).splitlines()
    found = [tuple(line.replace("- ", "  ", 1).split(None, 1)) for line in lines]
    assert ("id", session.id) in found
    assert ("timestamp", f"{session.timestamp:%Y-%m-%d %H:%M:%S} UTC") in found
    for source in session.sources:
        assert {("id", source.id), ("name", source.name)} <= {*found}
    names = {each[0] for each in found}
    assert {name.rpartition(".")[2] for name in FIELDS["session"]} >= names
    assert {name for name in FIELDS["session"] if "." not in name} <= names
    assert {"expires", "health_check", "worker_state"} <= names
    assert max(map(len, lines)) <= 80


@needs_terminal
@pytest.mark.parametrize("columns", [20, 40, 80])
def test_pages_are_safe_and_fit(emogg_emulator: EmoggEmulator, columns: int) -> None:
    """Unknown and expanded fields are shown, hostile ones are harmless; all fits."""
    session = emogg_emulator.sessions[0]
    future = {"deep": {"a": [1, {"b": None}]}, f"k{HOSTILE}": [HOSTILE], "none": []}
    wire = to_dict(session) | {"name": HOSTILE * 5, "future": future}
    wire["user"] = {"_id": session.user, "email": "mei@example.com"}
    emogg_emulator.fail("GET", f"*/{session.id}", status=200, body=wire)
    arguments = ("sessions", "get", session.id, "--expand", "user")
    done = run_on_terminal(*arguments, columns=columns, NO_COLOR="1")
    assert done.returncode == 0, done.stderr
    shown = without_colours(done.stdout)
    assert not OBEYED.search(shown)
    assert all(cell_len(line) <= columns for line in shown.splitlines())
    for text in ("future", "deep", "mei@example.com", "[1, {"):
        assert text in shown
    assert "[red]x[/red]" in "".join(shown.split())


@needs_terminal
def test_pages_have_chosen_fields(emogg_emulator: EmoggEmulator) -> None:
    """`--fields` chooses the fields of a page; `-o table` is still a table."""
    session = emogg_emulator.sessions[0]
    command = ("sessions", "get", session.id, "--fields", "state,id")
    done = run_on_terminal(*command, NO_COLOR="1")
    assert (
        without_colours(done.stdout) == f"state  {session.state}\nid     {session.id}\n"
    )
    done = run_on_terminal(*command, "-o", "table", NO_COLOR="1")
    assert without_colours(done.stdout).splitlines()[0].split() == ["state", "id"]


@needs_terminal
def test_json_is_indented_for_people(
    emogg_emulator: EmoggEmulator, emogg: Emogg
) -> None:
    """`-o json` is indented on a terminal, and the same in one line elsewhere."""
    session = emogg_emulator.sessions[0]
    for command in (
        ("sessions", "get", session.id, "-o", "json"),
        ("emotions", "timeline", session.id, "-o", "json"),
    ):
        shown = without_colours(run_on_terminal(*command).stdout)
        piped = emogg(*command).stdout
        assert '\n  "' in shown
        assert '\n  "' not in piped
        assert json.loads(shown) == json.loads(piped)


# -- get: ids from elsewhere -----------------------------------------------------------


def test_get_reads_a_file(
    emogg_emulator: EmoggEmulator, emogg: Emogg, tmp_path: Path
) -> None:
    """A file has an id to a line; what is blank or a comment is passed over."""
    first, second, third = ids_of(emogg_emulator, 3)
    path = tmp_path / "ids.txt"
    path.write_text(f"# newest\n{first}\n\n  {second}  # two\r\n{third}")
    done = emogg("sessions", "get", "--from-file", str(path), "--fields", "id,name")
    assert done.returncode == 0
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [
        {"id": session.id, "name": session.name}
        for session in emogg_emulator.sessions[:3]
    ]


@needs_signals
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_get_begins_before_stdin_ends(
    emogg_emulator: EmoggEmulator, number: signal.Signals, code: int
) -> None:
    """Sessions are printed while ids are still awaited, and signals end the wait."""
    first, second = ids_of(emogg_emulator, 2)
    with Program(
        [*COMMAND, "sessions", "get", "-"],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        for session_id in (first, second):
            process.stdin.write(f"{session_id}\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["_id"] == session_id
        process.send_signal(number)
        assert process.wait(timeout=10) == code
        assert process.stderr.read() == ""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such shell")
@pytest.mark.parametrize("options", [(), ("--fields", "name,id")])
def test_get_takes_a_list(
    emogg_emulator: EmoggEmulator, options: tuple[str, ...]
) -> None:
    """What `list` writes as JSON lines is what `get -` takes, in its order."""
    line = '"$@" | "$1" "$2" "$3" "$4" "$5" sessions get - --fields id -o jsonl'
    command = ("sessions", "list", "-o", "jsonl", "-q", "--limit", "7", *options)
    done = run_in_shell(line, *command)
    found = [json.loads(each)["id"] for each in done.stdout.splitlines()]
    assert found == ids_of(emogg_emulator, 7)


@pytest.mark.parametrize(
    "command", [("sessions", "get"), ("sessions", "delete", "--yes")]
)
@pytest.mark.parametrize("between", [",", "\n,"], ids=["one line", "lines"])
def test_arrays_are_refused(
    emogg_emulator: EmoggEmulator,
    emogg: Emogg,
    tmp_path: Path,
    command: tuple[str, ...],
    between: str,
) -> None:
    """A JSON array instead of ids is one error, which names the form that works."""
    path = tmp_path / "sessions.json"
    records = between.join(map(to_json, emogg_emulator.sessions))
    path.write_text(f"[{records}]", encoding="utf-8")
    done = emogg(*command, "--from-file", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    what, next_step = done.stderr.splitlines()
    assert what == "Error: ids: expected one to a line, got a JSON array."
    assert "-o jsonl" in next_step
    assert emogg_emulator.requests == ()


@needs_signals
def test_an_endless_array_is_refused_at_once(emogg_emulator: EmoggEmulator) -> None:
    """An array on standard input is refused before its first line has ended."""
    with Program(
        [*COMMAND, "sessions", "get", "-"],
        env=environment(),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(" [{")
        process.stdin.flush()
        assert process.wait(timeout=10) == 2
        assert "-o jsonl" in process.stderr.read()


@pytest.mark.parametrize("command", [("sessions", "get"), ("emotions", "totals")])
def test_records_and_ids_are_mixed(
    emogg_emulator: EmoggEmulator,
    emogg: Emogg,
    tmp_path: Path,
    command: tuple[str, str],
) -> None:
    """A file may hold records and ids; a record without an id fails alone."""
    first, second, third = emogg_emulator.sessions[:3]
    path = tmp_path / "ids.txt"
    lines = (json.dumps(to_dict(first)), second.id, f'{{"id": "{third.id}"}}', "{}")
    path.write_text("\n".join(lines))
    done = emogg(*command, "--from-file", str(path), "-o", "jsonl")
    assert done.returncode == 3
    found = [json.loads(each) for each in done.stdout.splitlines()]
    ids = dict.fromkeys(each.get("_id") or each["session"] for each in found)
    assert list(ids) == [first.id, second.id, third.id]
    failure = json.loads(done.stderr)
    assert failure["id"] == "{}"
    assert failure["next"] == f"Correct {path}."


def test_records_are_written_to(
    emogg_emulator: EmoggEmulator, emogg: Emogg, tmp_path: Path
) -> None:
    """Commands that change sessions take records, too."""
    session = emogg_emulator.add_session(state="finished")
    path = tmp_path / "old.jsonl"
    path.write_text(f"{json.dumps(to_dict(session))}\n")
    done = emogg("sessions", "delete", "--from-file", str(path), "--yes")
    assert (done.returncode, done.stdout) == (0, f"{session.id}\n"), done.stderr


def test_get_takes_one_source(emogg: Emogg, tmp_path: Path) -> None:
    """Ids come from one place; anything else is wrong usage."""
    path = tmp_path / "ids.txt"
    path.touch()
    for arguments in (
        (),
        ("-", "a"),
        ("-", "--from-file", str(path)),
        ("a", "--from-file", str(path)),
        ("--from-file", str(tmp_path / "none.txt")),
        ("--from-file", str(tmp_path)),
    ):
        done = emogg("sessions", "get", *arguments)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 2
        assert "--help" in done.stderr


@pytest.mark.parametrize(
    ("form", "nothing"), [("json", "[]\n"), ("jsonl", ""), ("table", "")]
)
def test_get_nothing(
    emogg_emulator: EmoggEmulator,
    emogg: Emogg,
    tmp_path: Path,
    form: str,
    nothing: str,
) -> None:
    """No ids are no failure, and no sessions are still valid JSON."""
    path = tmp_path / "ids.txt"
    path.write_text("# none\n")
    done = emogg("sessions", "get", "--from-file", str(path), "-o", form)
    assert (done.returncode, done.stdout, done.stderr) == (0, nothing, "")


@pytest.mark.skipif(os.name == "nt", reason="it has no descriptors to inherit")
def test_get_without_stdin() -> None:
    """A closed standard input is one clear message."""
    code = "import os, sys; os.close(0); os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [COMMAND[0], "-c", code, *COMMAND, "sessions", "get", "-"],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2
    assert "Standard input is closed" in done.stderr


@pytest.mark.skipif(
    not Path("/proc/self/mem").exists(), reason="only Linux has such a file"
)
def test_get_from_what_cannot_be_read(
    emogg_emulator: EmoggEmulator, emogg: Emogg
) -> None:
    """A file that opens and cannot be read is told in two lines."""
    done = emogg("sessions", "get", "--from-file", "/proc/self/mem")
    assert done.returncode == 1
    what, next_step = done.stderr.splitlines()
    assert "cannot read ids: Input/output error" in what
    assert "--from-file" in next_step


@pytest.fixture(scope="module")
def crowd() -> Iterator[EmoggEmulator]:
    """Give an emulator with many sessions."""
    with EmoggEmulator(sessions=10_000, rate_limit=(1_000_000, 60.0)) as emulator:
        yield emulator


MEASURED = """\
import re, sys
from pathlib import Path
from emogg_async._cli import main
try:
    main()
finally:
    # Not what `resource` tells: that begins with what the parent had.
    status = Path("/proc/self/status").read_text()
    print(re.search(r"VmHWM:\\s+(\\d+)", status)[1], file=sys.stderr)
"""


def peak_of(crowd: EmoggEmulator, count: int, tmp_path: Path, form: str) -> int:
    """Get so many sessions by ids on stdin; return the most memory it took, in kB."""
    sessions = crowd.sessions[:count]
    path = tmp_path / "out"
    with path.open("w") as stdout:
        done = subprocess.run(
            [*PYTHON, "-c", MEASURED, "sessions", "get", "-", "-o", form],
            env=environment(EMOGG_BASE_URL=crowd.url, EMOGG_API_TOKEN=crowd.token),
            input="".join(f"{session.id}\n" for session in sessions),
            stdout=stdout,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == count + (form == "table")
    for session, line in zip(sessions, lines[-count:], strict=True):
        assert session.id in line
    return int(done.stderr)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells the peak so"
)
@pytest.mark.parametrize(
    ("few", "many", "form"),
    [
        (1_500, 4_000, "jsonl"),
        pytest.param(2_000, 10_000, "jsonl", marks=pytest.mark.soak),
        pytest.param(2_000, 10_000, "table", marks=pytest.mark.soak),
    ],
)
def test_get_needs_little_memory(
    crowd: EmoggEmulator, tmp_path: Path, few: int, many: int, form: str
) -> None:
    """However many ids come through stdin, it takes no more memory."""
    peaks = [peak_of(crowd, count, tmp_path, form) for count in (few, many)]
    assert peaks[1] - peaks[0] < 1_000, peaks


# -- get: what fails -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code", "step"),
    [
        ({"status": 401}, 4, "Check EMOGG_API_TOKEN"),
        ({"status": 403}, 4, "token"),
        ({"status": 404}, 5, "Check the id"),
        ({"status": 429, "headers": {"Retry-After": "3600"}}, 6, "Wait"),
        ({"status": 501}, 8, "Try again later"),
        ({"status": 418}, 1, "docs.emogg.com"),
        ({"fault": "garbage"}, 1, "EMOGG_BASE_URL"),
    ],
)
def test_failures_have_their_codes(
    emogg_emulator: EmoggEmulator,
    emogg: Emogg,
    answer: dict[str, object],
    code: int,
    step: str,
) -> None:
    """A failure says in two lines what failed and what to do, and has its exit code."""
    emogg_emulator.fail(**answer)  # type: ignore[arg-type]
    (session_id,) = ids_of(emogg_emulator, 1)
    done = emogg("sessions", "get", session_id)
    assert done.returncode == code
    assert done.stdout == ""
    what, next_step = done.stderr.splitlines()
    assert what.startswith(f"Error: {answer.get('status', '')}")
    assert f"GET /v1/sessions/{session_id}" in what
    assert "attempt" in what
    assert step in next_step


def test_unknown_id(emogg_emulator: EmoggEmulator) -> None:
    """An id that does not exist ends with 5."""
    done = run("sessions", "get", UNKNOWN_ID)
    assert done.returncode == 5
    assert "Session not found" in done.stderr


def test_wrong_id(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """What is no id at all is wrong usage, and nothing is sent."""
    done = emogg("sessions", "get", "../users\x1b[31m")
    assert done.returncode == 2
    assert "24 hex digits" in done.stderr
    assert done.stderr.count("\n") == 2
    assert "\x1b" not in done.stderr
    assert emogg_emulator.requests == ()


@pytest.mark.parametrize("token", [None, "", "two words"])
def test_no_token(
    emogg: Emogg, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    """Without a usable token it ends with 4, names the variable, and prints nothing."""
    monkeypatch.delenv("EMOGG_API_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("EMOGG_API_TOKEN", token)
    for command in (("get", UNKNOWN_ID), ("list",), ("export",)):
        done = emogg("sessions", *command, "-o", "csv")
        assert done.returncode == 4
        assert done.stdout == ""
        assert "Set EMOGG_API_TOKEN" in done.stderr
        assert done.stderr.count("\n") == 2


def test_token_file(
    emogg_emulator: EmoggEmulator,
    emogg: Emogg,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """A file can hold the token; one that does not ends with 4 and is named."""
    monkeypatch.delenv("EMOGG_API_TOKEN")
    path = tmp_path / "token"
    command = ("sessions", "list", "--limit", "1", "--token-file", str(path))
    for content in (None, b"", b"\xff"):
        if content is not None:
            path.write_bytes(content)
        done = emogg(*command)
        assert done.returncode == 4
        assert str(path) in done.stderr
        assert done.stderr.count("\n") == 2
    for mark in ("", "\N{BYTE ORDER MARK}"):  # with which editors on Windows begin
        path.write_text(f"{mark}{emogg_emulator.token}\n", encoding="utf-8")
        assert emogg(*command).returncode == 0


def test_nobody_listens(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """A service that cannot be reached ends with 7, after some attempts."""
    emogg_emulator.stop()
    done = emogg("sessions", "get", UNKNOWN_ID, "--timeout", "0.8")
    assert done.returncode == 7
    what, next_step = done.stderr.splitlines()
    assert "attempt" in what
    assert "EMOGG_BASE_URL" in next_step


def test_some_fail(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """When part of several ids fails, the rest is printed, and each failure told."""
    first, second = ids_of(emogg_emulator, 2)
    done = emogg("sessions", "get", first, UNKNOWN_ID, "nonsense", second)
    assert done.returncode == 3
    printed = [json.loads(line)["_id"] for line in done.stdout.splitlines()]
    assert printed == [first, second]
    failures = [json.loads(line) for line in done.stderr.splitlines()]
    assert [failure["id"] for failure in failures] == [UNKNOWN_ID, "nonsense"]
    assert failures[0]["error"] == "NotFoundError"
    assert failures[0]["status"] == 404
    assert failures[0]["attempts"] == 1
    assert failures[1]["error"] == "InvalidArgumentError"


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        (["a", "b"], 2),
        ([UNKNOWN_ID, "e" * 24], 5),
        ([UNKNOWN_ID, UNKNOWN_ID], 5),
        ([UNKNOWN_ID, "a"], 3),
    ],
)
def test_all_fail(
    emogg_emulator: EmoggEmulator, emogg: Emogg, ids: list[str], code: int
) -> None:
    """When all of several ids fail for one reason, its code is that of one alone."""
    done = emogg("sessions", "get", *ids, "-o", "table")
    assert done.returncode == code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == len(ids)


def test_one_of_a_file_fails(
    emogg_emulator: EmoggEmulator, emogg: Emogg, tmp_path: Path
) -> None:
    """A file is a bulk, also if it has one id: its failure is a line of JSON."""
    path = tmp_path / "ids.txt"
    path.write_text(UNKNOWN_ID)
    done = emogg("sessions", "get", "--from-file", str(path))
    assert done.returncode == 5
    assert json.loads(done.stderr)["id"] == UNKNOWN_ID


def test_bad_id_of_a_file(
    emogg_emulator: EmoggEmulator, emogg: Emogg, tmp_path: Path
) -> None:
    """The next step after a bad id names the place that it was read from."""
    path = tmp_path / "ids.txt"
    path.write_text(f"nonsense\n{UNKNOWN_ID}")
    done = emogg("sessions", "get", "--from-file", str(path))
    bad, unknown = (json.loads(line)["next"] for line in done.stderr.splitlines())
    assert bad == f"Correct {path}."
    assert "ids.txt" not in unknown
    done = emogg("sessions", "get", "nonsense", ids_of(emogg_emulator, 1)[0])
    assert json.loads(done.stderr)["next"].startswith("Correct the command line")


# -- list ------------------------------------------------------------------------------


def test_list_shows_the_newest(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """Without options, the newest thirty are listed, with one request."""
    for _ in range(10):
        emogg_emulator.add_session()
    done = emogg("sessions", "list", "--fields", "id")
    assert done.returncode == 0
    assert done.stderr == ""
    found = [json.loads(line)["id"] for line in done.stdout.splitlines()]
    assert found == ids_of(emogg_emulator, 30)
    assert len(emogg_emulator.requests) == 1


def test_list_filters(emogg_emulator: EmoggEmulator, emogg: Emogg) -> None:
    """Filters reach the service; a time without an offset is UTC."""
    options = ("--state", "finished", "--type", "live_analysis")
    times = ("--started-after", "2024-03-02", "--started-before", "2024-03-29T10:00")
    done = emogg("sessions", "list", *options, *times, "--limit", "100")
    assert done.returncode == 0
    assert dict(emogg_emulator.requests[0].query) == {
        "state": "finished",
        "type": "live_analysis",
        "from": "2024-03-02T00:00:00.000Z",
        "to": "2024-03-29T10:00:00.000Z",
        "limit": "100",
    }
    assert done.stdout.count("\n") == sum(
        session.state == "finished"
        and "2024-03-02" <= f"{session.timestamp:%Y-%m-%dT%H:%M}" < "2024-03-29T10:00"
        for session in emogg_emulator.sessions
    )


@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_list_in_every_form(
    emogg_emulator: EmoggEmulator, emogg: Emogg, form: str
) -> None:
    """Each form has the fields that were asked for, under their names."""
    fields = ("id", "config.remove_media", "sources")
    command = ("sessions", "list", "--fields", ",".join(fields), "-o", form)
    done = emogg(*command, "--limit", "5")
    wanted = emogg_emulator.sessions[:5]
    if form == "json":
        assert json.loads(done.stdout) == [
            {
                "id": session.id,
                "config.remove_media": session.config and session.config.remove_media,
                "sources": [to_dict(source) for source in session.sources],
            }
            for session in wanted
        ]
    elif form == "csv":
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        assert [row["id"] for row in rows] == [session.id for session in wanted]
        names = [source.name for source in wanted[0].sources]
        assert rows[0]["sources"] == ", ".join(names)
    else:
        head, *lines = done.stdout.splitlines()
        assert tuple(head.split()) == fields
        assert [line[:24] for line in lines] == [session.id for session in wanted]


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        (("--fields", "nme"), "there are id, name,"),
        (("--started-after", "tomorrow"), "2024-03-29T08:51:26Z"),
        (("--limit", "0"), "--limit"),
        (("-o", "xml"), "jsonl"),
        (("--state", ""), "state"),
        (("--base-url", ""), "--base-url"),
    ],
)
def test_list_refuses(
    emogg_emulator: EmoggEmulator, emogg: Emogg, option: tuple[str, str], hint: str
) -> None:
    """What cannot be asked for is wrong usage, and the message helps."""
    done = emogg("sessions", "list", *option)
    assert done.returncode == 2
    assert hint in done.stderr
    assert done.stderr.count("\n") == 2
    assert emogg_emulator.requests == ()


@needs_terminal
def test_list_gives_hints(emogg_emulator: EmoggEmulator) -> None:
    """Who watches is told that there are more, or none; nobody else is."""
    more = run_watched("sessions", "list", "--limit", "3")
    assert more.stdout.count("\n") == 3
    assert "newest 3; --limit N shows more" in more.stderr
    assert max(map(len, more.stderr.splitlines())) <= 80
    none = run_watched("sessions", "list", "--state", "paused")
    assert (none.returncode, none.stdout) == (0, "")
    known = "Known states: active, processing, finished."
    assert none.stderr == f"No session matches. {known}\r\n"
    none = run_watched("sessions", "list", "--started-after", "7d")
    assert (none.returncode, none.stdout) == (0, "")
    assert none.stderr == "No session matches.\r\n"
    quiet = run_watched("sessions", "list", "--limit", "3", "-q")
    assert quiet.stderr == ""


@pytest.mark.parametrize("command", ["list", "export"])
@pytest.mark.parametrize(
    ("options", "known"),
    [
        (("--state", "finishd"), "Known states: active, processing, finished."),
        (("--type", "live"), "Known types: live_analysis."),
        (
            ("--type", "live", "--state", "finishd"),
            "Known states: active, processing, finished. Known types: live_analysis.",
        ),
    ],
    ids=["state", "type", "both"],
)
def test_states_and_types_that_nobody_has(
    emogg_emulator: EmoggEmulator,
    emogg: Emogg,
    command: str,
    options: tuple[str, ...],
    known: str,
) -> None:
    """A value that no session has is answered by the known ones, also in a pipe."""
    done = emogg("sessions", command, *options)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"No session matches. {known}\n"
    assert emogg("sessions", command, *options, "-q").stderr == ""
    emogg_emulator.add_session(state="finishd", type="live")
    done = emogg("sessions", command, *options)
    assert (done.stdout.count("\n"), done.stderr) == (1, "")


@needs_terminal
def test_lists_fit(emogg_emulator: EmoggEmulator) -> None:
    """Each session is one line of 80 columns, whatever its name and its state."""
    for text in ("n" * 256, "佐藤" * 40, HOSTILE * 4):
        emogg_emulator.add_session(name=text.replace("\ud800", ""), state="s" * 40)
    emogg_emulator.add_session(duration=999_999.0)
    done = run_on_terminal("sessions", "list", "--limit", "20", NO_COLOR="1")
    lines = without_colours(done.stdout).splitlines()
    assert len(lines) == 21
    assert max(map(cell_len, lines)) <= 80
    assert [line[:24] for line in lines[1:]] == ids_of(emogg_emulator, 20)


@needs_terminal
def test_retries_are_told(emogg_emulator: EmoggEmulator) -> None:
    """Who watches is told once that a failed request is tried again for long."""
    (session_id,) = ids_of(emogg_emulator, 1)
    wait = {"status": 429, "headers": {"Retry-After": "1"}}

    def told(*options: str) -> str:
        emogg_emulator.fail("GET", f"*/{session_id}", times=2, **wait)  # type: ignore[arg-type]
        command = ("sessions", "get", session_id, "--fields", "id", *options)
        done = run_watched(*command)
        assert done.returncode == 0
        assert json.loads(done.stdout) == {"id": session_id}
        return done.stderr

    (line,) = told().splitlines()
    assert line.startswith("429: Too Many Requests, retry after 1 s; trying again, ")
    assert told("-q") == ""
    assert "trying again, attempt" not in told("-v")
    emogg_emulator.fail("GET", f"*/{session_id}", times=1, **wait)  # type: ignore[arg-type]
    assert run("sessions", "get", session_id).stderr == ""


@needs_terminal
def test_hints_follow_the_data(emogg_emulator: EmoggEmulator) -> None:
    """On a terminal the hint stands below the end of the array."""
    done = run_in_shell('"$@"', "sessions", "list", "--limit", "3", "-o", "json")
    *array, hint = done.stdout.splitlines()
    assert len(json.loads("\n".join(array))) == 3
    assert hint.startswith("Showing the newest 3;")


@needs_terminal
@pytest.mark.parametrize(
    ("command", "more"),
    [
        (("sessions", "get"), ()),
        (("sessions", "wait"), ()),
        (("emotions", "totals"), ()),
        (("sessions", "stop"), ("--yes",)),
    ],
)
def test_failures_are_summed_up(
    emogg_emulator: EmoggEmulator, command: tuple[str, str], more: tuple[str, ...]
) -> None:
    """On a terminal, all failures are one summary below the table or the charts."""
    if command[1] == "stop":
        session = emogg_emulator.add_session(state="active")
    else:
        session = emogg_emulator.add_session(state="finished")
    unknown = [f"{number:024x}" for number in range(12)]
    ids = (*unknown[:6], session.id, "nonsense\x1b", *unknown[6:])
    done = run_in_shell('"$@"', *command, *ids, *more, NO_COLOR="1")
    assert done.returncode == 3
    lines = without_colours(done.stdout).splitlines()
    start = lines.index("13 of 14 ids failed:")
    assert any(session.id in line for line in lines[:start])
    assert "nonsense" not in "".join(lines[:start])
    assert sorted(lines[start + 1 :]) == sorted(
        [
            "  404: Session not found:",
            *(f"    {each}" for each in unknown[:10]),
            "    and 2 more",
            "    Check the id, and that this token may see it.",
            "  session_id: expected 24 hex digits:",
            "    nonsense",
            "    Correct the command line; --help explains it.",
        ]
    )


@needs_terminal
@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_failures_have_lines_of_their_own(
    emogg_emulator: EmoggEmulator, form: str
) -> None:
    """On a terminal, no id that fails is told on the line of a session."""
    first, second = ids_of(emogg_emulator, 2)
    ids = (first, UNKNOWN_ID, second)
    command = ("sessions", "get", *ids, "--fields", "id", "-o", form)
    # One by one, so that a session is shown before the failure.
    done = run_in_shell('"$@"', *command, "--expand", "user", "--concurrency", "1")
    told = [line for line in done.stdout.splitlines() if "NotFoundError" in line]
    assert [json.loads(line)["id"] for line in told] == [UNKNOWN_ID]


def test_verbose(emogg_emulator: EmoggEmulator) -> None:
    """`-v` logs what happens with times, and what the client did in the end."""
    emogg_emulator.fail(status=503, times=1)
    done = run("sessions", "list", "--limit", "1", "-v")
    assert done.stdout.count("\n") == 1
    *log, stats = done.stderr.splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO) emogg_async\."
    told = [re.sub(r"\d\.\d{3} s", "x s", re.sub(stamp, "", line)) for line in log]
    assert told == [
        "http: GET /v1/sessions: 503 in x s",
        "http: GET /v1/sessions: attempt 1 failed: 503: Service Unavailable",
        "retry: GET /v1/sessions: ServerError; trying again in x s",
        "http: GET /v1/sessions: 200 in x s",
    ]
    assert stats.startswith("stats: calls=1 requests=2 retries=1 ")
    assert emogg_emulator.token not in done.stderr


# -- completion ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "offers"),
    [
        ("sessions list --state f", {"finished"}),
        ("sessions export --type l", {"live_analysis"}),
        ("sessions get --fields id,meta.w", {"id,meta.worker_state"}),
        ("sessions get --fields name,n", set()),
        ("sessions list -o j", {"json", "jsonl"}),
        ("sessions export -o j", {"jsonl"}),
    ],
)
def test_shells_complete_values(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    line: str,
    offers: set[str],
) -> None:
    """A shell that asks for completions gets the values that are known."""
    words = f"emogg {line}"
    monkeypatch.setenv("_EMOGG_COMPLETE", "zsh_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    done = call(capfd)
    assert {*done.stdout.split()} - {"plain", "_"} == offers
