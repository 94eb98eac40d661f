"""Exit codes, and the two lines about an error: what failed, and the next step."""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import Any, Final, Self, TypeVar

import click

from emogg_async import errors
from emogg_async._text import json_line, printable
from emogg_async.errors import EmoggError

__all__ = [
    "OBSTACLES",
    "SEE_DOCTOR",
    "Advice",
    "CommandError",
    "Exit",
    "advising",
    "ending",
    "exit_of",
    "explain",
    "explain_as_json",
    "next_step",
]

T = TypeVar("T")

_NO_ARGUMENTS: Final[type | tuple[()]] = getattr(
    click.exceptions, "NoArgsIsHelpError", ()
)
"""The error of newer clicks for a group without a command; older ones print help."""

_HINT_FOR_PYTHON: Final = ", or pass allow_http=True"
"""The part of a message that only helps in Python."""

Advice = str | Callable[[Any], str]
"""The next step after an error, or a function of the error that returns it."""

_LONGEST: Final = 200
"""Characters kept of the message of an unexpected error."""


class Exit(IntEnum):
    """The exit codes; scripts rely on them, so no code ever changes its meaning.

    Attributes:
        meaning: The meaning in a few words, for help texts.
    """

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make an exit code with its meaning."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "all went well"
    OTHER = 1, "anything else"
    USAGE = 2, "wrong usage, or what is no session id"  # click's own, too
    SOME_FAILED = 3, "some of several failed, or all for different reasons"
    CREDENTIALS = 4, "no usable token or base URL, or a refused token"
    NOT_FOUND = 5, "not found"
    RATE_LIMITED = 6, "rate limited"
    NETWORK = 7, "network or timeout"
    SERVICE = 8, "the service failed"
    UNKNOWN = 9, "unknown whether a write took effect; look before repeating it"
    # From here on 128 and the number of a signal, as shells count.
    INTERRUPTED = 130, "interrupted, as by Ctrl-C"
    CLOSED_PIPE = 141, "the output was closed"
    TERMINATED = 143, "terminated"


class CommandError(click.ClickException):
    """A failure of the command itself rather than of the client.

    Args:
        message: What failed, in one line.
        next_step: What to do about it, without the full stop.
    """

    def __init__(self, message: str, next_step: str) -> None:
        super().__init__(message)
        self.next_step = next_step


SEE_DOCTOR: Final = "; `emogg doctor` tells more"
"""The end of the next step where the cause may lie anywhere on the way."""

_CODES: Final[dict[type[EmoggError], Exit]] = {
    EmoggError: Exit.OTHER,
    errors.ConfigurationError: Exit.CREDENTIALS,
    errors.InvalidArgumentError: Exit.USAGE,
    errors.TransportError: Exit.NETWORK,
    errors.AuthenticationError: Exit.CREDENTIALS,
    errors.PermissionDeniedError: Exit.CREDENTIALS,
    errors.NotFoundError: Exit.NOT_FOUND,
    errors.RateLimitedError: Exit.RATE_LIMITED,
    errors.ServerError: Exit.SERVICE,
    errors.OutcomeUnknownError: Exit.UNKNOWN,
    errors.LiveLimitError: Exit.RATE_LIMITED,
}
"""The exit code of each error; a subclass has that of its base."""

_STEPS: Final[dict[type[EmoggError], str]] = {
    EmoggError: f"Try again{SEE_DOCTOR}",
    errors.ConfigurationError: "Set EMOGG_API_TOKEN, or name a file by --token-file; "
    "`emogg demo` needs none",
    errors.InvalidArgumentError: "Correct the command line; --help explains it",
    errors.ClientClosedError: "Run the command again",
    errors.NotSentError: f"Check the network and EMOGG_BASE_URL{SEE_DOCTOR}",
    errors.DeadlineError: "Try again, or allow more time with --timeout",
    errors.StatusError: "Look this status up at https://docs.emogg.com",
    errors.BadRequestError: "Correct the command line; the same request will fail "
    "again",
    errors.AuthenticationError: "Check EMOGG_API_TOKEN, or the file named by "
    "--token-file",
    errors.PermissionDeniedError: "Use a token that may do this",
    errors.NotFoundError: "Check the id, and that this token may see it",
    errors.RateLimitedError: "Wait, or allow more time with --timeout",
    errors.ServerError: "Try again later",
    errors.ResponseShapeError: "Update emogg-async; if that does not help, report it",
    errors.OutcomeUnknownError: "Look whether it took effect before you repeat it",
    errors.LiveLimitError: "End what else follows sessions live, or allow more time "
    "with --timeout",
}
"""The next step after each error; a subclass has that of its base.

The advice of the errors themselves is for Python programs.
"""

_WRONG_SETTINGS: Final = {
    "base_url": "Correct EMOGG_BASE_URL, or --base-url",
    "HTTPS_PROXY": "Correct HTTPS_PROXY",
}
"""The next step by the setting with which a `ConfigurationError` begins."""

