"""`emogg sessions list`: the newest sessions of an account."""

import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

import attrs
import click

from emogg_async import AsyncEmoggClient, Session, SessionState, SessionType
from emogg_async._cli.options import Filters, Output

__all__ = ["known_values", "list_newest", "pages_of"]

PAGE: Final = 100
"""Sessions of a page, the most that the service allows."""


async def pages_of(
    client: AsyncEmoggClient, filters: Filters, limit: int | None
) -> AsyncIterator[Sequence[Session]]:
    """Yield pages of matching sessions, newest first, *limit* sessions in all."""
    size = PAGE if limit is None else min(PAGE, limit)
    listing = client.list_sessions(**attrs.asdict(filters), page_size=size)
    left = limit
    async for page in listing.pages():
        if left is None:
            yield page
            continue
        yield page[:left]
        left -= len(page)
        if left <= 0:
            return


def known_values(filters: Filters, *, quiet: bool) -> str:
    """Name known states and types after no session matched; "" unless one is new."""
    told = ""
    for what, given, known in (
        ("states", filters.state, list(SessionState)),
        ("types", filters.type, list(SessionType)),
    ):
        if given is not None and given not in known and not quiet:
            told += f" Known {what}: {', '.join(known)}."
    return told and f"No session matches.{told}"


async def list_newest(
    client: AsyncEmoggClient,
    filters: Filters,
    limit: int,
    output: Output,
    *,
    quiet: bool,
) -> int:
    """Write the newest sessions that match.

    Args:
        client: The client.
        filters: The filters.
        limit: Sessions at most.
        output: The form.
        quiet: Whether to leave out the hints on stderr that there are none, or more.
    """
    seen = 0
    hints = sys.stderr.isatty() and not quiet
    # One more than is shown tells whether there are more.
    with output.writer() as writer:
        async for page in pages_of(client, filters, limit + hints):
            writer.write(page[: limit - seen])
            seen += len(page)
    if not seen:
        none = "No session matches." if hints else ""
        if told := known_values(filters, quiet=quiet) or none:
            click.echo(told, err=True)
    if hints and seen > limit:
        click.echo(
            f"Showing the newest {limit:,}; --limit N shows more, "
            "`emogg sessions export` all.",
            err=True,
        )
    return 0
