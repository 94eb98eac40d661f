"""Async-first SDK for the Emogg emotion-analysis API.

::

    from emogg_async import AsyncEmoggClient

    async with AsyncEmoggClient() as client:
        session = await client.get_session("65ea1530bb50af72b6e3dc1e")

Names are imported when they are first used, so that importing this package costs next
to nothing. The names below and the modules `emogg_async.models`, `emogg_async.errors`,
`emogg_async.events`, `emogg_async.testing` and `emogg_async.integrations`, with its own
modules, are public; everything else may change at any time.
"""

import logging
from importlib import import_module
from typing import TYPE_CHECKING

from emogg_async._version import __version__

if TYPE_CHECKING:
    from emogg_async._caching.policy import CacheBackend, CachePolicy
    from emogg_async._caching.redis import redis_cache
    from emogg_async._calls.policy import RetryPolicy
    from emogg_async._calls.telemetry import Stats
    from emogg_async._client import AsyncEmoggClient
    from emogg_async._live.feed import Feed
    from emogg_async._live.live import Live
    from emogg_async._live.policy import LivePolicy
    from emogg_async._many.listing import SessionListing
    from emogg_async._many.outcomes import Batch, Failed, Fetched, Outcome
    from emogg_async._many.stream import OutcomeStream
    from emogg_async._many.tables import to_columns
    from emogg_async._wire.converter import to_dict
    from emogg_async._wire.forms import from_dict, to_json
    from emogg_async._wire.live import Frequency
    from emogg_async._wire.protocol import RateLimit, RawResponse
    from emogg_async.errors import *
    from emogg_async.models import *

__all__ = [
    "AsyncEmoggClient",
    "AuthenticationError",
    "BadRequestError",
    "Batch",
    "CacheBackend",
    "CachePolicy",
    "ClientClosedError",
    "ConfigurationError",
    "ConnectionLostError",
    "CustomEvent",
    "DeadlineError",
    "EmoggError",
    "EmotionCounts",
    "EmotionIntensities",
    "EmotionInterval",
    "EmotionMeasure",
    "EmotionTotals",
    "EmotionsTimeline",
    "Failed",
    "Feed",
    "Fetched",
    "Frequency",
    "FrozenMapping",
    "Gap",
    "InvalidArgumentError",
    "Live",
    "LiveLimitError",
    "LivePolicy",
    "NotFoundError",
    "NotSentError",
    "OpenEnum",
    "Outcome",
    "OutcomeStream",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "RateLimit",
    "RateLimitedError",
    "RawResponse",
    "RegisteredSource",
    "ResponseShapeError",
    "RetryPolicy",
    "SentimentInterval",
    "SentimentTimeline",
    "Sentiments",
    "ServerError",
    "Session",
    "SessionConfig",
    "SessionListing",
    "SessionMeta",
    "SessionState",
    "SessionType",
    "SessionWorkerState",
    "Source",
    "Stats",
    "StatusError",
    "TransportError",
    "WorkerState",
    "__version__",
    "from_dict",
    "redis_cache",
    "to_columns",
    "to_dict",
    "to_json",
]

_HOMES = {
    "AsyncEmoggClient": "_client",
    "Batch": "_many.outcomes",
    "CacheBackend": "_caching.policy",
    "CachePolicy": "_caching.policy",
    "Failed": "_many.outcomes",
    "Feed": "_live.feed",
    "Fetched": "_many.outcomes",
    "Frequency": "_wire.live",
    "FrozenMapping": "models",
    "Live": "_live.live",
    "LivePolicy": "_live.policy",
    "OpenEnum": "models",
    "Outcome": "_many.outcomes",
    "OutcomeStream": "_many.stream",
    "RateLimit": "_wire.protocol",
    "RawResponse": "_wire.protocol",
    "RetryPolicy": "_calls.policy",
    "SessionListing": "_many.listing",
    "Stats": "_calls.telemetry",
    "from_dict": "_wire.forms",
    "redis_cache": "_caching.redis",
    "to_columns": "_many.tables",
    "to_dict": "_wire.converter",
    "to_json": "_wire.forms",
}

logging.getLogger(__name__).addHandler(logging.NullHandler())


if not TYPE_CHECKING:  # type checkers would accept any name because of `__getattr__`

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home = _HOMES.get(name)
        if home is None:
            home = "errors" if name.endswith("Error") else "models"
        value = getattr(import_module(f"{__name__}.{home}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
