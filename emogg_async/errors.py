"""Errors that this package raises, grouped by what the caller can do about them.

::

    EmoggError
    ├── ConfigurationError          no token, bad base URL, another event loop
    ├── InvalidArgumentError        also a ValueError: refused before any I/O
    ├── ClientClosedError           the client was closed before or during the call
    ├── TransportError              no usable answer
    │   ├── NotSentError            never reached the service: DNS, refused, TLS
    │   ├── ConnectionLostError     sent, and the answer was lost
    │   └── DeadlineError           also a TimeoutError: an attempt's or the call's
    ├── StatusError                 the service answered with an error
    │   ├── BadRequestError         400
    │   ├── AuthenticationError     401
    │   ├── PermissionDeniedError   403
    │   ├── NotFoundError           404
    │   ├── RateLimitedError        429
    │   └── ServerError             5xx
    ├── LiveLimitError              no live subscription became free in time
    ├── ResponseShapeError          the answer is not as the reference promises
    └── OutcomeUnknownError         a write was sent, and may have taken effect or not

Each error keeps its facts as attributes, survives `pickle` and `copy`, and prints as
one line: the failure, method and path, the number of attempts, the service's id of the
request, and advice. It never holds the token, a header that was sent, or more of a body
than the service's own message. Its traceback ends with the caller's frames.
"""

from datetime import datetime
from typing import Any, Final, Literal

__all__ = [
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "ConfigurationError",
    "ConnectionLostError",
    "DeadlineError",
    "EmoggError",
    "InvalidArgumentError",
    "LiveLimitError",
    "NotFoundError",
    "NotSentError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "RateLimitedError",
    "ResponseShapeError",
    "ServerError",
    "StatusError",
    "TransportError",
]


SHOWN_ID: Final = 36
"""The most characters of a request's id in a printed line: a UUID."""


def _restore(
    kind: type["EmoggError"], message: str, facts: dict[str, Any]
) -> "EmoggError":
    error = kind.__new__(kind, message)
    error.args = (message,)
    error.__dict__.update(facts)
    return error


def _short(name: str) -> str:
    return name if len(name) <= SHOWN_ID else name[: SHOWN_ID - 1] + "…"


