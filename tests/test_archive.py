"""The example that keeps a whole account: what it costs, and what a kill costs."""

import asyncio
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import polars
import pytest
from _terminal import Program
from plainhttp import eventually
from polars.testing import assert_frame_equal
from test_examples import EXAMPLES, _call, _command, signals

from emogg_async import to_columns
from emogg_async.testing import EmoggEmulator

if sys.platform != "win32":
    import fcntl

rarely = partial(pytest.param, marks=pytest.mark.soak)
"""A case that takes seconds, like one that runs each time."""

PART = 100
PAGES = 3
"""The pages of a listing of 250 sessions: each begins with the last of the one before.
"""

FILES = {
    "sessions": "sessions.parquet",
    "emotions": "emotions/*.parquet",
    "timelines": "timelines/*.parquet",
}
ORDER = {
    "sessions": ["id"],
    "emotions": ["session", "emotion"],
    "timelines": ["session", "start", "emotion"],
}
KILLED = """
import io, os, runpy, signal, sys
import pyarrow.parquet

program, function, number, when, directory = sys.argv[1:]
module = os if function == "replace" else pyarrow.parquet
real, calls = getattr(module, function), []

def killed(*arguments, **options):
    calls.append(arguments)
    if len(calls) < int(number):
        return real(*arguments, **options)
    if when == "after":
        real(*arguments, **options)
    if when == "during":
        table, file = arguments
        whole = io.BytesIO()
        real(table, whole, **options)
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

setattr(module, function, killed)
sys.argv = [program, directory]
runpy.run_path(program, run_name="__main__")
"""
"""It runs a program, and kills it by -9 at a call that writes or renames."""


def environment(emulator: EmoggEmulator, patch: pytest.MonkeyPatch) -> None:
    """Point programs at an emulator."""
    patch.setenv("EMOGG_API_TOKEN", emulator.token)
    patch.setenv("EMOGG_BASE_URL", emulator.url)


