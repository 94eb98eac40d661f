"""The contract itself: what it finds, what it leaves behind, and what it may tell."""

import ast
import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
import deviating
import pytest
import simulated
import trustme
from contract import test_sessions
from contract.asking import Pace, Service, Window
from contract.emulated import emulated
from contract.seeing import FIELDS, number, rates, shape, shapes, words
from contract.stating import GUESSES, NotTried, Row, Statement, found, line_of, table
from hypothesis import given
from hypothesis import strategies as st
from waiting import until
from wayside import certified, proxying, tls_front

from emogg_async.testing import EmoggEmulator, LiveGuesses, _guesses

ROOT: Final = Path(__file__).parents[1]
CONTRACT: Final = ROOT / "tests" / "contract"

UNASKED: Final = {
    "LONGEST_ANALYSIS": "a bound of the emulator",
    "LONGEST_MESSAGE": "a bound of the emulator",
    "HEALTH_CHECK_EVERY": "a session would have to be watched for minutes",
    "LiveGuesses.window": "this takes all that the limits allow, and minutes",
    "LiveGuesses.repeats_unchanged": "nothing tells whether a payload did not change",
    "LiveGuesses.slots_kept": "this takes all that the limits allow",
}
"""Guesses of which the contract asks nothing, and why."""

pytestmark = pytest.mark.once


@attrs.frozen
class Run:
    """A run of the contract: how it ended, all that it printed, and its table."""

    code: int
    printed: str
    report: str

    def rows(self, verdict: str) -> list[str]:
        """Return the kind and the statement of the rows with *verdict*."""
        lines = (line.split(" | ") for line in self.report.splitlines())
        return [
            f"{cells[0].removeprefix('| ')}: {cells[1]}"
            for cells in lines
            if cells[-1] == f"{verdict} |"
        ]


