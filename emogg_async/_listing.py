"""Listings: every session of an account, newest first, page by page.

A key set walks it: each page asks for what is older than the last item of the page
before. So nothing that is created meanwhile shifts a page, and nothing that is deleted
hides an item. That needs timestamps that never rise from one item to the next; where a
server sorts otherwise, the walk starts over by offsets and skips what it has seen.

Source: https://docs.emogg.com, "List sessions".
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from emogg_async._checks import aware, whole_number
from emogg_async._converter import format_datetime
from emogg_async._stats import log
from emogg_async.errors import InvalidArgumentError, ResponseShapeError
from emogg_async.models import Session

__all__ = ["Filters", "Page", "SessionListing", "Walk", "check_filters"]

logger = logging.getLogger("emogg_async.listing")

MAX_LIMIT: Final = 100
MILLISECOND: Final = timedelta(milliseconds=1)
PATIENCE: Final = 3
"""Pages in a row that may bring nothing, although they say that there is more."""


@attrs.frozen(kw_only=True)
class Page:
    """One page of sessions, as the service answers it."""

    has_more: bool
    data: tuple[Session, ...]


@attrs.frozen(kw_only=True)
class Filters:
    """Which sessions to list."""

    state: str | None
    type: str | None
    started_after: datetime | None
    started_before: datetime | None
    expand: tuple[str, ...] = ()


def check_filters(
    state: str | None,
    type_: str | None,
    started_after: datetime | None,
    started_before: datetime | None,
    expand: tuple[str, ...] = (),
) -> Filters:
    """Check what the caller gave; *expand* was checked.

    Raises:
        InvalidArgumentError: A date is naive, or something is of a wrong type.
    """
    for name, value in (("state", state), ("type", type_)):
        if not (
            value is None or (isinstance(value, str) and value and value.isprintable())
        ):
            raise InvalidArgumentError(f"{name}: expected a printable name or None")
    for name, moment in (
        ("started_after", started_after),
        ("started_before", started_before),
    ):
        if moment is not None and not (1900 < aware(name, moment).year < 9999):
            raise InvalidArgumentError(f"{name}: expected a date in this era")
    return Filters(
        state=state,
        type=type_,
        started_after=started_after,
        started_before=started_before,
        expand=expand,
    )


class Walk:
    """Where a walk through a listing stands; it decides without a socket.

    It looks at the listing through windows: what is older than `to`, from an offset on.
    A window at an offset begins with an item that was seen, or the walk steps back: so
    no deletion has hidden anything in between. In a list that is not sorted by
    timestamp `to` hides what is newer; only a rise inside a page or at its edge shows
    that, and the walk then starts over without it. It keeps the ids of all that it saw.
    """

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._to = _rounded_up(filters.started_before)
        self._offset = 0
        self._by_key = True
        self._anchored = False
        self._seen: set[str] = set()
        self._begun = False
        # What an anchor can be: only of what was seen since the walk started over is it
        # certain that nothing before it was left out.
        self._passed = self._seen
        self._ties = 0
        self._barren = 0
        self._limit = MAX_LIMIT
        self.is_over = False

    def query(self, wanted: int) -> list[tuple[str, str]]:
        """Return the query for a page that brings *wanted* new sessions, if it can."""
        overlap = max(self._ties, 1) if self._seen else 0
        self._limit = min(MAX_LIMIT, wanted + overlap)
        filters = self._filters
        after = filters.started_after
        query = {
            "state": filters.state and str(filters.state),
            "type": filters.type and str(filters.type),
            "from": after and format_datetime(_rounded_down(after)),
            "to": self._to and format_datetime(self._to),
            "limit": str(self._limit),
            "offset": str(self._offset) if self._offset else None,
        }
        pairs = [(name, value) for name, value in query.items() if value]
        return pairs + [("expand[]", field) for field in filters.expand]

    def take(self, page: Page) -> list[Session]:
        """Take in a page; return what it brought that is new.

        Raises:
            ResponseShapeError: Page after page promises more, and brings nothing.
        """
        sessions = page.data
        if self._anchored and self._has_shifted(page):
            self._offset = max(0, self._offset - self._limit)
            self._anchored = self._offset > 0
            return []  # something was deleted in between: look further up
        passed = len(self._passed)
        new = self._unseen(sessions)
        self._passed.update(session.id for session in sessions)
        self._check_progress(page, gained=len(self._passed) - passed)
        self.is_over = not page.has_more
        if sessions:
            self._advance(sessions)
        else:
            self._offset += self._limit
            self._anchored = False
        return new

    def _has_shifted(self, page: Page) -> bool:
        """Say whether what stood at the offset is not where it was."""
        if page.data:
            return page.data[0].id not in self._passed
        return not page.has_more  # even the anchor lies before the offset by now

    def _unseen(self, sessions: tuple[Session, ...]) -> list[Session]:
        new = []
        for session in sessions:
            if session.id not in self._seen:
                self._seen.add(session.id)
                new.append(session)
        return new

    def _check_progress(self, page: Page, *, gained: int) -> None:
        self._barren = 0 if gained else self._barren + 1
        again = len(self._seen) // max(1, self._limit - 1)  # a walk that went back
        if page.has_more and self._barren > PATIENCE + (again if page.data else 0):
            raise ResponseShapeError(
                "the listing says that there is more, and brings nothing new",
                problems=("hasMore: true on page after page without a new session",),
                method="GET",
                path="/v1/sessions",
            )

    def _advance(self, sessions: tuple[Session, ...]) -> None:
        first_page, self._begun = not self._begun, True
        if self._by_key and self._rises(sessions):
            line = "the listing is not sorted by timestamp: going on by offset"
            log(logger, logging.INFO, line)
            self._by_key = False
            self._ties = 0
            if not first_page:  # what `to` has hidden so far must be seen yet
                self._to = _rounded_up(self._filters.started_before)
                self._offset, self._anchored, self.is_over = 0, False, False
                self._passed = set()
                return
        # From the last item but one, so that a rise between two pages can be seen.
        edge = _after(sessions[-2:][0].timestamp)
        if self._by_key and edge and (self._to is None or edge < self._to):
            self._to, self._offset, self._anchored = edge, 0, False
            self._ties = sum(session.timestamp < edge for session in sessions)
        else:
            self._offset += len(sessions) - 1
            self._anchored = True
            self._ties = 0

    def _rises(self, sessions: tuple[Session, ...]) -> bool:
        previous = self._to or sessions[0].timestamp
        for session in sessions:
            if session.timestamp > previous:
                return True
            previous = session.timestamp
        return False


def _rounded_down(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _after(moment: datetime) -> datetime | None:
    """Return the millisecond after *moment*; None at the end of time."""
    try:
        return _rounded_down(moment) + MILLISECOND
    except OverflowError:
        return None


def _rounded_up(moment: datetime | None) -> datetime | None:
    """Round to the next millisecond: all that is before *moment* is before that too."""
    if moment is None:
        return None
    down = _rounded_down(moment)
    return down if down == moment else down + MILLISECOND


Fetch = Callable[[list[tuple[str, str]]], Awaitable[Page]]


class SessionListing:
    """The sessions of an account that match, newest first.

    Iterate it for sessions, or call `pages`, `collect` or `first`; each starts over. It
    fetches no more than is asked for, and nothing ahead.
    """

    def __init__(self, fetch: Fetch, filters: Filters, page_size: int) -> None:
        self._fetch = fetch
        self._filters = filters
        self._page_size = page_size

    async def __aiter__(self) -> AsyncIterator[Session]:
        """Yield each session."""
        async for page in self.pages():
            for session in page:
                yield session

    def pages(self) -> AsyncIterator[tuple[Session, ...]]:
        """Yield the sessions page by page; no session comes twice, no page is empty."""
        return self._pages(None)

    async def collect(self, limit: int | None = None) -> list[Session]:
        """Return the sessions in a list.

        Args:
            limit: How many at most; None for all of them.
        """
        if limit is not None:
            whole_number("limit", limit, at_least=0)
        return [session async for page in self._pages(limit) for session in page]

    async def first(self) -> Session | None:
        """Return the newest session, or None when there is none."""
        sessions = await self.collect(limit=1)
        return sessions[0] if sessions else None

    async def _pages(self, limit: int | None) -> AsyncIterator[tuple[Session, ...]]:
        walk = Walk(self._filters)
        left = limit
        while not walk.is_over and left != 0:
            wanted = self._page_size if left is None else min(self._page_size, left)
            new = walk.take(await self._fetch(walk.query(wanted)))
            if left is not None:
                new = new[:left]
                left -= len(new)
            if new:
                yield tuple(new)
