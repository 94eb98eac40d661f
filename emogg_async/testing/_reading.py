"""Readers of a request's query and of the fields of its body."""

import json
import math
import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import attrs
from aiohttp import web

from emogg_async.testing._checks import is_name
from emogg_async.testing._guesses import (
    EXPANDABLE,
    UNKNOWN_EXPAND_IS_REFUSED,
    UNKNOWN_FIELDS_ARE_REFUSED,
)
from emogg_async.testing._refusals import bad_request

__all__ = [
    "NAME",
    "Field",
    "Window",
    "is_format",
    "is_number",
    "is_stream_uri",
    "is_time",
    "read_expand",
    "read_fields",
    "read_moment",
    "read_whole",
    "read_window",
]

_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_DECIMAL: Final = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,20})?")
_SCHEMES: Final = frozenset({"rtmp", "rtsp", "rtmps"})
_FORMATS: Final = frozenset({"text", "scalar"})
_LONGEST_URI: Final = 2_048

_GRANULARITY: Final = 60.0
_LEAST_GRANULARITY: Final = 5
_MOST_GRANULARITY: Final = 3_600

Field = tuple[Callable[[Any], bool], str]
"""A rule for a field of a body, as a check and in words."""

NAME: Final[Field] = is_name, "a string of 1 to 256 characters"


@attrs.frozen
class Window:
    """The part of a session that a request asks for, in seconds, to the millisecond.

    Attributes:
        granularity: Length of its intervals.
        start: Start of the part.
        end: End of the part; infinity is the session's end.
    """

    granularity: float
    start: float
    end: float


def read_moment(request: web.Request, name: str) -> datetime | None:
    """Return the date in a query parameter, or None if it is absent."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - refused below: it has no offset
    if moment.tzinfo is None:
        raise bad_request(f'"{name}" must be an ISO 8601 date')
    return moment


def read_whole(
    request: web.Request, name: str, default: int, least: int = 0, most: int = 10**15
) -> int:
    """Return the integer in a query parameter."""
    text = request.query.get(name)
    if text is None:
        return default
    if not (_WHOLE.fullmatch(text) and least <= int(text) <= most):
        rule = f"an integer from {least} to {most}" if least else "an integer from 0"
        raise bad_request(f'"{name}" must be {rule}')
    return int(text)


def read_window(request: web.Request) -> Window:
    """Return the part of a session that the query of a timeline asks for."""
    granularity = _decimal(request, "granularity", _GRANULARITY)
    if not _LEAST_GRANULARITY <= granularity <= _MOST_GRANULARITY:
        rule = f"from {_LEAST_GRANULARITY} to {_MOST_GRANULARITY} seconds"
        raise bad_request(f'"granularity" must be {rule}')
    start = _decimal(request, "start", 0.0)
    end = _decimal(request, "end", math.inf)
    if end <= start:
        raise bad_request('"end" must be after "start"')
    return Window(granularity, start, end)


def _decimal(request: web.Request, name: str, default: float) -> float:
    text = request.query.get(name)
    if text is None:
        return default
    if not _DECIMAL.fullmatch(text):
        raise bad_request(f'"{name}" must be a number of seconds from 0')
    return round(float(text), 3)


def read_expand(request: web.Request, kind: str) -> frozenset[str]:
    """Return the fields to show as whole objects in an answer of that *kind*."""
    if "expand[]" not in request.query:
        return frozenset()
    wanted = frozenset(request.query.getall("expand[]"))
    unknown = wanted - EXPANDABLE[kind]
    if unknown and UNKNOWN_EXPAND_IS_REFUSED:
        raise bad_request(f'"expand[]": cannot expand "{min(unknown)}"')
    return wanted - unknown


async def read_fields(
    request: web.Request, rules: Mapping[str, Field]
) -> dict[str, Any]:
    """Return the fields of a body; it must hold all that *rules* name."""
    try:
        body = json.loads(await request.read(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise bad_request("The body must be JSON") from None
    if not isinstance(body, dict):
        raise bad_request("The body must be a JSON object")
    for name, (holds, rule) in rules.items():
        if name not in body or not holds(body[name]):
            raise bad_request(f'"{name}" must be {rule}')
    unknown = body.keys() - rules.keys()
    if unknown and UNKNOWN_FIELDS_ARE_REFUSED:
        raise bad_request(f'"{min(unknown)}" is not allowed')
    return {name: body[name] for name in rules}


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def is_number(value: object) -> bool:
    """Tell whether *value* is a finite number, but no boolean."""
    largest = sys.float_info.max
    return type(value) in {int, float} and -largest <= value <= largest  # type: ignore[operator]


def is_time(value: Any) -> bool:
    """Tell whether *value* is a time in a session."""
    return is_number(value) and bool(value >= 0)


def is_format(value: object) -> bool:
    """Tell whether *value* is a format of sources."""
    return isinstance(value, str) and value in _FORMATS


def is_stream_uri(value: object) -> bool:
    """Tell whether *value* is the address of a stream that the service takes."""
    if not isinstance(value, str) or len(value) > _LONGEST_URI or not value.isascii():
        return False
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return False
    return parts.scheme in _SCHEMES and bool(parts.hostname) and port != 0
