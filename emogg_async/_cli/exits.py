"""How the command ends: the exit codes, and what is said about an error."""

from enum import IntEnum
from typing import Final, Self

from emogg_async import errors
from emogg_async._cli.text import json_line, printable
from emogg_async.errors import EmoggError

__all__ = ["Exit", "exit_of", "explain", "explain_as_json"]


class Exit(IntEnum):
    """The exit codes; scripts rely on them, so none ever changes its meaning."""

    meaning: str
    """In a few words, for help texts."""

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make an exit code that knows what it means."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "done"
    OTHER = 1, "anything else"
    USAGE = 2, "wrong usage, or no session id"  # click's own, too
    SOME_FAILED = 3, "some of several failed, or all for different reasons"
    CREDENTIALS = 4, "no token, or a refused one"
    NOT_FOUND = 5, "not found"
    RATE_LIMITED = 6, "rate limited"
    NETWORK = 7, "network or timeout"
    SERVICE = 8, "the service failed"
    # From here on 128 and the number of a signal, as shells count.
    INTERRUPTED = 130, "interrupted, by Ctrl-C"
    CLOSED_PIPE = 141, "the reader of the output closed it"
    TERMINATED = 143, "terminated, by SIGTERM"


_EXITS: Final[dict[type, Exit]] = {
    errors.InvalidArgumentError: Exit.USAGE,
    errors.ConfigurationError: Exit.CREDENTIALS,
    errors.AuthenticationError: Exit.CREDENTIALS,
    errors.PermissionDeniedError: Exit.CREDENTIALS,
    errors.NotFoundError: Exit.NOT_FOUND,
    errors.RateLimitedError: Exit.RATE_LIMITED,
    errors.TransportError: Exit.NETWORK,
    errors.ServerError: Exit.SERVICE,
}

_NEXT_STEPS: Final[dict[type, str]] = {
    errors.InvalidArgumentError: "Correct the command line; --help explains it",
    errors.ConfigurationError: (
        "Set EMOGG_API_TOKEN, and EMOGG_BASE_URL if it is not https://api.emogg.com; "
        "`emogg demo` needs neither"
    ),
    errors.AuthenticationError: "Check EMOGG_API_TOKEN",
    errors.DeadlineError: "Try again; if it goes on, check EMOGG_BASE_URL",
    errors.NotSentError: "Check the network, EMOGG_BASE_URL and any proxy",
    errors.RateLimitedError: "Wait, or ask for less at once",
    errors.StatusError: "Look this status up at https://docs.emogg.com",
}
"""Where an error's own advice speaks to those who write Python."""


def exit_of(error: EmoggError) -> Exit:
    """Look up with which code *error* ends the command."""
    found = (_EXITS[kind] for kind in type(error).__mro__ if kind in _EXITS)
    return next(found, Exit.OTHER)


def explain(error: EmoggError) -> str:
    """Say in two lines what failed and what to do next."""
    what = str(error).removesuffix(f" {error.advice}.")
    return f"Error: {printable(what)}\n{_next_step(error)}"


def explain_as_json(session_id: str, error: EmoggError) -> str:
    """Say in one line of JSON what failed for one of several ids."""
    facts = {
        "id": session_id,
        "error": type(error).__name__,
        "message": error.message,
        "status": getattr(error, "status", None),
        "method": error.method,
        "path": error.path,
        "attempts": error.attempts,
        "next": _next_step(error),
    }
    return json_line(facts)


def _next_step(error: EmoggError) -> str:
    return _NEXT_STEPS.get(type(error), error.advice) + "."
