"""The formats of registered sources, as far as they are known."""

from typing import Final

from emogg_async.models import Session

__all__ = ["KnownSources"]

MAX_SOURCES: Final = 1_000
"""Registered sources that are remembered."""


class KnownSources:
    """The formats of the sources that were registered last."""

    def __init__(self) -> None:
        self._formats: dict[str, str] = {}

    def note(self, source_id: str, source_format: str) -> None:
        """Remember the format of a source; forget the oldest one at the limit."""
        self._formats[source_id.lower()] = source_format
        if len(self._formats) > MAX_SOURCES:
            del self._formats[next(iter(self._formats))]

    def format_of(self, source_id: str, session: Session | None) -> str | None:
        """Return the format of a source, perhaps of *session*; None if unknown."""
        if known := self._formats.get(source_id):
            return known
        sources = session.sources if session else ()
        return {each.id.lower(): each.format for each in sources}.get(source_id)
