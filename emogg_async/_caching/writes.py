"""What a client and its views know of their writes, so that nothing older is kept."""

from collections import Counter

import attrs

__all__ = ["Writes"]


@attrs.define(eq=False)
class Writes:
    """The writes of a client and of its views.

    Attributes:
        epoch: A number that grows with each write: one for all sessions, as a write is
            rare, and a miss costs little.
        under_way: How many writes of each session are under way.
    """

    epoch: int = 0
    under_way: Counter[str] = attrs.field(factory=Counter)

    def begin(self, session_id: str) -> None:
        """Note that a write of a session begins."""
        self.under_way[session_id] += 1

    def end(self, session_id: str) -> None:
        """Note that a write of a session has ended."""
        self.under_way[session_id] -= 1
        if not self.under_way[session_id]:
            del self.under_way[session_id]
