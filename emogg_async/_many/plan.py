"""The plan of a bulk by pages: which page to ask for next, and which ids it spares.

The items of a list are whole sessions, so one page can answer a hundred gets. An id is
a MongoDB ObjectId: its first eight digits are the second in which it was created, which
tells where in the list its session should stand. *Should*: what a page does not hold is
never taken for missing, but asked for by itself. So the plan decides what a bulk costs,
and nothing else.

It decides without a socket and without a clock.

Source: https://docs.emogg.com, "List sessions".
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import attrs

from emogg_async._many.listing import MAX_LIMIT, MILLISECOND, Page
from emogg_async._wire.protocol import format_datetime
from emogg_async.models import Session

__all__ = ["EAGER", "THRIFTY", "Plan", "Thrift"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MOST_SKEW: Final = 3_600_000
"""Milliseconds; ids that are further from their timestamps tell nothing of the list."""

MOST_DEBT: Final = 3
"""Requests that pages may cost in all, beyond what they save."""


@attrs.frozen
class Thrift:
    """When a page is worth its request."""

    first: int
    """Ids that must be missing for the first page, of which nothing is known yet."""

    following: int
    """Ids that each later page must be expected to answer."""


# Of 300 ids at random among 30,000, a `following` of 2 gets each with 0.54 requests, of
# 3 with 0.77: how far a page reaches is known for the last one only.
THRIFTY: Final = Thrift(first=5, following=2)
"""Pages where they are expected to save requests."""

EAGER: Final = Thrift(first=1, following=1)
"""Pages as long as they are not expected to waste requests."""


class Plan:
    """What is left to do for some ids, newest first.

    In all it takes at most three requests more than there are ids. A page that answers
    none runs up a debt of one, and every id that a page answers beyond its first pays
    one off; at `MOST_DEBT` there are no more pages.

    Args:
        ids: Distinct session ids, checked and in lower case.
        thrift: When a page is worth its request.
        debt: Requests that pages have cost before, less the ids that they answered.
    """

    def __init__(
        self, ids: Iterable[str], thrift: Thrift = THRIFTY, debt: int = 0
    ) -> None:
        self._order = sorted(ids, reverse=True)  # by second, as that comes first
        self._pending = set(self._order)
        self._thrift = thrift
        self._next = 0
        self._spared: list[str] = []
        # Milliseconds from an id's second to its timestamp, at least and at most. An id
        # knows no fractions, hence the second between them.
        self._least_skew, self._most_skew = 0, 999
        self._debt = max(0, debt)
        self._before: int | None = None
        self._span = 0
        self._seen_down_to: int | None = None
        if len(self._order) < thrift.first or self._debt >= MOST_DEBT:
            self.give_up()
        else:
            self._before = self._just_above_newest()

    @property
    def query(self) -> list[tuple[str, str]] | None:
        """The page to ask for next; None when no page pays any more."""
        self.choose()
        if self._before is None:
            return None
        to = EPOCH + self._before * MILLISECOND
        return [("to", format_datetime(to)), ("limit", str(MAX_LIMIT))]

    def take(self, page: Page) -> list[Session]:
        """Take in the page that was asked for; return those of its sessions it answers.

        What follows from it shows in `query` and in `spared`.
        """
        found = [session for session in page.data if self._answers(session)]
        self._debt = max(0, self._debt + 1 - len(found))
        if page.has_more and page.data and self._is_of_use():
            moments = [_milliseconds(session.timestamp) for session in page.data]
            self._seen_down_to = moments[-1]
            self._span = max(moments) - min(moments)
        else:
            self.give_up()
        return found

    def choose(self, most: int | None = None) -> bool:
        """Choose the next page, and spare at most so many ids before it; None is all.

        Returns:
            Whether there are more to be spared first.
        """
        seen_down_to = self._seen_down_to
        if seen_down_to is None:
            return False
        for key in islice(self._still_pending(), most):
            # It should have been on this page, or it is too lonely for the next one.
            if _second(key) + self._least_skew <= seen_down_to and self._pays(key):
                break
            self._spare(key)
        else:
            if self._pending:
                return True
        self._go_on(seen_down_to)
        return False

    def give_up(self) -> None:
        """Ask for no more pages: what is pending is asked for by itself."""
        self._before = self._seen_down_to = None
        self._spared += self._still_pending()
        self._pending.clear()

    def spared(self) -> list[str]:
        """Return the ids that pages will not answer, each of them once."""
        spared, self._spared = self._spared, []
        return spared

    def _answers(self, session: Session) -> bool:
        key = session.id.lower()
        if (created := _created(key)) is not None:
            skew = _milliseconds(session.timestamp) - created
            self._least_skew = min(self._least_skew, skew)
            self._most_skew = max(self._most_skew, skew)
        if key not in self._pending:
            return False
        self._pending.remove(key)
        return True

    def _is_of_use(self) -> bool:
        skew = max(self._most_skew, -self._least_skew)
        return self._debt < MOST_DEBT and skew <= MOST_SKEW

    def _go_on(self, seen_down_to: int) -> None:
        """Go on with the newest pending id, after a page that reached so far."""
        self._seen_down_to = None
        # Others may share the millisecond of the last item, and have been cut off.
        before = min(seen_down_to + 1, self._just_above_newest())
        if self._before is None or before >= self._before or not self._pending:
            self.give_up()  # a page that leads nowhere: more than fit in a millisecond
        else:
            self._before = before

    def _pays(self, newest: str) -> bool:
        """Say whether a page that begins at *newest*, pending, answers enough.

        It is expected to reach as far as the page before.
        """
        horizon = _second(newest) - self._span
        enough = self._thrift.following
        expected = list(islice(self._still_pending(), enough))
        return len(expected) == enough and _second(expected[-1]) >= horizon

    def _spare(self, key: str) -> None:
        self._pending.remove(key)
        self._spared.append(key)

    def _still_pending(self) -> Iterator[str]:
        """Yield the pending ids, newest first; they may be spared meanwhile."""
        order, pending = self._order, self._pending
        while self._next < len(order) and order[self._next] not in pending:
            self._next += 1
        for position in range(self._next, len(order)):
            if order[position] in pending:
                yield order[position]

    def _just_above_newest(self) -> int:
        """Return the moment before which the newest pending session must have begun."""
        newest = next(self._still_pending(), None)
        return 0 if newest is None else _second(newest) + self._most_skew + 1


def _second(key: str) -> int:
    """Return the second in which a session id was made, in milliseconds since 1970."""
    return int(key[:8], 16) * 1000


def _created(key: str) -> int | None:
    """Do what `_second` does for an id that nobody has checked; None for nonsense."""
    try:
        return _second(key)
    except ValueError:
        return None


def _milliseconds(moment: datetime) -> int:
    """Return *moment* in milliseconds since 1970, rounded down."""
    return (moment - EPOCH) // MILLISECOND
