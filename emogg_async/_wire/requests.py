"""Requests: a builder for each call, which checks the arguments before any I/O.

Source: https://docs.emogg.com.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from emogg_async._checks import number, whole_number
from emogg_async._text import shown
from emogg_async._wire.protocol import MAX_BODY, Repeat, Request
from emogg_async.errors import InvalidArgumentError

__all__ = [
    "Query",
    "QueryValue",
    "check_data",
    "check_expand",
    "check_name",
    "check_session_id",
    "create_session",
    "custom",
    "delete_session",
    "get_emotions",
    "get_emotions_timeline",
    "get_session",
    "get_transcription_sentiment",
    "is_expanded",
    "list_sessions",
    "register_source",
    "send_event",
    "stop_session",
    "update_session",
]

QueryValue = str | int | float | bool
"""The value of a query parameter. A sequence of values repeats the parameter."""

Query = Mapping[str, QueryValue | Sequence[QueryValue]] | None
"""The parameters of a query; None has none."""

MAX_NAME_CHARACTERS: Final = 256
MIN_GRANULARITY: Final = 5
MAX_GRANULARITY: Final = 3_600
MAX_PAGE_BODY: Final = 4 * 2**20
"""The most bytes of a page: 40 kB for each of 100 sessions with their expanded fields.
"""

MAX_TIMELINE_BODY: Final = 16 * 2**20
"""The most bytes of a timeline: twice a day in steps of 5 s with seven emotions."""

MAX_CUSTOM_BODY: Final = MAX_TIMELINE_BODY
"""The most bytes of the answer to a custom request, which may be the longest one."""

STREAM_SCHEMES: Final = ("rtmp", "rtmps", "rtsp")
FORMATS: Final = ("text", "scalar")

_SESSION_ID = re.compile(r"[0-9a-fA-F]{24}")
_SOURCE_ID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_FIELD_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_CUSTOM_PATH = re.compile(r"/v1/([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})+")
_PATH_OF_SESSION = re.compile(r"/v1/sessions/([0-9a-fA-F]{24})(?![^/])")


# -- arguments -------------------------------------------------------------------------


def check_session_id(value: object) -> str:
    """Return *value* in lower case if it is a session id.

    Raises:
        InvalidArgumentError: *value* is not 24 hex digits.
    """
    if isinstance(value, str) and _SESSION_ID.fullmatch(value):
        return value.lower()
    raise InvalidArgumentError(
        f"session_id: expected 24 hex digits, got {shown(value)}"
    )


def check_name(value: object) -> str:
    """Return *value* if it is a valid name of a session or a source.

    Raises:
        InvalidArgumentError: *value* is not text of 1 to 256 characters.
    """
    name = _text("name", value)
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise InvalidArgumentError(
            f"name: expected 1 to {MAX_NAME_CHARACTERS} characters, got {len(name)}"
        )
    return name


def check_expand(value: object) -> tuple[str, ...]:
    """Return the names of the fields to expand, sorted and without duplicates.

    Raises:
        InvalidArgumentError: *value* is a single name, or not a collection of names.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise InvalidArgumentError(
            f"expand: expected several names, e.g. ['user'], got {shown(value)}"
        )
    names = set()
    for name in value:
        if not (isinstance(name, str) and _FIELD_PATH.fullmatch(name)):
            raise InvalidArgumentError(
                f"expand: expected names of fields like user or a.b, got {shown(name)}"
            )
        names.add(name)
    return tuple(sorted(names))


def _text(argument: str, value: object) -> str:
    """Return *value* if it is text that can be encoded as UTF-8."""
    if not isinstance(value, str):
        raise InvalidArgumentError(f"{argument}: expected text, got {shown(value)}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(
            f"{argument}: expected text without lone surrogates"
        ) from None
    return value


def _stream_uri(value: object) -> str:
    """Return *value* if the service can fetch a stream from it.

    No error shows the URI, as it may hold a key.
    """
    uri = _text("stream_uri", value)
    try:
        parts = urlsplit(uri)
        usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not (usable and parts.scheme in STREAM_SCHEMES and _is_visible(uri)):
        schemes = ", ".join(f"{scheme}://" for scheme in STREAM_SCHEMES)
        raise InvalidArgumentError(
            f"stream_uri: expected one of {schemes} followed by a host"
        )
    return uri


def _is_visible(text: str) -> bool:
    return text.isprintable() and " " not in text


def _seconds(argument: str, value: object) -> float:
    seconds = number(argument, value)
    if seconds < 0:
        raise InvalidArgumentError(
            f"{argument}: expected 0 seconds or more, got {seconds:g}"
        )
    return seconds


def _source_id(value: object) -> str:
    if isinstance(value, str) and _SOURCE_ID.fullmatch(value):
        return value
    raise InvalidArgumentError(f"source_id: expected a UUID, got {shown(value)}")


