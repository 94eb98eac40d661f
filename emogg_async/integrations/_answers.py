"""What a visitor is answered when a call fails: one map, whatever the framework."""

import logging
import re
from collections.abc import Iterator, Mapping
from math import ceil
from typing import Final, NamedTuple

from emogg_async.errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DeadlineError,
    EmoggError,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseShapeError,
    StatusError,
    TransportError,
)

__all__ = ["Answer", "Failure", "answer_and_log", "answer_to"]

_logger = logging.getLogger("emogg_async.integrations")

Failure = EmoggError | ExceptionGroup[Exception]


class Answer(NamedTuple):
    """An HTTP answer that holds nothing of what the service or the token said.

    Attributes:
        status: The HTTP status.
        headers: Headers beside those of any JSON answer.
        body: `error`, a word for programs, and `detail`, a sentence for people.
    """

    status: int
    headers: dict[str, str]
    body: dict[str, str]


_INTERNAL = (500, "internal", "This server cannot answer; repeating does not help.")
_UPSTREAM = (502, "upstream_failed", "A service behind this one failed.")

_ANSWERS: Final[Mapping[type[EmoggError], tuple[int, str, str]]] = {
    InvalidArgumentError: (400, "invalid_argument", "The request is not well-formed."),
    NotFoundError: (404, "not_found", "There is no such thing."),
    # Not 429: the visitor did not ask too much, all of them together did.
    RateLimitedError: (503, "busy", "Too much is going on. Try again later."),
    ClientClosedError: (503, "stopping", "This server is stopping. Try again."),
    DeadlineError: (504, "timeout", "A service behind this one took too long."),
    OutcomeUnknownError: (
        504,
        "outcome_unknown",
        "It may have taken effect or not. Look before you repeat it.",
    ),
    # The token is this server's, so it is not the visitor who has to log in.
    AuthenticationError: _INTERNAL,
    PermissionDeniedError: _INTERNAL,
    ConfigurationError: _INTERNAL,
    TransportError: _UPSTREAM,
    StatusError: _UPSTREAM,
    ResponseShapeError: _UPSTREAM,
    EmoggError: _INTERNAL,
}
"""The nearest class of an error counts: new ones below these are answered alike."""

_SOON: Final = 1.0
"""Seconds to `Retry-After` of a 503 when the error tells none."""


def answer_to(error: Failure) -> Answer:
    """Return the HTTP answer that a visitor gets for *error*.

    Nothing of the error's text is in it: for that, log the error.

    Args:
        error: An error, or a group of them, as `batch.raise_for_errors()` raises it:
            then the one whose answer has the highest status counts.

    Raises:
        ExceptionGroup: It is a group that holds other exceptions, too.
    """
    return _worst(error)[0]


_REFUSAL: Final = re.compile(r"\w+(?=: )(: expected ((?!, got ).)+)?")
"""The argument of a refusal and its rule; what was given comes after them."""


def answer_and_log(error: Failure, request: str) -> Answer:
    """Return the answer to *error*, and log what a visitor may not have caused.

    A refused argument may be an id that the visitor sent, or a mistake of the app: so
    it is logged with the request, and without its value.

    Args:
        error: What failed.
        request: The method, and the route as the app has it.
    """
    answer, cause = _worst(error)
    if answer.status == 400:
        refusals = "; ".join(sorted({*map(_refusal, _single(error))}))
        _logger.warning("answered 400 to %s: %s", request, refusals)
    if answer.status >= 500:
        # Only a 500 stays until somebody repairs it, e.g. a token that is refused.
        level = logging.ERROR if answer.status == 500 else logging.WARNING
        _logger.log(level, "answered %d: %s", answer.status, cause)
    return answer


def _refusal(error: EmoggError) -> str:
    """Return which argument was refused, and by which rule; nothing of its value."""
    told = _REFUSAL.match(error.message)
    return told[0] if told else "an argument"


def _worst(error: Failure) -> tuple[Answer, EmoggError]:
    if isinstance(error, ExceptionGroup) and error.split(EmoggError)[1]:
        raise error
    return max(((_answer_to(each), each) for each in _single(error)), key=_weight)


def _single(error: Exception) -> Iterator[EmoggError]:
    if isinstance(error, EmoggError):
        yield error
    elif isinstance(error, ExceptionGroup):
        for each in error.exceptions:
            yield from _single(each)


def _weight(answered: tuple[Answer, EmoggError]) -> tuple[int, bool, int]:
    status, headers, body = answered[0]
    # Of two 504 the one that must not be repeated blindly; of two 503 the longer wait.
    unknown = body["error"] == "outcome_unknown"
    return status, unknown, int(headers.get("Retry-After", 0))


def _answer_to(error: EmoggError) -> Answer:
    kind = next(kind for kind in type(error).__mro__ if kind in _ANSWERS)
    status, word, sentence = _ANSWERS[kind]
    wait = getattr(error, "retry_after", None)
    headers = {}
    if status == 503 or (status == 502 and wait is not None):
        headers["Retry-After"] = str(max(1, ceil(_SOON if wait is None else wait)))
    return Answer(status, headers, {"error": word, "detail": sentence})
