"""The failures of several ids, in one summary for people."""

from typing import Final

import attrs

from emogg_async import EmoggError
from emogg_async._cli.exits import next_step
from emogg_async._text import counted, one_line, printable

__all__ = ["Failures"]

SHOWN: Final = 10
"""Ids shown of each kind of failure."""

LONGEST: Final = 60
"""Characters shown of what was given as an id."""

_GOT: Final = ", got "
"""The beginning of the value in the message about an argument."""


@attrs.define
class _Kind:
    """Failures of one kind: what failed, what to do, and which ids."""

    what: str
    next_step: str
    count: int = 0
    ids: list[str] = attrs.field(factory=list)

    def lines(self) -> list[str]:
        rest = self.count - len(self.ids)
        more = [f"    and {rest:,} more"] if rest else []
        ids = (f"    {session_id}" for session_id in self.ids)
        return [f"  {self.what}:", *ids, *more, f"    {self.next_step}."]


class Failures:
    """Gathers failures by their kind; keeps only the first ids of each.

    Attributes:
        count: The number of failures.
    """

    def __init__(self) -> None:
        self.count = 0
        self._kinds: dict[tuple[type, object], _Kind] = {}

    def add(self, session_id: str, error: EmoggError) -> None:
        """Add the failure of one id."""
        key = type(error), getattr(error, "status", None)
        kind = self._kinds.get(key)
        if kind is None:
            what = printable(error.headline.partition(_GOT)[0])
            kind = self._kinds[key] = _Kind(what, printable(next_step(error)))
        kind.count += 1
        self.count += 1
        if len(kind.ids) < SHOWN:
            kind.ids.append(printable(one_line(session_id, LONGEST)))

    def summary(self, succeeded: int) -> str:
        """Write the lines of the summary."""
        of = counted(succeeded + self.count, "id")
        lines = [f"{self.count:,} of {of} failed:"]
        for kind in self._kinds.values():
            lines += kind.lines()
        return "\n".join(lines)
