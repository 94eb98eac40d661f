"""Guesses of the emulator where the reference is silent.

This was written without the live service at hand. Each guess is a constant here or a
line of this list:

- a 401 comes before everything else, costs nothing and has no rate headers; all other
  answers cost a token, also those to unknown routes and those of faults with a status;
- an id that is not 24 hex digits belongs to no session: 404; letter case does not
  matter; another user's session counts as unknown, for writes too;
- `from` and `to` are ISO 8601 with an offset, and anything else is a 400; a `state` or
  `type` that does not occur gives an empty page; the first value of a repeated
  parameter counts, and unknown parameters are ignored;
- "newest first" is by timestamp, then by id, both descending; an emulator can sort by
  id alone instead;
- the body is checked before the session's existence and state; the rule for names of
  sessions also holds for sources, no name is empty, and a character is a Unicode code
  point;
- sources can be registered and events reported in any state of the session, at any
  time from 0 on, and a source may have the name of another;
- an `end` beyond the session's end means that end; an `end` that is not after `start`
  is a 400, and a `start` beyond the session's end gives no interval; intervals are
  counted from `start`, and the last one ends with the session;
- `quantity` is the sum of the intensities of all detections in an interval, `intensity`
  their mean, and `people` and `detectedFaces` are the largest numbers at one time; the
  example (3, 2.654, 0.885) agrees with that; the totals count those detections;
- an expanded user or product has an `_id` and a `name`; objects in an expanded event
  are not expanded further; an array of one event answers the report of one;
- `sentiments` counts the segments of each kind; their sum is `segments`;
- a stopped session is `finished` at once, unless the emulator is told to process it for
  some seconds; its worker ends when it ceases to be active.

Live channels have guesses that can be switched, see `LiveGuesses`, and these:

- a handshake costs no token of the bucket and needs no header of authorization; one too
  many from an address is answered 429;
- messages refused by their limit do not count among the 80; any message counts as
  traffic, but no ping frame of the WebSocket protocol does;
- an `id` is a string, a number or null, unknown fields of a message are ignored, a
  message is at most 16 KiB, an unknown path is a 404, a second auth a 400;
- a subscription is refused 400 if its body is of another shape, and 404 if the channel,
  the session or the frequency is unknown, before its limits are looked at; the same
  channel and key may be subscribed to twice;
- events come at each multiple of the frequency since the session began, so the end of a
  session that is not one brings none; subscriptions to a session that is over are
  confirmed and silent;
- the detections of one step of the analysis are spread over its five seconds; for
  frequencies below that, intensities are those of the running step;
- every session with a `workerState` in its `meta`, now or before, has the channel of
  its worker's state; the end of the worker is no event, as no state but `working` is
  known;
- `advance` does not count as silence of a client, which could say nothing in it.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import attrs

from emogg_async.testing._checks import is_seconds, require

__all__ = [
    "CLOSED_AS_SILENT",
    "CLOSED_AS_WRONG",
    "EXPANDABLE",
    "EXPIRES_AFTER",
    "HEALTH_CHECK_EVERY",
    "LONGEST_ANALYSIS",
    "LONGEST_MESSAGE",
    "REGISTER_PATH",
    "REPORT_PATH",
    "STOPPED_STATE",
    "STREAM_DEVICE",
    "STREAM_TYPE",
    "UNKNOWN_EXPAND_IS_REFUSED",
    "UNKNOWN_FIELDS_ARE_REFUSED",
    "WORKER_FIELDS",
    "LiveGuesses",
]

REGISTER_PATH: Final = "/v1/sessions/{id}/events"
"""Path to register sources, as printed. It looks like the path of events."""

REPORT_PATH: Final = "/v1/sessions/{id}/sources/{source}/events"
"""Path to send custom events, a guess: the printed path has no place for a source."""

EXPANDABLE: Final[Mapping[str, frozenset[str]]] = {
    "session": frozenset({"user", "product"}),
    "analysis": frozenset({"session"}),
    "event": frozenset({"session", "user"}),
    "source": frozenset(),
}
"""Names that `expand[]` takes. `product` and all names of events are guesses: the
reference says "any endpoint", and does not describe an expanded product."""

UNKNOWN_EXPAND_IS_REFUSED: Final = True
"""A guess: an `expand[]` that names nothing expandable is a 400, not ignored."""

UNKNOWN_FIELDS_ARE_REFUSED: Final = True
"""A guess: an undocumented field of a body is a 400, not ignored. For changes, the
reference says that only `name` can be edited."""

STREAM_TYPE: Final = "stream"
"""A guess: the `type` of a created session's source, its stream."""

