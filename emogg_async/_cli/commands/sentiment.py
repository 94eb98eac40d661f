"""`emogg sentiment`: arguments and options."""

from functools import partial
from typing import TYPE_CHECKING

import click

from emogg_async._cli.options import (
    EXIT_CODES,
    Connection,
    Output,
    Part,
    connection_options,
    expand_option,
    output_options,
    part_options,
)

if TYPE_CHECKING:
    from emogg_async import AsyncEmoggClient

__all__ = ["sentiment"]


@click.command(
    epilog=f"""\b
    Examples:
      emogg sentiment 660a881d62d82c07cd0c20af
      emogg sentiment 660a881d62d82c07cd0c20af --granularity 300 -o csv

    {EXIT_CODES}
    """
)
@click.argument("session_id", metavar="ID")
@part_options
@expand_option
@output_options(
    *("chart", "json", "jsonl", "csv"), kind="sentiment", example="start,negative"
)
@connection_options
def sentiment(
    session_id: str,
    part: Part,
    expand: tuple[str, ...],
    output: Output,
    connection: Connection,
) -> int:
    """Show the sentiment of what was said in the session with this ID, over time.

    On a terminal, a chart shows a line each for positive, neutral and negative, with
    its share and its peak. A gap in a line means that nothing was said.

    jsonl and csv have a row for each interval; json is the service's own object.
    """
    from emogg_async._cli.output.charts import Span, sentiment_chart  # noqa: PLC0415 - draws
    from emogg_async._cli.output.figures import show  # noqa: PLC0415
    from emogg_async._cli.output.rows import sentiment_rows  # noqa: PLC0415
    from emogg_async._cli.running import run  # noqa: PLC0415 - connects

    async def work(client: "AsyncEmoggClient") -> int:
        found = await client.get_transcription_sentiment(
            session_id, **part.arguments(), expand=expand
        )
        span = Span(part.start, part.end, part.granularity)
        show(
            found,
            output,
            sentiment_rows,
            partial(sentiment_chart, span=span),
            connection,
        )
        return 0

    return run(connection, work)
