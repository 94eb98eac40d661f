import copy
import pickle
import re
from datetime import UTC, datetime

import pytest

from emogg_async import errors
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

PATH = "/v1/sessions/65ea1530bb50af72b6e3dc1e"
FACTS = {"method": "GET", "path": PATH, "attempts": 3}
SINCE = datetime(2024, 4, 1, 10, 30, tzinfo=UTC)

EXAMPLES = [
    EmoggError("failed", **FACTS),
    ConfigurationError("no token"),
    InvalidArgumentError("session_id: expected 24 hex digits"),
    ClientClosedError("the client is closed"),
    TransportError("no answer", **FACTS),
    NotSentError("refused", **FACTS),
    ConnectionLostError("reset", **FACTS),
    DeadlineError("no answer in time", sent=False, **FACTS),
    StatusError("I'm a teapot", status=418, **FACTS),
    BadRequestError("bad name", status=400, **FACTS),
    AuthenticationError("bad token", status=401, **FACTS),
    PermissionDeniedError("not yours", status=403, **FACTS),
    NotFoundError("no session", status=404, **FACTS),
    RateLimitedError("slow down", status=429, retry_after=2.5, **FACTS),
    ServerError("down", status=503, retry_after=0.0, **FACTS),
    ResponseShapeError("no session", problems=("name: required", "x"), **FACTS),
    LiveLimitError("none is free", in_use=10),
    OutcomeUnknownError("nobody knows", since=SINCE, method="POST", path=PATH),
]

each_error = pytest.mark.parametrize("error", EXAMPLES, ids=lambda e: type(e).__name__)


class CustomError(StatusError):
    """A user's own error, whose constructor takes something else."""

    def __init__(self, *, colour):
        super().__init__("custom", status=599)
        self.colour = colour


def drawn_tree():
    """Read parent and child pairs from the tree in the module's docstring."""
    branches, parents = set(), []
    for line in errors.__doc__.splitlines():
        if drawn := re.fullmatch(
            r"    ((?:[│ ]   )*(?:[├└]── )?)(\w+Error)( .*)?", line
        ):
            depth = len(drawn[1]) // 4
            del parents[depth:]
            branches.add((parents[-1] if parents else "Exception", drawn[2]))
            parents.append(drawn[2])
    return branches


def test_examples_cover_every_public_error():
    """The examples below cover all errors."""
    assert errors.__all__ == sorted(type(error).__name__ for error in EXAMPLES)


def test_every_public_error_derives_from_the_base():
    """One `except EmoggError` catches whatever the package raises."""
    strangers = [
        name
        for name in errors.__all__
        if not issubclass(getattr(errors, name), EmoggError)
    ]
    assert strangers == []


def test_docstring_draws_the_real_tree():
    """The tree that users read is the tree of the classes."""
    real = {
        (getattr(errors, name).__bases__[0].__name__, name) for name in errors.__all__
    }
    assert real == drawn_tree()


@each_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_every_fact(error, protocol):
    """An error crosses a process boundary whole."""
    restored = pickle.loads(pickle.dumps(error, protocol))
    assert type(error) is type(restored)
    assert vars(error) == vars(restored)
    assert error.args == restored.args
    assert str(error) == str(restored)


@each_error
@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copies_keep_every_fact(error, duplicate):
    """A copy is another object that says the same."""
    restored = duplicate(error)
    assert error is not restored
    assert type(error) is type(restored)
    assert vars(error) == vars(restored)
    assert error.args == restored.args
    assert str(error) == str(restored)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda e: pickle.loads(pickle.dumps(e))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_subclass_with_its_own_constructor_survives_too(duplicate):
    """An error that a user derived needs nothing of its own to be copied."""
    restored = duplicate(CustomError(colour="red"))
    assert CustomError is type(restored)
    assert {"colour": "red", "status": 599}.items() <= vars(restored).items()


def test_copy_does_not_share_its_facts():
    """A note on a copy is not on the original."""
    error = NotFoundError("no session", status=404)
    copy.copy(error).attempts = 5
    assert error.attempts == 0


