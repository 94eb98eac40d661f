"""The retry policy, which users choose."""

import attrs

from emogg_async._checks import non_negative, positive, whole

__all__ = ["RetryPolicy"]


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """How a client repeats what failed.

    The wait before the n-th retry is `U(0, min(cap, base · 2ⁿ⁻¹))` seconds (full
    jitter), and at least what the service asks for in `Retry-After`. A failure is
    raised at once if that wait would go beyond the deadline.

    Attributes:
        attempts: Requests for one call at most, the first one included. A 429 does not
            count.
        base: The longest wait before the first retry, in seconds.
        cap: The longest wait before any retry, in seconds.
        budget: Retries that the whole client may make at once. A retry takes 1, or a
            half if its request never left. A first attempt that succeeds gives 0.2
            back, and a retry that succeeds its price. So the service sees little more
            than one request for each call in an outage.

    Raises:
        InvalidArgumentError: A value is out of its range.
    """

    attempts: int = attrs.field(default=6, validator=whole(at_least=1))
    base: float = attrs.field(default=0.25, validator=positive)
    cap: float = attrs.field(default=8.0, validator=positive)
    budget: float = attrs.field(default=40.0, validator=non_negative)

    def backoff(self, failures: int) -> float:
        """Return the longest wait, in seconds, after so many *failures* (from 1)."""
        return float(min(self.cap, self.base * 2.0 ** min(failures - 1, 64)))
