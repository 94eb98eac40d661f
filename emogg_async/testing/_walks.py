"""Faces and speech of made-up sessions, put together from legs of a minute.

A session is a chain of legs, one for each emotion and minute, and each begins at the
rough level at which the one before ended. The legs themselves are made once for all
sessions, with their sums and their JSON, so a minute costs a look-up for each emotion.

A chain depends only on its seed, and grows as far as it is needed, so a longer session
has the same beginning. Sums are kept as whole thousandths, so all intervals add up
exactly.
"""

import random
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import accumulate, repeat
from operator import mul, sub
from typing import Final, TypeVar

import attrs

__all__ = ["EMOTIONS", "SENTIMENTS", "STEP", "Moods", "Speech"]

T = TypeVar("T")

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
"""Steps of a leg: a minute, from one rough level to the next, linear but for noise."""

_TURN: Final = 2
"""Steps of a leg after which people come or go, and begin or cease to speak."""

_ROUGH: Final = 16
"""Number of rough levels from 0 to 1."""

_SPREAD: Final = 0.3
"""Width of the range in which the usual levels of sessions lie."""

_PERSISTENCE: Final = 0.78
"""Part of a deviation that is left after a leg."""

_DRAWS: Final = 52
"""Number of random bytes that lead to the same level; all lead to levels within 0.15 of
the middle, but for peaks."""

_PEAKS: Final = bytes([12, 13, 13, 14, 14])
"""Rough levels to which the last of the 256 random bytes lead: peaks."""

_NEARBY: Final = 256 - len(_PEAKS)
"""Number of random bytes that lead to a level nearby."""

_NOISE: Final = random.Random(0).randbytes(512)  # noqa: S311 - the same each time

_THRESHOLDS: Final = (0.24, 0.36, 0.48, 0.6)
"""Levels from which one, two, three and four people show an emotion."""

_ABSENCE: Final = 0.12
"""Chance that nobody is seen after everybody was."""

_POSITIVE: Final = 0.55
"""Level to which the valence of speech returns."""


@attrs.frozen(eq=False)
class Leg:
    """A minute of one emotion.

    Attributes:
        people: Number of people who show it in each step.
        detections: Sum of `people` before each step, and at the end.
        quantities: Sum of their intensities in the same way, in thousandths.
    """

    people: bytes
    detections: tuple[int, ...]
    quantities: tuple[int, ...]


_one = lru_cache(maxsize=4_096)(Leg)  # about 1 kB each
"""Returns equal legs as one, so that their JSON is made once."""


class Moods:
    """The emotions in a session's faces.

    Attributes:
        faces: Number of faces in each step.
    """

    def __init__(self, seed: str) -> None:
        rng = self._rng = random.Random(seed)  # noqa: S311 - the same each time
        homes = [_around(rng, home, _SPREAD) for home in EMOTIONS.values()]
        self._moves = [_moves(round(home * 2 * _ROUGH)) for home in homes]
        self._levels = [min(int(home * _ROUGH), _ROUGH - 1) for home in homes]
        self._presence = _presence(rng, bisect_left((0.25, 0.6, 0.88), rng.random()))
        self._seen = next(self._presence)
        self._rows: list[list[Leg]] = []
        self._told: tuple[int, list[str]] = -1, []
        self.faces = bytearray()

    def grow(self, steps: int) -> None:
        """Extend the chains to at least *steps*."""
        while len(self.faces) < steps:
            seen, self._seen = self._seen, next(self._presence)
            faces = _turn(seen, self._seen)
            self.faces += faces
            draws = self._rng.randbytes(len(EMOTIONS))
            before = self._levels
            after = [
                moves[level][draw]
                for moves, level, draw in zip(self._moves, before, draws, strict=True)
            ]
            self._rows.append([*map(_leg, before, after, repeat(faces))])
            self._levels = after

    def detected(self, first: int, last: int) -> list[int]:
        """Return how often each emotion was detected from step *first* up to *last*."""
        if first == last:
            return [0] * len(EMOTIONS)
        rows, start, end = _cut(self._rows, first, last)
        return [
            _total([leg.detections for leg in legs], start, end)
            for legs in zip(*rows, strict=True)
        ]

    def tell(self, first: int, last: int) -> str:
        """Write the measures of each emotion from step *first* to *last*, as JSON."""
        number, start = divmod(first, _LEG)
        if last == first + 1:
            # A timeline asks for the steps of a leg one after the other.
            if self._told[0] != number:
                columns = map(_steps, EMOTIONS, self._rows[number])
                self._told = number, [*map(_object, zip(*columns, strict=True))]
            return self._told[1][start]
        if not start and last == first + _LEG:
            return _object(map(_whole, EMOTIONS, self._rows[number]))
        return _object(self._sum_up(first, last))

    def _sum_up(self, first: int, last: int) -> Iterator[str]:
        rows, start, end = _cut(self._rows, first, last)
        for name, legs in zip(EMOTIONS, zip(*rows, strict=True), strict=True):
            people = b"".join([leg.people for leg in legs])
            most = max(people[start : start + last - first])
            detected = _total([leg.detections for leg in legs], start, end)
            quantity = _total([leg.quantities for leg in legs], start, end)
            yield _measure(name, most, detected, quantity)


