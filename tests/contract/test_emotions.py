"""Emotions and sentiments of sessions."""

from itertools import pairwise
from typing import Any, Final

from contract.asking import Service
from contract.seeing import said, shape, shapes, words
from contract.stating import Finding, NotTried, found, guess, promise
from contract.test_sessions import UNKNOWN, is_real

KINDS: Final = {
    "emotions": "Get emotions",
    "emotions/timeline": "Get emotions timeline",
    "audio/transcription-sentiment": "Get transcription sentiment",
}
TIMELINES: Final = [*KINDS][1:]


def is_count(value: object) -> bool:
    return type(value) is int and value >= 0


async def path_of(service: Service, what: str) -> str:
    """Return the path to *what* of a session that has been analysed for minutes."""
    for session in await service.listed():
        if session["state"] == "finished" and session["duration"] >= 180:
            return f"/v1/sessions/{session['_id']}/{what}"
    raise NotTried("the account has no finished session of three minutes")


async def intervals(service: Service, what: str, **query: Any) -> list[Any]:
    """Return a timeline of that session, which must not be empty."""
    answer = await service.get(await path_of(service, what), **query)
    found_intervals: list[Any] = answer.json["timeline"]
    if not found_intervals:
        raise NotTried("nothing was found in the session")
    return found_intervals


def lengths(timeline: list[Any]) -> list[float]:
    return [each["end"] - each["start"] for each in timeline]


@promise(
    "Get emotions", "answers 200 with the session's ID and a count for each emotion"
)
async def test_totals(service: Service) -> Finding:
    answer = await service.get(await path_of(service, "emotions"))
    totals = answer.json["emotions"]
    holds = answer.status == 200 and isinstance(answer.json["session"], str)
    seen = answer.seen, words(totals)
    return found(holds and all(map(is_count, totals.values())), *seen)


@promise("Get emotions timeline", "tells faces, and three measures for each emotion")
async def test_timeline(service: Service) -> Finding:
    timeline = await intervals(service, "emotions/timeline")
    measures = [each for part in timeline for each in part["emotions"].values()]
    holds = all(
        is_count(each["people"]) and is_real(each["quantity"] + each["intensity"])
        for each in measures
    )
    faces = all(is_count(each["detectedFaces"]) for each in timeline)
    return found(holds and faces, shapes(measures))


@promise(
    "Get transcription sentiment", "tells segments, and counts of three sentiments"
)
async def test_sentiment(service: Service) -> Finding:
    timeline = await intervals(service, "audio/transcription-sentiment")
    parts = [each["sentiments"] for each in timeline]
    names = ("positive", "neutral", "negative")
    holds = all(is_count(each[name]) for each in parts for name in names)
    counted = all(is_count(each["segments"]) for each in timeline)
    return found(holds and counted, shape(timeline[0]))


@promise("Get emotions timeline", "`{}`: intervals are 60 s by default", TIMELINES)
async def test_default_granularity(service: Service, case: str) -> Finding:
    longest = max(lengths(await intervals(service, case)))
    return found(
        longest == 60, said("60 s at most") if longest == 60 else said("others")
    )


@promise("Get emotions timeline", "`{}`: `granularity=5` gives 5 s", TIMELINES)
async def test_granularity(service: Service, case: str) -> Finding:
    longest = max(lengths(await intervals(service, case, granularity=5)))
    return found(longest == 5, said("5 s at most") if longest == 5 else said("others"))


@promise("Get emotions timeline", "`{0[0]}`: `granularity={0[1]}` is answered 400", [
    (what, seconds) for what in TIMELINES for seconds in (4, 3_601)
])  # fmt: skip
async def test_wrong_granularity(service: Service, case: tuple[str, int]) -> Finding:
    path = await path_of(service, case[0])
    answer = await service.get(path, granularity=case[1])
    return found(answer.status == 400, answer.seen)


