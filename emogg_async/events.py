"""What a client tells of its calls while they are under way.

::

    def watch(event: Event) -> None:
        match event:
            case RetryScheduled(wait=wait, error=error):
                ...

    client = AsyncEmoggClient(on_event=watch)

No event holds the token, a header or a body. New events, and new fields of these, can
come with any release.
"""

import attrs

from emogg_async.errors import EmoggError, RateLimitedError

__all__ = [
    "AttemptFailed",
    "CacheHit",
    "CacheMiss",
    "Event",
    "Paced",
    "RateLimited",
    "RetryScheduled",
    "StaleServed",
]


@attrs.frozen(kw_only=True)
class Event:
    """What all events have: the request that they are about, made or spared."""

    method: str
    """The HTTP method, in capitals."""

    path: str
    """The path, without its query."""

    template: str
    """The path with `{id}` for each ID in it: one of few, as metrics want it."""

    session_id: str | None
    """The session that it reads or changes; None for all others."""


@attrs.frozen(kw_only=True)
class AttemptFailed(Event):
    """A request was sent, and brought no usable answer."""

    attempt: int
    """Which request of its call it was, from 1 on."""

    error: EmoggError
    """What went wrong."""


@attrs.frozen(kw_only=True)
class RateLimited(Event):
    """The service answered 429, or our own pacer let a call not wait for a token."""

    attempt: int
    """Which request of its call was refused, from 1 on; 0 when none was sent."""

    error: RateLimitedError
    """The refusal; its `retry_after` says when another try makes sense."""


@attrs.frozen(kw_only=True)
class RetryScheduled(Event):
    """What failed will be tried again."""

    attempt: int
    """Which request of its call that will be, from 2 on."""

    wait: float
    """Seconds until then, at least: it may have to wait for a token, too."""

    error: EmoggError
    """Why."""


@attrs.frozen(kw_only=True)
class Paced(Event):
    """A request has waited for a slot or a token, and leaves now."""

    wait: float
    """Seconds that it waited."""


@attrs.frozen(kw_only=True)
class CacheHit(Event):
    """The cache has answered."""


@attrs.frozen(kw_only=True)
class CacheMiss(Event):
    """The cache was asked, and had nothing fresh."""


@attrs.frozen(kw_only=True)
class StaleServed(Event):
    """A past value has answered, because the service could not."""

    error: EmoggError | None
    """What kept the service from answering; None when it had failed a moment ago, and
    so was not asked."""