# -- sessions --------------------------------------------------------------------------


def get_session(session_id: str, expand: Iterable[str] = ()) -> Request:
    """Build "Get a session" from arguments that were checked."""
    path = f"/v1/sessions/{session_id}"
    target = _target(path, _expansion(expand)) if expand else path
    return Request("GET", target, session_id=session_id)


def list_sessions(query: Iterable[tuple[str, str]]) -> Request:
    """Build "List sessions" from a *query* that was checked."""
    return Request("GET", _target("/v1/sessions", query), max_body=MAX_PAGE_BODY)


def create_session(name: object, stream_uri: object) -> Request:
    """Build "Create a session"."""
    payload = {"name": check_name(name), "streamUri": _stream_uri(stream_uri)}
    return Request("POST", "/v1/sessions", _encoded(payload), Repeat.ONCE)


def update_session(session_id: object, name: object) -> Request:
    """Build "Update a session", which changes its name."""
    payload = {"name": check_name(name)}
    return _write("PATCH", session_id, "", payload, Repeat.IDEMPOTENT)


def stop_session(session_id: object) -> Request:
    """Build "Stop a session"."""
    return _write("POST", session_id, "/stop", None, Repeat.SETTLE)


def delete_session(session_id: object) -> Request:
    """Build "Delete a session"."""
    return _write("DELETE", session_id, "", None, Repeat.SETTLE)


def _write(
    method: str, session_id: object, below: str, payload: object, repeat: Repeat
) -> Request:
    checked = check_session_id(session_id)
    path = f"/v1/sessions/{checked}{below}"
    return Request(method, path, _encoded(payload), repeat, session_id=checked)


# -- what is known of a session --------------------------------------------------------


def get_emotions(session_id: object, expand: object) -> Request:
    """Build "Get emotions"."""
    return _derived(session_id, "emotions", (), expand)


def get_emotions_timeline(
    session_id: object, granularity: object, start: object, end: object, expand: object
) -> Request:
    """Build "Get emotions timeline"."""
    span = _span(granularity, start, end)
    return _derived(session_id, "emotions/timeline", span, expand, MAX_TIMELINE_BODY)


def get_transcription_sentiment(
    session_id: object, granularity: object, start: object, end: object, expand: object
) -> Request:
    """Build "Get transcription sentiment"."""
    span = _span(granularity, start, end)
    what = "audio/transcription-sentiment"
    return _derived(session_id, what, span, expand, MAX_TIMELINE_BODY)


def _derived(
    session_id: object,
    what: str,
    span: tuple[tuple[str, str], ...],
    expand: object,
    max_body: int = MAX_BODY,
) -> Request:
    checked = check_session_id(session_id)
    query = span + _expansion(check_expand(expand))
    target = _target(f"/v1/sessions/{checked}/{what}", query)
    return Request("GET", target, session_id=checked, max_body=max_body)


def _span(
    granularity: object, start: object, end: object
) -> tuple[tuple[str, str], ...]:
    whole_number(
        "granularity", granularity, at_least=MIN_GRANULARITY, at_most=MAX_GRANULARITY
    )
    begin = _seconds("start", start)
    span = (("granularity", str(granularity)), ("start", _plain(begin)))
    if end is None:
        return span
    if _seconds("end", end) <= begin:
        raise InvalidArgumentError(
            f"end: expected more than start, got {end:g} and a start of {begin:g}"
        )
    return (*span, ("end", _plain(_seconds("end", end))))


def _target(path: str, query: Iterable[tuple[str, str]]) -> str:
    encoded = urlencode(list(query))
    return f"{path}?{encoded}" if encoded else path


