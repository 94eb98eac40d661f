"""Questions about sessions of unknown state, and which of them learns the state.

What is derived from a session is kept for long only if the session is known to be
finished. One question is no reason to find out; a second one is.
"""

from collections import OrderedDict
from typing import Final

from emogg_async._caching.policy import JITTER

__all__ = ["Note", "Questions"]

EARLIER: Final = 1 - JITTER
"""Share of a time to live after which a finished session may be gone from the cache."""


class Note:
    """A question that was asked; equal to nothing but itself.

    Attributes:
        learns_from: When a question learns the state.
        until: When this is forgotten.
    """

    __slots__ = ("learns_from", "until")

    def __init__(self, learns_from: float, until: float) -> None:
        self.learns_from = learns_from
        self.until = until


class Questions:
    """The newest questions of a client, one for each session.

    Args:
        ttl: Seconds between two questions within which the second one learns, and from
            one that learns to the next.
        max_entries: Sessions noted at most; the least recently asked about go first.
    """

    def __init__(self, ttl: float, max_entries: int) -> None:
        self._ttl = ttl
        self._max_entries = max_entries
        self._notes: OrderedDict[str, Note] = OrderedDict()

    def __len__(self) -> int:
        return len(self._notes)

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._notes

    def ask(self, session_id: str, now: float) -> Note | None:
        """Note a question asked *now*; return its note if it learns the state."""
        ttl = self._ttl
        note = self._notes.pop(session_id, None)
        learns = False
        if note is None or note.until <= now:
            note = Note(now, now + ttl)
        elif note.learns_from <= now:
            note = Note(now + ttl * EARLIER, now + 2 * ttl)
            learns = True
        self._notes[session_id] = note
        if len(self._notes) > self._max_entries:
            self._notes.popitem(last=False)
        return note if learns else None

    def has(self, session_id: str, note: Note) -> bool:
        """Tell whether *note* is still the newest of its session."""
        return self._notes.get(session_id) is note

    def forget(self, session_id: str) -> None:
        """Forget the session: it was written, or is known better by now."""
        self._notes.pop(session_id, None)
