"""Made-up sessions that look like real ones, the same for each seed.

The reference shows one video source and names no other kinds, so the types and devices
of other sources are guesses.
"""

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Final

from emogg_async._wire.protocol import format_datetime

__all__ = ["invent_duration", "invent_name", "invent_sessions", "invent_uuid"]

_TITLES: Final = (
    "Weekly stand-up {team}",
    "Sprint review {team}, sprint {n}",
    "Retrospective {team}",
    "Interview: {person}, {role}",
    "Second interview: {person}",
    "Exit interview {person}",
    "Entretien d'embauche : {person}",
    "1:1 {person}",
    "Course: {subject}, lecture {n}",
    "{subject}, Übung {n}",
    "Oral exam {subject}, {person}",
    "Demo for {company}",
    "Pitch {company}",
    "Quarterly business review {company}",
    "Support call #{n} ({company})",
    "Focus group {n}: {product} packaging",
    "Usability test {product}, participant {n}",
    "Webinar: {subject} for beginners",
    "All-hands Q{quarter}",
    "Onboarding {person}",
)

_WORDS: Final = {
    "team": ("Platform", "Mobile", "Growth", "Payments", "Design", "Data", "Infra"),
    "person": (
        "Anna Kowalska",
        "José Álvarez",
        "Mei-Ling Chen",
        "Oluwaseun Adeyemi",
        "Priya Raghavan",
        "Lars Østergård",
        "Zoë van Dijk",
        "佐藤 陽子",
        "Marek Dvořák",
        "Sam O'Neill",
    ),
    "role": ("Backend Engineer", "Head of Sales", "Nurse", "Data Analyst", "UX Writer"),
    "subject": (
        "Statistics",
        "Linear Algebra",
        "Marketing",
        "Psychology",
        "Italian A2",
    ),
    "company": (
        "Northwind",
        "Contoso",
        "Acme & Söhne",
        "Globex",
        "Initech",
        "Umbrella",
    ),
    "product": ("checkout", "breakfast cereal", "car display", "banking app"),
}

_SOURCES: Final = (
    ("Integrated Webcam", "video", "local_camera"),
    ("FaceTime HD Camera", "video", "local_camera"),
    ("Logitech BRIO", "video", "local_camera"),
    ("Built-in Microphone", "audio", "local_microphone"),
    ("Jabra Speak 510", "audio", "local_microphone"),
    ("Meeting room, rtmp", "stream", "rtmp_stream"),
)

_LENGTHS: Final = (15, 30, 30, 45, 60, 60, 90)
"""Planned lengths in minutes."""

_WEEKS: Final = 6
"""Age of the oldest finished session, in weeks."""

_MONDAY_TO_FRIDAY: Final = 5

_MOST_ACTIVE: Final = 3
_MOST_PROCESSING: Final = 2


def invent_name(rng: random.Random) -> str:
    """Make up a name of a session."""
    words = {kind: rng.choice(words) for kind, words in _WORDS.items()}
    title = rng.choice(_TITLES)
    return title.format(n=rng.randint(1, 40), quarter=rng.randint(1, 4), **words)


def invent_duration(rng: random.Random) -> float:
    """Make up the length in seconds of a finished session, near a planned length."""
    return round(rng.choice(_LENGTHS) * 60 * rng.gauss(0.95, 0.12), 3)


def invent_sessions(
    rng: random.Random, count: int, until: datetime
) -> Iterator[tuple[datetime, dict[str, Any]]]:
    """Make up *count* sessions that began before *until*, oldest first.

    The newest few are active or being processed; the others are spread over the office
    hours of the past weeks.

    Yields:
        Start of each session, and its fields on the wire except those of its owner.
    """
    active = min(_MOST_ACTIVE, count // 8)
    processing = min(_MOST_PROCESSING, count // 8)
    finished = count - active - processing
    for begun in sorted(_office_hour(rng, until) for _ in range(finished)):
        yield begun, _finished(rng, begun)
    for ago in _minutes_ago(rng, processing, 100, 170):
        yield until - ago, _fields(rng, until - ago, "processing", invent_duration(rng))
    for ago in _minutes_ago(rng, active, 2, 90):
        yield until - ago, _active(rng, until - ago, until)


def _office_hour(rng: random.Random, until: datetime) -> datetime:
    day = until.replace(hour=0, minute=0, second=0) - timedelta(days=1)
    day -= timedelta(days=rng.randrange(_WEEKS * 7))
    while day.weekday() >= _MONDAY_TO_FRIDAY:
        day -= timedelta(days=1)
    return day + timedelta(
        hours=rng.randint(7, 17),
        minutes=rng.choice((0, 0, 15, 30, 30, 45)) + rng.randint(0, 6),
        milliseconds=rng.randrange(60_000),
    )


def _minutes_ago(
    rng: random.Random, count: int, least: int, most: int
) -> list[timedelta]:
    spans = (rng.randrange(least * 60_000, most * 60_000) for _ in range(count))
    return [timedelta(milliseconds=span) for span in sorted(spans, reverse=True)]


def _finished(rng: random.Random, begun: datetime) -> dict[str, Any]:
    fields = _fields(rng, begun, "finished", invent_duration(rng))
    if rng.random() < 0.3:
        fields["meta"] = {"expires": format_datetime(begun + timedelta(days=30))}
    return fields


def _active(rng: random.Random, begun: datetime, now: datetime) -> dict[str, Any]:
    so_far = (now - begun).total_seconds()
    last_sign = now - timedelta(milliseconds=rng.randrange(30_000))
    fields = _fields(rng, begun, "active", so_far)
    fields["meta"] = {
        "expires": format_datetime(begun + timedelta(days=30)),
        "healthCheck": format_datetime(last_sign),
        "workerState": "working",
    }
    return fields


def _fields(
    rng: random.Random, begun: datetime, state: str, duration: float
) -> dict[str, Any]:
    fields = {
        "name": invent_name(rng),
        "type": "live_analysis",
        "state": state,
        "timestamp": format_datetime(begun),
        "duration": duration,
        "sources": _sources(rng),
    }
    if rng.random() < 0.4:
        fields["config"] = {"removeMedia": rng.random() < 0.5}
    return fields


def _sources(rng: random.Random) -> list[dict[str, Any]]:
    count = rng.choices((1, 2, 3), weights=(5, 3, 1))[0]
    return [
        {"id": invent_uuid(rng), "name": name, "type": kind, "device": device}
        for name, kind, device in rng.sample(_SOURCES, count)
    ]


def invent_uuid(rng: random.Random) -> str:
    """Make up the ID of a source."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))