class Speech:
    """The speech of a session."""

    def __init__(self, seed: str) -> None:
        rng = self._rng = random.Random(seed)  # noqa: S311 - the same each time
        self._moves = _moves(round(_POSITIVE * 2 * _ROUGH))
        self._valence = int(_around(rng, 0.5, 0.4) * _ROUGH)
        self._talk = _talk(rng)
        self._talks = next(self._talk)
        self._legs: list[tuple[bytes, ...]] = []

    def grow(self, steps: int) -> None:
        """Extend the chain to at least *steps*."""
        while len(self._legs) * _LEG < steps:
            talked, self._talks = self._talks, next(self._talk)
            draw, variant = self._rng.randbytes(2)
            talk = _turn(talked, self._talks)
            self._legs.append(_said(self._valence, variant % 8, talk))
            self._valence = self._moves[self._valence][draw]

    def segments(self, first: int, last: int) -> list[int]:
        """Return the segments of each sentiment from step *first* up to *last*."""
        legs, start, _ = _cut(self._legs, first, last)
        end = start + last - first
        return [sum(b"".join(parts)[start:end]) for parts in zip(*legs, strict=True)]


# -- legs ------------------------------------------------------------------------------


@lru_cache(maxsize=8_192)  # about 250 bytes each
def _leg(before: int, after: int, faces: bytes) -> Leg:
    """Return the leg between two rough levels while *faces* are seen in its steps."""
    shown, intensities = _curve(before, after)
    people = bytes(map(min, shown, faces))
    detections = accumulate(people, initial=0)
    quantities = accumulate(map(mul, people, intensities), initial=0)
    return _one(people, tuple(detections), tuple(quantities))


@lru_cache(maxsize=_ROUGH * _ROUGH)
def _curve(before: int, after: int) -> tuple[bytes, list[int]]:
    """Return how many of four people show an emotion in each step, and how much."""
    first = (before * _ROUGH + after) * 7 % (len(_NOISE) - _LEG)
    levels = [
        (before + 0.5 + (after - before) * step / _LEG) / _ROUGH
        + (_NOISE[first + step] - 128) / 2_500
        for step in range(1, _LEG + 1)
    ]
    shown = bytes(bisect_left(_THRESHOLDS, level) for level in levels)
    return shown, [5 * min(198, int(24 + 180 * level)) for level in levels]


@lru_cache(maxsize=8_192)  # about 150 bytes each
def _whole(name: str, leg: Leg) -> str:
    """Write what the timeline tells of a leg, see `_measure`."""
    detected, quantity = leg.detections[-1], leg.quantities[-1]
    return _measure(name, max(leg.people), detected, quantity)


@lru_cache(maxsize=8_192)  # about 200 bytes each
def _steps(name: str, leg: Leg) -> list[str]:
    """Write what the timeline tells of each step of a leg, see `_measure`."""
    quantities = map(sub, leg.quantities[1:], leg.quantities)
    return [*map(_step, repeat(name), leg.people, quantities)]


@lru_cache(maxsize=16_384)  # about 150 bytes each
def _step(name: str, people: int, quantity: int) -> str:
    """Write what the timeline tells of a step, see `_measure`."""
    return _measure(name, people, people, quantity)


