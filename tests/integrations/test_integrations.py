"""Answers to visitors, and the import of integrations."""

import inspect
import logging
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from emogg_async import AsyncEmoggClient, errors
from emogg_async.errors import (
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    InvalidArgumentError,
    LiveLimitError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseShapeError,
    ServerError,
    StatusError,
    TransportError,
)
from emogg_async.integrations import Answer, answer_to
from emogg_async.integrations._answers import answer_and_log
from emogg_async.integrations.aiohttp_web import emogg_client
from emogg_async.integrations.starlette import emogg_lifespan

GUIDE: Final = Path(__file__).parents[2] / "examples" / "guides" / "web.md"
SECRET: Final = "what the service said"
NOT_FOUND: Final = {"error": "not_found", "detail": "There is no such thing."}
ID: Final = "65ea1530bb50af72b6e3dc1e"
NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)

ANSWERS: Final[list[tuple[EmoggError, int, str, str | None]]] = [
    (InvalidArgumentError(SECRET), 400, "invalid_argument", None),
    (NotFoundError(SECRET, status=404), 404, "not_found", None),
    (RateLimitedError(SECRET, status=429), 503, "busy", "1"),
    (RateLimitedError(SECRET, status=429, retry_after=0.2), 503, "busy", "1"),
    (RateLimitedError(SECRET, status=429, retry_after=2.1), 503, "busy", "3"),
    (LiveLimitError(SECRET, in_use=10), 503, "busy", "1"),
    (ClientClosedError(SECRET), 503, "stopping", "1"),
    (DeadlineError(SECRET), 504, "timeout", None),
    (OutcomeUnknownError(SECRET, since=NOW), 504, "outcome_unknown", None),
    (AuthenticationError(SECRET, status=401), 500, "internal", None),
    (PermissionDeniedError(SECRET, status=403), 500, "internal", None),
    (ConfigurationError(SECRET), 500, "internal", None),
    (EmoggError(SECRET), 500, "internal", None),
    (ServerError(SECRET, status=500), 502, "upstream_failed", None),
    (ServerError(SECRET, status=503, retry_after=9), 502, "upstream_failed", "9"),
    (NotSentError(SECRET), 502, "upstream_failed", None),
    (ConnectionLostError(SECRET), 502, "upstream_failed", None),
    (TransportError(SECRET), 502, "upstream_failed", None),
    (BadRequestError(SECRET, status=400), 502, "upstream_failed", None),
    (StatusError(SECRET, status=409), 502, "upstream_failed", None),
    (ResponseShapeError(SECRET), 502, "upstream_failed", None),
]


def test_every_error_is_in_the_table() -> None:
    """The table of this test names each public error."""
    assert {*errors.__all__} == {type(error).__name__ for error, *_ in ANSWERS}


@pytest.mark.parametrize(("error", "status", "word", "wait"), ANSWERS)
def test_answer(error: EmoggError, status: int, word: str, wait: str | None) -> None:
    """An error has its status, a word, a sentence, and nothing of its own text."""
    answer = answer_to(error)
    assert (status, word) == (answer.status, answer.body["error"])
    assert wait == answer.headers.get("Retry-After")
    assert {"error", "detail"} == answer.body.keys()
    assert answer.headers.keys() <= {"Retry-After"}
    assert SECRET not in repr(answer)


