"""Listings: every session of an account, page by page, in the service's own order.

Each page begins with the last session of the page before. If a page has no session
that was seen, some were deleted further up, and the walk steps back. So the walk works
in any order that stays the same.

Source: https://docs.emogg.com, "List sessions". The page advises against very high
offsets, which cost the service time. The walk uses them all the same: with a timestamp
as the key of the next page, it would lose sessions if the service sorted by anything
else.
"""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import attrs

from emogg_async._calls.frames import frameless
from emogg_async._checks import aware, whole_number
from emogg_async._text import shown
from emogg_async._wire.protocol import format_datetime
from emogg_async.errors import InvalidArgumentError, ResponseShapeError
from emogg_async.models import Session

__all__ = [
    "Filters",
    "Page",
    "SessionListing",
    "Walk",
    "check_filters",
    "check_since",
    "shortly_before",
]

MAX_LIMIT: Final = 100
"""The most sessions of a page, by the service's parameter `limit`."""

MILLISECOND: Final = timedelta(milliseconds=1)
CLOCK_SLACK: Final = timedelta(seconds=2)
"""Time before a create in which its session is looked for, too. The machine of the
service that dates sessions and the one that dates answers may differ by that much."""

YEARS: Final = (1900, 9999)
"""The years between which a *since* must lie, both excluded. Time zones and the
difference of the clocks could move other dates out of Python's calendar."""

MAX_IDLE_ROUNDS: Final = 3
"""The most rounds in a row without a new session, while the service promises more.

A round is an empty page, or pages with as many sessions as were seen.
"""


@attrs.frozen(kw_only=True)
class Page:
    """One page of sessions from the service."""

    has_more: bool
    data: tuple[Session, ...]


@attrs.frozen(kw_only=True)
class Filters:
    """The conditions for sessions to be listed."""

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
    """Return the filters, checked; *expand* was checked before.

    Raises:
        InvalidArgumentError: An argument has a wrong type, or a date is naive or not in
            the years 1901 to 9998.
    """
    for name, value in (("state", state), ("type", type_)):
        if not (
            value is None or (isinstance(value, str) and value and value.isprintable())
        ):
            raise InvalidArgumentError(
                f"{name}: expected a printable name or None, got {shown(value)}"
            )
    for name, moment in (
        ("started_after", started_after),
        ("started_before", started_before),
    ):
        if moment is not None and not (1900 < aware(name, moment).year < 9999):
            raise InvalidArgumentError(
                f"{name}: expected a date in the years 1901 to 9998, got {moment.year}"
            )
    return Filters(
        state=state,
        type=type_,
        started_after=started_after,
        started_before=started_before,
        expand=expand,
    )


def check_since(since: datetime) -> None:
    """Check the moment of a create that may have made a session.

    Raises:
        InvalidArgumentError: It is naive, or not in the years 1901 to 9998.
    """
    if not YEARS[0] < aware("since", since).year < YEARS[1]:
        raise InvalidArgumentError(
            f"since: expected a year from {YEARS[0] + 1} to {YEARS[1] - 1}, "
            f"got {since.year}"
        )


def shortly_before(since: datetime, skew: timedelta | None) -> datetime:
    """Return when, by the service's clock, a create surely had not begun.

    Args:
        since: When it began, by this machine's clock.
        skew: How far the service's clock is ahead; None if that is unknown.

    Raises:
        InvalidArgumentError: The service's clock cannot show it.
    """
    try:
        return since + (skew or timedelta(0)) - CLOCK_SLACK
    except OverflowError:
        raise InvalidArgumentError(
            f"since: expected a date that the service's clock can show, got {since}"
        ) from None


