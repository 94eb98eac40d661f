"""The service's HTTP without a socket: requests, responses and how to read them.

This module has only pure functions and frozen values.

Source: https://docs.emogg.com.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from functools import cache
from http import HTTPStatus
from typing import Any, Final, NoReturn, Protocol
from urllib.parse import parse_qsl

import attrs

from emogg_async import errors
from emogg_async._text import Secret, one_line, redacted
from emogg_async._wire.fields import ResponseHeaders
from emogg_async.errors import EmoggError, ResponseShapeError, StatusError

__all__ = [
    "DEFAULT_BASE_URL",
    "HANDSHAKE",
    "SAFE",
    "TOO_LONG",
    "Headers",
    "RateLimit",
    "RawResponse",
    "Repeat",
    "Request",
    "Response",
    "date_of",
    "decipher",
    "format_datetime",
    "purge",
    "status_error",
    "unpacked",
]

DEFAULT_BASE_URL: Final = "https://api.emogg.com"

MAX_RESET_SECONDS: Final = 86_400.0
"""The longest `RateLimit-Reset` that is believed, in seconds: a day."""

MAX_BODY: Final = 2**20
"""The most bytes of an answer that are read, unless its request sets a limit."""

MAX_JSON_PARTS: Final = 1_950_000
"""The most commas (counted twice), colons and opening brackets that are parsed.

Each of them takes some 60 bytes once it is parsed, if all strings differ. A day in
steps of 5 s with seven emotions has 1,537,920.
"""

MAX_GZIP_MEMBERS: Final = 64
"""The most members of a gzip that are unpacked: each one copies the bytes after it."""

TOO_LONG: Final = "longer than what is read"

_GZIP = 16 + zlib.MAX_WBITS
"""The `wbits` by which zlib knows gzip."""

_PACKED_AS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
_NOT_ASKED_FOR = frozenset({"br", "compress", "zstd"})
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_RATE_LIMIT = re.compile(rf"[0-9]{{1,9}};[0-9]{{1,9}};{_DECIMAL.pattern}")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT")
_POLICY_WINDOW = re.compile(r";\s*w=([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:$|[;,\s])")
_ID = re.compile(r"(?<=/)(?:[0-9a-fA-F]{24}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]+){4})(?=/|$)")
_URI_PIECE = re.compile(r"[^/?&=#@:;,]{6,}")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,40}", re.ASCII)


class Repeat(Enum):
    """Whether a request may be sent again after its answer was lost.

    Attributes:
        SAFE: The request may be sent again, as it changes nothing.
        IDEMPOTENT: The request may be sent again, as two have the effect of one. Its
            effect is in doubt if it fails.
        SETTLE: The request may be sent again as an idempotent one. The service may
            refuse the repeat because the first one worked.
        ONCE: The request is never sent again, as two might take effect twice.
    """

    SAFE = "safe"
    IDEMPOTENT = "idempotent"
    SETTLE = "settle"
    ONCE = "once"


# Every call compares with it. Up to Python 3.11, `Repeat.SAFE` costs as much as a call
# of a function.
SAFE: Final = Repeat.SAFE


@attrs.frozen
class Request:
    """A complete request, which travels through every hop unchanged.

    Attributes:
        method: The HTTP method.
        target: The path and the query, encoded for the wire.
        body: The JSON, or None for no body. It may hold the key of a stream.
        repeat: Whether the request may be sent again after its answer was lost.
        session_id: The session that the request reads or changes, in lower case; empty
            if it reads or changes no session that is cached.
        max_body: The most bytes of the answer that are read, counted unpacked.
        is_raw: Whether the answer is wanted as it is.
    """

    method: str
    target: str
    body: bytes | None = attrs.field(default=None, repr=False)
    repeat: Repeat = SAFE
    session_id: str = ""
    max_body: int = MAX_BODY
    is_raw: bool = False

    @property
    def path(self) -> str:
        """The path without a query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> tuple[tuple[str, str], ...]:
        """The parameters of the query."""
        query = self.target.partition("?")[2]
        return tuple(parse_qsl(query, keep_blank_values=True))

    @property
    def template(self) -> str:
        """The path with `{id}` in place of each ID."""
        return _ID.sub("{id}", self.path)


