"""Which part of a session to look at, and how closely."""

from typing import Any

import attrs
import click

from emogg_async._cli.options import bundle

__all__ = ["Part", "part_options"]


@attrs.frozen(kw_only=True)
class Part:
    """A part of a session, cut into intervals."""

    granularity: int
    """Seconds of an interval."""

    start: float
    """Seconds from the session's beginning."""

    end: float | None
    """Seconds from the session's beginning; None is its end."""

    def arguments(self) -> dict[str, Any]:
        """Return it as arguments of the client's methods."""
        return attrs.asdict(self)


part_options = bundle(
    Part,
    "part",
    (
        click.option(
            "--granularity",
            metavar="SECONDS",
            type=click.IntRange(5, 3_600),
            default=60,
            show_default=True,
            help="How long an interval is, from 5 to 3600.",
        ),
        click.option(
            "--start",
            metavar="SECONDS",
            type=click.FloatRange(0),
            default=0.0,
            help="Begin so long after the session did.",
        ),
        click.option(
            "--end",
            metavar="SECONDS",
            type=click.FloatRange(0, min_open=True),
            help="End so long after the session began; otherwise where it ends.",
        ),
    ),
)
"""Give a click command these options; it gets them as `part`."""
