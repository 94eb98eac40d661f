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

__all__ = ["Fault", "FaultRule", "FaultRules", "make_rule"]

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
"""Faults that leave the content of the body open."""

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
        """Take *rule* out of force, if it is."""
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
    body: bytes | None
    headers: Mapping[str, str]
    delay: float
    after: bool
    lag: float
    times: int | None
    probability: float
    hits: int = attrs.field(default=0, init=False)
    _rules: FaultRules = attrs.field(repr=False)

    def remove(self) -> None:
        """Take the rule out of force; do nothing if it no longer is."""
        self._rules.remove(self)


def make_rule(rules: FaultRules, **options: Any) -> FaultRule:
    """Make a rule of the *options* of `EmoggEmulator.fail`, checked.

    Raises:
        InvalidArgumentError: An option breaks its rule; the message names both.
    """
    _check_what(options["method"], options["path"], options["headers"])
    _check_when(options)
    _check_answer(options["status"], options["fault"], options["body"])
    _check_after(options["after"], options["status"], options["fault"])
    options["method"] = options["method"].upper()
    options["body"] = _encode(options["body"])
    options["headers"] = dict(options["headers"] or {})
    return FaultRule(rules=rules, **options)


def _check_what(method: object, path: object, headers: object) -> None:
    require(isinstance(method, str), "method", "a glob, e.g. 'GET' or '*'")
    require(isinstance(path, str), "path", "a glob, e.g. '/v1/sessions/*'")
    require(
        headers is None or are_headers(headers),
        "headers",
        "a mapping of names to values, both one line of text",
    )


def _check_when(options: Mapping[str, Any]) -> None:
    times, probability = options["times"], options["probability"]
    for name in ("delay", "lag"):
        require(is_seconds(options[name]), name, SECONDS)
    require(times is None or is_count(times, 1), "times", "an integer from 1, or None")
    require(
        is_seconds(probability) and probability <= 1,
        "probability",
        "a number from 0 to 1",
    )


def _check_answer(status: object, fault: object, body: object) -> None:
    require(
        status is None or (is_count(status) and status in _STATUSES),
        "status",
        "an integer from 200 to 599, or None",
    )
    names = ", ".join(get_args(Fault))
    require(
        fault is None or fault in get_args(Fault), "fault", f"None or one of {names}"
    )
    require(
        body is None or (status is not None and (fault or "cut") in _BODY_FAULTS),
        "body",
        "needs a status, and no fault other than 'cut' or 'cut_chunked'",
    )


def _check_after(after: object, status: object, fault: object) -> None:
    before = status is not None or fault in {"reset", "close", "hang"}
    rule = "a boolean; True needs a status, or the fault 'reset', 'close' or 'hang'"
    require(isinstance(after, bool) and (before or not after), "after", rule)


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
