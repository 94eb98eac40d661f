"""How the command ends, and what it says then: for each error, and for none of ours."""

import importlib
import json
import logging
import os
from datetime import UTC, datetime

import click
import pytest
from _terminal import call

from emogg_async import errors
from emogg_async._cli.app import emogg
from emogg_async._cli.exits import Exit, ending, exit_of, explain, explain_as_json
from emogg_async.errors import EmoggError
from emogg_async.testing import EmoggEmulator

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
    (errors.LiveLimitError("none", in_use=10), Exit.RATE_LIMITED, "--timeout"),
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
    helped = importlib.import_module("emogg_async._cli.commands.help")
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


# -- what a command that fails has printed ---------------------------------------------

ANSWERING = [
    "sessions list",
    "sessions export",
    "sessions get {0}",
    "sessions get {0} {1}",
    "sessions get {0} {1} --expand user",
    "sessions create Pitch rtmps://stream.example.com/live",
    "sessions rename {0} Pitch",
    "sessions stop {0} --yes",
    "sessions stop {0} {1} --yes",
    "emotions totals {0}",
    "emotions totals {0} {1}",
    "emotions totals {0} {1} --fields emotion",
    "emotions timeline {0}",
    "emotions timeline {0} --fields start",
    "sentiment {0}",
    "sources register {0} Pulse --format scalar",
    "events send {0} {0} --time 1 --number 2",
]
"""Every command that prints what the service answers."""


@pytest.mark.parametrize(
    ("command", "form"),
    [
        (command, form)
        for command in ANSWERING
        for form in ("json", "jsonl", "csv")
        if (command, form) != ("sessions export", "json")
    ],
)
def test_failure_prints_no_data(
    emogg_emulator: EmoggEmulator,
    capfd: pytest.CaptureFixture[str],
    command: str,
    form: str,
) -> None:
    """A command that fails before the first record prints no `[]` and no header."""
    emogg_emulator.fail(status=501)
    ids = [session.id for session in emogg_emulator.sessions[:2]]
    done = call(capfd, *command.format(*ids).split(), "-o", form)
    assert done.returncode > 0
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("command", "empty"),
    [
        ("list --state paused -o json", "[]\n"),
        ("list --state paused -o csv", "id,name\n"),
        ("export --state paused -o csv", "id,name\n"),
        (f"get --from-file {os.devnull} -o json", "[]\n"),
        (f"get --from-file {os.devnull} -o csv", "id,name\n"),
    ],
)
def test_nothing_found_is_data(
    emogg_emulator: EmoggEmulator,
    capfd: pytest.CaptureFixture[str],
    command: str,
    empty: str,
) -> None:
    """A command that succeeds without a record prints `[]` or the header."""
    done = call(capfd, "sessions", *command.split(), "--fields", "id,name")
    assert done.returncode == 0
    assert done.stdout == empty


def test_failure_leaves_json_open(
    emogg_emulator: EmoggEmulator, capfd: pytest.CaptureFixture[str]
) -> None:
    """A list that fails half-way is whole lines, but no JSON that passes for all."""
    for _ in range(90):
        emogg_emulator.add_session()
    emogg_emulator.fail(status=501)
    emogg_emulator.fail(delay=0.001, times=1)  # the first page is answered
    done = call(capfd, "sessions", "list", "--limit", "110", "-o", "json")
    assert done.returncode == 8
    assert done.stdout.endswith("\n")
    with pytest.raises(json.JSONDecodeError):
        json.loads(done.stdout)
    assert len(json.loads(f"{done.stdout}]")) == 100


def test_some_failures_close_the_json(
    emogg_emulator: EmoggEmulator, capfd: pytest.CaptureFixture[str]
) -> None:
    """When some of several ids fail, the array holds the others."""
    good = emogg_emulator.sessions[0].id
    done = call(capfd, "sessions", "get", "f" * 24, good, "-o", "json")
    assert done.returncode == 3
    assert [item["_id"] for item in json.loads(done.stdout)] == [good]