@pytest.fixture(autouse=True)
def _environment(emulator: EmoggEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    environment(emulator, monkeypatch)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Name a directory that is not there yet."""
    return tmp_path / "kept" / "account"


def archive(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run the example in this process, which is quicker."""
    return _call("archive.py", *map(str, arguments))


def finished(emulator: EmoggEmulator) -> list[str]:
    """Return the ids of the finished sessions, newest first."""
    return [each.id for each in emulator.sessions if each.is_finished]


def tables(root: Path) -> dict[str, polars.DataFrame]:
    """Read an archive, in an order that does not depend on when answers came."""
    return {
        name: polars.scan_parquet(root / files).collect().sort(ORDER[name])
        for name, files in FILES.items()
    }


@pytest.fixture(scope="module")
def whole(
    shared_emulator: EmoggEmulator, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, polars.DataFrame]:
    """Return the tables of a run that nothing disturbed."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        environment(shared_emulator, patch)
        assert archive(root).returncode == 0
    shared_emulator.reset()
    return tables(root)


def assert_same(
    left: dict[str, polars.DataFrame], right: dict[str, polars.DataFrame]
) -> None:
    """Check that two archives hold the same."""
    for name, table in left.items():
        assert_frame_equal(table, right[name])


def test_account(emulator: EmoggEmulator, root: Path) -> None:
    """All sessions are kept, and of the finished ones what the service tells."""
    run = archive(root)
    assert (run.returncode, run.stdout) == (0, "")
    ids = finished(emulator)
    first, *_, last = run.stderr.splitlines()
    assert first == f"sessions: 250, of which {len(ids)} are finished"
    assert last == f"timelines: {len(ids)} of {len(ids)} sessions"
    assert len([*root.rglob("*.parquet")]) == 1 + 2 * -(-len(ids) // PART)
    for name, table in asyncio.run(told(emulator, ids)).items():
        keys = ORDER[name]
        assert_frame_equal(tables(root)[name], table.sort(keys))


async def told(emulator: EmoggEmulator, ids: list[str]) -> dict[str, polars.DataFrame]:
    """Ask the service for the same tables."""
    async with emulator.client() as client:
        return {
            "sessions": polars.DataFrame(
                to_columns(await client.list_sessions().collect())
            ),
            "emotions": polars.DataFrame(
                (await client.gather(client.get_emotions, ids)).to_columns()
            ),
            "timelines": polars.DataFrame(
                (await client.gather(client.get_emotions_timeline, ids)).to_columns()
            ),
        }


def kept_ids(kept: dict[str, polars.DataFrame]) -> list[str]:
    """Return the ids of the sessions of an archive."""
    ids: list[str] = kept["sessions"]["id"].to_list()
    return ids


@pytest.mark.parametrize(
    ("sessions", "limit"),
    [
        pytest.param(300, (300, 0.5), id="scaled"),
        pytest.param(
            3_000,
            (1_000, 10.0),
            id="full",
            marks=[pytest.mark.soak, pytest.mark.timeout(300)],
        ),
    ],
)
def test_requests(
    sessions: int,
    limit: tuple[int, float],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An account costs 2 % more than the fewest requests; a second run costs pages."""
    with EmoggEmulator(sessions=sessions, rate_limit=limit) as emulator:
        environment(emulator, monkeypatch)
        assert archive(root).returncode == 0
        pages, kept = -(-sessions // 100), len(finished(emulator))
        first = len(emulator.requests)
        print(f"{first} requests; the fewest are {pages + 2 * kept}")
        assert first <= 1.02 * (pages + 2 * kept)
        run = archive(root)
        assert (run.returncode, run.stderr.count("\n")) == (0, 1)
        paths = {request.path for request in emulator.requests[first:]}
        assert paths == {"/v1/sessions"}
        assert len(emulator.requests) - first <= pages + 1
    assert tables(root)["emotions"]["session"].n_unique() == kept


def test_second_run(emulator: EmoggEmulator, root: Path) -> None:
    """What is new, and what has finished since, is fetched; nothing is forgotten."""
    archive(root)
    before = tables(root)
    active = next(each.id for each in emulator.sessions if each.state == "active")
    emulator.update_session(active, state="finished")
    new = emulator.add_session(name="New").id
    deleted = finished(emulator)[-1]
    emulator.remove_session(deleted)
    count = len(emulator.requests)
    assert archive(root).returncode == 0
    paths = sorted(request.path for request in emulator.requests[count:])
    assert paths == sorted(
        ["/v1/sessions"] * PAGES
        + [f"/v1/sessions/{id_}/emotions" for id_ in (active, new)]
        + [f"/v1/sessions/{id_}/emotions/timeline" for id_ in (active, new)]
    )
    after = tables(root)
    assert set(kept_ids(after)) == {*kept_ids(before), new}
    states = after["sessions"].filter(id=active)["state"]
    assert states.to_list() == ["finished"]
    added = {*after["emotions"]["session"]} - {*before["emotions"]["session"]}
    assert added == {active, new}
    assert deleted in after["timelines"]["session"]


def test_failures(emulator: EmoggEmulator, root: Path) -> None:
    """A failure is told at the end, and only it is fetched by the next run."""
    bad = finished(emulator)[7]
    path = f"/v1/sessions/{bad}/emotions/timeline"
    rule = emulator.fail("GET", path, status=400)
    run = archive(root)
    assert run.returncode == 3
    told = run.stderr.splitlines()[-1]
    assert told.startswith(f"failed: timelines of {bad}: 400: ")
    rule.remove()
    count = len(emulator.requests)
    assert archive(root).returncode == 0
    assert [each.path for each in emulator.requests[count + PAGES :]] == [path]


def test_absurd_figure(emulator: EmoggEmulator, root: Path) -> None:
    """A figure that no table can hold costs its session, and no other."""
    bad = finished(emulator)[7]
    body = {"session": bad, "emotions": {"focus": 2**70}}
    emulator.fail("GET", f"/v1/sessions/{bad}/emotions", status=200, body=body)
    run = archive(root)
    assert run.returncode == 3
    told = run.stderr.splitlines()[-1]
    assert told.startswith(f"failed: emotions of {bad}: ")
    assert "expected a whole number of 64 bits" in told
    assert tables(root)["emotions"]["session"].n_unique() == len(finished(emulator)) - 1


def test_deleted_meanwhile(emulator: EmoggEmulator, root: Path) -> None:
    """A session that is deleted after it was listed is no failure."""
    ids = finished(emulator)
    emulator.fail("GET", f"/v1/sessions/{ids[0]}/*", status=404)
    run = archive(root)
    assert run.returncode == 0
    last = run.stderr.splitlines()[-1]
    assert last == f"timelines: {len(ids) - 1} of {len(ids)} sessions"


def test_sessions_without_rows(
    emulator: EmoggEmulator, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session in which nobody was seen is fetched once; types stay as they are."""
    token = emulator.add_token()
    monkeypatch.setenv("EMOGG_API_TOKEN", token)
    id_ = emulator.add_session(token=token, duration=0.0).id
    path = f"/v1/sessions/{id_}/emotions"
    emulator.fail("GET", path, status=200, body={"session": id_, "emotions": {}})
    assert archive(root).returncode == archive(root).returncode == 0
    assert [each.path for each in emulator.requests].count(path) == 1
    kept = tables(root)
    assert kept["emotions"].schema == {
        "session": polars.String,
        "emotion": polars.String,
        "count": polars.Int64,
    }
    assert kept["sessions"].schema["expires"] == polars.Datetime("us", "UTC")


def test_no_sessions(
    emulator: EmoggEmulator, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An account without sessions is an empty table."""
    monkeypatch.setenv("EMOGG_API_TOKEN", emulator.add_token())
    assert archive(root).returncode == 0
    table = polars.read_parquet(root / "sessions.parquet")
    assert (len(table), table.columns[0]) == (0, "id")


@signals
@pytest.mark.parametrize(
    ("moment", "lost"),
    [
        pytest.param(("write_table", "1", "during"), 0, id="sessions-torn"),
        pytest.param(("write_table", "2", "during"), PART, id="first-part-torn"),
        rarely(("replace", "2", "before"), PART, id="first-part-whole"),
        rarely(("replace", "2", "after"), 0, id="first-part-written"),
        rarely(("write_table", "5", "during"), PART, id="timelines-torn"),
    ],
)
def test_kill(
    moment: tuple[str, str, str],
    lost: int,
    emulator: EmoggEmulator,
    root: Path,
    whole: dict[str, polars.DataFrame],
) -> None:
    """A kill -9 while a file is written leaves whole files, and costs one part."""
    program = [str(EXAMPLES / "archive.py"), *moment, str(root)]
    count = len(emulator.requests)
    killed = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLED, *program],
        capture_output=True,
        check=False,
        timeout=50,
    )
    assert killed.returncode == -signal.SIGKILL
    for path in root.rglob("*.parquet"):  # whatever is there can be read
        polars.read_parquet(path)
    assert archive(root).returncode == 0
    assert_same(tables(root), whole)
    assert [*root.rglob("*.tmp")] == []
    least = PAGES + 2 * len(finished(emulator))
    extra = len(emulator.requests) - count - least
    # The stream goes on while a part is written, but has no room for a second part.
    assert extra <= PAGES + lost + PART


@signals
@pytest.mark.parametrize(
    ("path", "parts"),
    [
        rarely("", 0, id="listing"),
        rarely("/{}/emotions", 2, id="emotions"),
        pytest.param("/{}/emotions/timeline", 5, id="timelines"),
    ],
)
def test_kill_during_requests(
    path: str,
    parts: int,
    emulator: EmoggEmulator,
    root: Path,
    whole: dict[str, polars.DataFrame],
) -> None:
    """A kill -9 while requests are under way costs no more than their part."""
    ids = finished(emulator)
    count = len(emulator.requests)
    slow = f"/v1/sessions{path.format(ids[150])}"
    rule = emulator.fail("GET", slow, fault="hang")
    with Program(_command("archive.py", str(root))) as process:
        assert eventually(
            lambda: rule.hits and len([*root.glob("*/*.parquet")]) == parts
        )
        process.kill()
    assert process.returncode == -signal.SIGKILL
    rule.remove()
    assert archive(root).returncode == 0
    assert_same(tables(root), whole)
    extra = len(emulator.requests) - count - PAGES - 2 * len(ids)
    assert extra <= PAGES + PART


def test_torn_files(
    emulator: EmoggEmulator, root: Path, whole: dict[str, polars.DataFrame]
) -> None:
    """Files that a killed run left half-written are taken away, and no others."""
    (root / "timelines").mkdir(parents=True)
    torn = [root / "sessions.tmp", root / "timelines" / "000004.tmp"]
    for path in torn:
        path.write_bytes(b"PAR1 half")
    mine = root / "timelines" / "mine.tmp"
    mine.touch()
    assert archive(root).returncode == 0
    assert_same(tables(root), whole)
    assert [path for path in torn if path.exists()] == []
    assert mine.exists()


@signals
def test_two_runs(emulator: EmoggEmulator, root: Path) -> None:
    """A second run beside the first one is refused, before any request."""
    root.mkdir(parents=True)
    with (root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        run = archive(root)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == f"error: {root}: another run is at work there\n"
    assert emulator.requests == ()
    assert archive(root).returncode == 0


@signals
@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/v1/sessions", signal.SIGINT),
        ("*/timeline", signal.SIGTERM),
        rarely("/v1/sessions", signal.SIGTERM),
        rarely("*/timeline", signal.SIGINT),
    ],
)
def test_interrupt(
    path: str, number: signal.Signals, emulator: EmoggEmulator, root: Path
) -> None:
    """Ctrl-C or SIGTERM ends it with one word, and the next run goes on."""
    rule = emulator.fail("GET", path, fault="hang")
    with Program(
        _command("archive.py", str(root)), stderr=subprocess.PIPE, text=True
    ) as process:
        assert eventually(lambda: rule.hits)
        process.send_signal(number)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in stderr
    rule.remove()
    assert archive(root).returncode == 0


