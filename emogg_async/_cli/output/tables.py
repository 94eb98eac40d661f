"""Tables on stdout, for people."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import attrs
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from emogg_async._cli.output.fields import text_value, value_of
from emogg_async._cli.output.formats import Writer, put
from emogg_async._text import printable
from emogg_async.models import Session, SessionState

__all__ = ["FIELD_STYLES", "TableWriter", "fit", "make_console", "session_table"]

ROOMY: Final = 110
"""Columns from which on a table has the names of the sources."""

_USUAL: Final = {
    "source": ("id", "name", "format"),
    "event": ("time", "data", "source", "session"),
}
"""The columns of other kinds; their other fields are the same in all rows."""

HELD: Final = 1_000
"""Items held at most before the widths of the columns are settled."""

NARROWEST: Final = 8
"""Characters of a column at least when it is cut."""

_STYLES: Final = {
    SessionState.ACTIVE: "green",
    SessionState.PROCESSING: "yellow",
    SessionState.FINISHED: "dim",
}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the root command; rich would exit with 1."""
        raise BrokenPipeError


def make_console() -> Console:
    """Make the console of stdout."""
    console = _Console(highlight=False)
    if not console.width:  # COLUMNS=0, with which rich prints nothing
        console.width = 80
    return console


@attrs.frozen
class _Column:
    """A column of a table.

    Attributes:
        header: Its name.
        text: Makes the text of a cell from an item, mostly a session.
        style: Makes the style of a cell from an item.
        is_number: Whether to align it to the right.
        gives_way: Whether it is cut where there is not enough room for all.
    """

    header: str
    text: Callable[[Any], str]
    style: Callable[[Any], str] = lambda _: ""
    is_number: bool = attrs.field(default=False, kw_only=True)
    gives_way: bool = attrs.field(default=False, kw_only=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _state_style(session: Session) -> str:
    return _STYLES.get(session.state, "")


_COMMON: Final = (
    _Column("id", lambda session: session.id, lambda _: "cyan"),
    _Column("name", lambda session: session.name, gives_way=True),
    _Column("state", lambda session: session.state, _state_style, gives_way=True),
    _Column("started (UTC)", lambda session: f"{session.timestamp:%Y-%m-%d %H:%M}"),
)

_NARROW: Final = (
    *_COMMON,
    _Column("min", lambda session: f"{session.duration / 60:.0f}", is_number=True),
    _Column("src", lambda session: f"{len(session.sources)}", is_number=True),
)

_ROOMY: Final = (
    *_COMMON,
    _Column("duration", lambda session: _clock(session.duration), is_number=True),
    _Column(
        "sources",
        lambda session: ", ".join(source.name for source in session.sources),
        lambda _: "dim",
        gives_way=True,
    ),
)

FIELD_STYLES: Final[dict[str, Callable[[Any], str]]] = {
    "id": lambda _: "cyan",
    "state": _state_style,
}
"""Makes the style of a field's value from its item."""

_LONG: Final = {"name", "type", "state", "config", "meta", "data"}
"""Fields that can be long; those of the sources can, too."""


def _field_column(field: str) -> _Column:
    return _Column(
        field,
        lambda item: text_value(value_of(item, field)),
        FIELD_STYLES.get(field, lambda _: ""),
        is_number=field in {"duration", "version", "time"},
        gives_way=field in _LONG or field.startswith("sources"),
    )


def fit(widths: Sequence[int], gives_way: Sequence[bool], room: int) -> list[int]:
    """Narrow the widest of the columns that give way until all fit into *room*.

    No column gets narrower than a few characters, so all can still be too wide.
    """
    # A column wider than the room begins with the room.
    fitted = [
        min(width, max(room, NARROWEST)) if soft else width
        for width, soft in zip(widths, gives_way, strict=True)
    ]
    for _ in range(sum(fitted) - room):
        able = [i for i, soft in enumerate(gives_way) if soft and fitted[i] > NARROWEST]
        if not able:
            break
        fitted[max(able, key=lambda i: fitted[i])] -= 1
    return fitted


class _Layout:
    """Lays items out in columns.

    Args:
        width: Columns of the terminal; None cuts nothing.
        fields: The columns; None chooses those of sessions by the width.
    """

    def __init__(self, width: int | None, fields: Sequence[str] | None) -> None:
        roomy = width is None or width >= ROOMY
        self._columns: tuple[_Column, ...]
        if fields is None:
            self._columns = _ROOMY if roomy else _NARROW
        else:
            self._columns = tuple(map(_field_column, fields))
        self._gap = 2 if roomy else 1
        self._width = width
        self._widths: list[int] = []

    def lines(self, items: Sequence[Any]) -> Text:
        """Make the lines of *items*; those of the first call have a header.

        On a terminal, the first call settles the widths of the columns.
        """
        rows = [[self._cell(c, item) for c in self._columns] for item in items]
        is_first = not self._widths
        if is_first:
            rows.insert(0, [Text(c.header, "bold") for c in self._columns])
        if is_first or self._width is None:
            self._widen(rows)
        return Text("\n").join(map(self._line, rows))

    @staticmethod
    def _cell(column: _Column, item: Any) -> Text:
        """Make a cell, as `Text`: rich would obey markup in a string."""
        return Text(printable(column.text(item)), column.style(item))

    def _widen(self, rows: Sequence[Sequence[Text]]) -> None:
        cells = zip(*rows, strict=True)
        widths = [max(cell_len(cell.plain) for cell in column) for column in cells]
        if self._width is None:
            known = self._widths or widths
            self._widths = [max(pair) for pair in zip(known, widths, strict=True)]
        else:
            room = self._width - self._gap * (len(widths) - 1)
            soft = [column.gives_way for column in self._columns]
            self._widths = fit(widths, soft, room)

    def _line(self, row: Sequence[Text]) -> Text:
        line = Text()
        for column, cell, width in zip(self._columns, row, self._widths, strict=True):
            cell.truncate(width, overflow="ellipsis")
            padding = " " * (width - cell_len(cell.plain))
            parts: list[Any] = [padding, cell] if column.is_number else [cell, padding]
            for part in (*parts, " " * self._gap):
                line.append(part)
        line.rstrip()
        return line


def session_table(sessions: Iterable[Session], width: int) -> Text:
    """Make a table of *sessions* that fits into *width* columns, from about 80 on."""
    return _Layout(width, None).lines(list(sessions))


class TableWriter(Writer):
    """Writes a table.

    Args:
        fields: The columns; None chooses the usual ones.
        kind: The kind of the items, a key of `fields.FIELDS`.
    """

    def __init__(
        self, fields: Sequence[str] | None = None, kind: str = "session"
    ) -> None:
        fields = fields or _USUAL.get(kind)
        self._console = make_console()
        width = self._console.width if sys.stdout.isatty() else None
        self._layout = _Layout(width, fields)
        self._held: list[Any] = []

    def write(self, items: Iterable[Any]) -> None:
        """Hold items until the widths of the columns can be settled."""
        self._held += items
        if len(self._held) >= HELD:
            self.flush()

    def flush(self) -> None:
        """Write held items."""
        held, self._held = self._held, []
        if held:
            with self._console.capture() as lines:
                self._console.print(self._layout.lines(held), soft_wrap=True)
            put(lines.get())

    def close(self) -> None:
        """Write held items."""
        self.flush()
