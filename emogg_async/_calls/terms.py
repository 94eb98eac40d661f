"""The terms of calls: what the views of a client may change."""

from typing import Any, Final, Literal

import attrs

from emogg_async._calls.policy import RetryPolicy
from emogg_async._checks import kind_of, number
from emogg_async.errors import InvalidArgumentError

__all__ = ["MAX_TIMEOUT_SECONDS", "Same", "Terms", "is_seconds"]

MAX_TIMEOUT_SECONDS: Final = 1e9
"""About 30 years. Much larger numbers overflow where alarms are set."""

Same = Literal["same"]
"""An option of a view that stays as it is."""


def is_seconds(_: object, attribute: Any, value: Any) -> None:
    """Accept numbers of seconds that a call may have (an attrs validator)."""
    number(attribute.name, value, above=0, at_most=MAX_TIMEOUT_SECONDS)


@attrs.frozen(kw_only=True)
class Terms:
    """How the calls of a client, or of one of its views, are carried out.

    Attributes:
        timeout: Seconds for a whole call.
        attempt_timeout: Seconds for one HTTP exchange.
        retry: How to repeat failed requests.
        cache: Whether to read from the cache, and to store in it.
        pace: Whether to wait for tokens of the rate limit.

    Raises:
        InvalidArgumentError: A value is out of its range.
    """

    timeout: float = attrs.field(validator=is_seconds)
    attempt_timeout: float = attrs.field(validator=is_seconds)
    retry: RetryPolicy = attrs.field(validator=kind_of(RetryPolicy))
    cache: bool
    pace: bool = attrs.field(validator=kind_of(bool))

    @property
    def manner(self) -> tuple[object, ...]:
        """What calls must have in common to share a load.

        The whole time of a call is not in it, as each waiter watches its own.
        """
        return self.attempt_timeout, self.retry, self.cache, self.pace

    def changed(self, **given: object) -> "Terms":
        """Return these terms with what is *given*; `"same"` changes nothing.

        Raises:
            InvalidArgumentError: A value is out of its range, or a cache is given.
        """
        new: dict[str, Any] = {
            name: value
            for name, value in given.items()
            if not (isinstance(value, str) and value == "same")
        }
        if "cache" in new:
            if new["cache"] is not None:
                raise InvalidArgumentError(
                    "cache: expected None or 'same', got "
                    f"{type(new['cache']).__name__}; a view has no cache of its own"
                )
            new["cache"] = False
        return attrs.evolve(self, **new)
