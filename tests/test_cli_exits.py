"""How the command ends, and what it says then: for each error, and for none of ours."""

import importlib
import json
import logging
from datetime import UTC, datetime

import click
import pytest

from emogg_async import errors
from emogg_async._cli.app import emogg
from emogg_async._cli.exits import Exit, ending, exit_of, explain, explain_as_json
from emogg_async.errors import EmoggError

SENT = {"method": "GET", "path": "/v1/sessions", "attempts": 3}
SINCE = datetime(2024, 4, 1, tzinfo=UTC)

ENDS: list[tuple[EmoggError, Exit, str]] = [
    (EmoggError("odd"), Exit.OTHER, "emogg doctor"),
    (errors.ConfigurationError("no"), Exit.CREDENTIALS, "EMOGG_API_TOKEN"),
    (errors.ConfigurationError("base_url: no"), Exit.CREDENTIALS, "--base-url"),
    (errors.ConfigurationError("HTTPS_PROXY: no"), Exit.CREDENTIALS, "HTTPS_PROXY"),
    (errors.InvalidArgumentError("limit: no"), Exit.USAGE, "--help"),
    (errors.ClientClosedError("closed"), Exit.OTHER, "again"),
    (errors.TransportError("lost", **SENT), Exit.NETWORK, "emogg doctor"),
    (errors.NotSentError("refused", **SENT), Exit.NETWORK, "EMOGG_BASE_URL"),
    (errors.NotSentError("407", stopped_by="proxy"), Exit.NETWORK, "HTTPS_PROXY"),
    (errors.NotSentError("x", stopped_by="certificate"), Exit.NETWORK, "SSL_CERT_FILE"),
    (errors.ConnectionLostError("lost", **SENT), Exit.NETWORK, "emogg doctor"),
    (errors.DeadlineError("late", **SENT), Exit.NETWORK, "--timeout"),
    (errors.StatusError("tea", status=418, **SENT), Exit.OTHER, "docs.emogg.com"),
    (errors.StatusError("gone", status=308, **SENT), Exit.OTHER, "--base-url"),
    (errors.BadRequestError("bad", status=400, **SENT), Exit.OTHER, "command line"),
    (
        errors.AuthenticationError("no", status=401, **SENT),
        Exit.CREDENTIALS,
        "Check EMOGG_API_TOKEN, or the file named by --token-file",
    ),
    (
        errors.PermissionDeniedError("no", status=403, **SENT),
        Exit.CREDENTIALS,
        "a token that may",
    ),
    (
        errors.NotFoundError("none", status=404, **SENT | {"path": "/v1/sessions/6"}),
        Exit.NOT_FOUND,
        "Check the id",
    ),
    (errors.NotFoundError("none", status=404, **SENT), Exit.NOT_FOUND, "--base-url"),
    (
        errors.RateLimitedError("slow", status=429, retry_after=2.5, **SENT),
        Exit.RATE_LIMITED,
        "Wait",
    ),
    (errors.ServerError("down", status=503, **SENT), Exit.SERVICE, "later"),
    (errors.ResponseShapeError("odd", **SENT), Exit.OTHER, "Update emogg-async"),
    (
        errors.ResponseShapeError("HTML", problems=("no valid JSON",), **SENT),
        Exit.OTHER,
        "--base-url",
    ),
    (errors.OutcomeUnknownError("?", since=SINCE, **SENT), Exit.UNKNOWN, "before you"),
]

each_end = pytest.mark.parametrize(
    ("error", "code", "step"), ENDS, ids=[type(each[0]).__name__ for each in ENDS]
)


def test_every_error_is_here() -> None:
    """No class of errors is without its ending."""
    assert {type(error).__name__ for error, _, _ in ENDS} == {*errors.__all__}


@each_end
def test_two_lines(error: EmoggError, code: Exit, step: str) -> None:
    """An error is two lines: what failed, with its facts, and one next step."""
    assert exit_of(error) == code
    what, next_step = explain(error).splitlines()
    assert what.startswith("Error: ")
    assert error.message in what
    assert (f"(GET {error.path}, 3 attempts)" in what) == (error.method is not None)
    assert str(getattr(error, "status", "")) in what
    assert step in next_step
    assert next_step.endswith(".")
    assert ".." not in what + next_step


@each_end
def test_one_line_of_json(error: EmoggError, code: Exit, step: str) -> None:
    """For one of several ids, the same is one line of JSON."""
    del code
    line = explain_as_json("0" * 24, error)
    assert "\n" not in line
    told = json.loads(line)
    assert [*told] == [
        *("id", "error", "message", "status"),
        *("method", "path", "attempts", "next"),
    ]
    assert told["error"] == type(error).__name__
    assert told["message"] == error.message
    assert told["attempts"] == error.attempts
    assert told["next"] == explain(error).splitlines()[1]
    assert step in told["next"]


@each_end
def test_nothing_speaks_python(error: EmoggError, code: Exit, step: str) -> None:
    """No next step names what only Python can do."""
    del code, step
    next_step = explain(error).splitlines()[1]
    assert "=" not in next_step
    assert "Client" not in next_step


def test_no_hint_for_python() -> None:
    """What only Python can allow is not offered."""
    error = errors.ConfigurationError("base_url: use https://, or pass allow_http=True")
    assert explain(error).splitlines()[0] == "Error: base_url: use https://."


def test_a_new_error_ends_as_its_base() -> None:
    """A class that comes later has the ending of the class above it."""

    class ConflictError(errors.StatusError):
        advice = "Use ConflictError.resolve()"

    error = ConflictError("conflict", status=409, **SENT)
    assert exit_of(error) is Exit.OTHER
    assert explain(error).endswith("\nLook this status up at https://docs.emogg.com.")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (click.Abort(), Exit.INTERRUPTED),
        (errors.ServerError("down", status=503), Exit.SERVICE),
        (click.ClickException("no"), Exit.OTHER),
        (click.UsageError("no"), Exit.USAGE),
        (click.exceptions.Exit(77), 77),
        (ZeroDivisionError("no"), Exit.OTHER),
    ],
)
def test_endings(
    error: BaseException, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever is raised becomes an exit code, and two lines or none."""
    with pytest.raises(click.exceptions.Exit) as caught, ending():
        raise error
    assert caught.value.exit_code == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") in {0, 2}


def test_a_bug_of_ours(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A bug is two lines that ask for a report; who logs, as by -v, sees where."""
    helped = importlib.import_module("emogg_async._cli.help")
    monkeypatch.setattr(helped, "_find", lambda *_: [].pop())
    with pytest.raises(SystemExit) as caught:
        emogg.main(["help"], prog_name="emogg")
    assert caught.value.code == Exit.OTHER
    what, next_step = capsys.readouterr().err.splitlines()
    assert what == "Error: IndexError: pop from empty list"
    assert "bug in emogg-async" in next_step
    assert "`emogg doctor`" in next_step
    assert "Traceback (most recent call last):" in caplog.messages
    assert all(record.levelno == logging.ERROR for record in caplog.records)
