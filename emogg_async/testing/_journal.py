"""What the emulator was asked, and how much of it at once."""

import threading
from collections import deque
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

import attrs

__all__ = ["Journal", "RecordedRequest"]

KEPT: Final = 10_000
"""Requests that the journal remembers: the newest ones."""


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """One request that the emulator received; its headers and token are not kept."""

    method: str
    """In upper case, as it was sent."""

    path: str
    """As it was sent, percent-encoding included, without the query."""

    query: tuple[tuple[str, str], ...]
    """Names and values, decoded, in the order sent: `dict(request.query)["limit"]`."""

    status: int | None
    """Of the answer; None while, or if, no complete answer was sent."""

    at: datetime
    """When it arrived by the emulator's clock (aware, UTC)."""


@attrs.define(eq=False)
class Entry:
    """A request in the journal; the journal alone changes it."""

    method: str
    path: str
    query: str
    at: datetime
    status: int | None = None
    in_flight: bool = True

    def freeze(self) -> RecordedRequest:
        """Return what tests may see of it, as it is now."""
        return RecordedRequest(
            method=self.method,
            path=self.path,
            query=tuple(parse_qsl(self.query, keep_blank_values=True)),
            status=self.status,
            at=self.at,
        )


class Journal:
    """The newest requests, and how many are being handled; safe from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self.in_flight = 0
        self.max_in_flight = 0

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The newest requests, in the order in which they came."""
        with self._lock:  # not held for long: the server waits for it
            entries = tuple(self._entries)
        return tuple(entry.freeze() for entry in entries)

    def begin(self, method: str, target: str, at: datetime) -> Entry:
        """Note that a request for *target*, a path with its query, arrived."""
        path, _, query = target.partition("?")
        entry = Entry(method, path, query, at)
        with self._lock:
            self._entries.append(entry)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        return entry

    def end(self, entry: Entry, status: int | None) -> None:
        """Note that *entry* is no longer handled, and the *status* of its answer.

        It may be called again: an answer that was announced may be lost on its way.
        """
        with self._lock:
            entry.status = status
            if entry.in_flight:
                entry.in_flight = False
                self.in_flight -= 1