OBSTACLES: Final = {
    "proxy": "Check HTTPS_PROXY, user and password too, and that the proxy may reach "
    f"the service{SEE_DOCTOR}",
    "certificate": "If you trust who issued it, let SSL_CERT_FILE name a file with "
    f"their root certificate{SEE_DOCTOR}",
}
"""The next step by the `stopped_by` of a `NotSentError`."""

_NOT_THE_SERVICE: Final = f"Check EMOGG_BASE_URL, or --base-url{SEE_DOCTOR}"


def exit_of(error: EmoggError) -> Exit:
    """Return the exit code for *error*."""
    return _by_class(_CODES, error)


def explain(error: EmoggError) -> str:
    """Write in two lines what failed and what to do next."""
    what = str(error).removesuffix(f" {error.advice}.").replace(_HINT_FOR_PYTHON, "")
    return _two_lines(what, next_step(error))


def explain_as_json(session_id: str, error: EmoggError) -> str:
    """Write in one line of JSON what failed for one of several ids."""
    facts = {
        "id": session_id,
        "error": type(error).__name__,
        "message": error.message,
        "status": getattr(error, "status", None),
        "method": error.method,
        "path": error.path,
        "attempts": error.attempts,
        "next": f"{next_step(error)}.",
    }
    return json_line(facts)


def _by_class(table: Mapping[type[EmoggError], T], error: EmoggError) -> T:
    return next(table[kind] for kind in type(error).__mro__ if kind in table)


def next_step(error: EmoggError) -> str:
    """Return what to do after *error*, without the full stop."""
    if isinstance(error, errors.ConfigurationError):
        step = _WRONG_SETTINGS.get(error.message.partition(":")[0])
    elif isinstance(error, errors.NotSentError):
        step = OBSTACLES.get(error.stopped_by)
    else:
        step = _NOT_THE_SERVICE if _is_from_elsewhere(error) else None
    # A note is the next step that the command itself gave.
    notes: list[str] = getattr(error, "__notes__", [])
    return step or (notes[-1] if notes else _by_class(_STEPS, error))


def _is_from_elsewhere(error: EmoggError) -> bool:
    """Return whether *error* looks like the answer of some other server."""
    if isinstance(error, errors.NotFoundError):
        return error.path == "/v1/sessions"  # there is no id in it that could be wrong
    if isinstance(error, errors.ResponseShapeError):
        return error.problems == ("no valid JSON",)
    return isinstance(error, errors.StatusError) and 300 <= error.status < 400


@contextmanager
def advising(advice: Mapping[type[EmoggError], Advice]) -> Iterator[None]:
    """Give errors raised inside a next step of their own.

    Args:
        advice: The next step, without the full stop, by class of error; or a function
            of the error that returns it.
    """
    try:
        yield
    except EmoggError as error:
        for kind, step in advice.items():
            if isinstance(error, kind):
                error.add_note(step if isinstance(step, str) else step(error))
        raise


def _two_lines(what: str, next_step: str) -> str:
    return f"Error: {printable(what)}\n{next_step}."


@contextmanager
def ending() -> Iterator[None]:
    """Turn errors raised inside into their two lines and click's own `Exit`."""
    code: int = Exit.OTHER
    try:
        yield
    except click.exceptions.Exit:
        raise
    except (KeyboardInterrupt, click.Abort):
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        _abandon_output()
        code = Exit.CLOSED_PIPE
    except EmoggError as error:
        click.echo(explain(error), err=True)
        code = exit_of(error)
    except click.ClickException as error:
        code = _complain(error)
    except OSError as error:  # a full disk; what the network does is an EmoggError
        _abandon_output()
        click.echo(
            _two_lines(f"cannot write: {error.strerror}", "Write elsewhere"), err=True
        )
    except Exception as error:  # a bug of ours
        _confess(error)
    else:
        return
    raise click.exceptions.Exit(code)


def _complain(error: click.ClickException) -> int:
    """Print the message of *error*, and return its exit code."""
    message = error.format_message()
    if isinstance(error, _NO_ARGUMENTS):
        click.echo(message)
        return Exit.OK
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "emogg"
    next_step = getattr(error, "next_step", f"Try '{path} --help' for help")
    # click lists choices on lines of their own.
    click.echo(_two_lines(" ".join(message.split()), next_step), err=True)
    return error.exit_code


def _confess(error: Exception) -> None:
    """Report *error* as a bug; log where it was raised."""
    logger = logging.getLogger("emogg_async")
    for part in traceback.format_exception(error):
        for line in part.splitlines():
            logger.error("%s", line)
    what = f"{type(error).__name__}: {error}"
    step = (
        "This is a bug in emogg-async; please report it, with the output of `emogg "
        "doctor`, and of the same command with -v"
    )
    click.echo(_two_lines(what[:_LONGEST].strip(), step), err=True)


def _abandon_output() -> None:
    """Discard buffered output, which Python could not write when it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
