"""`emogg sessions`: the sessions of an account."""

import asyncio
import os
import sys
from collections.abc import Iterator, Sequence

import click

from emogg_async import AsyncEmoggClient, ConfigurationError, Fetched, Outcome, Session
from emogg_async._cli.exits import Exit, exit_of, explain_as_json
from emogg_async._cli.output import WRITERS, SessionWriter

__all__ = ["sessions"]


@click.group()
def sessions() -> None:
    """Get sessions."""


@sessions.command(
    epilog="""\b
    Exit codes:
      0  all fetched             5  not found
      1  anything else           6  rate limited
      2  wrong usage, wrong id   7  network or timeout
      3  some of several failed  8  the service failed
      4  no token, or refused
    """
)
@click.argument("session_ids", metavar="ID...", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    "form",
    type=click.Choice(list(WRITERS)),
    help="How to print them. Default: table on a terminal, else jsonl.",
)
def get(session_ids: Sequence[str], form: str | None) -> Exit:
    """Get sessions by their ids, in the order given.

    Of several ids, each one that fails is told as a line of JSON on stderr.
    """
    form = form or ("table" if sys.stdout.isatty() else "jsonl")
    # Each id once, and in one letter case, as the outcomes have them.
    wanted = list({given.lower(): given for given in session_ids}.values())
    return asyncio.run(_get(wanted, WRITERS[form]()))


async def _get(ids: Sequence[str], writer: SessionWriter) -> Exit:
    failures = []
    queue = _InOrder(ids)
    async with _client() as client, client.stream_sessions(ids) as outcomes:
        async for outcome in outcomes:
            for ready in queue.pass_on(outcome):
                if isinstance(ready, Fetched):
                    writer.write(ready.value)
                elif len(ids) == 1:
                    ready.unwrap()
                else:
                    click.echo(explain_as_json(ready.session_id, ready.error), err=True)
                    failures.append(ready.error)
    writer.close()
    if not failures:
        return Exit.OK
    reasons = {exit_of(error) for error in failures}
    alike = len(failures) == len(ids) and len(reasons) == 1
    return reasons.pop() if alike else Exit.SOME_FAILED


def _client() -> AsyncEmoggClient:
    """Make a client of whatever the environment says."""
    if not os.environ.get("EMOGG_API_TOKEN", "").strip():
        # The client's own message also offers what only Python can do.
        raise ConfigurationError("EMOGG_API_TOKEN is not set")
    return AsyncEmoggClient()


class _InOrder:
    """Holds outcomes back until those of all ids before theirs are there."""

    def __init__(self, ids: Sequence[str]) -> None:
        self._expected = [session_id.lower() for session_id in reversed(ids)]
        self._early: dict[str, Outcome[Session]] = {}

    def pass_on(self, outcome: Outcome[Session]) -> Iterator[Outcome[Session]]:
        """Take *outcome* in, and yield those whose turn has come."""
        self._early[outcome.session_id.lower()] = outcome
        while self._expected and self._expected[-1] in self._early:
            yield self._early.pop(self._expected.pop())
