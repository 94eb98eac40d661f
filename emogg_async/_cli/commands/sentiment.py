"""`emogg sentiment`: arguments and options."""

from typing import Any

import click

from emogg_async._cli.options import (
    EXIT_CODES,
    connection_options,
    expand_option,
    output_options,
    part_options,
)

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
@output_options("chart", kind="sentiment", example="start,negative")
@connection_options
def sentiment(**options: Any) -> int:
    """Show the sentiment of what was said in the session with this ID, over time.

    On a terminal, a chart shows a line each for positive, neutral and negative, with
    its share and its peak. A gap in a line means that nothing was said.

    jsonl and csv have a row for each interval; json is the service's own object.
    """
    from emogg_async._cli.output.charts import sentiment_chart  # noqa: PLC0415 - draws
    from emogg_async._cli.output.figures import show_timeline  # noqa: PLC0415 - connects

    return show_timeline(
        lambda client: client.get_transcription_sentiment, sentiment_chart, **options
    )
