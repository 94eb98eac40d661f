"""HTTP answers to visitors when a call fails, the same for each framework."""

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
    LiveLimitError,
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
    """An HTTP answer that shows neither the service's text nor the token.

    Attributes:
        status: HTTP status.
        headers: Headers to add to the usual ones of a JSON answer.
        body: JSON object of `error`, a word for programs, and `detail`, a sentence for
            people.
    """

    status: int
    headers: dict[str, str]
    body: dict[str, str]


_INTERNAL = (500, "internal", "This server cannot answer; repeating does not help.")
_BUSY = (503, "busy", "Too much is going on. Try again later.")
_UPSTREAM = (502, "upstream_failed", "A service behind this one failed.")

_ANSWERS: Final[Mapping[type[EmoggError], tuple[int, str, str]]] = {
    InvalidArgumentError: (400, "invalid_argument", "The request is not well-formed."),
    NotFoundError: (404, "not_found", "There is no such thing."),
    # A 429 would blame this visitor, but all visitors together asked too much.
    RateLimitedError: _BUSY,
    LiveLimitError: _BUSY,
    ClientClosedError: (503, "stopping", "This server is stopping. Try again."),
    DeadlineError: (504, "timeout", "A service behind this one took too long."),
    OutcomeUnknownError: (
        504,
        "outcome_unknown",
        "It may have taken effect or not. Look before you repeat it.",
    ),
    # A 401 or 403 would blame the visitor, but the token is this server's.
    AuthenticationError: _INTERNAL,
    PermissionDeniedError: _INTERNAL,
    ConfigurationError: _INTERNAL,
    TransportError: _UPSTREAM,
    StatusError: _UPSTREAM,
    ResponseShapeError: _UPSTREAM,
    EmoggError: _INTERNAL,
}
"""Status, word and sentence for each class. Others take those of their nearest base."""

_SOON: Final = 1.0
"""Seconds in the `Retry-After` of a 503 if the error has no `retry_after`."""


def answer_to(error: Failure) -> Answer:
    """Return the HTTP answer that a visitor gets for *error*.

    The answer holds nothing of the error's text: log the error to keep it.

    Args:
        error: An error, or a group of them, as `batch.raise_for_errors()` raises it. A
            group gets the answer to its error with the highest status.

    Raises:
        ExceptionGroup: *error* is a group that holds other exceptions as well.
    """
    return _worst(error)[0]


_REFUSAL: Final = re.compile(r"\w+(?=: )(: expected ((?!, got ).)+)?")
"""Matches the argument and its rule in a refusal, and stops before the value."""


def answer_and_log(error: Failure, request: str) -> Answer:
    """Return the answer to *error*, and log it unless the visitor caused it.

    A refused argument may come from the visitor or be a mistake of the app, so the log
    names the request, the argument and its rule, but not the value.

    Args:
        error: An error or a group of them.
        request: Method and route, for the log.
    """
    answer, cause = _worst(error)
    if answer.status == 400:
        refusals = "; ".join(sorted({*map(_refusal, _single(error))}))
        _logger.warning("answered 400 to %s: %s", request, refusals)
    if answer.status >= 500:
        # A 500, e.g. for a refused token, stays until somebody repairs its cause.
        level = logging.ERROR if answer.status == 500 else logging.WARNING
        _logger.log(level, "answered %d: %s", answer.status, cause)
    return answer


def _refusal(error: EmoggError) -> str:
    """Return the refused argument and its rule, without the value."""
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
    # An unknown outcome outweighs another 504: nobody may repeat it blindly. The
    # longer wait outweighs another 503.
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
