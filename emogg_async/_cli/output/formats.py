"""Results in the forms that programs read: JSON, JSON lines and CSV.

Output is written in whole lines and flushed, so that a command that ends early leaves
no half line. Nothing is written before the first record, or before it is certain that
there is none.
"""

import csv
import io
import json
import os
import re
import stat
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, TextIO

from emogg_async._cli.output.fields import COLUMNS, record_of, text_value, value_of
from emogg_async._cli.output.rows import rows_of
from emogg_async._text import UNSAFE, json_line, printable

__all__ = [
    "CSVWriter",
    "JSONLinesWriter",
    "JSONWriter",
    "Kept",
    "Writer",
    "csv_lines",
    "json_text",
    "put",
]

FORMULAS: Final = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""Characters with which a formula of a spreadsheet begins; four are full-width."""


class Writer:
    """Writes items to stdout as lines; a subclass writes models in one form.

    Attributes:
        is_for_people: Whether people read it, so that failures are told in their words.
    """

    is_for_people = True

    def write(self, items: Iterable[Any]) -> None:
        """Write items, or hold them."""
        put("".join(f"{item}\n" for item in items))

    def flush(self) -> None:
        """Write held items."""

    def close(self) -> None:
        """Write the end; a command that failed leaves it out."""


def put(text: str) -> None:
    """Write whole lines."""
    stdout = sys.stdout
    stdout.flush()
    lines = text.encode(stdout.encoding, stdout.errors or "strict")
    rest, before = memoryview(lines), _size_of(stdout)
    try:
        while rest:
            # Without buffering, a signal can cut a write short.
            rest = rest[stdout.buffer.write(rest) :]
        stdout.buffer.flush()
    except OSError:  # a full disk
        if before is not None:
            _end_at_a_line(stdout.fileno(), lines, before)
        raise


def _size_of(stdout: TextIO) -> int | None:
    """Return the size of *stdout* if it is a regular file, else None."""
    try:
        status = os.fstat(stdout.fileno())
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _end_at_a_line(file: int, lines: bytes, before: int) -> None:
    """Cut off the half line at which the disk was full."""
    size = os.fstat(file).st_size
    whole = lines.rfind(b"\n", 0, size - before) + 1
    if os.lseek(file, 0, os.SEEK_CUR) == size > before:
        os.ftruncate(file, before + whole)
    # Buffered output must not follow.
    os.dup2(os.open(os.devnull, os.O_WRONLY), file)


class Kept(Writer):
    """Keeps items instead of writing them.

    Attributes:
        items: The items.
        is_for_people: Whether they are written for people later.
    """

    def __init__(self, *, is_for_people: bool = False) -> None:
        self.items: list[Any] = []
        self.is_for_people = is_for_people

    def write(self, items: Iterable[Any]) -> None:
        """Keep items."""
        self.items += items


class JSONLinesWriter(Writer):
    """Writes each item as JSON on a line of its own.

    Args:
        fields: The fields; None writes the service's own JSON.
    """

    is_for_people = False

    def __init__(self, fields: Sequence[str] | None = None) -> None:
        self._fields = fields

    def write(self, items: Iterable[Any]) -> None:
        """Write items, or the rows of figures."""
        super().write(map(self._line, rows_of(items)))

    def _line(self, item: Any) -> str:
        return json_line(record_of(item, self._fields), sys.stdout.encoding)


def json_text(value: Any) -> str:
    """Write *value* as JSON: indented on a terminal, else in one line."""
    line = json_line(value, sys.stdout.encoding)
    if not sys.stdout.isatty():
        return line
    text = json.dumps(value, indent=2, ensure_ascii=line.isascii())
    # The ends of lines are those of the indentation; others are escaped already.
    return "\n".join(UNSAFE.sub(_escaped, each) for each in text.split("\n"))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


class JSONWriter(JSONLinesWriter):
    """Writes one array; it is valid JSON only when it is closed.

    An item is a line, on a terminal several. Commas begin lines: another process may
    write to the same terminal between lines.
    """

    _before = "["

    def write(self, items: Iterable[Any]) -> None:
        """Write items, separated by commas."""
        text = ""
        # All fields of figures are the service's own object.
        for item in items if self._fields is None else rows_of(items):
            text += f"{self._before}{json_text(record_of(item, self._fields))}\n"
            self._before = ","
        put(text)

    def close(self) -> None:
        """End the array."""
        put("[]\n" if self._before == JSONWriter._before else "]\n")


class CSVWriter(Writer):
    """Writes a line of CSV for each item, below a header.

    Args:
        fields: The fields; None writes the usual ones.
        kind: The kind of the items, a key of `COLUMNS`.
        header: Whether to begin with the names of the fields.
    """

    is_for_people = False

    def __init__(
        self,
        fields: Sequence[str] | None = None,
        *,
        kind: str = "session",
        header: bool = True,
    ) -> None:
        self._fields = COLUMNS[kind] if fields is None else fields
        self._header = header

    def write(self, items: Iterable[Any]) -> None:
        """Write items, the first of them below the header."""
        rows = rows_of(items)
        cells = [[value_of(row, field) for field in self._fields] for row in rows]
        if cells:
            self._put(cells)

    def close(self) -> None:
        """Write the header if there was no item."""
        self._put([])

    def _put(self, rows: Sequence[Sequence[Any]]) -> None:
        put(csv_lines([self._fields, *rows] if self._header else rows))
        self._header = False


def csv_lines(rows: Iterable[Iterable[Any]]) -> str:
    """Write *rows* as CSV of one line each, safe for terminals and spreadsheets."""
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\n").writerows(map(_cell, row) for row in rows)
    return lines.getvalue()


def _cell(value: Any) -> str:
    text = text_value(value)
    # A negative number is no formula.
    guard = "'" if isinstance(value, str | tuple) and text.startswith(FORMULAS) else ""
    return guard + printable(text)
