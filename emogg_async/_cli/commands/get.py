"""Calls for many ids, with their results in order."""

import sys
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from typing import Any

import click

from emogg_async import Batch, EmoggError, Fetched, Outcome, Session
from emogg_async._cli.exits import Exit, exit_of, explain_as_json
from emogg_async._cli.ids import Wanted, read_ids
from emogg_async._cli.output.failures import Failures
from emogg_async._cli.output.formats import Writer

__all__ = ["InOrder", "Stream", "Tally", "for_each"]

Stream = Callable[
    [Iterable[str]], AbstractAsyncContextManager[AsyncIterator[Outcome[Any]]]
]
"""Makes calls for many ids, as the client's `stream_sessions` does."""


async def for_each(
    stream: Stream,
    wanted: Wanted,
    writer: Writer,
    found: Batch[Session] | None = None,
) -> "Tally":
    """Make a call for each of many ids, and write the results.

    While the calls for some ids of a file run, the next ids gather in the pipe. So ids
    of a slow source are taken one by one, those of a fast one by the thousand, and
    memory stays the same.

    Args:
        stream: Makes the calls.
        wanted: The ids, or the file that they are read from.
        writer: Writes the results.
        found: The sessions that were looked up already; None looked up none. Ids that
            failed then are reported, and get no call.

    Raises:
        EmoggError: There is only one id, and its call failed.
        click.exceptions.Exit: All calls failed.
        CommandError: The ids cannot be read.
    """
    source = wanted.source if found is None else tuple(found)
    failed = {} if found is None else found.errors
    is_single = isinstance(source, Sequence) and len(source) == 1 and not failed
    tally = Tally(writer, wanted, is_single=is_single)
    for session_id, error in failed.items():
        tally.tell(session_id, error)
    if isinstance(source, Sequence):
        await _go(stream, source, source, tally)
    else:
        async for ids in read_ids(source):
            # A generator, since a list would say that these are all.
            await _go(stream, ids, (session_id for session_id in ids), tally)
    if tally.exit and not tally.succeeded:
        raise click.exceptions.Exit(tally.exit)
    return tally


async def _go(
    stream: Stream, ids: Sequence[str], source: Iterable[str], tally: "Tally"
) -> None:
    queue = InOrder(ids)
    async with stream(source) as outcomes:
        async for outcome in outcomes:
            tally.take(queue.pass_on(outcome))
    tally.flush()


class Tally:
    """Writes results, reports failures, and counts.

    Failures are lines of JSON at once; for people on a terminal, they are one summary
    when the command has ended, so below the table.

    Args:
        writer: Writes the results.
        wanted: The place that the ids came from.
        is_single: Whether there is only one id; its error ends the command.

    Attributes:
        succeeded: The number of results.
    """

    def __init__(
        self, writer: Writer, wanted: Wanted, *, is_single: bool = False
    ) -> None:
        self._writer = writer
        self._wanted = wanted
        self._is_single = is_single
        self._reasons: set[Exit] = set()
        self._failures: Failures | None = None
        # While a line moves, rich puts a file of its own in the place of stderr, which
        # is no terminal in its older versions.
        stderr = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
        if writer.is_for_people and stderr.isatty():
            self._failures = Failures()
            click.get_current_context().call_on_close(self._sum_up)
        self.succeeded = 0

    def take(self, outcomes: Iterable[Outcome[Any]]) -> None:
        """Take outcomes.

        Raises:
            EmoggError: The only id failed.
        """
        results = []
        for outcome in outcomes:
            if isinstance(outcome, Fetched):
                results.append(outcome.value)
            elif self._is_single:
                outcome.unwrap()
            else:
                self.tell(outcome.session_id, outcome.error)
        self._writer.write(results)
        self.succeeded += len(results)

    def flush(self) -> None:
        """Write held results."""
        self._writer.flush()

    def tell(self, session_id: str, error: EmoggError) -> None:
        """Report the error of one id on stderr, or keep it for the summary."""
        self._wanted.name_place(error)
        self._reasons.add(exit_of(error))
        if self._failures is None:
            click.echo(explain_as_json(session_id, error), err=True)
        else:
            self._failures.add(session_id, error)

    def _sum_up(self) -> None:
        if self._failures is not None and self._failures.count:
            click.echo(self._failures.summary(self.succeeded), err=True)

    @property
    def exit(self) -> Exit:
        """The exit code; if all ids failed alike, that of their error."""
        if not self._reasons:
            return Exit.OK
        if self.succeeded or len(self._reasons) > 1:
            return Exit.SOME_FAILED
        return next(iter(self._reasons))


class InOrder:
    """Puts outcomes into the order of their ids.

    The outcome of a repeated id is repeated.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._expected = [session_id.lower() for session_id in reversed(ids)]
        self._wanted = Counter(self._expected)
        self._early: dict[str, Outcome[Any]] = {}

    def pass_on(self, outcome: Outcome[Any]) -> Iterator[Outcome[Any]]:
        """Take *outcome*, and yield all outcomes whose turn has come."""
        key = outcome.session_id.lower()
        if self._wanted[key]:  # a repeated id may have a second outcome
            self._early[key] = outcome
        while self._expected and self._expected[-1] in self._early:
            key = self._expected.pop()
            self._wanted[key] -= 1
            yield self._early[key] if self._wanted[key] else self._early.pop(key)
