"""One session on a page of its own: every field in a line, for people."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import attrs
from rich.cells import cell_len
from rich.text import Text

from emogg_async._cli.output.fields import text_value, value_of
from emogg_async._cli.output.formats import Writer, put
from emogg_async._cli.output.tables import FIELD_STYLES, make_console
from emogg_async._text import clock, json_line, printable
from emogg_async.models import Session

__all__ = ["PageWriter", "rows_of_page"]

NARROWEST: Final = 24
"""Columns of a value at least, as an id has; with fewer it gets lines of its own."""

LONGEST: Final = 24
"""Columns of a name beside its value; a longer one has a line of its own."""

LEAST: Final = 8
"""Columns of a value at least, however narrow the terminal is."""

DEEPEST: Final = 4
"""Levels of nested values that get lines of their own; deeper ones are JSON."""

_INDENT: Final = "  "

Row = tuple[str, str | None]
"""The indented name of a field, and its text; None if lines below have its parts."""


def rows_of_page(session: Session, fields: Sequence[str] | None = None) -> list[Row]:
    """Make the rows of a page.

    Args:
        session: The session.
        fields: The fields; None takes all, also those that this release does not know.
    """
    if fields is None:
        return list(_rows(_parts(session), ""))
    return list(_rows(((field, value_of(session, field)) for field in fields), ""))


def _parts(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and values of a model's fields, expanded ones in full."""
    expanded = getattr(model, "expanded", {})
    for field in attrs.fields(type(model)):
        if field.name not in {"expanded", "extra", "stale"}:
            value = getattr(model, field.name)
            yield field.name, expanded.get(field.name, value)
    yield from model.extra.items()


def _rows(parts: Iterable[tuple[str, Any]], indent: str) -> Iterator[Row]:
    for name, value in parts:
        label = f"{indent}{printable(name)}"
        below = None
        if len(indent) < DEEPEST * len(_INDENT):
            below = _below(value, f"{indent}{_INDENT}")
        if below:
            yield label, None
            yield from below
        else:
            yield label, printable(_text(name, value))


def _below(value: Any, indent: str) -> list[Row]:
    """Return the rows of the parts of *value*; none if it has no parts."""
    if attrs.has(type(value)):
        return list(_rows(_parts(value), indent))
    if isinstance(value, Mapping):
        return list(_rows(value.items(), indent))
    if isinstance(value, tuple) and any(attrs.has(type(item)) for item in value):
        return [row for item in value for row in _item(item, indent)]
    return []


def _item(item: Any, indent: str) -> Iterator[Row]:
    """Yield the rows of one of several items; a dash is before the first."""
    for number, (label, text) in enumerate(_below(item, f"{indent}{_INDENT}")):
        dash = f"{indent}- {label[len(indent) + 2 :]}"
        yield (label if number else dash), text


def _text(name: str, value: Any) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    if isinstance(value, Mapping | list | tuple):
        parts = value if isinstance(value, list | tuple) else ()
        if not parts or any(isinstance(part, Mapping | list | tuple) for part in parts):
            return json_line(_plain(value), "utf-8")
    if name == "duration" and isinstance(value, int | float):
        return f"{clock(value)} ({value:,g} s)"
    return text_value(value)


def _plain(value: Any) -> Any:
    """Return *value* with dicts and lists in place of frozen ones."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return [*map(_plain, value)] if isinstance(value, list | tuple) else value


class PageWriter(Writer):
    """Writes a session as a page.

    Args:
        fields: The fields; None writes all.
    """

    def __init__(self, fields: Sequence[str] | None = None) -> None:
        self._fields = fields
        self._console = make_console()

    def write(self, items: Iterable[Session]) -> None:
        """Write sessions, each as a page."""
        for session in items:
            with self._console.capture() as lines:
                for line in self._lines(session):
                    self._console.print(line, soft_wrap=True)
            put(lines.get())

    def _lines(self, session: Session) -> Iterator[Text]:
        rows = rows_of_page(session, self._fields)
        width = self._console.width
        widths = [cell_len(label) for label, _ in rows]
        column = 2 + max((each for each in widths if each <= LONGEST), default=0)
        for label, text in rows:
            style = FIELD_STYLES.get(label, lambda _: "")(session)
            name, value = Text(label, "bold"), Text(text or "", style)
            margin = column
            is_beside = cell_len(label) <= LONGEST and width - column >= NARROWEST
            if text is None or not is_beside:
                yield from self._wrapped(name, width)
                name, margin = Text(), 2 + len(label) - len(label.lstrip(" -"))
            if text is not None:
                for line in self._wrapped(value, max(width - margin, LEAST)):
                    yield _beside(name, line, margin)
                    name = Text()

    def _wrapped(self, text: Text, width: int) -> Iterator[Text]:
        for line in text.wrap(self._console, width, overflow="fold"):
            line.rstrip()
            yield line


def _beside(name: Text, line: Text, margin: int) -> Text:
    padding = " " * (margin - cell_len(name.plain))
    return Text.assemble(name, padding, line)
