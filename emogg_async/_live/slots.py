"""The subscriptions of a user: how many are in use, and whether another is free."""

import math
import random
from typing import Final

from emogg_async._live.backoff import Backoff

__all__ = ["Slots"]

FIRST_PROBE: Final = 1.0
LAST_PROBE: Final = 30.0
"""Seconds between a refusal and the next try, at first and at the most. The service
keeps the subscriptions of a connection that has vanished for 65 s."""


class Slots:
    """What is known of the service's limit on a user's subscriptions.

    Other processes may use some of them. A refusal shows how many are left to us; one
    more is tried ever more rarely, and at once when one of ours becomes free.

    Args:
        rng: The source of jitter.

    Attributes:
        in_use: Subscriptions that we hold or are asking for.
        probe_at: When one more than believed may be tried; infinite if nothing was
            refused.
    """

    def __init__(self, rng: random.Random) -> None:
        self.in_use = 0
        self.probe_at = math.inf
        self._believed = math.inf
        self._backoff = Backoff(FIRST_PROBE, LAST_PROBE, rng)

    def take(self, limit: int, now: float) -> bool:
        """Take a slot if one is free, of *limit* at most; tell whether it did."""
        if self.in_use >= limit:
            return False
        if self.in_use >= self._believed:
            if now < self.probe_at:
                return False
            self.probe_at = now + self._backoff.wait()
        self.in_use += 1
        return True

    def give(self) -> None:
        """Give back a slot."""
        self.in_use -= 1

    def confirmed(self, now: float) -> None:
        """Note that the service has confirmed a subscription *now*."""
        if self.in_use > self._believed:
            self._believed = self.in_use
            self._backoff.reset()
            self.probe_at = now  # there may be more

    def refused(self, now: float) -> None:
        """Give back a slot that the service has refused *now*."""
        self.in_use -= 1
        self._believed = min(self._believed, self.in_use)
        if self.probe_at == math.inf:
            self.probe_at = now + self._backoff.wait()