def test_the_guide_s_table() -> None:
    """The guide's table has each error in the row of its answer."""
    text = GUIDE.read_text(encoding="utf-8").split("\n## Answers to visitors\n", 1)[1]
    rows = re.findall(
        r"^\| ((?:`\w+`(?:, )?)+|any other) \| (\d+) `(\w+)`(.*) \|$",
        text.split("\n## ", 1)[0],
        re.MULTILINE,
    )
    *_, others = rows
    told = {name: row for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    for error, status, word, wait in ANSWERS:
        _, status_told, word_told, more = told.get(type(error).__name__, others)
        if type(error) is not EmoggError:  # nothing raises the base itself
            assert (str(status), word) == (status_told, word_told)
            assert (status == 503) == (more == ", with `Retry-After`")
            assert wait is None or "Retry-After" in more
            assert wait is not None or status != 503


def test_new_errors_are_answered_as_their_base() -> None:
    """A class that a later release adds below an existing one needs no entry."""

    class GoneError(NotFoundError):
        pass

    assert Answer(404, {}, NOT_FOUND) == answer_to(GoneError("-", status=404))


BUSY: Final = RateLimitedError(SECRET, status=429, retry_after=1)
BUSIER: Final = RateLimitedError(SECRET, status=429, retry_after=30)
LATE: Final = DeadlineError(SECRET)
UNKNOWN: Final = OutcomeUnknownError(SECRET, since=NOW)
MISSING: Final = NotFoundError(SECRET, status=404)


@pytest.mark.parametrize(
    ("group", "counts"),
    [
        ([MISSING], MISSING),
        ([InvalidArgumentError(SECRET), MISSING], MISSING),
        (
            [MISSING, ServerError(SECRET, status=500), MISSING],
            ServerError(SECRET, status=500),
        ),
        ([MISSING, ExceptionGroup("-", [BUSY])], BUSY),
        ([BUSIER, BUSY], BUSIER),
        ([BUSY, BUSIER], BUSIER),
        ([UNKNOWN, LATE, BUSY], UNKNOWN),
        ([LATE, UNKNOWN], UNKNOWN),
    ],
)
def test_groups(group: list[EmoggError], counts: EmoggError) -> None:
    """Of several errors the one with the highest status is answered."""
    assert answer_to(counts) == answer_to(ExceptionGroup(SECRET, group))


def test_groups_with_something_else() -> None:
    """A group with a foreign exception, however deep, is raised again as it is."""
    group = ExceptionGroup("-", [MISSING, ExceptionGroup("-", [BUSY, KeyError("-")])])
    with pytest.raises(ExceptionGroup) as raised:
        answer_to(group)
    assert group is raised.value


def test_answers_cannot_be_spoilt() -> None:
    """A change of one answer changes no other."""
    answer_to(NotFoundError("-", status=404)).body["error"] = "spoilt"
    assert NOT_FOUND == answer_to(NotFoundError("-", status=404)).body


VALUE: Final = "54321"
"""An argument that is refused, and must not be in the log."""


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda it: it.get_session(VALUE), "session_id: expected 24 hex digits"),
        (
            lambda it: it.get_emotions_timeline(ID, granularity=int(VALUE)),
            "granularity: expected 5 to 3600",
        ),
        (
            lambda it: it.get_emotions_timeline(ID, granularity=VALUE),
            "granularity: expected a whole number",
        ),
        (
            lambda it: it.get_emotions_timeline(ID, start=int(VALUE), end=1),
            "end: expected more than start",
        ),
        (
            lambda it: it.get_session(ID, expand=[f"{VALUE}!"]),
            "expand: expected names of fields like user or a.b",
        ),
        (
            lambda it: it.request("GET", "/v1/x", query={VALUE: object()}),
            "query: expected text, a number or a boolean",
        ),
        (
            lambda it: it.request("POST", "/v1/x", json={VALUE: "\ud800", "x": {1}}),
            "json",
        ),
        (
            lambda it: it.request("GET", f"/{VALUE}"),
            "path: expected a path below /v1/ with its parameters in query=",
        ),
        (
            lambda it: it.create_session(["x", VALUE], "rtmp://x"),
            "name: expected text",
        ),
    ],
)
async def test_a_refusal_is_logged_without_the_value(
    call: Callable[[AsyncEmoggClient], Awaitable[object]],
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The log has argument and rule, and nothing of what was given."""
    async with AsyncEmoggClient("token", base_url="http://127.0.0.1:9") as client:
        with pytest.raises(InvalidArgumentError) as raised:
            await call(client)
    assert 400 == answer_and_log(raised.value, "GET /{id}").status
    (record,) = caplog.records
    assert logging.WARNING == record.levelno
    assert f"answered 400 to GET /{{id}}: {told}" == record.getMessage()


def test_a_group_of_refusals_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """Each argument and rule comes once, however many were refused for it."""
    refused = [InvalidArgumentError(f"id: expected a, got {n}") for n in range(1000)]
    errors = [*refused, ExceptionGroup("-", [InvalidArgumentError(SECRET)])]
    answer_and_log(ExceptionGroup("-", errors), "GET /")
    (record,) = caplog.records
    assert record.getMessage() == "answered 400 to GET /: an argument; id: expected a"


@pytest.mark.parametrize(
    ("integration", "library", "expected"),
    [
        (
            "starlette",
            "starlette",
            (
                "needs Starlette: "
                "python -m pip install starlette (or fastapi, which brings it)"
            ),
        ),
        (
            "otel",
            "opentelemetry",
            "needs the extra otel: python -m pip install 'emogg-async[otel]'",
        ),
    ],
)
def test_without_its_library(integration: str, library: str, expected: str) -> None:
    """An integration without its library says in one line what to install."""
    script = (
        "import sys\n"
        f"sys.modules[{library!r}] = None\n"
        "try:\n"
        f"    import emogg_async.integrations.{integration}\n"
        "except ImportError as error:\n"
        "    print(error)"
    )
    assert f"emogg_async.integrations.{integration} {expected}\n" == run(script).stdout


def run(script: str) -> "subprocess.CompletedProcess[str]":
    """Run *script* in a new interpreter."""
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("make", [emogg_client, emogg_lifespan])
def test_options_are_the_client_s(make: Callable[..., object]) -> None:
    """Help and completion show the client's own options."""
    expected = inspect.signature(AsyncEmoggClient).parameters
    assert expected == inspect.signature(make).parameters
