"""`emogg sessions wait`: sessions until they are finished."""

import sys
from contextlib import nullcontext
from functools import partial
from typing import Final

from emogg_async import AsyncEmoggClient, DeadlineError, EmoggError, Session
from emogg_async._cli.commands.get import for_each
from emogg_async._cli.exits import Advice, advising
from emogg_async._cli.ids import Wanted
from emogg_async._cli.options import Connection, Output
from emogg_async._cli.output.formats import Kept
from emogg_async._cli.output.progress import waiting
from emogg_async._cli.running import run

__all__ = ["wait_for_each"]

_LATE: Final[dict[type[EmoggError], Advice]] = {
    DeadlineError: "Wait again, or longer with --within",
}


def wait_for_each(
    wanted: Wanted,
    poll: float,
    within: float | None,
    output: Output,
    connection: Connection,
) -> int:
    """Wait until sessions are finished, and print them.

    Args:
        wanted: Their ids.
        poll: Seconds between two requests for a session.
        within: Seconds for all of it; None waits for as long as it takes.
        output: The form.
        connection: The settings of the client.
    """
    is_watched = sys.stderr.isatty() and not connection.quiet

    async def work(client: AsyncEmoggClient) -> int:
        limit = nullcontext() if within is None else client.deadline(within)
        with limit, output.writer() as writer:
            kept = Kept(is_for_people=writer.is_for_people)
            with waiting() if is_watched else nullcontext(_nothing) as count_one:

                async def wait(session_id: str) -> Session:
                    with advising(_LATE):
                        found = await client.wait_until_finished(session_id, poll=poll)
                    count_one()
                    return found

                stream = partial(client.stream, wait)
                # What is written must not meet the line that moves.
                results = kept if is_watched else writer
                tally = await for_each(stream, wanted, results)
            writer.write(kept.items)
        return tally.exit

    return run(connection, work)


def _nothing() -> None:
    pass
