"""What a report may tell of an account: only what the functions here make of it.

They let through statuses, the values of the rate limit, shapes and words of enums, but
no name, no ID, no token, and no field of which the reference knows nothing.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, LiteralString

import attrs

__all__ = [
    "EMOTIONS",
    "FIELDS",
    "RATE_HEADERS",
    "Seen",
    "is_date",
    "joined",
    "number",
    "rates",
    "said",
    "shape",
    "shapes",
    "words",
]

EMOTIONS: Final = frozenset(
    [
        "exaltation",
        "focus",
        "shock",
        "seriousness",
        "fatigue",
        "disgust",
        "overwhelming",
    ]
)

RATE_HEADERS: Final = tuple(
    f"RateLimit-{each}" for each in ("Limit", "Remaining", "Reset", "Policy")
)

FIELDS: Final = EMOTIONS | frozenset(
    [
        "_id",
        "name",
        "type",
        "state",
        "timestamp",
        "duration",
        "config",
        "sources",
        "meta",
        "product",
        "user",
        "version",
        "removeMedia",
        "id",
        "device",
        "format",
        "expires",
        "healthCheck",
        "workerState",
        "hasMore",
        "offset",
        "limit",
        "data",
        "session",
        "emotions",
        "timeline",
        "start",
        "end",
        "detectedFaces",
        "people",
        "quantity",
        "intensity",
        "segments",
        "sentiments",
        "positive",
        "neutral",
        "negative",
        "time",
        "source",
        "error",
        "status",
        "message",
        "path",
        "body",
        "ts",
        "subscriptionId",
    ]
)

_SCALARS: Final = {
    type(None): "null",
    bool: "boolean",
    int: "integer",
    float: "real number",
}
_DEEPEST: Final = 4
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_HEX_ID = re.compile(r"[0-9a-f]{24}")
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WORD = re.compile(r"[a-z]{2,20}(_[a-z]{2,20}){0,2}")
_RATE = re.compile(r"\d{1,9}(;w=\d{1,9}(\.\d{1,9})?)?", re.ASCII)


@attrs.frozen
class Seen:
    """Text that may be told; only this module makes it."""

    text: str


def said(text: LiteralString) -> Seen:
    """Tell what the source of a check says; it is the same for every account."""
    return Seen(text)


def joined(*seen: Seen) -> Seen:
    """Tell some things in a row."""
    return Seen(" ".join(each.text for each in seen))


def number(value: object) -> Seen:
    """Tell a status, a code or a small number; others are only called large."""
    if not isinstance(value, int) or isinstance(value, bool):
        return shape(value)
    return Seen(str(value) if 0 <= value <= 9_999 else "another integer")


def rates(headers: Mapping[str, str]) -> Seen:
    """Tell the rate headers by name and value."""
    return Seen(
        ", ".join(
            f"no {name}"
            if (value := headers.get(name)) is None
            else f"{name}: {value if _RATE.fullmatch(value) else 'other text'}"
            for name in RATE_HEADERS
        )
    )


def words(values: Iterable[object]) -> Seen:
    """Tell the values of an enum, each once."""
    told = {
        value if isinstance(value, str) and _WORD.fullmatch(value) else "no plain word"
        for value in values
    }
    return Seen(", ".join(sorted(told)))


def shapes(values: Iterable[object]) -> Seen:
    """Tell of what shapes *values* are, each once."""
    return Seen(" or ".join(sorted({_shape(value, 0) for value in values})))


def shape(value: object) -> Seen:
    """Tell of what shape a JSON value is."""
    return Seen(_shape(value, 0))


def is_date(value: object) -> bool:
    """Tell whether *value* is ISO 8601 with milliseconds and `Z`."""
    try:
        return bool(_DATE.fullmatch(str(value)) and datetime.fromisoformat(str(value)))
    except ValueError:
        return False


def _shape(value: object, depth: int) -> str:
    if isinstance(value, str):
        return _kind(value)
    if isinstance(value, list | dict) and depth >= _DEEPEST:
        return "[…]" if isinstance(value, list) else "{…}"
    if isinstance(value, list):
        inner = dict.fromkeys(_shape(each, depth + 1) for each in value)
        return f"[{', '.join(inner)}]"
    if isinstance(value, dict):
        return f"{{{_fields(value, depth + 1)}}}"
    return _SCALARS.get(type(value), "nothing")


def _fields(value: dict[str, object], depth: int) -> str:
    known = [
        f"{name}: {_shape(value[name], depth)}" for name in value if name in FIELDS
    ]
    others = len(value) - len(known)
    return ", ".join(known + [f"{others} other"] * bool(others))


def _kind(text: str) -> str:
    if is_date(text):
        return "date with Z"
    if _HEX_ID.fullmatch(text):
        return "hex id"
    if _UUID.fullmatch(text):
        return "uuid"
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return "text" if text else "empty text"
    return "other date"
