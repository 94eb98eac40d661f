"""The plan of a bulk by pages: the next page to ask for, and the ids left for gets.

The items of a list are whole sessions, so one page can answer a hundred gets. An id is
a MongoDB ObjectId: its first eight digits are the second of its creation, which tells
where in the list its session should be. A session that is not there is never taken for
missing, but got by itself. So the plan decides how many requests a bulk takes, and
never its outcomes.

The plan uses no socket and no clock.

Source: https://docs.emogg.com, "List sessions".
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final, Literal

import attrs

from emogg_async._many.listing import MAX_LIMIT, MILLISECOND, Page
from emogg_async._wire.protocol import format_datetime
from emogg_async.errors import InvalidArgumentError
from emogg_async.models import Session

__all__ = ["EAGER", "THRIFTY", "Plan", "Thrift", "Via", "thrift_of"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MAX_SKEW_MILLISECONDS: Final = 3_600_000
"""The longest time between an id's second and its timestamp with which pages are used.
"""

MAX_DEBT_REQUESTS: Final = 3
"""The most requests that pages may cost in all beyond those that they save."""


Via = Literal["auto", "get", "pages"]
"""How a bulk gets sessions."""


@attrs.frozen
class Thrift:
    """The number of ids for which a page is worth its request.

    Attributes:
        first: The least ids that must be missing to ask for the first page.
        following: The least ids that each later page must be expected to answer.
    """

    first: int
    following: int


# 300 random ids of 30,000 take 0.54 requests each if `following` is 2, and 0.77 if it
# is 3: the plan knows only how far the last page reached.
THRIFTY: Final = Thrift(first=5, following=2)
"""Use pages that are expected to save requests."""

EAGER: Final = Thrift(first=1, following=1)
"""Use pages that are not expected to waste requests."""


_THRIFT: Final[Mapping[Via, Thrift | None]] = {
    "auto": THRIFTY,
    "get": None,
    "pages": EAGER,
}


def thrift_of(via: Via) -> Thrift | None:
    """Return how thrifty *via* is; None asks for no pages.

    Raises:
        InvalidArgumentError: *via* is not one of the ways.
    """
    if isinstance(via, str) and via in _THRIFT:
        return _THRIFT[via]
    raise InvalidArgumentError(f"via: expected one of {', '.join(_THRIFT)}")


class Plan:
    """Plan how to get some sessions, newest first.

    A plan takes at most three requests more than it has ids. A page that answers no id
    adds one to the debt, and each id that a page answers beyond its first takes one
    off. At a debt of `MAX_DEBT_REQUESTS`, the plan asks for no more pages. An id is
    spared when the plan leaves it for a get.

    Args:
        ids: Distinct session ids, checked and in lower case.
        thrift: The number of ids for which a page is worth its request.
        debt: The requests that earlier pages cost, less the ids that they answered.
    """

    def __init__(
        self, ids: Iterable[str], thrift: Thrift = THRIFTY, debt: int = 0
    ) -> None:
        self._order = sorted(ids, reverse=True)  # the second comes first
        self._pending = set(self._order)
        self._thrift = thrift
        self._next = 0
        self._spared: list[str] = []
        # The least and the most milliseconds from an id's second to its timestamp. They
        # begin a second apart, as an id has whole seconds.
        self._least_skew, self._most_skew = 0, 999
        self._debt = max(0, debt)
        self._before: int | None = None
        self._span = 0
        self._seen_down_to: int | None = None
        if len(self._order) < thrift.first or self._debt >= MAX_DEBT_REQUESTS:
            self.give_up()
        else:
            self._before = self._just_above_newest()

    @property
    def query(self) -> list[tuple[str, str]] | None:
        """The query of the next page, or None if no other page is worth its request."""
        self.choose()
        if self._before is None:
            return None
        to = EPOCH + self._before * MILLISECOND
        return [("to", format_datetime(to)), ("limit", str(MAX_LIMIT))]

    def take(self, page: Page) -> list[Session]:
        """Take in the page that was asked for, and return the sessions it answers.

        `query` and `spared` change by it.
        """
        keys = [session.id.lower() for session in page.data]
        moments = [_milliseconds(session.timestamp) for session in page.data]
        skews = [
            moment - created
            for key, moment in zip(keys, moments, strict=True)
            if (created := _created(key)) is not None
        ]
        self._least_skew = min([self._least_skew, *skews])
        self._most_skew = max([self._most_skew, *skews])
        found = [
            session
            for key, session in zip(keys, page.data, strict=True)
            if self._answers(key)
        ]
        self._debt = max(0, self._debt + 1 - len(found))
        if page.has_more and page.data and self._is_of_use():
            self._seen_down_to = moments[-1]
            self._span = max(moments) - min(moments)
        else:
            self.give_up()
        return found

    def choose(self, most: int | None = None) -> bool:
        """Choose the next page, and spare the ids that come before it.

        Args:
            most: The most ids to spare; None for all of them.

        Returns:
            True if more ids may have to be spared before a page is chosen.
        """
        seen_down_to = self._seen_down_to
        if seen_down_to is None:
            return False
        for key in islice(self._still_pending(), most):
            # The id is spared if the last page should have had it, or if a page that
            # begins at it would answer too few ids.
            if _second(key) + self._least_skew <= seen_down_to and self._pays(key):
                break
            self._spare(key)
        else:
            if self._pending:
                return True
        self._go_on(seen_down_to)
        return False

    def give_up(self) -> None:
        """Ask for no more pages, and spare all pending ids."""
        self._before = self._seen_down_to = None
        self._spared += self._still_pending()
        self._pending.clear()

    def spared(self) -> list[str]:
        """Return the ids that were spared since the last call."""
        spared, self._spared = self._spared, []
        return spared

    def _answers(self, key: str) -> bool:
        if key not in self._pending:
            return False
        self._pending.remove(key)
        return True

    def _is_of_use(self) -> bool:
        skew = max(self._most_skew, -self._least_skew)
        return self._debt < MAX_DEBT_REQUESTS and skew <= MAX_SKEW_MILLISECONDS

    def _go_on(self, seen_down_to: int) -> None:
        """Go on at the newest pending id, after a page that reached *seen_down_to*."""
        self._seen_down_to = None
        # The page may have cut off sessions in the millisecond of its last one.
        before = min(seen_down_to + 1, self._just_above_newest())
        if self._before is None or before >= self._before or not self._pending:
            self.give_up()  # a millisecond has more sessions than a page
        else:
            self._before = before

    def _pays(self, newest: str) -> bool:
        """Tell whether a page that begins at *newest* is worth its request.

        The page is expected to reach as far as the page before.
        """
        horizon = _second(newest) - self._span
        enough = self._thrift.following
        expected = list(islice(self._still_pending(), enough))
        return len(expected) == enough and _second(expected[-1]) >= horizon

    def _spare(self, key: str) -> None:
        self._pending.remove(key)
        self._spared.append(key)

    def _still_pending(self) -> Iterator[str]:
        """Yield the pending ids, newest first. They may be spared during iteration."""
        order, pending = self._order, self._pending
        while self._next < len(order) and order[self._next] not in pending:
            self._next += 1
        for position in range(self._next, len(order)):
            if order[position] in pending:
                yield order[position]

    def _just_above_newest(self) -> int:
        """Return a moment, in milliseconds, before which all pending sessions began."""
        newest = next(self._still_pending(), None)
        return 0 if newest is None else _second(newest) + self._most_skew + 1


def _second(key: str) -> int:
    """Return the second in which *key* was created, in milliseconds since 1970."""
    return int(key[:8], 16) * 1000


def _created(key: str) -> int | None:
    """Return the `_second` of an unchecked id, or None if it is not a session id."""
    try:
        return _second(key)
    except ValueError:
        return None


def _milliseconds(moment: datetime) -> int:
    """Return *moment* in milliseconds since 1970, rounded down."""
    return (moment - EPOCH) // MILLISECOND