STREAM_DEVICE: Final = "{scheme}_stream"
"""A guess: the `device` of that source. Its `name` is the stream's host, as the rest of
the URI may be secret."""

EXPIRES_AFTER: Final = 30 * 86_400
"""Seconds after which a created session expires. A guess from the example, which says
30 days and an hour. Nothing happens when a session expires."""

HEALTH_CHECK_EVERY: Final = 30
"""A guess: seconds between the worker's signs of life."""

WORKER_FIELDS: Final = frozenset({"healthCheck", "workerState"})
"""Fields that `meta` loses when the worker ends. A guess: no state but `working` is
known."""

STOPPED_STATE: Final = "finished"
"""State of a session after a stop; the reference does not say if it is `processing`
first."""

LONGEST_ANALYSIS: Final = 86_400
"""Largest number of seconds of a session that are analysed, a bound of the emulator
only."""

CLOSED_AS_WRONG: Final = 1008
"""A guess: code of the close after a wrong token or message ("policy violation")."""

CLOSED_AS_SILENT: Final = 1001
"""A guess: code of the close after 65 s without traffic ("going away")."""

LONGEST_MESSAGE: Final = 16_384
"""Largest size of a client's message in bytes, a bound of the emulator only."""

_LONGEST_KEPT: Final = 65.0

_CHOICES: Final[Mapping[str, tuple[object, ...]]] = {
    "window": ("rolling", "fixed"),
    "over_limit": ("refuse", "bad_request", "forbid", "close"),
    "error_text_in": ("data", "body"),
    "timestamps": ("iso", "ms"),
}


def _check_choice(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    choices = _CHOICES.get(field.name, (True, False))
    rule = f"one of {', '.join(map(repr, choices))}"
    require(
        any(value == each and type(value) is type(each) for each in choices),
        field.name,
        rule,
    )


def _check_kept(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
    holds = is_seconds(value) and float(str(value)) <= _LONGEST_KEPT
    require(holds, field.name, "seconds, a real number from 0 to 65")


@attrs.frozen(kw_only=True)
class LiveGuesses:
    """What the reference leaves open about live channels, one switch each.

    Source: https://docs.emogg.com, "WebSocket". Each default is a guess.

    Attributes:
        pings_count: Whether pings count among the 80 messages.
        window: Whether the 60 s of messages and connections are the "rolling" last
            ones, or "fixed" ones that begin at each multiple of 60 s.
        over_limit: What a message or subscription too many is answered: "refuse" is a
            429, "bad_request" a 400, "forbid" a 403, "close" closes the connection.
        event_before_ack: Whether a subscription is confirmed only after its first
            event, or after 1.5 s without one.
        repeats_unchanged: Whether an event is sent though its payload is that of the
            event before it.
        refusals_have_id: Whether a refusal repeats the `id` of its request.
        error_text_in: Whether the `message` of a refusal stands in its "data" or its
            "body".
        timestamps: Whether events have ISO 8601 timestamps ("iso") or Unix milliseconds
            ("ms").
        slots_kept: Seconds, up to 65, for which subscriptions of a connection that
            vanished without a close still count among the user's.
    """

    pings_count: bool = attrs.field(default=True, validator=_check_choice)
    window: Literal["rolling", "fixed"] = attrs.field(
        default="rolling", validator=_check_choice
    )
    over_limit: Literal["refuse", "bad_request", "forbid", "close"] = attrs.field(
        default="refuse", validator=_check_choice
    )
    event_before_ack: bool = attrs.field(default=False, validator=_check_choice)
    repeats_unchanged: bool = attrs.field(default=True, validator=_check_choice)
    refusals_have_id: bool = attrs.field(default=False, validator=_check_choice)
    error_text_in: Literal["data", "body"] = attrs.field(
        default="data", validator=_check_choice
    )
    timestamps: Literal["iso", "ms"] = attrs.field(
        default="iso", validator=_check_choice
    )
    slots_kept: float = attrs.field(default=0.0, validator=_check_kept)
