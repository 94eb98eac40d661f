"""Models of figures on stdout: as a chart, in rows, or as JSON."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from emogg_async import to_dict
from emogg_async._cli.options import Connection, Output
from emogg_async._cli.output.charts import Chart
from emogg_async._cli.output.formats import Writer, put
from emogg_async._cli.output.rows import Row
from emogg_async._cli.output.sparklines import ramp_for
from emogg_async._cli.output.tables import make_console
from emogg_async._text import json_line

__all__ = ["figures_writer", "show"]

Rows = Callable[[Any], Iterable[Row]]


@contextmanager
def figures_writer(output: Output, rows: Rows, chart: Chart) -> Iterator[Writer]:
    """Open a writer of models of figures.

    Args:
        output: The form.
        rows: Makes rows of a model.
        chart: Draws a model.
    """
    if output.chosen == "chart":
        yield _ChartWriter(chart)
        return
    with output.writer() as writer:
        is_whole = output.chosen == "json" and output.fields is None
        yield writer if is_whole else _RowsWriter(writer, rows)


def show(
    model: Any, output: Output, rows: Rows, chart: Chart, connection: Connection
) -> None:
    """Print one model of figures; JSON is the service's own object."""
    if output.chosen == "json" and output.fields is None:
        put(f"{json_line(to_dict(model), sys.stdout.encoding)}\n")
        return
    if not model.intervals and sys.stderr.isatty() and not connection.quiet:
        click.echo("There is nothing in this part of the session.", err=True)
    if model.intervals or output.chosen != "chart":
        with figures_writer(output, rows, chart) as writer:
            writer.write([model])


class _RowsWriter:
    """Writes the rows of models.

    Args:
        writer: Writes rows.
        rows: Makes rows of a model.
    """

    def __init__(self, writer: Writer, rows: Rows) -> None:
        self._writer = writer
        self._rows = rows

    def write(self, items: Iterable[Any]) -> None:
        """Write the rows of models."""
        self._writer.write(row for item in items for row in self._rows(item))

    def flush(self) -> None:
        """Write held items."""
        self._writer.flush()

    def close(self) -> None:
        """Do nothing: the writer of the rows is closed where it was opened."""


class _ChartWriter:
    """Draws models, separated by blank lines.

    Args:
        chart: Draws a model.
    """

    def __init__(self, chart: Chart) -> None:
        self._console = make_console()
        self._chart = chart
        self._is_first = True

    def write(self, items: Iterable[Any]) -> None:
        """Draw models."""
        ramp = ramp_for(self._console.encoding)
        for item in items:
            with self._console.capture() as lines:
                if not self._is_first:
                    self._console.print()
                chart = self._chart(item, width=self._console.width, ramp=ramp)
                self._console.print(chart, soft_wrap=True)
            self._is_first = False
            put(lines.get())

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Do nothing: nothing is missing."""
