"""The service's HTTP without a socket: requests, and what to make of responses.

Everything here is a pure function or a frozen value.

Source: https://docs.emogg.com.
"""

import json
import re
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any, Final, NoReturn, Protocol
from urllib.parse import urlencode

import attrs

from emogg_async import errors
from emogg_async._text import one_line, redacted
from emogg_async.errors import EmoggError, ResponseShapeError, StatusError

__all__ = [
    "SAFE",
    "TOO_LONG",
    "Headers",
    "RateLimit",
    "Repeat",
    "Request",
    "Response",
    "date_of",
    "decipher",
    "format_datetime",
    "purge",
    "unpacked",
]

DAY: Final = 86_400.0
"""Seconds; no `RateLimit-Reset` above it is believed."""

MAX_BODY: Final = 2**20
"""Bytes of an answer that are read at most, if its request does not say otherwise."""

MAX_PARTS: Final = 1_950_000
"""Commas, which count twice, colons and opening brackets of an answer: its parsed form
takes some 60 bytes for each, if no two strings in it are the same. A day in steps of
5 s with seven emotions has 1,537,920."""

MAX_MEMBERS: Final = 64
"""Members of a gzip that are unpacked: what is left is copied for each of them."""

TOO_LONG: Final = "longer than what is read"

_GZIP = 16 + zlib.MAX_WBITS
"""How zlib is told of gzip."""

_PACKED_AS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
_NOT_ASKED_FOR = frozenset({"br", "compress", "zstd"})
_BYTE_ORDER_MARK = "\ufeff"
_NATURAL = re.compile(r"[0-9]{1,9}")
_DECIMAL = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")
_HTTP_DATE = re.compile(r"[A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT")
_POLICY_WINDOW = re.compile(r";\s*w=([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:$|[;,\s])")
_ID = re.compile(r"(?<=/)(?:[0-9a-fA-F]{24}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]+){4})(?=/|$)")
_URI_PIECE = re.compile(r"[^/?&=#@:;,]{6,}")
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,40}", re.ASCII)


class Repeat(Enum):
    """Whether a request may be sent again after its answer was lost."""

    SAFE = "safe"
    """It changes nothing: always."""

    IDEMPOTENT = "idempotent"
    """Sending it twice is like sending it once: always, though in doubt if it fails."""

    SETTLE = "settle"
    """As idempotent, but its repeat may be refused because the first one worked."""

    ONCE = "once"
    """Never: a second one might do it twice."""


SAFE: Final = Repeat.SAFE
"""A name of its own, for where every call passes."""


def _target(request: "Request") -> str:
    query = urlencode(request.query)
    return f"{request.path}?{query}" if query else request.path


@attrs.frozen
class Request:
    """One request, complete; it travels through every hop unchanged.

    Attributes:
        method: The method.
        path: The path without a query, fit for the wire as it is.
        query: The parameters of the query.
        body: JSON, or None for no body at all; it may hold the key of a stream.
        repeat: Whether it may be sent again after its answer was lost.
        session_id: The session that it reads or changes, in lower case. It is empty
            when it does neither, or nothing that is kept.
        max_body: Bytes of its answer that are read at most, once they are unpacked.
        target: Path and query, encoded.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = attrs.field(default=None, repr=False)
    repeat: Repeat = SAFE
    session_id: str = ""
    max_body: int = MAX_BODY
    target: str = attrs.field(
        init=False, repr=False, default=attrs.Factory(_target, takes_self=True)
    )

    @property
    def template(self) -> str:
        """The path with `{id}` for each ID in it."""
        return _ID.sub("{id}", self.path)


class Headers(Protocol):
    """Response headers: names in any letter case, each with all of its values."""

    def getall(self, key: str, default: tuple[()], /) -> Sequence[str]:
        """Return all values of one header, or *default*."""


@attrs.frozen
class Response:
    """One response, read whole, or up to a limit."""

    status: int
    headers: Headers = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    complete: bool = True
    """False when the body was left out, because of its *problem*."""

    problem: str = TOO_LONG
    """Why it was left out, if it was: the end of a sentence about the answer."""


@attrs.frozen
class RateLimit:
    """The state of the user's token bucket, as the last answer told it.

    Source: https://docs.emogg.com, "Rate limits".
    """

    limit: int
    """The bucket's capacity, in requests."""

    remaining: int
    """Requests that could be sent at once when the answer left the service."""

    reset: float
    """Seconds until the bucket is full again; not until the next request may go."""

    policy: str | None = None
    """The policy as the service writes it, e.g. `100;w=60`; None when it sent none."""

    @property
    def window(self) -> float | None:
        """Seconds in which an empty bucket fills, by the policy; None when unknown."""
        found = _POLICY_WINDOW.search(self.policy or "")
        return (float(found[1]) or None) if found else None

    @classmethod
    def from_headers(cls, headers: Headers) -> "RateLimit | None":
        """Read the four headers; None when one is missing, or makes no sense."""
        limit = _figure(headers, "RateLimit-Limit", _NATURAL)
        remaining = _figure(headers, "RateLimit-Remaining", _NATURAL)
        reset = _figure(headers, "RateLimit-Reset", _DECIMAL)
        if limit is None or remaining is None or reset is None:
            return None
        if not (1 <= limit >= remaining and reset <= DAY):
            return None
        policy = headers.getall("RateLimit-Policy", ())
        return cls(int(limit), int(remaining), reset, policy[0] if policy else None)