HANDSHAKE: Final = Request("GET", "/ws/v1")
"""The request that becomes a live connection.

Source: https://docs.emogg.com, "WebSocket".
"""


class Headers(Protocol):
    """Response headers: a name in any letter case has one or more values."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return each name with each of its values."""

    def getall(self, key: str, default: tuple[()], /) -> Sequence[str]:
        """Return all values of one header, or *default*."""


@attrs.frozen
class Response:
    """A response with its body, or with the reason why the body was left out.

    Attributes:
        status: The HTTP status.
        headers: The response headers.
        body: The body, unpacked; empty if it was left out.
        problem: Why the body was left out, as the end of the sentence "the answer is";
            empty if it was not.
    """

    status: int
    headers: Headers = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    problem: str = ""


@attrs.frozen
class RateLimit:
    """The state of the user's token bucket, from the headers of the last answer.

    Source: https://docs.emogg.com, "Rate limits".

    Attributes:
        limit: The bucket's capacity in requests.
        remaining: The requests that could be sent at once when the service answered.
        reset: Seconds until the bucket is full again. The next request may usually be
            sent earlier.
        policy: The policy as the service writes it, e.g. `100;w=60`, or None if the
            answer had none.
    """

    limit: int
    remaining: int
    reset: float
    policy: str | None = None

    @property
    def window(self) -> float | None:
        """Seconds in which an empty bucket fills, by the policy; None if unknown."""
        found = _POLICY_WINDOW.search(self.policy or "")
        return (float(found[1]) or None) if found else None

    @classmethod
    def from_headers(cls, headers: Headers) -> "RateLimit | None":
        """Read the four headers; return None if a figure is missing or impossible."""
        figures = (
            set(headers.getall("RateLimit-Limit", ())),
            set(headers.getall("RateLimit-Remaining", ())),
            set(headers.getall("RateLimit-Reset", ())),
        )
        try:
            (first,), (second,), (third,) = figures
        except ValueError:  # one is missing, or has two meanings
            return None
        if not _RATE_LIMIT.fullmatch(f"{first};{second};{third}"):
            return None
        limit, remaining, reset = int(first), int(second), float(third)
        if not (1 <= limit >= remaining and reset <= MAX_RESET_SECONDS):
            return None
        policy = headers.getall("RateLimit-Policy", ())
        return cls(limit, remaining, reset, policy[0] if policy else None)


_GARBAGE: Final = object()
"""What stands for a text that is not JSON."""

_BYTE_ORDER_MARK: Final = "\ufeff"
_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
_LONG: Final = 19 * b"0"
"""The least digits of a number that 64 bits cannot hold, all made zeros."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# `json.loads` takes NaN and Infinity, and looks at its options at each call.
_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


@cache
def _quick() -> Callable[[bytes], Any] | None:
    """Return the parser of orjson, of the extra `speed`; None without it."""
    try:
        from orjson import loads  # noqa: PLC0415 - slow to import, and at times not there
    except ImportError:  # none, or one that was built for something else
        return None
    return loads


def _parse(body: bytes) -> Any:
    """Parse *body* as JSON; return `_GARBAGE` if it is not JSON.

    With orjson the results are the same: `json` decides on any error, whose text would
    quote the whole body, and on rows of digits that orjson might round.
    """
    quick = _quick()
    if quick is not None and _LONG not in body.translate(_ZEROS):
        try:
            return quick(body)
        except ValueError:
            pass  # it refuses some texts that `json` takes
    try:
        return _decode(body.decode().removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return _GARBAGE


def _has_many_parts(body: bytes) -> bool:
    """Tell whether *body* has more parts than are parsed."""
    return sum(map(body.count, b",,:[{")) > MAX_JSON_PARTS


@attrs.frozen(kw_only=True)
class RawResponse:
    """An answer as the service sent it: `client.request(…, raw=True)`.

    Attributes:
        status: The HTTP status, from 200 to 299.
        headers: The headers of the answer, found in any letter case. The token is
            removed from their values.
        content: The body, unpacked.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)

    def json(self) -> Any:
        """Parse the body; return None if there is none.

        Raises:
            ResponseShapeError: The body is not JSON, or of too many parts.
        """
        if not self.content:
            return None
        problem = "of more parts than are read"
        if not _has_many_parts(self.content):
            payload = _parse(self.content)
            if payload is not _GARBAGE:
                return payload
            problem = "no valid JSON"
        raise ResponseShapeError(
            f"the answer ({self.status}) is {problem}", problems=(problem,)
        )


