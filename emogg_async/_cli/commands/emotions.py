"""`emogg emotions`: arguments and options of its commands.

Imports wait until a command runs, so that help and completion stay quick.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from emogg_async._cli.ids import Wanted, wanted_options
from emogg_async._cli.options import (
    EXIT_CODES,
    Connection,
    Output,
    connection_options,
    expand_option,
    output_options,
    part_options,
)

if TYPE_CHECKING:
    from emogg_async import AsyncEmoggClient

__all__ = ["emotions"]

_MEASURES: Final = ("quantity", "intensity", "people")


@click.group()
def emotions() -> None:
    """See which emotions were detected in a session, in all or over time."""


@emotions.command(
    epilog=f"""\b
    Examples:
      emogg emotions totals 660a881d62d82c07cd0c20af
      emogg sessions list --fields id -o csv --no-header |
        emogg emotions totals - -o csv >totals.csv

    {EXIT_CODES}
    """
)
@wanted_options
@expand_option
@output_options("chart", kind="total", example="emotion,times")
@connection_options
def totals(
    wanted: Wanted, expand: tuple[str, ...], output: Output, connection: Connection
) -> int:
    """Show how often each emotion was detected.

    On a terminal, a chart shows each session: a bar for each emotion, with its share.
    jsonl and csv have a row for each session and emotion; json is an array of the
    service's own objects.

    With -, the ids are read from standard input, one to a line; # begins a comment. A
    line can also be a JSON object with an id.

    If some of several ids fail, stderr tells why: in a line of JSON for each, or on a
    terminal in one summary below the results.
    """
    from emogg_async._cli.commands.get import for_each  # noqa: PLC0415
    from emogg_async._cli.output.charts import totals_chart  # noqa: PLC0415 - see above
    from emogg_async._cli.output.figures import figures_writer  # noqa: PLC0415
    from emogg_async._cli.running import run  # noqa: PLC0415

    async def work(client: "AsyncEmoggClient") -> int:
        call = partial(client.get_emotions, expand=expand)
        stream = partial(client.stream, call)
        with figures_writer(output, totals_chart) as writer:
            return (await for_each(stream, wanted, writer)).exit

    return run(connection, work)


@emotions.command(
    epilog=f"""\b
    Examples:
      emogg emotions timeline 660a881d62d82c07cd0c20af
      emogg emotions timeline 660a881d62d82c07cd0c20af --measure people \\
        --start 600 --end 1200 --granularity 10
      emogg emotions timeline 660a881d62d82c07cd0c20af -o csv >timeline.csv

    {EXIT_CODES}
    """
)
@click.argument("session_id", metavar="ID")
@part_options
@click.option(
    "--measure",
    type=click.Choice(_MEASURES),
    default=_MEASURES[0],
    show_default=True,
    help="The measure of the chart and of its shares.",
)
@expand_option
@output_options("chart", kind="emotion", example="start,emotion,intensity")
@connection_options
def timeline(*, measure: str, **options: Any) -> int:
    """Show the emotions of the session with this ID over time.

    On a terminal, a chart shows a line for each emotion, with its share of all and its
    peak. A gap in a line means that nothing was measured.

    jsonl and csv have a row for each interval and emotion; json is the service's own
    object.
    """
    from emogg_async._cli.output.charts import emotions_chart  # noqa: PLC0415 - as above
    from emogg_async._cli.output.figures import show_timeline  # noqa: PLC0415

    chart = partial(emotions_chart, measure=measure)
    return show_timeline(lambda client: client.get_emotions_timeline, chart, **options)
