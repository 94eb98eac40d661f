"""The fields that `--fields` can name: those of the models, and of rows of figures.

A dot leads into a nested model, as in `config.remove_media`; `sources.name` has the
names of all sources. Unknown fields of the service have no name; JSON without
`--fields` shows them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, get_args

import attrs

import emogg_async
from emogg_async.models import (
    CustomEvent,
    EmotionsTimeline,
    RegisteredSource,
    SentimentTimeline,
    Session,
    Source,
)

__all__ = [
    "COLUMNS",
    "FIELDS",
    "SENTIMENTS",
    "json_value",
    "parse_fields",
    "record_of",
    "text_value",
    "value_of",
]


def _names(model: type[attrs.AttrsInstance], prefix: str = "") -> Iterator[str]:
    for field in attrs.fields(model):
        if field.name in {"expanded", "extra", "stale"}:  # not the service's
            continue
        name = f"{prefix}{field.name}"
        yield name
        for part in get_args(field.type):  # e.g. the model in `SessionMeta | None`
            if isinstance(part, type) and attrs.has(part):
                yield from _names(part, f"{name}.")


SENTIMENTS: Final = ("positive", "neutral", "negative")
"""The sentiments, which are the names of their figures."""

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "session": tuple(_names(Session)),
    "source": tuple(_names(RegisteredSource)),
    "event": tuple(_names(CustomEvent)),
    # Rows of figures, made of models.
    "total": ("session", "emotion", "times", "share"),
    "emotion": tuple(EmotionsTimeline(session="", intervals=()).to_columns()),
    "sentiment": tuple(SentimentTimeline(session="", intervals=()).to_columns()),
}
"""Every name that `--fields` takes, by the kind of the results."""

COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    **FIELDS,
    "session": (
        "id",
        "name",
        "type",
        "state",
        "timestamp",
        "duration",
        "sources",
        "product",
        "user",
    ),
}
"""The columns of CSV without `--fields`."""


def parse_fields(text: str, kind: str = "session") -> tuple[str, ...]:
    """Read names separated by commas; repeated names count once.

    Raises:
        ValueError: A name is unknown.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FIELDS[kind]:
            known = ", ".join(FIELDS[kind])
            raise ValueError(f"no field {name!r}; there are {known}")
    return names


def value_of(item: Any, field: str) -> Any:
    """Return the *field* of a model or a row; None where it is absent."""
    if isinstance(item, Mapping):
        return item[field]
    value: Any = item
    for part in field.split("."):
        if isinstance(value, tuple):
            value = tuple(getattr(each, part) for each in value)
        elif value is not None:
            value = getattr(value, part)
    return value


def json_value(value: Any) -> Any:
    """Turn the value of a field into JSON, as the service writes it."""
    match value:
        case tuple():
            return [json_value(item) for item in value]
        case datetime():
            return _moment(value)
        case float() if value.is_integer():
            return int(value)
        case _ if attrs.has(type(value)):
            return emogg_async.to_dict(value)
        case _:
            return value


def _moment(value: datetime) -> str:
    from emogg_async._wire.protocol import format_datetime  # noqa: PLC0415 - help does without

    return format_datetime(value)


def text_value(value: Any) -> str:
    """Turn the value of a field into text; a source becomes its name."""
    match value:
        case None:
            return ""
        case str():
            return str(value)
        case Source(name=name):
            return name
        case tuple():
            return ", ".join(map(text_value, value))
        case datetime():
            return _moment(value)
        case _:
            return json.dumps(json_value(value), ensure_ascii=False)


def record_of(item: Any, fields: Sequence[str] | None) -> dict[str, Any]:
    """Make a JSON object of *fields*; None makes the service's own of all fields."""
    if fields is None and not isinstance(item, Mapping):
        return emogg_async.to_dict(item)
    names = item if fields is None else fields
    return {field: json_value(value_of(item, field)) for field in names}
