"""What the service answers, as frozen attrs classes.

Models know nothing of the wire: names, dates and strictness are the converter's
business, and `emogg_async.to_dict` gives the wire form back. Fields that this release
does not know survive in `extra`, values that it does not know in open enums.
"""

from datetime import datetime

import attrs

from emogg_async._values import EMPTY, FrozenMapping, OpenEnum

__all__ = [
    "FrozenMapping",
    "OpenEnum",
    "Session",
    "SessionConfig",
    "SessionMeta",
    "SessionState",
    "SessionType",
    "SessionWorkerState",
    "Source",
]


class SessionType(OpenEnum):
    """What kind of session it is. The service publishes no list: others can occur."""

    LIVE_ANALYSIS = "live_analysis"


class SessionState(OpenEnum):
    """How far a session is. The service publishes no list: others can occur."""

    ACTIVE = "active"
    PROCESSING = "processing"
    FINISHED = "finished"


class SessionWorkerState(OpenEnum):
    """What the worker that analyses a session does. Others can occur."""

    WORKING = "working"


@attrs.frozen(kw_only=True)
class SessionConfig:
    """How a session was set up."""

    remove_media: bool | None = None
    """Whether its media are removed afterwards; None when the service does not say."""

    extra: FrozenMapping = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class Source:
    """One source of a session's video or audio."""

    id: str
    """Its UUID."""

    name: str
    """The name its device goes by, e.g. `Integrated Webcam`."""

    type: str
    """What it delivers, e.g. `video`."""

    device: str
    """What kind of device it is, e.g. `local_camera`."""

    format: str | None = None
    """`text` or `scalar` for a registered source; None for all others."""

    extra: FrozenMapping = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class SessionMeta:
    """What the service notes about running a session."""

    expires: datetime | None = None
    """When the session expires (aware, UTC); None when the service does not say."""

    health_check: datetime | None = None
    """When its worker last gave a sign of life (aware, UTC); None when not known."""

    worker_state: SessionWorkerState | None = None
    """What its worker does; None when the service does not say."""

    extra: FrozenMapping = EMPTY
    """Fields that this release does not know."""


@attrs.frozen(kw_only=True)
class Session:
    """A session whose emotions are, or were, analysed.

    Source: https://docs.emogg.com, "Get a session".
    """

    id: str
    """24 hex digits, a MongoDB ObjectId."""

    name: str
    """At most 256 characters, chosen by its creator: treat it as untrusted text."""

    type: SessionType
    """What kind of session it is."""

    state: SessionState
    """How far it is; only a finished session no longer changes by itself."""

    timestamp: datetime
    """When it was created (aware, UTC, to the millisecond)."""

    duration: float
    """Seconds that it lasted, or has lasted so far."""

    config: SessionConfig | None = None
    """How it was set up; None when the service does not say."""

    sources: tuple[Source, ...] = ()
    """Its sources; empty when the service names none."""

    meta: SessionMeta | None = None
    """What the service notes about running it; None when it notes nothing."""

    product: str
    """ID of the product that analyses it."""

    user: str
    """ID of its creator."""

    version: int | float
    """Version of the object's schema on the wire; 3 today."""

    extra: FrozenMapping = EMPTY
    """Fields that this release does not know."""
