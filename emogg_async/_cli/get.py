"""`emogg sessions get`: many ids in, as many sessions out, in the same order."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

import click

from emogg_async import AsyncEmoggClient, EmoggError, Fetched, Outcome, Session
from emogg_async._cli.exits import CommandError, Exit, exit_of, explain_as_json
from emogg_async._cli.formats import SessionWriter
from emogg_async._cli.ids import read_ids

__all__ = ["InOrder", "get_all", "get_as_read"]


async def get_all(
    client: AsyncEmoggClient, ids: Sequence[str], writer: SessionWriter
) -> Exit:
    """Get the sessions of ids that are all known.

    Raises:
        EmoggError: There is only one, and it failed.
    """
    tally = _Tally(writer, is_single=len(ids) == 1)
    await _get(client, ids, ids, tally)
    return tally.exit


async def get_as_read(
    client: AsyncEmoggClient, descriptor: int, writer: SessionWriter
) -> Exit:
    """Get the sessions of ids that a file gives, those first that come first.

    While some are got, the next ones gather in the pipe. So those of a slow writer are
    got one by one, those of a fast one by the thousand, and memory does not depend on
    how many there are.
    """
    tally = _Tally(writer)
    async for ids in _readable(descriptor):
        # Nobody knows how many will follow; a list would say that these are all.
        await _get(client, ids, (session_id for session_id in ids), tally)
    return tally.exit


async def _readable(descriptor: int) -> AsyncIterator[list[str]]:
    try:
        async for ids in read_ids(descriptor):
            yield ids
    except OSError as error:
        raise CommandError(
            f"cannot read ids: {error.strerror}", "Name another file by --from-file"
        ) from error


async def _get(
    client: AsyncEmoggClient,
    ids: Sequence[str],
    source: Iterable[str],
    tally: "_Tally",
) -> None:
    queue = InOrder(ids)
    async with client.stream_sessions(source) as outcomes:
        async for outcome in outcomes:
            tally.take(queue.pass_on(outcome))
    tally.flush()


class InOrder:
    """Holds outcomes back until those of all ids before theirs are there.

    An id that was given twice has its outcome twice.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._expected = [session_id.lower() for session_id in reversed(ids)]
        self._wanted = Counter(self._expected)
        self._early: dict[str, Outcome[Session]] = {}

    def pass_on(self, outcome: Outcome[Session]) -> Iterator[Outcome[Session]]:
        """Take *outcome* in, and yield those whose turn has come."""
        key = outcome.session_id.lower()
        if self._wanted[key]:  # a second one may come of an id that was given twice
            self._early[key] = outcome
        while self._expected and self._expected[-1] in self._early:
            key = self._expected.pop()
            self._wanted[key] -= 1
            yield self._early[key] if self._wanted[key] else self._early.pop(key)


class _Tally:
    """Writes what was fetched, tells what failed, and counts.

    Args:
        writer: Writes sessions.
        is_single: Whether there is only one id, whose failure is that of the command.
    """

    def __init__(self, writer: SessionWriter, *, is_single: bool = False) -> None:
        self._writer = writer
        self._is_single = is_single
        self._fetched = 0
        self._reasons: set[Exit] = set()

    def take(self, outcomes: Iterable[Outcome[Session]]) -> None:
        """Take what came of some ids.

        Raises:
            EmoggError: That of the only id.
        """
        fetched = []
        for outcome in outcomes:
            if isinstance(outcome, Fetched):
                fetched.append(outcome.value)
            elif self._is_single:
                outcome.unwrap()
            else:
                self._tell(outcome.session_id, outcome.error)
        self._writer.write(fetched)
        self._fetched += len(fetched)

    def flush(self) -> None:
        """Have all written that was taken."""
        self._writer.flush()

    def _tell(self, session_id: str, error: EmoggError) -> None:
        click.echo(explain_as_json(session_id, error), err=True)
        self._reasons.add(exit_of(error))

    @property
    def exit(self) -> Exit:
        """How the command ends: if all failed alike, as that failure does."""
        if not self._reasons:
            return Exit.OK
        if self._fetched or len(self._reasons) > 1:
            return Exit.SOME_FAILED
        return next(iter(self._reasons))