def _measure(name: str, people: int, detected: int, quantity: int) -> str:
    """Write what the timeline tells of an emotion, as a member of a JSON object.

    Args:
        name: Name of the emotion.
        people: Largest number of people who show it at one time.
        detected: Number of detections.
        quantity: Sum of their intensities, in thousandths.

    Returns:
        The member after a comma; nothing if the emotion was not detected.
    """
    if not detected:
        return ""
    intensity = round(quantity / detected) / 1000
    rest = f'"quantity":{quantity / 1000},"intensity":{intensity}'
    return f',"{name}":{{"people":{people},{rest}}}'


def _object(members: Iterable[str]) -> str:
    """Write a JSON object of *members*, see `_measure`."""
    return f"{{{''.join(members)[1:]}}}"


@lru_cache(maxsize=2 * _ROUGH + 1)
def _moves(home: int) -> tuple[bytes, ...]:
    """Return the level to which a leg leads, for each level and each random byte.

    Args:
        home: The usual level, in halves of rough levels.
    """
    widest = _NEARBY // _DRAWS
    ramp = b"".join(
        bytes([min(max(0, level), _ROUGH - 1)]) * _DRAWS
        for level in range(-widest, _ROUGH + widest)
    )
    found = []
    for level in range(_ROUGH):
        middle = home / 2 + (level + 0.5 - home / 2) * _PERSISTENCE
        first = round((middle + widest) * _DRAWS) - _NEARBY // 2
        found.append(ramp[first : first + _NEARBY] + _PEAKS)
    return tuple(found)


@lru_cache(maxsize=2_048)  # about 200 bytes each
def _said(valence: int, variant: int, talk: bytes) -> tuple[bytes, ...]:
    """Return the segments of each sentiment that begin in each step of a leg."""
    rng = random.Random(f"{valence}:{variant}:{talk!r}")  # noqa: S311 - as above
    positive = 0.55 * (valence + 0.5) / _ROUGH
    negative = 0.4 * (1 - (valence + 0.5) / _ROUGH)
    added = tuple(bytearray(_LEG) for _ in SENTIMENTS)
    for step, talks in enumerate(talk):
        for _ in range(bisect_left((0.25, 0.85), rng.random()) if talks else 0):
            chance = rng.random()
            kind = 0 if chance < positive else 2 if chance > 1 - negative else 1
            added[kind][step] += 1
    return tuple(map(bytes, added))


@lru_cache(maxsize=32)
def _turn(before: int, after: int) -> bytes:
    """Return the value of each step of a leg in which it changes."""
    return bytes([before] * _TURN + [after] * (_LEG - _TURN))


def _cut(legs: list[T], first: int, last: int) -> tuple[list[T], int, int]:
    """Return the legs with steps from *first* up to *last*.

    With them come the step of the first leg at which that begins, and the step of the
    last leg at which it ends.
    """
    index, start = divmod(first, _LEG)
    stop, end = divmod(last - 1, _LEG)
    return legs[index : stop + 1], start, end + 1


def _total(sums: list[tuple[int, ...]], start: int, end: int) -> int:
    """Return what is between step *start* of the first leg and *end* of the last."""
    return sum([each[-1] for each in sums[:-1]]) + sums[-1][end] - sums[0][start]


# -- chance ----------------------------------------------------------------------------


def _around(rng: random.Random, middle: float, spread: float) -> float:
    """Return a number near *middle*, from 0 to 1."""
    return min(1.0, max(0.0, middle + (rng.random() - 0.5) * spread))


def _between(rng: random.Random, least: int, most: int) -> int:
    return least + int(rng.random() * (most - least + 1))


def _presence(rng: random.Random, others: int) -> Iterator[int]:
    """Yield the number of faces after each leg: mostly all of them, at times none."""
    everybody = others + 1
    yield from repeat(0, _between(rng, 0, 1))  # until the camera is in place
    while True:
        yield from repeat(everybody, _between(rng, 1, 6))
        if rng.random() < _ABSENCE:
            yield from repeat(0, _between(rng, 1, 3))
        elif others:
            yield from repeat(_between(rng, 1, everybody), _between(rng, 1, 3))


def _talk(rng: random.Random) -> Iterator[int]:
    """Yield whether somebody speaks after each leg."""
    while True:
        yield from repeat(1, _between(rng, 1, 7))
        yield from repeat(0, _between(rng, 1, 2))
