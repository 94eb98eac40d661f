"""The README: every Python block runs, and what it claims is so; and its siblings."""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any, Final

import pytest
from _terminal import run_on_terminal

import emogg_async
from emogg_async import AsyncEmoggClient, RetryPolicy, errors
from emogg_async._calls.retry import Verdict, is_ambiguous, verdict
from emogg_async._cli.commands.help import VARIABLES
from emogg_async._cli.exits import Exit
from emogg_async._wire.protocol import Repeat
from emogg_async._wire.requests import custom, stop_session
from emogg_async.errors import (
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    NotSentError,
    RateLimitedError,
    ResponseShapeError,
    ServerError,
    StatusError,
)
from emogg_async.testing import EmoggEmulator

README: Final = Path(__file__).parent.parent / "README.md"
TEXT: Final = README.read_text(encoding="utf-8")

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CLAIM = re.compile(r"# → (.*)$", re.MULTILINE)
_TEST = re.compile(r"^(?:async )?def test_", re.MULTILINE)

BLOCKS: Final = [(found.start(1), found[1]) for found in _BLOCK.finditer(TEXT)]
TRY_IT: Final = "python -m pip install '.[cli]' && emogg demo"
REDIS: Final = "redis://localhost:6379"
RUN_TESTS: Final = "python -m pip install nox && nox -s tests"

executed: set[int] = set()


def _line(offset: int) -> int:
    return TEXT.count("\n", 0, offset) + 1


def _compiled(offset: int, source: str) -> CodeType:
    """Compile a block as it would be at its place in the README, for tracebacks."""
    return compile(
        "\n" * (_line(offset) - 1) + source,
        str(README),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )


def _execute(code: CodeType) -> None:
    """Run a script as it is, and what awaits by itself inside an open client."""

    async def with_client() -> None:
        async with AsyncEmoggClient() as client:
            await eval(code, {"__name__": "__main__", "client": client})

    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(with_client())
    else:
        exec(code, {"__name__": "__main__"})


def _run_pytest(source: str, directory: Path) -> None:
    """Run a block of tests as its reader would: through pytest, with the fixture."""
    (directory / "test_block.py").write_text(source, encoding="utf-8")
    options = [
        *("-p", "pytest_asyncio.plugin", "-p", "emogg_async.testing.pytest_plugin"),
        *("-o", "asyncio_mode=auto"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
        *("-W", "error"),
    ]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options],
        cwd=directory,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{len(_TEST.findall(source))} passed" in run.stdout


def _with_redis(source: str, request: pytest.FixtureRequest) -> str:
    """Lead a block that names a Redis to the tests' own, if there is one."""
    if REDIS in source:
        source = source.replace(REDIS, request.getfixturevalue("redis_server").url)
    return source