class EmoggError(Exception):
    """Base of every error that this package raises.

    Attributes:
        message: The failure, in one line.
        method: HTTP method of the request; None if the error belongs to none.
        path: Path of the request, without its query; None if the error belongs to none.
        attempts: Number of times that the request was sent for this call.
        request_id: The service's own id of the last request, from `X-Request-Id`, in at
            most 128 printable characters; None without an answer that tells one.
        advice: Suggestion to the caller, the last part of the printed line.
    """

    advice: str = ""
    request_id: str | None = None

    def __init__(
        self,
        message: str,
        *,
        method: str | None = None,
        path: str | None = None,
        attempts: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.method = method
        self.path = path
        self.attempts = attempts

    def __str__(self) -> str:
        """Return the error in one line: failure, request, attempts and advice."""
        return f"{self.headline}{self._where()}. {self.advice}".rstrip(". ") + "."

    @property
    def headline(self) -> str:
        """The failure: the printed line without the request and the advice."""
        return self.message.rstrip(".")

    def _where(self) -> str:
        if self.method is None:
            return ""
        plural = "" if self.attempts == 1 else "s"
        tried = f", {self.attempts} attempt{plural}" if self.attempts else ""
        named = f", request {_short(self.request_id)}" if self.request_id else ""
        return f" ({self.method} {self.path}{tried}{named})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from the facts, without calling the constructor."""
        return _restore, (type(self), self.message, self.__dict__.copy())


class ConfigurationError(EmoggError):
    """The client cannot work: no token, a bad base URL, another event loop."""


class InvalidArgumentError(EmoggError, ValueError):
    """An argument was refused before any I/O; the message names it and its rule."""


class ClientClosedError(EmoggError):
    """The client was closed before the call or during it."""

    advice = "Open a new AsyncEmoggClient"


class TransportError(EmoggError):
    """No usable answer came back."""


Obstacle = Literal["network", "proxy", "certificate"]

_ADVICE: Final[dict[Obstacle, str]] = {
    "network": "Check the network, the base URL and any proxy",
    "proxy": "Check proxy= or HTTPS_PROXY, user and password too, and that the proxy "
    "may reach the service",
    "certificate": "If you trust who issued it, pass a file with their root "
    "certificate as ssl=, or let SSL_CERT_FILE name it",
}


class NotSentError(TransportError):
    """The request never reached the service: DNS, refused, TLS, or a proxy.

    Attributes:
        stopped_by: The obstacle: `network`, `proxy` or `certificate`.
        final: Whether another try would fail the same way, because the proxy refuses or
            the certificate is not trusted. Such an error is not retried.
    """

    advice: str = _ADVICE["network"]

    def __init__(
        self,
        message: str,
        *,
        stopped_by: Obstacle = "network",
        final: bool = False,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.stopped_by = stopped_by
        self.final = final
        self.advice = _ADVICE[stopped_by]


class ConnectionLostError(TransportError):
    """The request was sent, and its answer was lost."""

    advice = "Try again; if it goes on, check the network between here and the service"


class DeadlineError(TransportError, TimeoutError):
    """The time of an attempt or of the whole call ran out.

    Attributes:
        sent: False if the request never left, True if it did or may have.
    """

    advice = (
        "Allow more time with timeout=, attempt_timeout= or deadline(), or try again"
    )

    def __init__(self, message: str, *, sent: bool = True, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.sent = sent


class StatusError(EmoggError):
    """The service answered with a status that is not 2xx.

    Attributes:
        status: HTTP status.
        message: The service's message, cut at 200 characters, or the status's usual
            phrase.
        retry_after: Seconds after which another try makes sense; None if unknown.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        retry_after: float | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.status = status
        self.retry_after = retry_after

    @property
    def headline(self) -> str:
        """The status, the service's message, and the time of the next try."""
        headline = f"{self.status}: {super().headline}"
        if self.retry_after is None:
            return headline
        seconds = f"{self.retry_after:.3f}".rstrip("0").rstrip(".")
        return f"{headline}, retry after {seconds} s"


class BadRequestError(StatusError):
    """400: the service refused the request."""

    advice = "Change the request; the same one will fail again"


class AuthenticationError(StatusError):
    """401: the service did not accept the token."""

    advice = "Check EMOGG_API_TOKEN, or the token that was passed to AsyncEmoggClient"


class PermissionDeniedError(StatusError):
    """403: the token is valid and may not do this."""

    advice = "Use a token that may do this"


class NotFoundError(StatusError):
    """404: nothing is there, or this token may not see it."""

    advice = "Check the id, and that this token may see it"


class RateLimitedError(StatusError):
    """429: more requests than the user's token bucket allows."""

    advice = "Wait, allow more time with timeout= or deadline(), or send less at once"


class ServerError(StatusError):
    """5xx: the service failed."""

    advice = "Try again later"


class ResponseShapeError(EmoggError):
    """An answer with status 2xx is not as the reference promises, or is not HTTP.

    Attributes:
        problems: A line for each problem, with its place in the JSON: `sources[1].id:
            required, …`.
    """

    advice = "Update emogg-async; if that does not help, report it"

    def __init__(
        self, message: str, *, problems: tuple[str, ...] = (), **facts: Any
    ) -> None:
        super().__init__(message, **facts)
        self.problems = problems


class LiveLimitError(EmoggError):
    """No live subscription became free in time.

    The service's last refusal, if there was one, is the error's `__cause__`.

    Attributes:
        in_use: Subscriptions that clients of this token use in this event loop.
    """

    advice = "Leave other feeds first, allow more time, or lower what others use"

    def __init__(self, message: str, *, in_use: int, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.in_use = in_use


class OutcomeUnknownError(EmoggError):
    """A write was sent and its answer was lost, so it may have taken effect or not.

    It was sent again only if a repeat is harmless. The last failure is the error's
    `__cause__`.

    Attributes:
        since: Start of the call, by this machine's clock (aware, UTC).
    """

    advice = "Look whether it took effect before you send it again"

    def __init__(self, message: str, *, since: datetime, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.since = since
