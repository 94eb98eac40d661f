"""README, guides and their siblings: every Python block runs, and all claims are so."""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

import attrs
import click
import pytest
from _terminal import run_on_terminal
from test_architecture import BESIDE_IMPORTS, FLOORS

import emogg_async
from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    LivePolicy,
    RetryPolicy,
    errors,
    testing,
)
from emogg_async._calls.retry import Verdict, is_ambiguous, verdict
from emogg_async._cli.app import emogg
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
from emogg_async.integrations import aiohttp_web, otel, starlette
from emogg_async.testing import EmoggEmulator

ROOT: Final = Path(__file__).parent.parent
GUIDES: Final = sorted((ROOT / "examples" / "guides").glob("*.md"))

_CLAIM = re.compile(r"# → (.*)$", re.MULTILINE)
_TEST = re.compile(r"^(?:async )?def test_", re.MULTILINE)

TRY_IT: Final = "python -m pip install '.[cli]' && emogg demo"
REDIS: Final = "redis://localhost:6379"
RUN_TESTS: Final = "python -m pip install nox && nox -s tests"
INSIDE: Final = "inside `async with AsyncEmoggClient() as client:`"


@attrs.frozen
class Block:
    """A block of a page that stands between fences."""

    path: Path
    language: str
    line: int
    source: str

    def __str__(self) -> str:
        return f"{self.path.name}:{self.line}"

    def compiled(self) -> CodeType:
        """Compile it as it would be at its place in the page, for tracebacks."""
        return compile(
            "\n" * (self.line - 1) + self.source,
            str(self.path),
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )

    def needs_client(self) -> bool:
        """Tell whether it uses a `client` that it does not make."""
        nodes = [*ast.walk(ast.parse(self.source))]
        names = [node for node in nodes if isinstance(node, ast.Name)]
        uses = [name.ctx for name in names if name.id == "client"]
        given = any(
            isinstance(node, ast.arg) and node.arg == "client" for node in nodes
        )
        return (
            bool(uses) and not given and not any(isinstance(u, ast.Store) for u in uses)
        )


@attrs.frozen
class Page:
    """A page of Markdown."""

    path: Path
    text: str

    def __str__(self) -> str:
        return self.path.name

    def blocks(self, language: str) -> list[Block]:
        """Return its blocks in *language*."""
        fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
        return [
            Block(self.path, language, self._line(found.start(1)), found[1])
            for found in fence.finditer(self.text)
        ]

    def _line(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1

    def section(self, title: str) -> str:
        """Return what stands below the heading *title*, up to the next of its level."""
        return self.text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]

    def table(self, title: str) -> list[list[str]]:
        """Return the cells of the first table in a section, its head included."""
        table = re.search(r"(^\|.*\n)+", self.section(title) + "\n", re.MULTILINE)
        assert table is not None
        rows = table[0].splitlines()
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        return [cells[0], *cells[2:]]

    def anchors(self) -> set[str]:
        """Return the names by which links lead to its headings."""
        headings = re.findall(r"^#+ (.*)$", self.text, re.MULTILINE)
        return {
            re.sub(r"[^\w -]", "", each).lower().replace(" ", "-") for each in headings
        }


def _read(path: Path) -> Page:
    return Page(path, path.read_text(encoding="utf-8"))


README: Final = _read(ROOT / "README.md")
PAGES: Final = [README, *map(_read, GUIDES)]
GUIDE: Final = {page.path.stem: page for page in PAGES[1:]}
BLOCKS: Final = [block for page in PAGES for block in page.blocks("python")]

each_page = pytest.mark.parametrize("page", PAGES, ids=str)
each_guide = pytest.mark.parametrize("page", PAGES[1:], ids=str)

executed: set[str] = set()


# -- blocks ----------------------------------------------------------------------------


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


def _with_redis(block: Block, request: pytest.FixtureRequest) -> Block:
    """Lead a block that names a Redis to the tests' own, if there is one."""
    if REDIS not in block.source:
        return block
    url = request.getfixturevalue("redis_server").url
    return attrs.evolve(block, source=block.source.replace(REDIS, url))


