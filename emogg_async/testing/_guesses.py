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
  are not expanded further; the answer to one event is an array of one event;
- `sentiments` counts the segments of each kind; their sum is `segments`.
"""

from collections.abc import Mapping
from typing import Final

__all__ = [
    "EXPANDABLE",
    "EXPIRES_AFTER",
    "HEALTH_CHECK_EVERY",
    "LONGEST_ANALYSIS",
    "REGISTER_PATH",
    "REPORT_PATH",
    "STOPPED_STATE",
    "STREAM_DEVICE",
    "STREAM_TYPE",
    "UNKNOWN_EXPAND_IS_REFUSED",
    "UNKNOWN_FIELDS_ARE_REFUSED",
    "WORKER_FIELDS",
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
"""Seconds of a session that are analysed at most, a limit of the emulator alone."""
