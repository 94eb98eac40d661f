"""What a made-up session shows and says: random walks in steps of five seconds.

A walk depends on its seed alone. It grows as far as it is asked for, so that a longer
session has the same beginning. Sums are kept as running totals of whole thousandths:
whatever the intervals, they add up exactly.
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
"""The names seen, and the level to which each returns in a common session, 0 to 1."""

SENTIMENTS: Final = ("positive", "neutral", "negative")

_LEG: Final = 12
"""Steps from one level of the walk to the next, a minute; straight between them."""

_SPREAD: Final = 0.3
"""By how much sessions differ from the common one."""

_PERSISTENCE: Final = 0.78
"""Which part of a deviation is left after a leg."""

_TURN: Final = 0.3
"""How far a level can go in one leg, half of it up and half of it down."""

_PEAK: Final = 0.018
"""How likely a leg is to end in a peak."""

_THRESHOLDS: Final = (0.24, 0.36, 0.48, 0.6)
"""From which level on each of the people shows an emotion, about."""

_ABSENCE: Final = 0.12
"""How likely it is that nobody is seen when something changes."""


class Moods:
    """The emotions in a session's faces, step by step."""

    def __init__(self, seed: str) -> None:
        rng = self._rng = random.Random(seed)  # noqa: S311 - the same each time
        self._homes = [_around(rng, home, _SPREAD) for home in EMOTIONS.values()]
        self._levels = [_around(rng, home, _TURN) for home in self._homes]
        self._thresholds = sorted(_around(rng, each, 0.12) for each in _THRESHOLDS)
        self._presence = _presence(rng, bisect_left((0.25, 0.6, 0.88), rng.random()))
        self.faces = bytearray()
        """How many there are, for each step."""

        self.people = [bytearray() for _ in EMOTIONS]
        """How many people show each emotion, for each step."""

        self.detections = [array("I", [0]) for _ in EMOTIONS]
        """The sum of `people` over all steps before each one."""

        self.quantities = [array("I", [0]) for _ in EMOTIONS]
        """The sum of their intensities before each step, in thousandths."""

    def grow(self, steps: int) -> None:
        """Let the walk have at least that many steps."""
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
        """Let one emotion go one leg from *level* on."""
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
    """What is said in a session, step by step."""

    def __init__(self, seed: str) -> None:
        rng = self._rng = random.Random(seed)  # noqa: S311 - the same each time
        self._talk = _talk(rng)
        self._valence = _around(rng, 0.5, 0.4)
        self.counts = tuple(array("I", [0]) for _ in SENTIMENTS)
        """The number of segments of each sentiment before each step."""

    def grow(self, steps: int) -> None:
        """Let the walk have at least that many steps."""
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
    """Tell for each step how many faces are seen: mostly all, at times nobody's."""
    everybody = others + 1
    yield from repeat(0, _between(rng, 0, 2))  # until the camera is in place
    while True:
        yield from repeat(everybody, _between(rng, 8, 80))
        if rng.random() < _ABSENCE:
            yield from repeat(0, _between(rng, 6, 40))
        elif others:
            yield from repeat(_between(rng, 1, everybody), _between(rng, 4, 40))


def _talk(rng: random.Random) -> Iterator[int]:
    """Tell for each step how many segments begin in it: speech, and silence between."""
    while True:
        for _ in range(_between(rng, 6, 90)):
            yield bisect_left((0.25, 0.85), rng.random())
        yield from repeat(0, _between(rng, 1, 30))
