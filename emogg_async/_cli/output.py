"""Sessions on stdout: as a table for people, as JSON lines for programs."""

import sys
from collections.abc import Callable, Iterable
from typing import Final, Literal, Protocol

import attrs
import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from emogg_async import to_dict
from emogg_async._cli.text import json_line, printable
from emogg_async.models import Session, SessionState

__all__ = ["WRITERS", "SessionWriter", "make_console", "session_table"]

ROOMY: Final = 110
"""Columns from which a table has room for the names of the sources."""

UNLIMITED: Final = 10_000
"""Columns of what is no terminal: nobody's data are cut there."""

_STYLES: Final = {
    SessionState.ACTIVE: "green",
    SessionState.PROCESSING: "yellow",
    SessionState.FINISHED: "dim",
}


class SessionWriter(Protocol):
    """Writes sessions to stdout in one format."""

    def write(self, session: Session) -> None:
        """Take a session."""

    def close(self) -> None:
        """Write what is still held back."""


class JSONLinesWriter:
    """Writes each session at once, as the service's JSON on a line of its own."""

    def write(self, session: Session) -> None:
        """Write a session."""
        click.echo(json_line(to_dict(session), sys.stdout.encoding))

    def close(self) -> None:
        """Do nothing: nothing is held back."""


class TableWriter:
    """Writes a table in the end: only then it is known how wide its columns are."""

    def __init__(self) -> None:
        self._sessions: list[Session] = []

    def write(self, session: Session) -> None:
        """Keep a session for the table."""
        self._sessions.append(session)

    def close(self) -> None:
        """Write the table."""
        console = make_console(width=None if sys.stdout.isatty() else UNLIMITED)
        if self._sessions:
            console.print(session_table(self._sessions, console.width))


WRITERS: Final[dict[str, type[SessionWriter]]] = {
    "table": TableWriter,
    "jsonl": JSONLinesWriter,
}
"""How sessions can be written, by the name of the format."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the root command, which ends quietly; rich would exit with 1."""
        raise BrokenPipeError


def make_console(*, width: int | None = None) -> Console:
    """Make the console of stdout; what its encoding lacks is shown as `?`.

    Args:
        width: Its columns; None is as many as the terminal has.
    """
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    return _Console(highlight=False, width=width)


@attrs.frozen(kw_only=True)
class _Column:
    """A column of a table of sessions."""

    header: str
    text: Callable[[Session], str]
    style: Callable[[Session], str] = lambda _: ""
    justify: Literal["left", "right"] = "left"
    gives_way: bool = False
    """Whether it is cut where there is not enough room for all."""


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


_COMMON: Final = (
    _Column(header="id", text=lambda session: session.id, style=lambda _: "cyan"),
    _Column(header="name", text=lambda session: session.name, gives_way=True),
    _Column(
        header="state",
        text=lambda session: session.state,
        style=lambda session: _STYLES.get(session.state, ""),
    ),
    _Column(
        header="started (UTC)",
        text=lambda session: f"{session.timestamp:%Y-%m-%d %H:%M}",
    ),
)

_NARROW_COLUMNS: Final = (
    *_COMMON,
    _Column(
        header="min",
        text=lambda session: f"{session.duration / 60:.0f}",
        justify="right",
    ),
    _Column(
        header="src", text=lambda session: str(len(session.sources)), justify="right"
    ),
)

_ROOMY_COLUMNS: Final = (
    *_COMMON,
    _Column(
        header="duration",
        text=lambda session: _clock(session.duration),
        justify="right",
    ),
    _Column(
        header="sources",
        text=lambda session: ", ".join(source.name for source in session.sources),
        style=lambda _: "dim",
        gives_way=True,
    ),
)


def session_table(sessions: Iterable[Session], width: int) -> Table:
    """Make a table of *sessions* that fits into *width* columns, down to 80 or so."""
    roomy = width >= ROOMY
    columns = _ROOMY_COLUMNS if roomy else _NARROW_COLUMNS
    table = Table(box=None, padding=(0, 2 if roomy else 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(
            column.header,
            justify=column.justify,
            no_wrap=not column.gives_way,
        )
    for session in sessions:
        table.add_row(*(_cell(column, session) for column in columns))
    return table


def _cell(column: _Column, session: Session) -> Text:
    """Make a cell, as `Text`: in a string, what looks like markup would count."""
    text, style = printable(column.text(session)), column.style(session)
    return Text(text, style, no_wrap=True, overflow="ellipsis")