@each_error
def test_prints_one_line_with_all_that_helps(error):
    """A log line says what failed, where, how often, and what to do next."""
    printed = str(error)
    assert [printed] == printed.splitlines()
    assert error.message in printed
    assert error.advice in printed
    assert printed.endswith(".")
    if error.method:
        assert f"{error.method} {error.path}" in printed
    if error.attempts:
        assert f"{error.attempts} attempts" in printed
    if isinstance(error, StatusError):
        assert str(error.status) in printed


@pytest.mark.parametrize(
    ("expected", "error"),
    [
        ("no token.", ConfigurationError("no token")),
        ("no token.", ConfigurationError("no token.")),
        (
            "the client is closed. Open a new AsyncEmoggClient.",
            ClientClosedError("the client is closed"),
        ),
        (
            f"418: short and stout (GET {PATH}, 1 attempt).",
            StatusError(
                "short and stout.", status=418, method="GET", path=PATH, attempts=1
            ),
        ),
        (
            f"503: down, retry after 2.5 s (POST {PATH}). Try again later.",
            ServerError("down", status=503, retry_after=2.5, method="POST", path=PATH),
        ),
        (
            f"503: down, retry after 0 s (GET {PATH}, 2 attempts). Try again later.",
            ServerError(
                "down",
                status=503,
                retry_after=0.0,
                method="GET",
                path=PATH,
                attempts=2,
            ),
        ),
    ],
)
def test_printed_line_in_full(expected, error):
    """The parts of the line stand in one order, with no full stop twice."""
    assert expected == str(error)


@pytest.mark.parametrize("seconds", [1000, 1234, 86_400, 999_999])
def test_long_waits_are_printed_in_plain_figures(seconds):
    """A wait of a day is printed so that a person can read it."""
    error = RateLimitedError("slow down", status=429, retry_after=float(seconds))
    assert f"retry after {seconds} s" in str(error)


def test_attempts_are_printed_as_they_are_when_printing():
    """The attempts can be set after the error was made."""
    error = ConnectionLostError("reset", method="GET", path=PATH)
    error.attempts = 6
    assert f"(GET {PATH}, 6 attempts)" in str(error)


def test_repr_tells_class_and_message():
    """In a debugger an error shows which one it is."""
    assert (
        repr(NotFoundError("no session", status=404)) == "NotFoundError('no session')"
    )


def test_a_deadline_is_caught_as_a_timeout():
    """`except TimeoutError` catches a deadline, as it does asyncio's own."""
    with pytest.raises(TimeoutError, match="no answer"):
        raise DeadlineError("no answer in time")
    assert issubclass(DeadlineError, TransportError)


def test_a_deadline_may_have_been_sent_unless_it_says_otherwise():
    """Without a word on it, a request whose time is up counts as sent."""
    assert DeadlineError("late").sent is True
    assert DeadlineError("late", sent=False).sent is False


@pytest.mark.parametrize("kind", [DeadlineError, RateLimitedError])
def test_advice_names_what_bounds_a_call(kind):
    """The time of a call may be an argument's or that of a block."""
    assert "timeout=" in kind.advice
    assert "deadline()" in kind.advice


def test_a_refused_argument_is_caught_as_a_value_error():
    """`except ValueError` catches a refused argument."""
    with pytest.raises(ValueError, match="24 hex digits"):
        raise InvalidArgumentError("session_id: expected 24 hex digits")


def test_other_errors_are_neither_timeouts_nor_value_errors():
    """Only the two errors that say so can be caught as something else."""
    also = {
        type(error).__name__
        for error in EXAMPLES
        if isinstance(error, ValueError | OSError)
    }
    assert {"DeadlineError", "InvalidArgumentError"} == also


def test_facts_have_quiet_defaults():
    """An error that belongs to no request says so with None and 0."""
    error = StatusError("down", status=500)
    assert (
        error.method,
        error.path,
        error.attempts,
        error.retry_after,
    ) == (None, None, 0, None)
    assert ResponseShapeError("odd").problems == ()
