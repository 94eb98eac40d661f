"""Events of a client's calls, sent while the calls are under way.

::

    def watch(event: Event) -> None:
        match event:
            case RetryScheduled(wait=wait, error=error):
                ...

    client = AsyncEmoggClient(on_event=watch)

No event holds the token, a header or a body. Any release may add events, and fields to
these.
"""

import attrs

from emogg_async.errors import EmoggError, RateLimitedError
from emogg_async.models import Gap

__all__ = [
    "AttemptFailed",
    "CacheHit",
    "CacheMiss",
    "Event",
    "GapSeen",
    "LiveConnected",
    "LiveDisconnected",
    "Paced",
    "RateLimited",
    "RetryScheduled",
    "StaleServed",
]


@attrs.frozen(kw_only=True)
class Event:
    """Base of all events: the request that an event is about, sent or spared.

    Attributes:
        method: HTTP method, in capitals.
        path: Path without its query.
        template: Path with `{id}` in place of each ID: one of few values, as metrics
            need it.
        session_id: ID of the session that the request reads or changes; None if it
            concerns no single session.
    """

    method: str
    path: str
    template: str
    session_id: str | None


@attrs.frozen(kw_only=True)
class AttemptFailed(Event):
    """A request was sent and brought no usable answer.

    Attributes:
        attempt: Number of the request within its call, from 1.
        error: The failure.
    """

    attempt: int
    error: EmoggError


@attrs.frozen(kw_only=True)
class RateLimited(Event):
    """The service answered 429, or the client's own pacer refused to wait for a token.

    Attributes:
        attempt: Number of the refused request within its call, from 1; 0 if none was
            sent.
        error: The refusal; its `retry_after` says when another try makes sense.
    """

    attempt: int
    error: RateLimitedError


@attrs.frozen(kw_only=True)
class RetryScheduled(Event):
    """A failed request will be sent again.

    Attributes:
        attempt: Number that the next request will have within its call, from 2.
        wait: Seconds until then, at least; it may have to wait for a token as well.
        error: The failure that is retried.
    """

    attempt: int
    wait: float
    error: EmoggError


@attrs.frozen(kw_only=True)
class Paced(Event):
    """A request has waited for a slot or a token, and leaves now.

    Attributes:
        wait: Seconds that it waited.
    """

    wait: float


@attrs.frozen(kw_only=True)
class CacheHit(Event):
    """The cache answered."""


@attrs.frozen(kw_only=True)
class CacheMiss(Event):
    """The cache was asked and had nothing fresh."""


@attrs.frozen(kw_only=True)
class StaleServed(Event):
    """A past value was served, because the service could not answer.

    Attributes:
        error: The service's failure; None if it had failed a moment before and was not
            asked again.
    """

    error: EmoggError | None


@attrs.frozen(kw_only=True)
class LiveConnected(Event):
    """A live connection is open, and the service has accepted the token."""


@attrs.frozen(kw_only=True)
class LiveDisconnected(Event):
    """A live connection has ended, or could not be made.

    Attributes:
        reason: Why, in plain words.
        wait: Seconds until the next one is made; None if nobody needs one.
    """

    reason: str
    wait: float | None


@attrs.frozen(kw_only=True)
class GapSeen(Event):
    """Something may be missing in the live feeds of a session.

    Attributes:
        gap: The place, as in the event after it.
    """

    gap: Gap