_ERROR_BY_STATUS: Final[dict[int, type[StatusError]]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    429: errors.RateLimitedError,
}


def decipher(
    request: Request, response: Response, now: Callable[[], datetime], secret: Secret
) -> Any:
    """Return the parsed JSON of *response*, or None for a success without a body.

    A raw request has a `RawResponse` instead.

    Args:
        request: The request that was sent.
        response: The response to it, with any status.
        now: A function that returns the time (aware). A date in `Retry-After` counts
            from it.
        secret: The token and more that no error may show.

    Raises:
        StatusError: The status is not 2xx. The class depends on the status.
        ResponseShapeError: The status is 2xx, and the body is not JSON or was left out.
    """
    if not 200 <= response.status < 300:
        raise _status_error(request, response, now(), secret)
    if response.problem:
        raise _undecodable(request, response, response.problem, secret)
    if request.is_raw:
        return _raw(request, response, secret)
    if response.status == HTTPStatus.NO_CONTENT or not (
        response.body or request.repeat is SAFE
    ):
        return None
    body = response.body
    if len(body) > MAX_BODY and _has_many_parts(body):
        raise _undecodable(request, response, "of more parts than are read", secret)
    payload = _parse(body)
    if payload is _GARBAGE:
        raise _undecodable(request, response, "no valid JSON", secret)
    return payload


def _raw(request: Request, response: Response, secret: Secret) -> RawResponse:
    fields = ResponseHeaders(response.headers)
    shown = {name: _hidden(value, request, secret) for name, value in fields.items()}
    return RawResponse(
        status=response.status, headers=ResponseHeaders(shown), content=response.body
    )


def purge(error: EmoggError, request: Request, secret: Secret) -> None:
    """Remove the token and the URI of a stream from *error*, which ended *request*.

    The service, or a proxy before it, may repeat either in any text.
    """
    error.message = _hidden(error.message, request, secret)
    error.args = (error.message,)
    if isinstance(error, ResponseShapeError):
        shown = (_hidden(problem, request, secret) for problem in error.problems)
        error.problems = tuple(shown)


def _hidden(text: str, request: Request, secret: Secret) -> str:
    """Return *text* without secrets.

    Text is cut after this: half a secret would not be found.
    """
    return redacted(text, secret, *_secrets_in(request.body))


def unpacked(body: bytes, coding: str, limit: int) -> tuple[bytes, str]:
    """Unpack *body*, whose `Content-Encoding` is *coding*.

    Returns:
        The body and an empty string; or no bytes and the problem: the body is longer
        than *limit* bytes, damaged, or packed in a way that was not asked for.
    """
    coding = coding.lower()
    if not body or coding in {"", "identity"}:
        return body, ""
    wbits = _PACKED_AS.get(coding)
    if wbits is None:
        how = f"as {coding}" if coding in _NOT_ASKED_FOR else "in an unknown way"
        return b"", f"packed {how}, which was not asked for"
    if coding == "deflate" and body[0] & 0x0F != zlib.DEFLATED:
        wbits = -wbits  # some servers leave out the two bytes of zlib
    damaged = b"", f"no valid {coding}"
    parts: list[bytes] = []
    try:
        while body:  # a gzip may have several members
            unpacking = zlib.decompressobj(wbits)
            parts.append(unpacking.decompress(body, limit + 1))
            limit -= len(parts[-1])
            if limit < 0:
                return b"", TOO_LONG
            if not unpacking.eof or len(parts) > MAX_GZIP_MEMBERS:
                return damaged
            body = unpacking.unused_data
    except zlib.error:
        return damaged
    return b"".join(parts), ""