@pytest.mark.usefixtures("emogg_emulator")
@pytest.mark.parametrize(
    ("offset", "source"),
    [pytest.param(*block, id=f"line {_line(block[0])}") for block in BLOCKS],
)
def test_block(
    offset: int,
    source: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Each block runs against the emulator and prints what its `# →` comments claim."""
    executed.add(offset)
    source = _with_redis(source, request)
    if _TEST.search(source):
        _run_pytest(source, tmp_path)
    else:
        _execute(_compiled(offset, source))
        claims = _CLAIM.findall(source)
        printed = capsys.readouterr().out.splitlines()
        assert printed == claims or not claims


@pytest.fixture(scope="module", autouse=True)
def _every_block_ran(request: pytest.FixtureRequest) -> Any:
    """Fail when a block was passed over, though the whole module was asked for."""
    yield
    items = [item for item in request.session.items if item.path == request.path]
    chosen = [item for item in items if item.name.startswith("test_block[")]
    if not (request.session.testsfailed or request.session.shouldstop):
        assert len(executed) == len(chosen)


def test_every_block_is_found() -> None:
    """No Python block hides behind another spelling of its fence."""
    fences = re.findall(r"^ *(?:```|~~~)(.*)$", TEXT, re.MULTILINE)
    assert set(fences[::2]) <= {"python", "sh", "text"}
    assert set(fences[1::2]) == {""}
    assert fences.count("python") == len(BLOCKS) > 8


def test_first_words() -> None:
    """A stranger meets both commands and the quickstart within a hundred words."""
    quickstart = BLOCKS[0][0]
    beginning = TEXT[:quickstart]
    assert "## Quickstart" in beginning
    assert len(beginning.split()) <= 100
    assert beginning.index(TRY_IT) < beginning.index(RUN_TESTS)
    assert 10 <= len(BLOCKS[0][1].splitlines()) <= 20


def _table(section: str) -> list[list[str]]:
    """Return the cells of the first table in *section*, without its head."""
    body = TEXT.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in body.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return [cells[0], *cells[2:]]


def _kinds_in_table() -> list[tuple[int, str, str]]:
    """Return depth, class name and first cell of each row of the table of errors."""
    kinds = []
    for what, cell, _ in _table("Errors")[1:]:
        branch, name, _ = cell.split("`")
        kinds.append((len(branch) // 2, name, what))
    return kinds


def test_errors_table() -> None:
    """The table of errors names each public class once, below its base."""
    kinds = _kinds_in_table()
    assert sorted(name for _, name, _ in kinds) == sorted(errors.__all__)
    path: list[type[EmoggError]] = []
    for depth, name, _ in kinds:
        kind = getattr(errors, name)
        assert path[depth - 1 : depth] == list(kind.__bases__[: depth > 0])
        path[depth:] = [kind]


@pytest.mark.parametrize(
    ("name", "status"),
    [(name, what[:3]) for _, name, what in _kinds_in_table() if what[:1] in "2345"],
)
async def test_errors_table_statuses(
    name: str, status: str, emogg_emulator: EmoggEmulator
) -> None:
    """A status raises the class in whose row it stands."""
    code = int(status.replace("x", "0"))
    if name == "ResponseShapeError":
        emogg_emulator.fail(status=201, body="no JSON")
    else:
        emogg_emulator.fail(status=code)
    once = RetryPolicy(attempts=1)
    async with emogg_emulator.client(timeout=0.2, retry=once) as client:
        with pytest.raises(EmoggError) as caught:
            await client.get_session("65ea1530bb50af72b6e3dc1e")
    assert name == type(caught.value).__name__


_FAILURES: Final[dict[str, list[EmoggError]]] = {
    "not sent": [NotSentError("-"), DeadlineError("-", sent=False)],
    "429": [RateLimitedError("-", status=429)],
    "sent, and the answer was lost or late; 408; 5xx but 501 and 505": [
        ConnectionLostError("-"),
        StatusError("-", status=408),
        DeadlineError("-", sent=True),
        *(
            ServerError("-", status=status)
            for status in range(500, 600)
            if status not in {501, 505}
        ),
    ],
    "2xx that does not decode": [ResponseShapeError("-")],
    "any other status": [
        *(StatusError("-", status=status) for status in (301, 302, 409, 418)),
        *(
            getattr(errors, name)("-", status=int(what))
            for _, name, what in _kinds_in_table()
            if what in {"400", "401", "403", "404"}
        ),
        *(ServerError("-", status=status) for status in (501, 505)),
    ],
}


def _in_words(error: EmoggError, repeat: Repeat, settled: str) -> str:
    judged = verdict(error, repeat)
    if repeat is Repeat.SETTLE and isinstance(error, ResponseShapeError):
        return settled  # as `tests/test_writes.py` shows
    if judged is Verdict.RAISE and repeat is not Repeat.SAFE and is_ambiguous(error):
        return "unknown"
    return {Verdict.RETRY_FREE: "retry"}.get(judged, judged.value)


def test_retry_table() -> None:
    """Each cell of the retry table is what the code decides."""
    head, *rows = _table("Retries and timeouts")
    assert [row[0] for row in rows] == list(_FAILURES)
    for failure, *cells in rows:
        for column, cell in zip(head[1:], cells, strict=True):
            for method in column.split(", "):
                stop = method == "stop"
                request = custom("POST" if stop else method, "/v1/x", None, None)
                repeat = stop_session("0" * 24).repeat if stop else request.repeat
                settled = "one GET decides" if stop else "success"
                said = {
                    _in_words(error, repeat, settled) for error in _FAILURES[failure]
                }
                assert said == {cell}, f"{method}, {failure}"


def test_fleets_table() -> None:
    """The table of fleets says what the formula of the rate limit says."""
    rows = [row for row in _table("Fleets")[1:] if len(row) == 2]
    assert rows
    for capacity, processes in rows:
        served = (int(capacity.replace(",", "")) / 4) ** (2 / 3)
        assert int(processes) == int(served)


def test_shown_defaults() -> None:
    """The values that the README shows as the defaults are the defaults."""
    for call in ("AsyncEmoggClient", "RetryPolicy", "CachePolicy"):
        parameters = inspect.signature(getattr(emogg_async, call)).parameters
        shown = [
            keyword
            for _, source in BLOCKS
            if "the defaults" in source
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == call
            for keyword in node.keywords
            if isinstance(keyword.value, ast.Constant)
        ]
        assert shown
        for keyword in shown:
            assert keyword.arg is not None
            assert ast.literal_eval(keyword.value) == parameters[keyword.arg].default


def test_exit_codes() -> None:
    """The README explains each exit code of the command as its help does."""
    rows = _table("Command line")[1:]
    assert rows == [[str(code.value), code.meaning] for code in Exit]


def test_environment() -> None:
    """The README names each variable that the command reads."""
    section = TEXT.split("\n## Command line\n", 1)[1].split("\n## ", 1)[0]
    named = re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", section)
    assert sorted(named) == sorted(VARIABLES)


CAPTURES: Final = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
@pytest.mark.parametrize(
    "capture", CAPTURES, ids=[capture.partition("\n")[0] for capture in CAPTURES]
)
def test_capture(capture: str, emogg_emulator: EmoggEmulator) -> None:
    """A captured terminal shows what the emulator's sessions give in 100 columns."""
    del emogg_emulator
    command, *lines = capture.splitlines()
    arguments = command.removeprefix("$ emogg ").split()
    done = run_on_terminal(*arguments, columns=100, NO_COLOR="1")
    shown = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    assert [line.rstrip() for line in shown.splitlines()] == lines


@pytest.mark.parametrize(
    "words", re.findall(r"^emogg ((?:[a-z]+ ?)+)", TEXT, re.MULTILINE)
)
def test_commands(words: str) -> None:
    """Each command line of the README begins with a command that there is."""
    run = subprocess.run(
        [sys.executable, "-m", "emogg_async", *words.split(), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert f"Usage: emogg {words.strip()} " in run.stdout


async def test_shares_of_concurrency(emogg_emulator: EmoggEmulator) -> None:
    """Bulk work gets three quarters of the client's concurrency, as the text says."""
    default = inspect.signature(AsyncEmoggClient).parameters["concurrency"].default
    assert f"`concurrency={default}`" in TEXT
    ids = [session.id for session in emogg_emulator.sessions]
    emogg_emulator.latency = 0.02
    async with emogg_emulator.client(concurrency=4) as client:
        (await client.get_sessions(ids, via="get")).raise_for_errors()
    assert emogg_emulator.max_in_flight == 3


def test_links() -> None:
    """Links to files lead to files."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert targets
    assert [name for name in targets if not (README.parent / name).exists()] == []


def test_changelog() -> None:
    """The newest section of the changelog is that of this version."""
    changelog = (README.parent / "CHANGELOG.md").read_text(encoding="utf-8")
    version, date = re.findall(r"^## (\S+) — (\S+)$", changelog, re.MULTILINE)[0]
    assert version == emogg_async.__version__
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)


def test_contributing() -> None:
    """Its tables name every nox session and every module."""
    text = (README.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    cells = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    noxfile = (README.parent / "noxfile.py").read_text(encoding="utf-8")
    sessions = {
        name or function.replace("_", "-")
        for name, function in re.findall(
            r"^@nox\.session(?:\(.*?(?:name=\"([\w-]+)\").*?\))?\ndef (\w+)",
            noxfile,
            re.MULTILINE,
        )
    }
    package = Path(emogg_async.__file__).parent
    modules = {
        path.stem
        for path in package.iterdir()
        if path.name.endswith(".py") or (path / "__init__.py").exists()
    }
    commands = {f"nox -s {session}" for session in sessions}
    assert cells == commands | modules - {"__init__", "__main__"}