@pytest.mark.usefixtures("emogg_emulator")
@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block(
    block: Block,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Each block runs against the emulator and prints what its `# →` comments claim."""
    executed.add(str(block))
    block = _with_redis(block, request)
    if _TEST.search(block.source):
        _run_pytest(block.source, tmp_path)
    else:
        _execute(block.compiled())
        claims = _CLAIM.findall(block.source)
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


@each_page
def test_every_block_is_found(page: Page) -> None:
    """No Python block hides behind another spelling of its fence."""
    fences = re.findall(r"^ *(?:```|~~~)(.*)$", page.text, re.MULTILINE)
    assert set(fences[::2]) <= {"python", "sh", "text"}
    assert set(fences[1::2]) <= {""}
    assert fences.count("python") == len(page.blocks("python"))


@each_page
def test_blocks_say_where_they_run(page: Page) -> None:
    """A page whose blocks use a client that they do not make says which one it is."""
    bare = [block for block in page.blocks("python") if block.needs_client()]
    assert (INSIDE in page.text) == bool(bare)


# -- shape -----------------------------------------------------------------------------


def test_readme_is_short() -> None:
    """The README can be read in one sitting."""
    assert len(README.text.splitlines()) <= 220


def test_first_words() -> None:
    """A stranger meets a picture, both commands and the quickstart at once."""
    quickstart = README.blocks("python")[0]
    beginning = README.text[: README.text.index(quickstart.source)]
    assert "## Quickstart" in beginning
    assert len(beginning.split()) <= 200
    order = ["](examples/emotions.svg)", TRY_IT, RUN_TESTS]
    assert sorted(order, key=beginning.index) == order
    assert 10 <= len(quickstart.source.splitlines()) <= 20


@pytest.mark.parametrize(
    "title", ["A web backend", "Testing your own code", "The command"]
)
def test_glimpses(title: str) -> None:
    """The README shows a backend, a test and the command in 15 lines each."""
    blocks = re.findall(
        r"^```\w+\n(.*?)^```$", README.section(title), re.MULTILINE | re.DOTALL
    )
    assert sum(len(block.splitlines()) for block in blocks) <= 15


@pytest.mark.parametrize(
    ("guide", "number", "shows"),
    [
        ("notebooks", 0, "pandas.DataFrame"),
        ("notebooks", 1, "wait_until_finished"),
        ("web", 0, "-> Session"),
    ],
)
def test_first_programs(guide: str, number: int, shows: str) -> None:
    """What newcomers want first is at a guide's top, in 12 lines that are not blank."""
    block = GUIDE[guide].blocks("python")[number]
    assert shows in block.source
    assert sum(bool(line.strip()) for line in block.source.splitlines()) <= 12
    assert block.line <= 40


def test_every_guide_is_listed() -> None:
    """The README has a row for each guide, under the guide's own title."""
    rows = [re.fullmatch(r"\[(.*)\]\((.*)\)", row[0]) for row in README.table("Guides")]
    listed = {ROOT / row[2]: row[1] for row in rows if row}
    titles = {page.path: page.text.partition("\n")[0] for page in PAGES[1:]}
    assert {path: f"# {title}" for path, title in listed.items()} == titles


@each_guide
def test_guides_have_one_shape(page: Page) -> None:
    """A guide says at first what it is for, and ends with a table of options."""
    assert page.text.split("\n\n")[1].startswith("This guide is for ")
    assert page.text.rpartition("\n## ")[2].startswith("Options\n")
    assert page.table("Options")[0] == ["of", "option", "default", "meaning"]
    assert page.text.splitlines()[-1].startswith("|")


@pytest.mark.parametrize(
    "path",
    [README.path, *GUIDES, ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/*.[pi]*")],
    ids=lambda path: path.name,
)
def test_nothing_is_installed_by_name(path: Path) -> None:
    """No page sends its reader to an index, which does not have the package."""
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"install .*emogg-async", text) == []


# -- options ---------------------------------------------------------------------------

REQUIRED: Final = inspect.Parameter.empty
SETTINGS: Final = (
    *(AsyncEmoggClient, CachePolicy, LivePolicy, RetryPolicy),
    EmoggEmulator,
)
"""The public classes that users make by themselves, with options."""

LISTING: Final = typing.get_type_hints(AsyncEmoggClient.list_sessions)["return"]
MODULES: Final = (emogg_async, testing, aiohttp_web, otel, starlette)
NOT_SECONDS: Final = {"budget", "data", "probability", "query"}
"""Options that are numbers of something else."""


def _calls(module: ModuleType) -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the functions, methods and settings of *module*, by their names."""
    public = [getattr(module, name) for name in module.__all__]
    for value in [*public, LISTING] if module is emogg_async else public:
        if inspect.isfunction(value):
            yield value.__name__, value
        if not inspect.isclass(value) or getattr(value, "_is_protocol", False):
            continue
        if value in SETTINGS:
            yield value.__name__, value
        prefix = "" if value is AsyncEmoggClient else f"{value.__name__}."
        for name, method in vars(value).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                yield prefix + name, method


def _options(call: Callable[..., object]) -> dict[str, inspect.Parameter]:
    return {
        name: parameter
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY or parameter.default is not REQUIRED
    }


CALLS: Final = dict(call for module in MODULES for call in _calls(module))


def _command_options(
    command: click.Command = emogg, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each command, without `emogg`, and its options with their defaults."""
    yield (
        " ".join(words) or "emogg",
        {
            ", ".join(f"`{name}`" for name in option.opts): _default(option)
            for option in command.params
            if isinstance(option, click.Option)
        },
    )
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            yield from _command_options(below, (*words, name))


def _default(option: click.Option) -> str:
    if option.required:
        return "required"
    default = option.to_info_dict()["default"]
    return (
        "–" if default is None or default is False or default == "" else f"`{default}`"
    )


COMMANDS: Final = dict(_command_options())


def _rows(page: Page) -> Iterator[tuple[str, str, str, str]]:
    """Yield call or command, option, default and meaning of each row of options."""
    for of, option, default, meaning in page.table("Options")[1:]:
        calls = re.findall(r"`(.*?)`", of)
        if of == "commands that reach the service":
            calls = [
                name for name, found in COMMANDS.items() if "`--base-url`" in found
            ]
        assert calls
        for call in calls:
            yield call, option, default, meaning


@each_guide
def test_options_are_right(page: Page) -> None:
    """Each row of a table of options has the option's real default, and its unit."""
    for call, option, default, meaning in _rows(page):
        if call in COMMANDS:
            assert COMMANDS[call][option] == default, (call, option)
            continue
        parameter = _options(CALLS[call])[option.strip("`")]
        real = parameter.default
        known = {kind.__name__: kind for kind in SETTINGS}
        said = REQUIRED if default == "required" else eval(default.strip("`"), known)
        assert (said, type(said)) == (real, type(real)), (call, option)
        if "float" in str(parameter.annotation) and parameter.name not in NOT_SECONDS:
            assert "seconds" in meaning, (call, option)


def test_no_option_is_missing() -> None:
    """The guides have every option of every public call, and of every command."""
    told = {row[:2] for page in PAGES[1:] for row in _rows(page)}
    same = {"emogg_client", "emogg_lifespan"}  # they take the client's options
    assert all(_options(CALLS[n]) == _options(AsyncEmoggClient) for n in same)
    real = {
        (name, f"`{option}`")
        for name, call in CALLS.items()
        if name not in same
        for option in _options(call)
    }
    real |= {(name, option) for name, found in COMMANDS.items() for option in found}
    assert real - told == set()


# -- tables and claims -----------------------------------------------------------------


def _kinds_in_table() -> list[tuple[int, str, str]]:
    """Return depth, class name and first cell of each row of the table of errors."""
    kinds = []
    for what, cell, _ in GUIDE["errors"].table("Errors")[1:]:
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
        # A wait that does not fit into the time left is not waited.
        emogg_emulator.fail(status=code, headers={"Retry-After": "99"})
    once = RetryPolicy(attempts=1)
    async with emogg_emulator.client(timeout=9.0, retry=once) as client:
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
    head, *rows = GUIDE["errors"].table("Retries")
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
    for capacity, processes in GUIDE["rate-limits"].table("Many processes")[1:]:
        served = (int(capacity.replace(",", "")) / 4) ** (2 / 3)
        assert int(processes) == int(served)


def test_shown_defaults() -> None:
    """The values that blocks show as the defaults are the defaults."""
    for call in ("AsyncEmoggClient", "RetryPolicy", "CachePolicy"):
        parameters = inspect.signature(getattr(emogg_async, call)).parameters
        shown = [
            keyword
            for block in BLOCKS
            if "the defaults" in block.source
            for node in ast.walk(ast.parse(block.source))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == call
            for keyword in node.keywords
            if isinstance(keyword.value, ast.Constant)
        ]
        assert shown
        for keyword in shown:
            assert keyword.arg is not None
            assert ast.literal_eval(keyword.value) == parameters[keyword.arg].default


def test_exit_codes() -> None:
    """The guide explains each exit code of the command as its help does."""
    rows = GUIDE["command"].table("Failures and exit codes")[1:]
    assert rows == [[str(code.value), code.meaning] for code in Exit]


def test_environment() -> None:
    """The guide names each variable that the command reads."""
    section = GUIDE["command"].section("Environment")
    named = re.findall(r"`([A-Z]+(?:_[A-Z]+)*)`", section)
    assert sorted(named) == sorted(VARIABLES)


CAPTURES: Final = [block for page in PAGES for block in page.blocks("text")]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pty")
@pytest.mark.parametrize("capture", CAPTURES, ids=str)
def test_capture(capture: Block, emogg_emulator: EmoggEmulator) -> None:
    """A captured terminal shows what the emulator gives; lists fit 80 columns."""
    del emogg_emulator
    command, *lines = capture.source.splitlines()
    arguments = command.removeprefix("$ emogg ").split()
    columns = 80 if "list" in arguments else 100
    done = run_on_terminal(*arguments, columns=columns, NO_COLOR="1")
    shown = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    assert [line.rstrip() for line in shown.splitlines()] == lines


@each_page
def test_commands(page: Page) -> None:
    """Each command line begins with a command that there is, and has its options."""
    lines = "".join(block.source for block in page.blocks("sh"))
    for words, rest in re.findall(r"^emogg ((?:[a-z]+ ?)+)(.*)$", lines, re.MULTILINE):
        named = re.findall(r"(?<=[ (])--[a-z-]+", rest)
        known = re.findall(r"`(--[a-z-]+)`", " ".join(COMMANDS[words.strip()]))
        assert {*named} <= {*known}, words


async def test_shares_of_concurrency(emogg_emulator: EmoggEmulator) -> None:
    """Bulk work gets three quarters of the client's concurrency, as the text says."""
    default = inspect.signature(AsyncEmoggClient).parameters["concurrency"].default
    assert f"`concurrency={default}`" in GUIDE["sessions"].text
    ids = [session.id for session in emogg_emulator.sessions]
    emogg_emulator.latency = 0.02
    async with emogg_emulator.client(concurrency=4) as client:
        (await client.get_sessions(ids, via="get")).raise_for_errors()
    assert emogg_emulator.max_in_flight == 3


@each_page
def test_links(page: Page) -> None:
    """Links lead to files that there are, and to their headings."""
    for name, anchor in re.findall(r"\]\((?!https?:)([^)#]+)#?([^)]*)\)", page.text):
        target = page.path.parent / name
        assert target.exists()
        assert not anchor or anchor in _read(target).anchors()


# -- siblings --------------------------------------------------------------------------


def test_changelog() -> None:
    """The newest section of the changelog is that of this version."""
    changelog = _read(ROOT / "CHANGELOG.md").text
    version, date = re.findall(r"^## (\S+) — (\S+)$", changelog, re.MULTILINE)[0]
    assert version == emogg_async.__version__
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}", date)


def test_contributing() -> None:
    """Its tables name every nox session, and every room from the top down."""
    page = _read(ROOT / "CONTRIBUTING.md")
    noxfile = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    sessions = {
        name or function.replace("_", "-")
        for name, function in re.findall(
            r"^@nox\.session(?:\(.*?(?:name=\"([\w-]+)\").*?\))?\ndef (\w+)",
            noxfile,
            re.MULTILINE,
        )
    }
    named = [row[0] for row in page.table("Run the checks")[1:]]
    assert sorted(named) == sorted(f"`nox -s {session}`" for session in sessions)
    rooms = [row[0].strip("`") for row in page.table("Layout")[1:]]
    assert rooms == [*BESIDE_IMPORTS, *FLOORS]
