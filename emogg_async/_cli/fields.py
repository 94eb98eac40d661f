"""The fields of a session, by the names that `--fields` takes: those of the models.

A dot leads into a nested model, as in `config.remove_media`; where it leads into the
sources, each of them has its say. Fields that this release does not know have no name;
JSON without `--fields` shows them.
"""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, get_args

import attrs

import emogg_async
from emogg_async._cli.moments import format_moment
from emogg_async.models import Session, Source

__all__ = [
    "FIELDS",
    "json_value",
    "parse_fields",
    "record_of",
    "text_value",
    "value_of",
]


def _names(model: type[attrs.AttrsInstance], prefix: str = "") -> Iterator[str]:
    for field in attrs.fields(model):
        if field.name in {"extra", "stale"}:  # the command keeps nothing
            continue
        name = f"{prefix}{field.name}"
        yield name
        for part in get_args(field.type):  # e.g. the model in `SessionMeta | None`
            if isinstance(part, type) and attrs.has(part):
                yield from _names(part, f"{name}.")


FIELDS: Final = tuple(_names(Session))
"""Every name that `--fields` takes."""


def parse_fields(text: str) -> tuple[str, ...]:
    """Read names with commas in between; one that comes twice counts once.

    Raises:
        ValueError: There is no such field.
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FIELDS:
            raise ValueError(f"no field {name!r}; there are {', '.join(FIELDS)}")
    return names


def value_of(session: Session, field: str) -> Any:
    """Return what *session* has in *field*; None where it has nothing."""
    value: Any = session
    for part in field.split("."):
        if isinstance(value, tuple):
            value = tuple(getattr(item, part) for item in value)
        elif value is not None:
            value = getattr(value, part)
    return value


def json_value(value: Any) -> Any:
    """Turn the value of a field into JSON, as the service writes it."""
    match value:
        case tuple():
            return [json_value(item) for item in value]
        case datetime():
            return format_moment(value)
        case float() if value.is_integer():
            return int(value)
        case _ if attrs.has(type(value)):
            return emogg_async.to_dict(value)
        case _:
            return value


def text_value(value: Any) -> str:
    """Turn the value of a field into text; a source into its name."""
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
            return format_moment(value)
        case _:
            return json.dumps(json_value(value), ensure_ascii=False)


def record_of(session: Session, fields: Sequence[str] | None) -> dict[str, Any]:
    """Make a JSON object of *fields*, or the service's own of all that there is."""
    if fields is None:
        return emogg_async.to_dict(session)
    return {field: json_value(value_of(session, field)) for field in fields}