@asynccontextmanager
async def contract(
    folder: Path, *arguments: str, url: str = "", token: str = ""
) -> AsyncIterator[tuple[asyncio.subprocess.Process, Path]]:
    """Run the contract as `nox -s contract -- ARGUMENTS` does."""
    report = folder / "report.md"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-c", "tests/contract/pytest.ini"),
        *("tests/contract", f"--report={report}", *arguments),
        cwd=ROOT,
        env={
            **os.environ,
            "EMOGG_BASE_URL": url,
            "EMOGG_API_TOKEN": token,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process, report
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def run(folder: Path, *arguments: str, **environment: str) -> Run:
    """Run the contract to its end."""
    async with contract(folder, *arguments, **environment) as (process, report):
        printed, _ = await process.communicate()
        text = report.read_text(encoding="utf-8") if report.exists() else ""
        return Run(process.returncode or 0, printed.decode(), text)


@pytest.fixture(scope="module")
def furnished() -> Iterator[EmoggEmulator]:
    """Serve one emulator with something to see."""
    with emulated() as emulator:
        yield emulator


def private(emulator: EmoggEmulator) -> set[str]:
    """Return what no report may hold: names, ids, dates and the token."""
    texts = {emulator.token}
    for session in emulator.sessions:
        texts |= {session.id, session.name, session.user, session.product}
        texts |= {each.id for each in session.sources or ()}
        texts |= {each.name for each in session.sources or ()}
        texts |= {f"{session.timestamp:%Y-%m-%dT%H:%M}"}
    return texts


async def test_everything_holds_on_the_emulator(tmp_path: Path) -> None:
    """The emulator keeps every promise, and does what its guesses say."""
    done = await run(tmp_path, "-k", "not silence")
    assert done.code == 0, done.printed
    assert done.rows("deviates") == done.rows("not tried") == []
    assert len(done.rows("holds")) > 150
    assert done.report in done.printed


# -- deviations ------------------------------------------------------------------------


def _guessed(name: str) -> str:
    return f"guess, emogg_async/testing/_guesses.py:{line_of(name)}"


DEVIATIONS: Final[dict[str, tuple[Any, str, str]]] = {
    "rate_headers and 404": (
        deviating.no_rate_headers,
        'promise, "Rate limits"',
        "an answer of 404 has the four rate headers",
    ),
    "rate_reset": (
        deviating.reset_in_milliseconds,
        'promise, "Rate limits"',
        "`RateLimit-Reset` is the seconds until the bucket is full at that rate",
    ),
    "list_order": (
        deviating.sorted_by_id,
        'promise, "List sessions"',
        "is sorted newest first",
    ),
    "list_wrong_limit": (
        deviating.any_limit,
        'promise, "List sessions"',
        "`limit=101` is answered 400",
    ),
    "test_stop_again": (
        deviating.stop_is_always_right,
        'promise, "Stop session"',
        "a session that is not active is answered 400",
    ),
    "test_delete and not test_deleted": (
        deviating.delete_has_a_body,
        'promise, "Delete session"',
        "answers 204 without a body",
    ),
    "test_field and timestamp": (
        deviating.no_zone,
        'promise, "Get a session"',
        "`timestamp` is ISO 8601 with milliseconds and Z",
    ),
    "test_body": (
        deviating.another_404,
        'promise, "Errors"',
        "a 404 has error, status and message",
    ),
    "report_path": (
        deviating.EventsAtPrintedPath(),
        _guessed("REPORT_PATH"),
        "events go to a path with the source in it",
    ),
    "event_timestamp": (
        None,
        _guessed("LiveGuesses.timestamps"),
        "the timestamp of an event is ISO 8601 with Z",
    ),
}


@pytest.mark.parametrize("chosen", DEVIATIONS)
async def test_deviation(chosen: str, furnished: EmoggEmulator, tmp_path: Path) -> None:
    """A service that differs in one thing is told so; only a broken promise fails."""
    change, source, what = DEVIATIONS[chosen]
    live = str if change else deviating.live_in_milliseconds
    before = furnished.sessions
    async with deviating.deviating(furnished.url, change, live) as url:
        done = await run(
            *(tmp_path, "-k", chosen, "--service", "--allow-changes"),
            url=url,
            token=furnished.token,
        )
    assert done.rows("deviates") == [f"{source}: {what}"], done.printed
    assert done.code == (1 if source.startswith("promise") else 0)
    assert len(furnished.sessions) == len(before)


# -- what is asked ---------------------------------------------------------------------


def test_every_guess_is_asked_about() -> None:
    """Each constant and switch of the guesses has a check, or a reason for none."""
    names = {name for name in _guesses.__all__ if name.isupper()}
    names |= {f"LiveGuesses.{each.name}" for each in attrs.fields(LiveGuesses)}
    source = "".join(path.read_text() for path in CONTRACT.glob("test_*.py"))
    asked = {name for name in names if re.search(rf'guess(ed)?\(\s*"{name}"', source)}
    assert asked.isdisjoint(UNASKED)
    assert names == asked | {*UNASKED}


@pytest.mark.parametrize(
    "name", ["REPORT_PATH", "LiveGuesses.timestamps", "a second auth"]
)
def test_guesses_are_named_by_line(name: str) -> None:
    """A guess is named by the line where it can be changed."""
    line = GUESSES.read_text().splitlines()[line_of(name) - 1]
    assert name.removeprefix("LiveGuesses.") in line


def test_guess_that_is_gone() -> None:
    """A guess that is not in the list is a mistake of the contract."""
    with pytest.raises(LookupError, match="no guess 'MADE_UP'"):
        line_of("MADE_UP")


async def test_without_changes(furnished: EmoggEmulator, tmp_path: Path) -> None:
    """Without --allow-changes only GETs are sent, and the rest is not tried."""
    sent = len(furnished.requests)
    done = await run(
        *(tmp_path, "-k", "test_changes or test_get or connection", "--service"),
        url=furnished.url,
        token=furnished.token,
    )
    assert done.code == 0
    assert {each.method for each in furnished.requests[sent:]} == {"GET"}
    assert 'promise, "Create session": a stream by https is answered 400' in done.rows(
        "not tried"
    )
    assert "read only" in done.report
    assert "| changes are not allowed |" in done.report


@pytest.mark.parametrize(
    ("environment", "complaint"),
    [
        ({"url": "http://127.0.0.1:9"}, "set EMOGG_API_TOKEN"),
        ({"url": "http://emogg.example", "token": "a"}, "begins with https"),
        ({"url": "https://[emogg.example", "token": "a"}, "begins with https"),
        ({"url": "https://emogg.example:x", "token": "a"}, "begins with https"),
        ({"url": "http://127.0.0.1:9", "token": "a"}, "no answer came"),
        ({"url": "http://127.0.0.1:9", "token": "a b\r"}, "is no token"),
    ],
)
async def test_usage(
    environment: dict[str, str], complaint: str, tmp_path: Path
) -> None:
    """What cannot be asked at all is one line, and another exit code."""
    done = await run(tmp_path, "--service", "-k", "test_list", **environment)
    assert done.code == 4
    assert complaint in done.printed
    assert "promise" not in done.printed


@pytest.mark.parametrize(
    ("status", "complaint"),
    [
        (404, "the service does not list sessions: 404 {"),
        (503, "the service does not list sessions: 503 {"),
        (429, "the rate limit was used up"),
    ],
)
async def test_nothing_to_ask(status: int, complaint: str, tmp_path: Path) -> None:
    """Of a service that answers no list, or of a wrong address, there is no table."""
    with emulated() as emulator:
        emulator.fail("GET", "/v1/sessions", status=status)
        done = await run(tmp_path, "--service", url=emulator.url, token=emulator.token)
    assert done.code == 4
    assert complaint in done.printed
    assert "promise" not in done.printed


async def test_limit_that_takes_hours(tmp_path: Path) -> None:
    """A run that would wait for minutes before each request does not begin."""
    with EmoggEmulator(sessions=1, rate_limit=(100, 86_400.0)) as emulator:
        done = await run(tmp_path, "--service", url=emulator.url, token=emulator.token)
        assert len(emulator.requests) == 1
    assert done.code == 4
    assert "a fifth of the rate limit is one request in 4363 s" in done.printed


async def test_report_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is not there is noticed before anything is asked."""
    done = await run(tmp_path / "nowhere", "-k", "test_list")
    assert done.code == 4
    assert "--report: there is no folder" in done.printed


async def test_unknown_token(furnished: EmoggEmulator, tmp_path: Path) -> None:
    """A token that the service does not know ends the run at its first answer."""
    sent = len(furnished.requests)
    done = await run(tmp_path, "--service", url=furnished.url, token="not-the-token")
    assert done.code == 4
    assert "does not know the token" in done.printed
    assert "not-the-token" not in done.printed
    assert len(furnished.requests) == sent + 1


@pytest.mark.parametrize("is_encrypted", [False, True])
async def test_proxy(
    is_encrypted: bool,
    furnished: EmoggEmulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The service is reached through the proxy of the environment, by TLS."""
    authority, certificates = trustme.CA(), tmp_path / "certificates.pem"
    authority.cert_pem.write_to_path(certificates)
    context = certified(authority, "service.example")
    way = certified(authority) if is_encrypted else None
    async with proxying(way) as proxy, tls_front(furnished.url, context) as front:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificates))
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        done = await run(
            *(tmp_path, "-k", "test_totals", "--service"),
            url=front.replace("127.0.0.1", "service.example"),
            token=furnished.token,
        )
    assert done.code == 0, done.printed
    assert done.rows("holds")
    assert proxy.tunnels


