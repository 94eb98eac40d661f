"""Models of figures on stdout: as a chart, in rows, or as JSON."""

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import attrs
import click

from emogg_async import AsyncEmoggClient, to_dict
from emogg_async._cli.options import Connection, Output, Part
from emogg_async._cli.output.charts import Chart
from emogg_async._cli.output.formats import Writer, json_text, put
from emogg_async._cli.output.sparklines import ramp_for
from emogg_async._cli.output.tables import make_console
from emogg_async._cli.running import run

__all__ = ["figures_writer", "show_timeline"]


@contextmanager
def figures_writer(output: Output, chart: Chart) -> Iterator[Writer]:
    """Open a writer of models of figures; *chart* draws one."""
    if output.chosen == "chart":
        yield _ChartWriter(chart)
        return
    with output.writer() as writer:
        yield writer


def show_timeline(
    method: Callable[[AsyncEmoggClient], Callable[..., Awaitable[Any]]],
    chart: Chart,
    *,
    session_id: str,
    part: Part,
    expand: tuple[str, ...],
    output: Output,
    connection: Connection,
) -> int:
    """Print the timeline of a session.

    Args:
        method: Returns the method of a client that gets it.
        chart: Draws it; takes its `part`, too.
        session_id: The id of the session.
        part: The part of the session.
        expand: The fields to expand.
        output: The form.
        connection: The settings of the client.
    """

    async def work(client: AsyncEmoggClient) -> int:
        get = method(client)
        found = await get(session_id, **attrs.asdict(part), expand=expand)
        _show(found, output, partial(chart, part=part), quiet=connection.quiet)
        return 0

    return run(connection, work)


def _show(model: Any, output: Output, chart: Chart, *, quiet: bool) -> None:
    """Print one timeline; JSON is the service's own object."""
    if output.chosen == "json" and output.fields is None:
        put(f"{json_text(to_dict(model))}\n")
        return
    if not model.intervals and sys.stderr.isatty() and not quiet:
        click.echo("There is nothing in this part of the session.", err=True)
    if model.intervals or output.chosen != "chart":
        with figures_writer(output, chart) as writer:
            writer.write([model])


class _ChartWriter(Writer):
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
