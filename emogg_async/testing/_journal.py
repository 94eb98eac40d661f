"""A log of the emulator's requests, and of how many are under way at once."""

import threading
from collections import deque
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl

import attrs

__all__ = ["Journal", "RecordedRequest"]

KEPT: Final = 10_000
"""Number of requests that the journal keeps: the newest ones."""


@attrs.frozen(kw_only=True)
class RecordedRequest:
    """A request that the emulator received; its headers and token are not kept.

    Attributes:
        method: HTTP method as sent, in upper case.
        path: Path as sent, with its percent-encoding, without the query.
        query: Names and values, decoded, in the order sent. `dict(request.query)` makes
            a dict of them.
        status: Status of the answer; None while no complete answer was sent.
        at: When it arrived, by the emulator's clock (aware, UTC).
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    status: int | None
    at: datetime


@attrs.define(eq=False)
class Entry:
    """A request in the journal; only the journal changes it."""

    method: str
    path: str
    query: str
    at: datetime
    status: int | None = None
    in_flight: bool = True

    def freeze(self) -> RecordedRequest:
        """Return a copy for tests, as it is now."""
        return RecordedRequest(
            method=self.method,
            path=self.path,
            query=tuple(parse_qsl(self.query, keep_blank_values=True)),
            status=self.status,
            at=self.at,
        )


class Journal:
    """The newest requests, and how many are being handled; safe from any thread.

    Attributes:
        in_flight: Number of requests being handled.
        max_in_flight: Largest number handled at once so far.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self.in_flight = 0
        self.max_in_flight = 0

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The newest requests, oldest first."""
        with self._lock:  # held only briefly, as the server waits for it
            entries = tuple(self._entries)
        return tuple(entry.freeze() for entry in entries)

    def begin(self, method: str, target: str, at: datetime) -> Entry:
        """Note the arrival of a request for *target*, a path with its query."""
        path, _, query = target.partition("?")
        entry = Entry(method, path, query, at)
        with self._lock:
            self._entries.append(entry)
            self.in_flight += 1
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        return entry

    def end(self, entry: Entry, status: int | None) -> None:
        """Note that *entry* is done, and the *status* of its answer.

        It may be called again with None, if the answer is lost on its way.
        """
        with self._lock:
            entry.status = status
            if entry.in_flight:
                entry.in_flight = False
                self.in_flight -= 1
