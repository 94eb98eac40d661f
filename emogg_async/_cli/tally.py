"""What came of several ids: what is written, what is told, and how that ends."""

from collections.abc import Iterable
from typing import Any

import click

from emogg_async import EmoggError, Fetched, Outcome
from emogg_async._cli.exits import Exit, exit_of, explain_as_json
from emogg_async._cli.output.formats import Writer

__all__ = ["Tally"]


class Tally:
    """Writes what succeeded, tells what failed, and counts.

    Args:
        writer: Writes the results.
        is_single: Whether there is only one id, whose failure is that of the command.
    """

    def __init__(self, writer: Writer, *, is_single: bool = False) -> None:
        self._writer = writer
        self._is_single = is_single
        self._reasons: set[Exit] = set()
        self.succeeded = 0
        """How many did."""

    def take(self, outcomes: Iterable[Outcome[Any]]) -> None:
        """Take what came of some ids.

        Raises:
            EmoggError: That of the only id.
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
        """Have all written that was taken."""
        self._writer.flush()

    def tell(self, session_id: str, error: EmoggError) -> None:
        """Tell on stderr how one id failed, in one line."""
        click.echo(explain_as_json(session_id, error), err=True)
        self._reasons.add(exit_of(error))

    @property
    def exit(self) -> Exit:
        """How the command ends: if all failed alike, as that failure does."""
        if not self._reasons:
            return Exit.OK
        if self.succeeded or len(self._reasons) > 1:
            return Exit.SOME_FAILED
        return next(iter(self._reasons))
