"""Faces and speech of made-up sessions: random walks in steps of five seconds.

A walk depends only on its seed, and grows as far as it is needed, so a longer session
has the same beginning. Sums are kept as running totals of whole thousandths, so all
intervals add up exactly.
"""

import random
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from itertools import repeat
from typing import Final

__all__ = ["EMOTIONS", "SENTIMENTS", "STEP", "Moods", "Speech"]

STEP: Final = 5
"""Seconds; the finest granularity that the service offers."""

EMOTIONS: Final = {
    "exaltation": 0.28,
    "focus": 0.52,
    "shock": 0.13,
    "seriousness": 0.42,
    "fatigue": 0.24,
    "disgust": 0.11,
    "overwhelming": 0.19,
}
"""Names of the emotions, and the level, 0 to 1, to which each usually returns."""

SENTIMENTS: Final = ("positive", "neutral", "negative")

_LEG: Final = 12
"""Steps from one level of the walk to the next: a minute, linear in between."""

_SPREAD: Final = 0.3
"""Width of the range in which the usual levels of sessions lie."""

_PERSISTENCE: Final = 0.78
"""Part of a deviation that is left after a leg."""

_TURN: Final = 0.3
"""Width of the range of a level's change in one leg, half up and half down."""

_PEAK: Final = 0.018
"""Chance that a leg ends in a peak."""

_THRESHOLDS: Final = (0.24, 0.36, 0.48, 0.6)
"""Rough levels from which one, two, three and four people show an emotion."""

_ABSENCE: Final = 0.12
"""Chance that nobody is seen after everybody was."""


class Moods:
    """The emotions in a session's faces, step by step.

    Attributes:
        faces: Number of faces in each step.
        people: Number of people who show each emotion in each step.
        detections: Sum of `people` over all steps before each one.
        quantities: Sum of their intensities before each step, in thousandths.
    """

    def __init__(self, seed: str) -> None:
        rng = self._rng = random.Random(seed)  # noqa: S311 - the same each time
        self._homes = [_around(rng, home, _SPREAD) for home in EMOTIONS.values()]
        self._levels = [_around(rng, home, _TURN) for home in self._homes]
        self._thresholds = sorted(_around(rng, each, 0.12) for each in _THRESHOLDS)
        self._presence = _presence(rng, bisect_left((0.25, 0.6, 0.88), rng.random()))
        self.faces = bytearray()
        self.people = [bytearray() for _ in EMOTIONS]
        self.detections = [array("I", [0]) for _ in EMOTIONS]
        self.quantities = [array("I", [0]) for _ in EMOTIONS]

    def grow(self, steps: int) -> None:
        """Extend the walk to at least *steps*."""
        while len(self.faces) < steps:
            self._grow_leg()

    def _grow_leg(self) -> None:
        rng = self._rng
        faces = [next(self._presence) for _ in range(_LEG)]
        self.faces.extend(faces)
        for index, home in enumerate(self._homes):
            before = self._levels[index]
            after = home + (before - home) * _PERSISTENCE
            after = _around(rng, after, _TURN)
            if rng.random() < _PEAK:
                after = _around(rng, 0.85, 0.2)
            self._levels[index] = after
            self._walk(index, faces, before, (after - before) / _LEG)

    def _walk(self, index: int, faces: list[int], level: float, slope: float) -> None:
        """Walk one leg of one emotion from *level*."""
        people, thresholds = self.people[index], self._thresholds
        detections, quantities = self.detections[index], self.quantities[index]
        detected, quantity = detections[-1], quantities[-1]
        for seen, noise in zip(faces, self._rng.randbytes(_LEG), strict=True):
            level += slope
            felt = level + (noise - 128) / 2_500
            shown = bisect_left(thresholds, felt, 0, seen)
            people.append(shown)
            if shown:
                detected += shown
                quantity += shown * min(990, int(120 + 900 * felt))
            detections.append(detected)
            quantities.append(quantity)


class Speech:
    """The speech of a session, step by step.

    Attributes:
        counts: Number of segments before each step, for each sentiment.
    """

    def __init__(self, seed: str) -> None:
        rng = self._rng = random.Random(seed)  # noqa: S311 - the same each time
        self._talk = _talk(rng)
        self._valence = _around(rng, 0.5, 0.4)
        self.counts = tuple(array("I", [0]) for _ in SENTIMENTS)

    def grow(self, steps: int) -> None:
        """Extend the walk to at least *steps*."""
        while len(self.counts[0]) <= steps:
            home = 0.55
            valence = home + (self._valence - home) * _PERSISTENCE
            self._valence = _around(self._rng, valence, _TURN)
            for _ in range(_LEG):
                self._grow_step()

    def _grow_step(self) -> None:
        added = [0, 0, 0]
        positive = 0.55 * self._valence
        negative = 0.4 * (1 - self._valence)
        for _ in range(next(self._talk)):
            chance = self._rng.random()
            added[0 if chance < positive else 2 if chance > 1 - negative else 1] += 1
        for counts, more in zip(self.counts, added, strict=True):
            counts.append(counts[-1] + more)


def _around(rng: random.Random, middle: float, spread: float) -> float:
    """Return a number near *middle*, from 0 to 1."""
    return min(1.0, max(0.0, middle + (rng.random() - 0.5) * spread))


def _between(rng: random.Random, least: int, most: int) -> int:
    return least + int(rng.random() * (most - least + 1))


def _presence(rng: random.Random, others: int) -> Iterator[int]:
    """Yield the number of faces in each step: mostly all of them, at times none."""
    everybody = others + 1
    yield from repeat(0, _between(rng, 0, 2))  # until the camera is in place
    while True:
        yield from repeat(everybody, _between(rng, 8, 80))
        if rng.random() < _ABSENCE:
            yield from repeat(0, _between(rng, 6, 40))
        elif others:
            yield from repeat(_between(rng, 1, everybody), _between(rng, 4, 40))


def _talk(rng: random.Random) -> Iterator[int]:
    """Yield the number of segments that begin in each step, in speech and silence."""
    while True:
        for _ in range(_between(rng, 6, 90)):
            yield bisect_left((0.25, 0.85), rng.random())
        yield from repeat(0, _between(rng, 1, 30))