@signals
def test_interrupted_imports(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it without a word while it is still being loaded."""
    slow = root.parent.parent / "pyarrow.py"
    slow.write_text("import sys; print('loading', flush=True); sys.stdin.read()")
    monkeypatch.setenv("PYTHONPATH", str(slow.parent))
    with Program(
        _command("archive.py", str(root)),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr) == (-signal.SIGINT, "")


def test_no_token(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token, one line names the variable to set, and nothing is made."""
    monkeypatch.delenv("EMOGG_API_TOKEN")
    run = archive(root)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "error: no token: pass token= or set EMOGG_API_TOKEN.\n"
    assert not root.exists()


def test_refused_token(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that the service refuses ends in one line, which does not hold it."""
    monkeypatch.setenv("EMOGG_API_TOKEN", "not-the-right-one")
    run = archive(root)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("error: 401: Invalid token (GET /")
    assert run.stderr.count("\n") == 1
    assert "not-the-right-one" not in run.stderr


def test_token_revoked_meanwhile(emulator: EmoggEmulator, root: Path) -> None:
    """A token that is refused later ends the run, and the parts are kept."""
    path = f"/v1/sessions/{finished(emulator)[-1]}/emotions/timeline"
    rule = emulator.fail("GET", path, status=401)
    run = archive(root)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: 401: ")
    assert len([*root.glob("emotions/*.parquet")]) == 3
    rule.remove()
    assert archive(root).returncode == 0


@pytest.mark.parametrize("arguments", [(), ("one", "two")])
def test_usage(arguments: tuple[str, ...], emulator: EmoggEmulator) -> None:
    """A wrong number of arguments is refused."""
    run = archive(*arguments)
    assert run.returncode == 2
    assert run.stderr.startswith("usage: ")
    assert emulator.requests == ()


def test_other_files(emulator: EmoggEmulator, root: Path) -> None:
    """A file that is no directory, or no part, is named in one line."""
    root.parent.mkdir()
    root.touch()
    run = archive(root)
    assert run.returncode == 1
    assert run.stderr == f"error: {root} is a file: name a directory\n"
    root.unlink()
    part = root / "emotions" / "000001.parquet"
    for table in (polars.DataFrame({"session": ["x"]}), None):
        part.parent.mkdir(parents=True, exist_ok=True)
        if table is None:
            part.write_bytes(b"no table")
        else:
            table.write_parquet(part)
        run = archive(root)
        assert run.returncode == 1
        assert run.stderr == f"error: {part} is no part of an archive: move it\n"
    assert emulator.requests == ()


MEASURED = """
import atexit, re, runpy, sys

def tell():
    with open("/proc/self/status") as status:
        print(re.search(r"VmHWM:\\s*(\\d+) kB", status.read())[1])

atexit.register(tell)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""It runs a program, and prints its peak of memory in kB.

A parent is told too much: its own memory counts until the child is another program.
"""


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the sessions need at most 40 MB more."""
    peaks = []
    for sessions in (300, 3_000):
        with EmoggEmulator(sessions=sessions, rate_limit=None) as emulator:
            environment(emulator, monkeypatch)
            _, *command = _command("archive.py", str(tmp_path / str(sessions)))
            run = subprocess.run(
                [sys.executable, "-c", MEASURED, *command[2:]],
                capture_output=True,
                check=True,
                text=True,
            )
            peaks.append(int(run.stdout) / 1024)
    few, many = peaks
    print(f"peaks: {few:.0f} and {many:.0f} MB")
    assert many <= few + 40
