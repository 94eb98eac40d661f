"""Faults that tests ask for: the requests that meet them, and how often."""

import json
import random
import threading
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, Literal, get_args

import attrs

from emogg_async.testing._checks import (
    SECONDS,
    are_headers,
    is_count,
    is_seconds,
    require,
)

__all__ = ["Fault", "FaultRule", "FaultRules"]

Fault = Literal[
    "reset",
    "close",
    "hang",
    "cut",
    "cut_chunked",
    "garbage",
    "html",
    "huge",
    "bomb",
]

_BODY_FAULTS: Final = frozenset({"cut", "cut_chunked"})
"""Faults that a rule with a *body* may have."""

_STATUSES: Final = range(200, 600)


class FaultRules:
    """The rules in force, newest first; safe to use from any thread."""

    def __init__(self, rng: random.Random) -> None:
        self._lock = threading.Lock()
        self._rng = rng
        self._rules: list[FaultRule] = []

    def add(self, rule: "FaultRule") -> None:
        """Put *rule* in force, before all others."""
        with self._lock:
            self._rules.insert(0, rule)

    def remove(self, rule: "FaultRule") -> None:
        """Take *rule* out of force; do nothing if it no longer is."""
        with self._lock:
            if rule in self._rules:
                self._rules.remove(rule)

    def choose(self, method: str, path: str) -> "FaultRule | None":
        """Return the newest rule that meets the request, and count the hit."""
        if not self._rules:
            return None
        with self._lock:
            for rule in self._rules:
                if self._meets(rule, method, path):
                    rule.hits += 1
                    if rule.hits == rule.times:
                        self._rules.remove(rule)
                    return rule
        return None

    def _meets(self, rule: "FaultRule", method: str, path: str) -> bool:
        return (
            fnmatchcase(method, rule.method)
            and fnmatchcase(path, rule.path)
            and (rule.probability == 1.0 or self._rng.random() < rule.probability)
        )


def _encode(body: Any) -> bytes | None:
    if body is None or isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    try:
        return json.dumps(body).encode()
    except (TypeError, ValueError):
        require(False, "body", "text, bytes or a JSON value")
        raise


@attrs.define(eq=False, kw_only=True)
class FaultRule:
    """A fault in force, as `EmoggEmulator.fail` returns it.

    Attributes:
        method: Glob that the method must match, e.g. `GET` or `*`.
        path: Glob that the path must match; `*` also matches slashes.
        status: Status of the answer; None leaves it to the fault or the real answer.
        fault: Kind of damage; None if there is none beyond `status` and `delay`.
        body: Body of the answer; None is the usual one.
        headers: Headers added to the answer; they override the emulator's own.
        delay: Seconds to wait before anything else happens.
        after: Whether the request is handled first, so that only its answer is lost.
        lag: Seconds to wait after handling, so that later answers overtake this one.
        times: Number of requests after which the rule is used up; None is no limit.
        probability: Chance, 0 to 1, that a matching request meets the fault.
        hits: Number of requests that have met the fault.
    """

    method: str
    path: str
    status: int | None
    fault: Fault | None
    body: bytes | None = attrs.field(converter=_encode)
    headers: Mapping[str, str]
    delay: float
    after: bool
    lag: float
    times: int | None
    probability: float
    hits: int = attrs.field(default=0, init=False)
    _rules: FaultRules = attrs.field(repr=False)

    def __attrs_post_init__(self) -> None:
        """Check the arguments.

        Raises:
            InvalidArgumentError: An argument breaks its rule; the message names both.
        """
        _check_request(self)
        _check_answer(self)
        self.method = self.method.upper()
        self.headers = dict(self.headers)

    def remove(self) -> None:
        """Take the rule out of force; do nothing if it no longer is."""
        self._rules.remove(self)


def _check_request(rule: FaultRule) -> None:
    require(isinstance(rule.method, str), "method", "a glob, e.g. 'GET' or '*'")
    require(isinstance(rule.path, str), "path", "a glob, e.g. '/v1/sessions/*'")
    times, chance = rule.times, rule.probability
    require(times is None or is_count(times, 1), "times", "an integer from 1, or None")
    is_chance = is_seconds(chance) and chance <= 1
    require(is_chance, "probability", "a number from 0 to 1")


def _check_answer(rule: FaultRule) -> None:
    status, fault = rule.status, rule.fault
    require(is_seconds(rule.delay), "delay", SECONDS)
    require(is_seconds(rule.lag), "lag", SECONDS)
    require(
        are_headers(rule.headers),
        "headers",
        "a mapping of names to values, both one line of text",
    )
    require(
        status is None or (is_count(status) and status in _STATUSES),
        "status",
        "an integer from 200 to 599, or None",
    )
    names = get_args(Fault)
    is_known = fault is None or fault in names
    require(is_known, "fault", f"None or one of {', '.join(names)}")
    require(
        rule.body is None or (status is not None and (fault or "cut") in _BODY_FAULTS),
        "body",
        "None without a status, or with a fault but 'cut' and 'cut_chunked'",
    )
    comes_before = status is not None or fault in {"reset", "close", "hang"}
    require(
        isinstance(rule.after, bool) and (comes_before or not rule.after),
        "after",
        "a boolean; True needs a status, or the fault 'reset', 'close' or 'hang'",
    )
