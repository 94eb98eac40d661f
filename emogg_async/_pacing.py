"""The gate that every request passes: who may send, and when.

It holds the slots: so many requests in flight at once, single calls first, and never
all of the slots for bulk work. Nothing is held while somebody sleeps between two
attempts.
"""

import asyncio
from collections import deque

from emogg_async._context import Priority

__all__ = ["Gate", "bulk_share"]


def bulk_share(slots: int) -> int:
    """Return how many of the *slots* bulk work may hold: not all, if there are more."""
    return max(1, slots * 3 // 4)


class Gate:
    """Hands out slots, first come, first served, single calls before bulk.

    Args:
        slots: How many requests may be in flight at once; bulk gets three quarters.
    """

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._free_for_bulk = bulk_share(slots)
        self._queues: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())

    def enter_nowait(self, priority: Priority) -> bool:
        """Take a slot, if there is one and nobody is waiting; `leave` gives it back."""
        if self._queues[priority] or not self._has_room(priority):
            return False
        self._take(priority)
        return True

    async def enter(self, priority: Priority) -> None:
        """Wait for a slot and take it; `leave` gives it back."""
        if self.enter_nowait(priority):
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues[priority].append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave(priority)  # it was our turn, and nobody is left to use it
            raise

    def leave(self, priority: Priority) -> None:
        """Give a slot back to whoever is next."""
        self._free += 1
        if priority is Priority.BULK:
            self._free_for_bulk += 1
        if self._queues[Priority.SINGLE]:
            self._admit(Priority.SINGLE)
        if self._queues[Priority.BULK]:
            self._admit(Priority.BULK)

    def _admit(self, priority: Priority) -> None:
        queue = self._queues[priority]
        while queue and self._has_room(priority):
            turn = queue.popleft()
            if not turn.done():  # a cancelled waiter is simply skipped
                self._take(priority)
                turn.set_result(None)

    def _has_room(self, priority: Priority) -> bool:
        return self._free > 0 and (
            priority is Priority.SINGLE or self._free_for_bulk > 0
        )

    def _take(self, priority: Priority) -> None:
        self._free -= 1
        if priority is Priority.BULK:
            self._free_for_bulk -= 1