class Walk:
    """The state of a walk through a listing, without a socket.

    A page counts if it begins the list or has a session that was seen, as no session is
    missed before it. After a page that does not count, the walk steps back, and its
    pages overlap by twice as many sessions from then on.

    The walk keeps the ids of all sessions it saw, some 110 MB for a million.
    """

    def __init__(self, filters: Filters) -> None:
        self._filters = filters
        self._seen: set[str] = set()
        self._end = 0  # the sessions of the list down to here were seen
        self._offset = 0
        self._overlap = 1
        self._is_outrun = False
        self._idle = 0.0
        self.is_over = False

    def query(self, wanted: int) -> list[tuple[str, str]]:
        """Return the query for a page with *wanted* new sessions, or as many as fit."""
        self._offset = max(0, self._end - self._overlap)
        limit = min(MAX_LIMIT, self._end - self._offset + wanted)
        filters = self._filters
        after, before = filters.started_after, filters.started_before
        query = {
            "state": filters.state and str(filters.state),
            "type": filters.type and str(filters.type),
            "from": after and format_datetime(_rounded_down(after)),
            "to": before and format_datetime(_rounded_up(before)),
            "limit": str(MAX_LIMIT if self._is_outrun else limit),
            "offset": str(self._offset) if self._offset else None,
        }
        pairs = [(name, value) for name, value in query.items() if value]
        return pairs + [("expand[]", field) for field in filters.expand]

    def take(self, page: Page) -> list[Session]:
        """Take in a page, and return its new sessions.

        Raises:
            ResponseShapeError: Page after page promises more and has no new session.
        """
        if not page.data and page.has_more:
            self._idle_for(1.0)
            return []  # it tells nothing: ask for the same page again
        if self._offset and self._seen.isdisjoint(each.id for each in page.data):
            self._end = self._offset
            self._overlap = min(2 * self._overlap, MAX_LIMIT // 2)
            return []
        new = {each.id: each for each in page.data if each.id not in self._seen}
        self._seen.update(new)
        self._end = self._offset + len(page.data)
        self.is_over = not page.has_more
        # New sessions push the list down. If there are many of them, small pages or a
        # wide overlap would never get past the sessions that were seen.
        self._is_outrun = not new
        if new:
            self._idle = 0.0
        elif page.has_more:
            self._overlap = 1
            self._idle_for(len(page.data) / len(self._seen))
        return [*new.values()]

    def _idle_for(self, rounds: float) -> None:
        """Count rounds without a new session, and refuse to go on after too many."""
        self._idle += rounds
        if self._idle > MAX_IDLE_ROUNDS:
            raise ResponseShapeError(
                "the listing says that there is more, and brings nothing new",
                problems=("hasMore: true on page after page without a new session",),
                method="GET",
                path="/v1/sessions",
            )


def _rounded_down(moment: datetime) -> datetime:
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _rounded_up(moment: datetime) -> datetime:
    """Round up to a millisecond, so that no session before *moment* is lost."""
    down = _rounded_down(moment)
    return down if down == moment else down + MILLISECOND


Fetch = Callable[[list[tuple[str, str]]], Awaitable[Page]]


class SessionListing(AsyncIterable[Session]):
    """The sessions that match some filters, in the service's order: newest first.

    `AsyncEmoggClient.list_sessions` makes it; a function that only iterates it can ask
    for any `AsyncIterable[Session]`.

    Iterate it for sessions, or call `pages`, `collect` or `first`. Each starts over. It
    fetches no more pages than are needed, and none ahead.

    A session that exists during the whole listing comes exactly once, even if others
    are created or deleted meanwhile. A session that is created meanwhile may be left
    out.
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
        """Yield the sessions page by page, without empty pages or repeated sessions."""
        return self._pages(None)

    @frameless
    async def collect(self, limit: int | None = None) -> list[Session]:
        """Return the sessions in a list.

        Args:
            limit: The most sessions to return; None for all of them.
        """
        if limit is not None:
            whole_number("limit", limit, at_least=0)
        return [session async for page in self._pages(limit) for session in page]

    @frameless
    async def first(self) -> Session | None:
        """Return the newest session, or None if no session matches."""
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
            for at in range(0, len(new), self._page_size):
                yield tuple(new[at : at + self._page_size])
