"""What hypothesis makes: JSON, sessions as the service writes them, header values."""

import operator
from datetime import datetime

from hypothesis import strategies as st

names = st.text(max_size=12)
"""Names of fields; any text is one."""

numbers = st.integers(-(2**53), 2**53) | st.floats(
    allow_nan=False, allow_infinity=False
)
"""Numbers that a double holds exactly, so that none changes on its way."""

json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4)
    ),
    max_leaves=12,
)

json_objects = st.dictionaries(names, json_values, max_size=5)


def _wire_objects(required, optional):
    """Make objects with these fields, and perhaps with unknown ones."""
    known = {*required, *optional}
    unknown_names = st.just("extra") | names.filter(lambda name: name not in known)
    return st.builds(
        operator.or_,
        st.dictionaries(unknown_names, json_values, max_size=2),
        st.fixed_dictionaries(required, optional=optional),
    )


def _write(moment):
    fraction = f"{moment.microsecond:06}".removesuffix("000")
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}Z"


timestamps = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)).map(_write)  # noqa: DTZ001 - the zone is written behind it
"""To the millisecond, or to the microsecond where that tells more."""

object_ids = st.text("0123456789abcdef", min_size=24, max_size=24)

wire_sources = _wire_objects(
    {
        "id": st.uuids().map(str),
        "name": st.text(max_size=20),
        "type": st.sampled_from(["video", "generic_sensor"]) | names,
        "device": st.sampled_from(["local_camera", "generic_sensor"]) | names,
    },
    {"format": st.sampled_from(["text", "scalar"]) | names},
)

wire_sessions = _wire_objects(
    {
        "_id": object_ids,
        "name": st.text(max_size=40),
        "type": st.just("live_analysis") | names,
        "state": st.sampled_from(["active", "processing", "finished"]) | names,
        "timestamp": timestamps,
        "duration": numbers,
        "product": object_ids,
        "user": object_ids,
        "version": st.just(3) | numbers,
    },
    {
        "config": _wire_objects({}, {"removeMedia": st.booleans()}),
        "sources": st.lists(wire_sources, max_size=3),
        "meta": _wire_objects(
            {},
            {
                "expires": timestamps,
                "healthCheck": timestamps,
                "workerState": st.just("working") | names,
            },
        ),
    },
)
"""Sessions in their wire form; `sources` may be absent or empty."""

emotion_names = st.sampled_from(["focus", "shock", "exaltation"]) | names
"""Names of emotions: an open set."""

counts = st.integers(-(2**53), 2**53)

expandable_ids = object_ids | st.builds(
    lambda extra, key, found: extra | {key: found},
    st.dictionaries(names.filter(lambda name: name not in {"_id", "id"}), json_values),
    st.sampled_from(["_id", "id"]),
    object_ids,
)
"""IDs, or the objects that stand in their place."""

expanded_sessions = st.builds(
    lambda session, user, product: session | {"user": user, "product": product},
    wire_sessions,
    expandable_ids,
    expandable_ids,
)

wire_totals = _wire_objects(
    {
        "session": expandable_ids,
        "emotions": st.dictionaries(emotion_names, counts, max_size=4),
    },
    {},
)

wire_measures = _wire_objects(
    {"people": counts, "quantity": numbers, "intensity": numbers}, {}
)

wire_intervals = _wire_objects(
    {
        "start": numbers,
        "end": numbers,
        "detectedFaces": counts,
        "emotions": st.dictionaries(emotion_names, wire_measures, max_size=3),
    },
    {},
)

wire_timelines = _wire_objects(
    {"session": expandable_ids, "timeline": st.lists(wire_intervals, max_size=3)}, {}
)

wire_sentiments = _wire_objects(
    {"positive": numbers, "neutral": numbers, "negative": numbers}, {}
)

wire_sentiment_timelines = _wire_objects(
    {
        "session": expandable_ids,
        "timeline": st.lists(
            _wire_objects(
                {
                    "start": numbers,
                    "end": numbers,
                    "segments": counts,
                    "sentiments": wire_sentiments,
                },
                {},
            ),
            max_size=3,
        ),
    },
    {},
)

wire_registered_sources = _wire_objects(
    {
        "id": st.uuids().map(str),
        "name": st.text(max_size=20),
        "device": st.just("generic_sensor") | names,
        "type": st.just("generic_sensor") | names,
        "format": st.sampled_from(["text", "scalar"]) | names,
    },
    {},
)

wire_events = _wire_objects(
    {
        "time": numbers,
        "data": numbers | st.text(max_size=20),
        "source": st.uuids().map(str),
        "session": object_ids,
        "user": object_ids,
        "type": st.just("sensor_report") | names,
    },
    {},
)

http_dates = st.builds(
    "{}, {:02} {} {:04} {} GMT".format,
    st.sampled_from(["Mon", "Tue", "Xyz"]),
    st.integers(0, 99),
    st.sampled_from(["Jan", "Feb", "Dec", "Xyz"]),
    st.integers(0, 9999),
    st.from_regex(r"[0-9:]{8}", fullmatch=True)
    | st.times().map(lambda time: f"{time:%H:%M:%S}"),
)
"""Texts in the form of an HTTP date; many are none."""

header_texts = (
    st.text(max_size=30)
    | st.integers().map(str)
    | st.integers(0, 200).map(str)
    | st.floats().map(str)
    | http_dates
    | st.sampled_from(["", "0", "-0", "1e309", "٣", "²", "1_0", "0x1", "+1", " 1"])
    | st.builds("{};w={}".format, st.integers(), st.integers() | st.text(max_size=5))
)
"""Values of headers, from honest ones to nonsense."""