def _expansion(names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Return the query parameters that expand the fields *names*.

    Source: https://docs.emogg.com, "Expanding".
    """
    return tuple(("expand[]", name) for name in names)


def is_expanded(request: Request) -> bool:
    """Tell whether *request* expands any field."""
    has_query = "?" in request.target
    return has_query and any(name == "expand[]" for name, _ in request.query)


def _plain(value: float) -> str:
    """Write *value* without an exponent, and alike for 60 and 60.0."""
    return str(int(value)) if value == int(value) else f"{Decimal(repr(value)):f}"


# -- custom events ---------------------------------------------------------------------


def _path_of_registering(session_id: str) -> str:
    """Return the path for registering a source, as the reference prints it."""
    return f"/v1/sessions/{session_id}/events"


def _path_of_events(session_id: str, source_id: str) -> str:
    """Return the path for sending events, which is inferred.

    The reference prints the path of registering here too, and lists a `:sourceId` that
    this path has no place for. The printed path cannot be right: it would not tell the
    service which source an event belongs to.
    """
    return f"/v1/sessions/{session_id}/sources/{source_id}/events"


def register_source(
    session_id: object,
    name: object,
    format: object,  # noqa: A002 - the service's name of the field
) -> Request:
    """Build "Register source"."""
    checked = check_session_id(session_id)
    payload = {"name": check_name(name), "format": format}
    if not (isinstance(format, str) and format in FORMATS):
        raise InvalidArgumentError(
            f"format: expected one of {', '.join(FORMATS)}, got {shown(format)}"
        )
    path = _path_of_registering(checked)
    body = _encoded(payload)
    # A new source changes its session, which lists its sources.
    return Request("POST", path, body, Repeat.ONCE, session_id=checked)


def send_event(
    session_id: object, source_id: object, time: object, data: object
) -> Request:
    """Build "Custom events", which changes no session."""
    path = _path_of_events(check_session_id(session_id), _source_id(source_id))
    payload = {"time": _seconds("time", time), "data": _data(data)}
    return Request("POST", path, _encoded(payload), Repeat.ONCE)


def check_data(data: str | float, source_format: str | None) -> None:
    """Refuse *data* of the wrong type for a source whose format is known.

    Raises:
        InvalidArgumentError: *data* is text for a scalar source, or a number for a
            source of text.
    """
    if source_format == "scalar" and isinstance(data, str):
        raise InvalidArgumentError(
            f"data: expected a number for a scalar source, got {shown(data)}"
        )
    if source_format == "text" and not isinstance(data, str):
        raise InvalidArgumentError(
            f"data: expected text for a source of text, got {shown(data)}"
        )


def _data(value: object) -> str | float:
    if isinstance(value, str):
        return _text("data", value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidArgumentError(
            f"data: expected a number or text, got {shown(value)}"
        )
    return number("data", value)


# -- everything else -------------------------------------------------------------------

_REPEAT_BY_METHOD: Final = {
    "GET": Repeat.SAFE,
    "PUT": Repeat.IDEMPOTENT,
    "PATCH": Repeat.IDEMPOTENT,
    "DELETE": Repeat.SETTLE,
    "POST": Repeat.ONCE,
}


def custom(
    method: str,
    path: str,
    query: Query,
    payload: object,
    is_raw: object = False,
) -> Request:
    """Build a request to any path below `/v1/`.

    A *payload* of None sends no body.

    Raises:
        InvalidArgumentError: *method*, *path*, *query* or *payload* cannot be sent, or
            *is_raw* is not a boolean.
    """
    if not isinstance(is_raw, bool):
        raise InvalidArgumentError(f"raw: expected a bool, got {shown(is_raw)}")
    repeat = _REPEAT_BY_METHOD.get(method.upper() if isinstance(method, str) else "")
    if repeat is None:
        known = ", ".join(_REPEAT_BY_METHOD)
        raise InvalidArgumentError(
            f"method: expected one of {known}, got {shown(method)}"
        )
    _check_path(path)
    pairs = list(_query_pairs({} if query is None else query))
    changed = None
    if repeat is not Repeat.SAFE:
        changed = _PATH_OF_SESSION.match(unquote(path))
    return Request(
        method.upper(),
        _target(path, pairs),
        _encoded(payload),
        repeat,
        session_id=changed[1].lower() if changed else "",
        max_body=MAX_CUSTOM_BODY,
        is_raw=is_raw,
    )


def _check_path(path: object) -> None:
    if not isinstance(path, str) or not _CUSTOM_PATH.fullmatch(path):
        raise InvalidArgumentError(
            "path: expected a path below /v1/ with its parameters in query=, "
            f"got {shown(path)}"
        )
    plain = path
    while (decoded := unquote(plain)) != plain:  # it may be encoded many times
        plain = decoded
    segments = plain.replace("\\", "/").split("/")
    if (
        not plain.isprintable()
        or not {".", "..", ""}.isdisjoint(segments[1:-1])
        or segments[-1] in {".", ".."}
    ):
        raise InvalidArgumentError(
            "path: expected no empty segments, no dot segments and no control "
            f"characters, got {shown(path)}"
        )


def _query_pairs(query: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    if not isinstance(query, Mapping):
        raise InvalidArgumentError(f"query: expected a mapping, got {shown(query)}")
    for name, value in query.items():
        several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        for item in value if several else (value,):
            yield _query_text(name, name), _query_text(name, item)


def _query_text(name: object, value: object) -> str:
    """Write *value*, the value or the name of the parameter *name*, as text."""
    try:
        if isinstance(value, QueryValue):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            text.encode()  # lone surrogates cannot be sent
            return text
    except ValueError:
        pass
    raise InvalidArgumentError(
        "query: expected text, a number or a boolean, "
        f"got {shown(value)} for {shown(name)}"
    )


def _encoded(payload: object) -> bytes | None:
    if payload is None:
        return None
    try:
        return json.dumps(payload, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"json: {error}") from None
