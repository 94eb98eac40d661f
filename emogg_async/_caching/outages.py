"""Past values: what stands in for an answer while the service is out.

A past value is one whose freshness has ended. It stands in when the service could not
answer, and never when it did: not for a 400, a 401, a 403 or a 404, nor for an answer
that cannot be read.

Everything here is told the time, on the loop's clock, and so needs no loop.
"""

import math
from collections import OrderedDict
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar

import attrs

from emogg_async.errors import (
    DeadlineError,
    EmoggError,
    RateLimitedError,
    ServerError,
    TransportError,
)

__all__ = ["MEMORY", "Outages", "Past", "is_outage", "weight_of"]

T = TypeVar("T")

MEMORY: Final = 1.0
"""Seconds for which an outage is remembered: as long, what stood in stands in again
without another request."""


@attrs.frozen
class Past(Generic[T]):
    """A value whose freshness has ended."""

    value: T
    lasts: float
    """Seconds for which it may still stand in, from the moment it was looked up."""


def is_outage(error: EmoggError) -> bool:
    """Tell whether *error* means that the service could not answer now.

    A 429 does, whether the service sent it or our own pacer knew that it would: both
    say that there is no token in time, and nothing of what was asked for. A 408 is an
    answer that was lost.
    """
    if isinstance(error, TransportError | ServerError | RateLimitedError):
        return True
    return getattr(error, "status", None) == HTTPStatus.REQUEST_TIMEOUT


def weight_of(value: object) -> int:
    """Return what *value* weighs in memory: a session 1, and so does an interval."""
    return 1 + len(getattr(value, "intervals", ()))


@attrs.define
class _Record:
    value: Any
    until: float = -math.inf
    quiet_until: float = -math.inf
    """Until when nobody asks the service; minus infinity as long as it has not failed.
    """
    patience: float = -math.inf
    """Seconds that did not suffice for an answer; who has more of them still asks."""
    asked_at: float = -math.inf
    """When a bulk began to ask; for `MEMORY` seconds no other one does."""


class Outages:
    """What stands in for the answers that loads may fail to bring.

    Once something stood in, it does so at once for `MEMORY` seconds, and then for all
    but the one call that asks whether the outage is over. So no visitor but that one
    waits, and the service sees one request a second for each of what is asked for.

    Args:
        capacity: How much is at hand at most, all weights together; what else may stand
            in is only further away.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._weight = 0
        self._records: OrderedDict[str, dict[str, _Record]] = OrderedDict()

    def keep(self, session_id: str, target: str, past: Past[Any], now: float) -> None:
        """Have *past* at hand, should the load of *target* that begins now fail."""
        records = self._records.setdefault(session_id, {})
        self._records.move_to_end(session_id)
        record = records.get(target)
        if record is None:
            record = records[target] = _Record(past.value)
        else:
            self._weight -= weight_of(record.value)
        self._weight += weight_of(past.value)
        record.value, record.until = past.value, now + past.lasts
        while self._weight > self._capacity:
            self.forget(next(iter(self._records)))

    def find(self, session_id: str, target: str, now: float) -> Any:
        """Return what may stand in for the answer to *target*, or None."""
        record = self._find(session_id, target, now)
        return record.value if record else None

    def find_at_once(
        self,
        session_id: str,
        target: str,
        now: float,
        deadline: float = math.inf,
        *,
        is_asked: bool,
        in_bulk: bool = False,
    ) -> Any:
        """Return what stands in without asking the service, or None.

        Args:
            session_id: The session.
            target: What is asked for.
            now: The time.
            deadline: When whoever asks for it gives up.
            is_asked: Whether somebody asks the service already.
            in_bulk: Whether it is one of many, which a page may bring. Who asks for
                pages is known only here: of bulks, one in `MEMORY` seconds.
        """
        record = self._find(session_id, target, now)
        if record is None:
            return None
        in_turn = in_bulk and now < record.asked_at + MEMORY
        if 0 < deadline - now <= record.patience and (
            is_asked or in_turn or now < record.quiet_until
        ):
            return record.value
        if in_bulk and not in_turn:
            record.asked_at = now
        return None

    def _find(self, session_id: str, target: str, now: float) -> _Record | None:
        record = self._records.get(session_id, {}).get(target)
        if record is not None and record.until <= now:
            self.forget(session_id, target)
            return None
        return record

    def note(
        self,
        session_id: str,
        target: str,
        error: EmoggError,
        now: float,
        *,
        began: float,
        deadline: float,
    ) -> None:
        """Remember that the service failed a call, which *began* and had to end then.

        If the call had hardly any time, that tells nothing to those who have more.
        """
        record = self._find(session_id, target, now)
        if record is None:
            return
        patience = math.inf
        if began < record.asked_at + MEMORY:  # its bulk had all the time for a page
            began = min(began, record.asked_at)
        if isinstance(error, DeadlineError) and deadline <= now < began + MEMORY:
            patience = now - began
        elif isinstance(error, RateLimitedError) and not error.attempts:
            patience = error.retry_after or 0.0  # our pacer knows how long it takes
        record.quiet_until = now + MEMORY
        record.patience = max(record.patience, patience)

    def forget(self, session_id: str, target: str | None = None) -> None:
        """Drop what is at hand of a session, or of one *target*: it is outdated."""
        records = self._records.get(session_id, {})
        for each in [*records] if target is None else {target} & {*records}:
            self._weight -= weight_of(records.pop(each).value)
        if not records:
            self._records.pop(session_id, None)