@promise("Get emotions timeline", "`{}`: `start` and `end` choose a part", TIMELINES)
async def test_part(service: Service, case: str) -> Finding:
    everything = await intervals(service, case, granularity=5)
    start = everything[len(everything) // 2]["start"]
    part = await intervals(service, case, granularity=5, start=start, end=start + 5)
    holds = all(start <= each["start"] and each["end"] <= start + 5 for each in part)
    return found(holds, said("inside") if holds else said("outside"))


@promise(
    "Get emotions timeline", "`{}`: intervals ascend, those with data only", TIMELINES
)
async def test_order(service: Service, case: str) -> Finding:
    timeline = await intervals(service, case, granularity=5)
    follow = all(one["end"] <= other["start"] for one, other in pairwise(timeline))
    name = "detectedFaces" if case == TIMELINES[0] else "segments"
    return found(follow and all(each[name] for each in timeline), shape(timeline[0]))


@promise("Get emotions", "`{}` of an unknown session is answered 404", [*KINDS])
async def test_unknown(service: Service, case: str) -> Finding:
    answer = await service.get(f"{UNKNOWN}/{case}")
    return found(answer.status == 404, answer.seen)


@promise(
    "Expanding", "`expand[]=session` replaces the ID in `{}` by an object", [*KINDS]
)
async def test_expand(service: Service, case: str) -> Finding:
    path = await path_of(service, case)
    answer = await service.get(path, **{"expand[]": "session"})
    session = answer.json["session"]
    return found(isinstance(session, dict) and "_id" in session, shape(session))


@promise("Expanding", "what is expanded is not expanded inside")
async def test_expand_inside(service: Service) -> Finding:
    path = await path_of(service, "emotions")
    answer = await service.get(path, **{"expand[]": ["session", "session.user"]})
    session = answer.json.get("session")
    is_whole = isinstance(session, dict) and isinstance(session["user"], dict)
    return found(not is_whole, answer.seen)


# -- guesses ---------------------------------------------------------------------------


@guess("a 400, and a `start` beyond the session's end", "an `end` at `start` is a 400")
async def test_empty_part(service: Service) -> Finding:
    path = await path_of(service, TIMELINES[0])
    answer = await service.get(path, start=10, end=10)
    return found(answer.status == 400, answer.seen)


@guess("`start` beyond the session's end gives no interval", "`start=80000` finds none")
async def test_start_beyond(service: Service) -> Finding:
    answer = await service.get(await path_of(service, TIMELINES[0]), start=80_000)
    return found(answer.status == 200 and answer.json["timeline"] == [], answer.seen)


@guess(
    "an `end` beyond the session's end means that end", "`end=86400` changes nothing"
)
async def test_end_beyond(service: Service) -> Finding:
    usual = await intervals(service, TIMELINES[0])
    same = await intervals(service, TIMELINES[0], end=86_400)
    return found(usual == same, said("the same") if usual == same else said("others"))


@guess("are counted from `start`, and the last one ends", "intervals begin at `start`")
async def test_counted_from_start(service: Service) -> Finding:
    timeline = await intervals(service, TIMELINES[0], start=5)
    holds = all((each["start"] - 5) % 60 == 0 for each in timeline)
    return found(holds, said("from start") if holds else said("elsewhere"))


@guess(
    "`quantity` is the sum of the intensities", "`intensity` is a mean, so not larger"
)
async def test_measures(service: Service) -> Finding:
    timeline = await intervals(service, TIMELINES[0])
    measures = [each for part in timeline for each in part["emotions"].values()]
    holds = all(each["intensity"] <= each["quantity"] + 0.01 for each in measures)
    return found(holds, shapes(measures))


@guess(
    "the totals count those detections", "totals are the sums of quantity / intensity"
)
async def test_totals_agree(service: Service) -> Finding:
    totals = (await service.get(await path_of(service, "emotions"))).json["emotions"]
    counted = dict.fromkeys(totals, 0.0)
    for part in await intervals(service, TIMELINES[0], granularity=5):
        for name, each in part["emotions"].items():
            counted[name] += each["quantity"] / (each["intensity"] or 1)
    holds = all(
        abs(counted[name] - totals[name]) <= 1 + totals[name] / 20 for name in totals
    )
    return found(holds, said("they agree") if holds else said("they do not agree"))


@guess("`sentiments` counts the segments of each kind", "their sum is `segments`")
async def test_segments(service: Service) -> Finding:
    timeline = await intervals(service, TIMELINES[1])
    holds = all(
        sum(each["sentiments"].values()) == each["segments"] for each in timeline
    )
    return found(holds, shape(timeline[0]))