_GARBAGE: Final = object()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode
"""What `json.loads` does, but strict, and without looking at options at each call."""


def _parse(body: bytes) -> Any:
    """Parse JSON; what is none gives `_GARBAGE`, not an error that quotes all of it."""
    try:
        return _decode(body.decode().removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return _GARBAGE


_ERROR_BY_STATUS: Final[dict[int, type[StatusError]]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    429: errors.RateLimitedError,
}


def decipher(
    request: Request, response: Response, now: Callable[[], datetime], secret: str
) -> Any:
    """Return what a *response* carries: the parsed JSON, or None for an empty success.

    Args:
        request: What was asked.
        response: What came back, whatever its status.
        now: Tells the time (aware), against which a date in `Retry-After` is read.
        secret: The token; see `purge`.

    Raises:
        StatusError: The status is not 2xx; the class says which.
        ResponseShapeError: The status is 2xx and the body is no JSON, or left out.
    """
    if not 200 <= response.status < 300:
        raise _status_error(request, response, now(), secret)
    if not response.complete:
        raise _undecodable(request, response, response.problem, secret)
    if response.status == HTTPStatus.NO_CONTENT or not (
        response.body or request.repeat is SAFE
    ):
        return None
    body = response.body
    if len(body) > MAX_BODY and sum(map(body.count, b",,:[{")) > MAX_PARTS:
        raise _undecodable(request, response, "of more parts than are read", secret)
    payload = _parse(body)
    if payload is _GARBAGE:
        raise _undecodable(request, response, "no valid JSON", secret)
    return payload


def purge(error: EmoggError, request: Request, secret: str) -> None:
    """Take out of *error*, the end of *request*, what nobody may see.

    That is the token, and the stream that was asked to be analysed: the service, or
    whoever else answers, may repeat both in any text.
    """
    error.message = _hidden(error.message, request, secret)
    error.args = (error.message,)
    if isinstance(error, ResponseShapeError):
        shown = (_hidden(problem, request, secret) for problem in error.problems)
        error.problems = tuple(shown)


def _hidden(text: str, request: Request, secret: str) -> str:
    """Return *text* without secrets; what is to be cut passes here before that."""
    return redacted(text, secret, *_secrets_in(request.body))


def unpacked(body: bytes, coding: str, limit: int) -> tuple[bytes, str]:
    """Undo the *coding* of a body, as its `Content-Encoding` names it.

    Returns:
        The body and no problem; or nothing and what is wrong with the answer: it is
        longer than *limit* bytes, damaged, or packed in a way that was not asked for.
    """
    coding = coding.lower()
    if not body or coding in {"", "identity"}:
        return body, ""
    wbits = _PACKED_AS.get(coding)
    if wbits is None:
        how = f"as {coding}" if coding in _NOT_ASKED_FOR else "in an unknown way"
        return b"", f"packed {how}, which was not asked for"
    if coding == "deflate" and body[0] & 0x0F != zlib.DEFLATED:
        wbits = -wbits  # without the two bytes of zlib, as some write it
    damaged = b"", f"no valid {coding}"
    parts: list[bytes] = []
    try:
        while body:  # a gzip may have several members
            unpacking = zlib.decompressobj(wbits)
            parts.append(unpacking.decompress(body, limit + 1))
            limit -= len(parts[-1])
            if limit < 0:
                return b"", TOO_LONG
            if not unpacking.eof or len(parts) > MAX_MEMBERS:
                return damaged
            body = unpacking.unused_data
    except zlib.error:
        return damaged
    return b"".join(parts), ""


def _undecodable(
    request: Request, response: Response, problem: str, secret: str
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
    request: Request, response: Response, now: datetime, secret: str
) -> StatusError:
    kind = _ERROR_BY_STATUS.get(
        response.status,
        errors.ServerError if response.status >= 500 else StatusError,
    )
    message = _hidden(_service_message(response.body), request, secret)
    return kind(
        one_line(message, 200) or _phrase(response.status),
        status=response.status,
        retry_after=_retry_after(response.headers, now),
        method=request.method,
        path=request.path,
    )


def _service_message(body: bytes) -> str:
    """Return the service's own message, or an empty string."""
    payload = _parse(body)
    message = payload.get("message") if isinstance(payload, dict) else None
    return message if isinstance(message, str) else ""


def _secrets_in(body: bytes | None) -> list[str]:
    """Return what a service that quotes a request must not make us show.

    That is where a stream is, and whatever of it may be a key: its pieces, but the host
    and those too short for one.
    """
    payload = _parse(body) if body and b"streamUri" in body else None
    uri = payload.get("streamUri") if isinstance(payload, dict) else None
    if not isinstance(uri, str) or not uri:
        return []
    address = uri.partition("://")[2]
    authority = re.split("[/?#]", address, maxsplit=1)[0]
    login, behind = authority.rpartition("@")[0], address[len(authority) :]
    pieces = {*_URI_PIECE.findall(login), *_URI_PIECE.findall(behind)}
    return [uri, *sorted(pieces, key=len, reverse=True)]


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "not a status that HTTP names"


def _sole(values: Sequence[str]) -> str:
    """Return a header's value, if it has one, or always the same; else nothing."""
    if len(values) == 1 or len(set(values)) == 1:
        return values[0]
    return ""


def _figure(headers: Headers, name: str, form: re.Pattern[str]) -> float | None:
    """Read a header's figure strictly, if it has one, or always the same."""
    values = headers.getall(name, ())
    if len(values) > 1:
        values = (_sole(values),)
    return float(values[0]) if values and form.fullmatch(values[0]) else None


def format_datetime(moment: datetime) -> str:
    """Write an aware *moment* as the service does: ISO 8601 in UTC, to milliseconds."""
    moment = moment.astimezone(UTC)
    precision = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.isoformat(timespec=precision).removesuffix("+00:00") + "Z"


def date_of(headers: Headers) -> datetime | None:
    """Return when the service says that it answered, to the second."""
    return _http_date(_sole(headers.getall("Date", ())))


def _retry_after(headers: Headers, now: datetime) -> float | None:
    """Read `Retry-After`: seconds, or seconds until an HTTP date; None for nonsense."""
    seconds = _figure(headers, "Retry-After", _DECIMAL)
    if seconds is None and (
        moment := _http_date(_sole(headers.getall("Retry-After", ())))
    ):
        # The service's own clock, where it tells it: ours may be wrong.
        present = date_of(headers) or now
        seconds = max(0.0, (moment - present).total_seconds())
    return seconds


def _http_date(text: str) -> datetime | None:
    if not _HTTP_DATE.fullmatch(text):
        return None
    try:
        return parsedate_to_datetime(text).replace(tzinfo=UTC)
    except ValueError:
        return None