def _undecodable(
    request: Request, response: Response, problem: str, secret: Secret
) -> Exception:
    content_type = (response.headers.getall("Content-Type", ()) or "?")[0]
    media_type = _MEDIA_TYPE.match(_hidden(content_type, request, secret))
    return ResponseShapeError(
        f"the answer ({response.status}, {media_type[0] if media_type else 'untyped'}) "
        f"is {problem}",
        problems=(problem,),
        method=request.method,
        path=request.path,
    )


def _status_error(
    request: Request, response: Response, now: datetime, secret: Secret
) -> StatusError:
    message = _service_message(response.body)
    retry_after = _retry_after(response.headers, now)
    return status_error(request, response.status, message, secret, retry_after)


def status_error(
    request: Request,
    status: int,
    message: str,
    secret: Secret,
    retry_after: float | None = None,
) -> StatusError:
    """Return the error for the *status* of an answer to *request*.

    Args:
        request: The request.
        status: The status, which is not 2xx.
        message: The service's words; empty takes the usual phrase of the status.
        secret: The token and more that no error may show.
        retry_after: Seconds after which another try makes sense; None if unknown.
    """
    kind = _ERROR_BY_STATUS.get(
        status, errors.ServerError if status >= 500 else StatusError
    )
    return kind(
        one_line(_hidden(message, request, secret), 200) or _phrase(status),
        status=status,
        retry_after=retry_after,
        method=request.method,
        path=request.path,
    )


def _service_message(body: bytes) -> str:
    """Return the message in an error's *body*, or an empty string."""
    payload = _parse(body)
    message = payload.get("message") if isinstance(payload, dict) else None
    return message if isinstance(message, str) else ""


def _secrets_in(body: bytes | None) -> list[str]:
    """Return the URI of a stream in *body*, and its pieces that may be a key.

    The service may quote them in an error. The host and pieces of less than six
    characters are no key.
    """
    payload = _parse(body) if body and b"streamUri" in body else None
    uri = payload.get("streamUri") if isinstance(payload, dict) else None
    if not isinstance(uri, str) or not uri:
        return []
    address = uri.partition("://")[2]
    authority = re.split("[/?#]", address, maxsplit=1)[0]
    login, behind = authority.rpartition("@")[0], address[len(authority) :]
    return [uri, *_URI_PIECE.findall(login), *_URI_PIECE.findall(behind)]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "not a status that HTTP names"


def _sole(values: Sequence[str]) -> str:
    """Return the only value of a header, or an empty string if its values differ."""
    return values[0] if len(set(values)) == 1 else ""


def format_datetime(moment: datetime) -> str:
    """Write *moment* (aware) as the service does: ISO 8601 in UTC with milliseconds.

    Microseconds are written only if there are any.
    """
    moment = moment.astimezone(UTC)
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def date_of(headers: Headers) -> datetime | None:
    """Return the time of the answer by its `Date` header, to the second, or None."""
    return _http_date(_sole(headers.getall("Date", ())))


def _retry_after(headers: Headers, now: datetime) -> float | None:
    """Return the seconds to wait by `Retry-After`; None if it is missing or malformed.

    The header has seconds or an HTTP date.
    """
    text = _sole(headers.getall("Retry-After", ()))
    if _DECIMAL.fullmatch(text):
        return float(text)
    moment = _http_date(text)
    if moment is None:
        return None
    # The service's clock decides if the answer has it: ours may be wrong.
    present = date_of(headers) or now
    return max(0.0, (moment - present).total_seconds())


def _http_date(text: str) -> datetime | None:
    if not _HTTP_DATE.fullmatch(text):
        return None
    try:
        return parsedate_to_datetime(text).replace(tzinfo=UTC)
    except ValueError:
        return None