@pytest.mark.parametrize(
    "proxy", ["socks5://joe:secret@127.0.0.1:9", "http://:secret", "http:///secret"]
)
async def test_proxy_of_another_kind(
    proxy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of another kind is told of by its variable before anything is asked."""
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    url = "https://service.example"
    done = await run(tmp_path, "-k", "test_list", "--service", url=url, token="a")
    assert done.code == 4
    assert "HTTPS_PROXY must name an HTTP proxy" in done.printed
    assert "secret" not in done.printed
    assert "promise" not in done.printed


# -- what is left behind ---------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True])
async def test_interrupt(lost: bool, tmp_path: Path) -> None:
    """After Ctrl-C no session is left, even one whose creation was not answered."""
    with emulated() as emulator:
        before = len(emulator.sessions)
        if lost:
            emulator.fail("POST", "/v1/sessions", fault="hang", after=True)
        else:
            emulator.fail("PATCH", fault="hang")
        async with contract(
            *(tmp_path, "-k", "test_update", "--service", "--allow-changes"),
            url=emulator.url,
            token=emulator.token,
        ) as (process, report):
            await until(lambda: len(emulator.sessions) > before and emulator.in_flight)
            process.send_signal(signal.SIGINT)
            printed, _ = await process.communicate()
        assert process.returncode == 2, printed
        assert len(emulator.sessions) == before
        assert not report.exists() or "could not remove" not in report.read_text()


async def test_refusals_that_do_not_come(
    furnished: EmoggEmulator, tmp_path: Path
) -> None:
    """Sessions that the service should not have made are removed as well."""
    before, sent = furnished.sessions, len(furnished.requests)
    change = deviating.creates_whatever
    async with deviating.deviating(furnished.url, change) as url:
        done = await run(
            *(tmp_path, "-k", "test_long_name", "--service", "--allow-changes"),
            url=url,
            token=furnished.token,
        )
    assert done.rows("deviates")
    created = [
        each
        for each in furnished.requests[sent:]
        if (each.path, each.status) == ("/v1/sessions", 201)
    ]
    assert len(created) == 5
    assert len(furnished.sessions) == len(before)


@simulated.timed
@pytest.mark.parametrize("limit", [10, 6_000])
async def test_removal_that_fails_at_first(limit: int) -> None:
    """A session is removed however low the limit is, and where a few answers fail."""
    async with (
        simulated.emulated(rate_limit=(limit, 60.0)) as emulator,
        Service(emulator.url, emulator.token, may_change=True) as service,
    ):
        before = len(emulator.sessions)
        await service.create()
        emulator.fail("POST", status=504, after=True, times=1)
        await service.create()
        emulator.fail("POST", status=500, times=1)
        emulator.fail("DELETE", status=503, times=2)
        emulator.fail("DELETE", fault="reset", times=1)
        await service.clean()
        assert service.left == 0
        assert len(emulator.sessions) == before


@simulated.timed
async def test_list_that_cannot_be_read() -> None:
    """What is known to be made is removed even if a lost creation is not found."""
    async with simulated.emulated() as emulator:
        before = len(emulator.sessions)
        change = deviating.sessions_without_names
        async with (
            deviating.deviating(emulator.url, change) as url,
            Service(url, emulator.token, may_change=True) as service,
        ):
            await service.create()
            emulator.fail("POST", "/v1/sessions", status=504, after=True)
            await service.create()
            await service.clean()
            assert service.left == 1
        assert len(emulator.sessions) == before + 1


async def test_left_behind(tmp_path: Path) -> None:
    """A session that the service does not delete is counted."""
    with emulated() as emulator:
        emulator.fail("DELETE", status=500)
        done = await run(
            *(tmp_path, "-k", "test_update", "--service", "--allow-changes"),
            url=emulator.url,
            token=emulator.token,
        )
    assert "made and could not remove: 1." in done.report


# -- what is told ----------------------------------------------------------------------


async def test_nothing_private_is_told(tmp_path: Path) -> None:
    """No name, id, date or token of an account is printed, whatever deviates."""
    with emulated() as emulator:
        emulator.add_session(name="Merger with Initech", state="a1b2c3d4e5")
        private_texts = private(emulator)
        change = deviating.secrets_everywhere
        async with deviating.deviating(emulator.url, change) as url:
            done = await run(
                *(tmp_path, "--service", "-k", "not channels and not changes"),
                url=url,
                token=emulator.token,
            )
    assert done.rows("deviates")
    assert done.rows("holds")
    told = done.printed + done.report
    assert {text for text in private_texts if text in told} == set()


VOCABULARY: Final = re.compile(
    r"null|boolean|integer|real number|date with Z|other date|hex id|uuid|(empty )?text"
    r"|nothing|\d+ other|or|[][{}:, …]"
)


def _outside(text: str) -> str:
    """Return what of *text* is neither of the vocabulary nor a known field."""
    for field in sorted(FIELDS, key=len, reverse=True):
        text = re.sub(rf"\b{field}: ", "", text)
    return VOCABULARY.sub("", text)


NAMES = st.sampled_from(sorted(FIELDS)) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(sorted(FIELDS)) | st.text(), inner, max_size=3
        )
    ),
)


@pytest.mark.property
@given(VALUES)
def test_shapes_have_a_vocabulary(value: object) -> None:
    """Whatever a value is, its shape consists of known fields and a few words."""
    assert _outside(shape(value).text) == ""
    assert _outside(shapes([value, value]).text) == ""


@pytest.mark.property
@given(st.text() | st.integers(), st.text())
def test_numbers_and_words(value: str | int, header: str) -> None:
    """Numbers have four digits, words are short and plain, and rates are numbers."""
    assert re.fullmatch(r"\d{1,4}|another integer|[a-zA-Z ]+", number(value).text)
    assert re.fullmatch(r"no plain word|[a-z_]{2,62}", words([value]).text)
    told = rates({"RateLimit-Policy": header}).text.rpartition("RateLimit-Policy: ")[2]
    assert re.fullmatch(r"\d+(;w=[\d.]+)?|other text", told, re.ASCII)


def test_only_what_was_made_safe_is_told() -> None:
    """A check cannot tell a plain string, nor a text that is not in its source."""
    with pytest.raises(TypeError):
        found(True, "the name of a session")  # type: ignore[arg-type]
    for path in CONTRACT.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in {"said", "NotTried"}:
                assert isinstance(node.args[0], ast.Constant), ast.unparse(node)
            if node.func.id == "Seen":
                assert path.name == "seeing.py", ast.unparse(node)


def test_table() -> None:
    """The table is one of Markdown, which no cell can break."""
    statement = Statement("promise", "Get a session", "is `a` | `b`")
    rows = [Row(statement, "x" * 500, "holds"), Row(statement, "no", "not tried")]
    text = table(rows, "Heading.", 2)
    assert '| promise, "Get a session" | is `a` / `b` | no | not tried |' in text
    assert max(map(len, text.splitlines())) < 200
    assert "2 promises: 1 hold, 0 deviate, 1 not tried." in text
    assert "made and could not remove: 2." in text


async def test_a_list_that_fails_once() -> None:
    """One failure of the list, which most checks read, is no verdict on all of them."""
    with emulated() as emulator:
        emulator.fail("GET", "/v1/sessions", status=503, times=1)
        async with Service(emulator.url, emulator.token, is_ours=True) as service:
            with pytest.raises(NotTried, match="could not be listed"):
                await service.listed()
            assert await service.listed()


async def test_a_session_that_begins_meanwhile() -> None:
    """A list that has grown since it was asked for first is no deviation."""
    checks: list[Any] = []
    test_sessions.test_list_offset(lambda _, check: checks.append(check))
    with emulated() as emulator:
        async with Service(emulator.url, emulator.token, is_ours=True) as service:
            await service.listed()
            emulator.add_session()
            assert (await checks[0](service)).holds


# -- how fast it asks ------------------------------------------------------------------


@simulated.timed
async def test_a_fifth_of_the_limit() -> None:
    """It sends less than a fifth of what the headers allow, from the start on."""
    async with (
        simulated.emulated(rate_limit=(60, 60.0)) as emulator,
        Service(emulator.url, emulator.token) as service,
    ):
        for _ in range(40):
            await service.get("/v1/sessions")
        times = [each.at.timestamp() for each in emulator.requests]
    assert max(_within_a_minute(times, start) for start in times) <= 12


@simulated.timed
async def test_one_request_a_second() -> None:
    """Where no header tells the limit, it sends one request a second."""
    async with (
        simulated.emulated(rate_headers=False) as emulator,
        Service(emulator.url, emulator.token) as service,
    ):
        for _ in range(10):
            await service.get("/v1/sessions")
        assert 9 <= simulated.now() < 10


def _within_a_minute(times: list[float], start: float) -> int:
    return sum(start <= each < start + 60 for each in times)


@pytest.mark.parametrize(
    "policy", ["", "0;w=60", "9;w=0", "a;w=b", "-1;w=60", "٩;w=60"]
)
def test_policy_that_says_nothing(policy: str) -> None:
    """A policy without a sensible limit counts as none."""
    pace = Pace()
    pace.learn({"RateLimit-Policy": policy})
    assert [pace.wait(0.0), pace.wait(0.0)] == [0.0, 1.0]


def test_live_limits() -> None:
    """Less than a fifth of the 80 messages of a minute are sent in any minute."""
    window, now, times = Window(80), 0.0, []
    for _ in range(50):
        now += window.wait(now)
        times.append(now)
    assert max(_within_a_minute(times, start) for start in times) == 15
