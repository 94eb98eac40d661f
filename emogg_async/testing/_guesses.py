"""What the reference leaves open and the emulator had to decide, by guessing.

Nobody who wrote this has seen the live service. Each guess is one constant here, or one
line of this list:

- a 401 comes before everything else, costs nothing and has no rate headers; all other
  answers cost a token, those to unknown routes and those of faults with a status too;
- an id that is not 24 hex digits belongs to no session: 404; letter case does not
  matter; another user's session is as good as unknown, to writes too;
- `from` and `to` are ISO 8601 with an offset, and 400 otherwise; a `state` or `type`
  that does not occur gives an empty page; of a parameter that is repeated the first
  counts, and unknown ones are ignored;
- "newest first" is by timestamp, and sessions with the same one are listed by id,
  descending; an emulator can be told to sort by id alone instead;
- what a body holds is checked before whether the session exists and in which state it
  is; names of sources are held to the rule for sessions, no name is empty, and
  a character is a Unicode code point;
- sources can be registered and events reported in any state of the session, at any
  time from 0 on, and a source may have the name of another;
- `end` beyond the session's end means that end; `end` that is not after `start` is
  a 400, and `start` beyond the session's end gives no interval; intervals are counted
  from `start`, and the last one ends with the session;
- `quantity` is the sum of the intensities of all detections in an interval, `intensity`
  their mean, and `people` and `detectedFaces` are the most at one time, of which the
  example (3, 2.654, 0.885) is a case; the totals count those detections;
- an expanded user or product has an `_id` and a `name`; what an event stands for is
  not expanded further; an array of one event answers the report of one;
- `sentiments` counts the segments of each kind, which together are all segments.
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
"""Where sources are registered: as printed, though it looks like the other's path."""

REPORT_PATH: Final = "/v1/sessions/{id}/sources/{source}/events"
"""Where custom events are sent. A guess: the path printed has no place for a source."""

EXPANDABLE: Final[Mapping[str, frozenset[str]]] = {
    "session": frozenset({"user", "product"}),
    "analysis": frozenset({"session"}),
    "event": frozenset({"session", "user"}),
    "source": frozenset(),
}
"""What `expand[]` can name. `product` and all of the events are guesses: the reference
says "any endpoint", and only of a product that its expanded shape is not described."""

UNKNOWN_EXPAND_IS_REFUSED: Final = True
"""A guess: an `expand[]` that names nothing expandable is a 400, not ignored."""

UNKNOWN_FIELDS_ARE_REFUSED: Final = True
"""A guess: a field of a body that is not documented is a 400, not ignored. Of a change
the reference says that `name` is the only field that can be edited."""

STREAM_TYPE: Final = "stream"
"""A guess: `type` of the source that a created session has for its stream."""

STREAM_DEVICE: Final = "{scheme}_stream"
"""A guess: `device` of that source. Its `name` is the stream's host, as the rest of
a stream's URI may be secret."""

EXPIRES_AFTER: Final = 30 * 86_400
"""Seconds after which a created session expires. A guess from the example, which says
30 days and an hour; nothing happens then."""

HEALTH_CHECK_EVERY: Final = 30
"""Seconds between the worker's signs of life, a guess."""

WORKER_FIELDS: Final = frozenset({"healthCheck", "workerState"})
"""What `meta` loses when the worker ends. A guess: no state but `working` is known."""

STOPPED_STATE: Final = "finished"
"""What a stop makes of a session at once; whether it is `processing` first is open."""

LONGEST_ANALYSIS: Final = 86_400
"""Seconds of a session that are analysed at most: a bound of this emulator only."""
