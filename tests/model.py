"""An account in plain Python: what its sessions were like, and what a read may show."""

import json
import math
from collections.abc import Iterator
from typing import Any

import attrs

from emogg_async import CachePolicy, Session
from emogg_async.testing._analysis import Analyst
from emogg_async.testing._clock import EPOCH
from emogg_async.testing._reading import Window
from emogg_async.testing._walks import STEP

GONE = "gone"
ACTIVE = "active"
FINISHED = "finished"

SLACK = 0.002
"""Seconds by which durations may be rounded."""


@attrs.frozen(kw_only=True)
class Version:
    """A session between two changes.

    Attributes:
        name: Its name.
        state: Its state; `gone` once it was deleted.
        sources: The IDs of its sources.
        length: Its duration in seconds; None as long as it grows.
        since: The earliest moment at which it may have been so.
        until: The latest one.
    """

    name: str
    state: str
    sources: tuple[str, ...]
    length: float | None
    since: float = attrs.field(eq=False)
    until: float = attrs.field(default=math.inf, eq=False)


class Known:
    """A session with its history.

    Attributes:
        id: Its ID.
        timestamp: When it was created, by the service's clock.
        history: Its versions, oldest first.
        events: The events reported to it: time, data and source.
        formats: The formats of the sources that the client has registered.
        floor: When the last write of the client has ended.
        got: When the last get past the cache began.
    """

    def __init__(self, session: Session, now: float, *, grows: bool = False) -> None:
        self.id, self.timestamp = session.id, session.timestamp
        self.history = [seen(session, now, grows=grows)]
        self.events: list[tuple[float, float | str, str]] = []
        self.formats: dict[str, str] = {}
        self.floor = self.got = -math.inf

    @property
    def now(self) -> Version:
        """The session as it is."""
        return self.history[-1]

    def change(self, version: Version, ended: float) -> None:
        """Go on as *version*, from when the change was over at the latest."""
        if version != self.now:
            self.history[-1] = attrs.evolve(self.now, until=ended)
            self.history.append(version)


def seen(session: Session, now: float, *, grows: bool) -> Version:
    """Return the version that a session is, from *now* on."""
    return Version(
        name=session.name,
        state=str(session.state),
        sources=tuple(each.id for each in session.sources),
        length=None if grows else session.duration,
        since=now,
    )


@attrs.frozen(kw_only=True)
class Read:
    """When a read was carried out, and where it looked.

    Attributes:
        began: When it began, by the clock of the loop.
        ended: When it ended.
        cached: Whether it may have been answered by the cache.
        whole: Whether it reads a session, and not what is derived from one.
    """

    began: float
    ended: float
    cached: bool
    whole: bool = True


class Account:
    """All sessions, the service's clock, and what a cache may still show.

    Args:
        seed: The seed of the emulator.
        cache: The policy of the client.
        zero: When the service's clock began, by that of the loop.

    Attributes:
        sessions: The sessions, those that are gone too.
    """

    def __init__(self, seed: int, cache: CachePolicy | None, zero: float) -> None:
        self.sessions: list[Known] = []
        self._cache = cache
        self._analyst = Analyst(seed)
        self._jumps = [(-math.inf, -zero)]

    def of(self, which: int) -> Known:
        """Return one of the sessions; the newest comes first."""
        return self.sessions[-1 - which % len(self.sessions)]

    def jump(self, now: float, seconds: float) -> None:
        """Note that the service's clock was moved on."""
        self._jumps.append((now, self._jumps[-1][1] + seconds))

    def lived(self, known: Known, at: float) -> float:
        """Return how long a session that grows was at a moment, in seconds."""
        ahead = [ahead for since, ahead in self._jumps if since <= at][-1]
        begun = (known.timestamp - EPOCH).total_seconds()
        return max(0.0, at + ahead - begun)

    def possible(
        self, known: Known, read: Read, *, stale: bool = False
    ) -> Iterator[tuple[Version, float, float]]:
        """Give each version that a read may show, with its durations from and to.

        An answer of the cache is as old as its policy allows at the most, and never
        older than the end of the client's last write.
        """
        for version in known.history:
            oldest = read.began
            if read.cached and self._cache is not None and version.state != GONE:
                finished = version.state == FINISHED
                ttl = self._cache.ttl if finished else self._cache.live_ttl
                grace = self._cache.stale_if_error if stale else 0.0
                floor = max(known.floor, known.got) if read.whole else known.floor
                oldest = max(oldest - 1.1 * ttl - grace, floor)
            if version.since <= read.ended and version.until > oldest:
                if version.length is not None:
                    yield version, version.length, version.length
                    continue
                moments = max(oldest, version.since), min(read.ended, version.until)
                least, most = (self.lived(known, at) for at in moments)
                yield version, least - SLACK, most + SLACK

    def check_session(self, session: Session, known: Known, read: Read) -> None:
        """Fail if a read could not show this session."""
        assert (session.id, session.timestamp) == (known.id, known.timestamp)
        shown = seen(session, 0.0, grows=True)
        found = [*self.possible(known, read, stale=session.stale)]
        assert any(
            shown == attrs.evolve(version, length=None)
            and least <= session.duration <= most
            for version, least, most in found
        ), f"{read} shows {session}, which is none of {found} in {known.history}"

    def check_gone(self, known: Known, read: Read) -> None:
        """Fail if a read could not find that the session is gone."""
        found = [version.state for version, _, _ in self.possible(known, read)]
        assert GONE in found, known.history

    def check_derived(
        self, answer: Any, shown: Any, tell: str, known: Known, read: Read, *rest: Any
    ) -> None:
        """Fail if a read could not show this answer: what *tell* of the analyst says.

        The analysis goes on in steps, so that a session that grows has few answers.
        """
        assert answer.session == known.id
        lengths = set()
        for version, least, most in self.possible(known, read, stale=answer.stale):
            if version.state != GONE:
                lengths |= {version.length} if version.length is not None else set()
                steps = range(int(max(0.0, least) // STEP), int(most // STEP) + 1)
                lengths |= {step * STEP for step in steps if version.length is None}
        found = [getattr(self._analyst, tell)(known.id, n, *rest) for n in lengths]
        found = [
            lasting(json.loads(each)) if isinstance(each, str) else each
            for each in found
        ]
        assert shown in found, f"{read} shows {shown}, which is none of {found}"


def lasting(timeline: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a timeline without its ends, as the last one moves with each second."""
    return [{name: each[name] for name in each if name != "end"} for each in timeline]


def window(granularity: float) -> Window:
    """Return the whole of a session, in intervals of so many seconds."""
    return Window(granularity, 0.0, math.inf)
