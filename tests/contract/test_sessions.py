"""Sessions, as they are got and listed."""

import re
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from contract.asking import Service
from contract.seeing import is_date, number, rates, said, shape, shapes, words
from contract.stating import Finding, NotTried, found, guess, promise

GET: Final = "Get a session"
LIST: Final = "List sessions"


def is_id(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{24}", value))


def is_text(value: object) -> bool:
    return isinstance(value, str)


def is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64


def is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_source(value: object) -> bool:
    texts = ("id", "name", "type", "device")
    return isinstance(value, dict) and all(is_text(value.get(name)) for name in texts)


def is_config(value: Any) -> bool:
    return isinstance(value, dict) and value.get("removeMedia", True) in {True, False}


def is_meta(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    dates = [value[name] for name in ("expires", "healthCheck") if name in value]
    return all(map(is_date, dates)) and is_word(value.get("workerState", "none"))


FIELDS: Final = {
    "_id": ("24 hex digits", is_id),
    "name": (
        "a string of at most 256 characters",
        lambda value: is_text(value) and len(value) <= 256,
    ),
    "type": ("a word", is_word),
    "state": ("a word", is_word),
    "timestamp": ("ISO 8601 with milliseconds and Z", is_date),
    "duration": ("a number of seconds", lambda value: is_real(value) and value >= 0),
    "config": ("optional; its removeMedia is a boolean", is_config),
    "sources": (
        "optional, objects with id, name, type and device",
        lambda value: isinstance(value, list) and all(map(is_source, value)),
    ),
    "meta": ("optional; dates with Z and a workerState", is_meta),
    "product": ("an ID", is_text),
    "user": ("an ID", is_text),
    "version": ("a number", lambda value: type(value) is int),
}
OPTIONAL: Final = {"config", "sources", "meta"}
ENUMS: Final = {"type", "state"}

UNKNOWN: Final = "/v1/sessions/0123456789abcdef01234567"


async def one(service: Service) -> Any:
    session = await service.session()
    return (await service.get(f"/v1/sessions/{session['_id']}")).json


@promise(GET, "answers 200 with the session that was asked for")
async def test_get(service: Service) -> Finding:
    wanted = (await service.session())["_id"]
    answer = await service.get(f"/v1/sessions/{wanted}")
    return found(answer.status == 200 and answer.json["_id"] == wanted, answer.seen)


@promise(GET, "`{0[0]}` is {0[1]}", [(name, rule[0]) for name, rule in FIELDS.items()])
async def test_field(service: Service, case: tuple[str, str]) -> Finding:
    name, holds = case[0], FIELDS[case[0]][1]
    sessions = [await service.once(one), *await service.listed()]
    values = [each[name] for each in sessions if name in each]
    if not values:
        if name in OPTIONAL:
            raise NotTried("no session of the account has it")
        return found(False, said("nowhere"))
    is_there = len(values) == len(sessions) or name in OPTIONAL
    seen = words(values) if name in ENUMS else shapes(values)
    return found(is_there and all(map(holds, values)), seen)


@promise(GET, "answers 404 if there is no such session")
async def test_get_unknown(service: Service) -> Finding:
    answer = await service.get(UNKNOWN)
    return found(answer.status == 404, answer.seen)


@promise(GET, "answers 404 if the token may not see the session")
async def test_get_hidden(service: Service) -> Finding:
    if not service.others_token:
        raise NotTried("this needs a second account")
    wanted = (await service.session())["_id"]
    answer = await service.ask(
        "GET", f"/v1/sessions/{wanted}", token=service.others_token
    )
    return found(answer.status == 404, answer.seen)


@guess(
    "an id that is not 24 hex digits belongs to no session", "{} is no ID: 404", ["x"]
)
async def test_get_wrong_id(service: Service, case: str) -> Finding:
    answer = await service.get(f"/v1/sessions/{case}")
    return found(answer.status == 404, answer.seen)


@guess("letter case does not matter", "an ID may be written in upper case")
async def test_get_upper_case(service: Service) -> Finding:
    wanted = (await service.session())["_id"]
    answer = await service.get(f"/v1/sessions/{wanted.upper()}")
    return found(answer.status == 200, answer.seen)


# -- lists -----------------------------------------------------------------------------


@promise(LIST, "answers 200 with hasMore, offset, limit and data")
async def test_list(service: Service) -> Finding:
    answer = await service.get("/v1/sessions", limit=2)
    page = answer.json
    holds = (
        isinstance(page["hasMore"], bool)
        and (page["offset"], page["limit"]) == (0, 2)
        and isinstance(page["data"], list)
        and len(page["data"]) <= 2
    )
    return found(answer.status == 200 and holds, answer.seen)


@promise(LIST, "`limit` is 10 and `offset` 0 by default")
async def test_list_defaults(service: Service) -> Finding:
    page = (await service.get("/v1/sessions")).json
    limit, offset = page["limit"], page["offset"]
    holds = (limit, offset) == (10, 0) and len(page["data"]) <= 10
    return found(holds, number(limit), number(offset))


@promise(LIST, "`limit={}` is accepted", [1, 100])
async def test_list_limit(service: Service, case: int) -> Finding:
    answer = await service.get("/v1/sessions", limit=case)
    return found(answer.status == 200 and answer.json["limit"] == case, answer.seen)


@promise(LIST, "`limit={}` is answered 400", [0, 101])
async def test_list_wrong_limit(service: Service, case: int) -> Finding:
    answer = await service.get("/v1/sessions", limit=case)
    return found(answer.status == 400, answer.seen)


@promise(LIST, "is sorted newest first")
async def test_list_order(service: Service) -> Finding:
    begun = [each["timestamp"] for each in await service.listed()]
    if len(begun) < 2:
        raise NotTried("the account has one session")
    holds = begun == sorted(begun, reverse=True)
    seen = said("by timestamp") if holds else said("not by timestamp")
    return found(holds, seen)


@guess('"newest first" is by timestamp, then by id', "ties are sorted by ID")
async def test_list_ties(service: Service) -> Finding:
    keys = [(each["timestamp"], each["_id"]) for each in await service.listed()]
    if len({begun for begun, _ in keys}) == len(keys):
        raise NotTried("no two sessions began at once")
    return found(keys == sorted(keys, reverse=True), said("two that began at once"))


@promise(LIST, "`offset` skips sessions, and `hasMore` says whether more follow")
async def test_list_offset(service: Service) -> Finding:
    sessions = (await service.get("/v1/sessions", limit=3)).json["data"]
    if len(sessions) < 3:
        raise NotTried("the account has less than three sessions")
    answer = await service.get("/v1/sessions", limit=1, offset=1)
    page = answer.json
    holds = page["data"][0]["_id"] == sessions[1]["_id"] and page["hasMore"] is True
    return found(holds and page["offset"] == 1, answer.seen)


@promise(LIST, "`hasMore` is false if nothing follows")
async def test_list_end(service: Service) -> Finding:
    answer = await service.get("/v1/sessions", **{"from": "2999-01-01T00:00:00.000Z"})
    holds = answer.json["data"] == [] and answer.json["hasMore"] is False
    return found(holds, answer.seen)


@promise(LIST, "`{}` chooses the sessions that have it", ["state", "type"])
async def test_list_filter(service: Service, case: str) -> Finding:
    value = (await service.listed())[-1][case]
    answer = await service.get("/v1/sessions", **{case: value})
    values = [each[case] for each in answer.json["data"]]
    return found(values and {*values} == {value}, words(values))


@promise(LIST, "`{}` bounds when sessions started", ["from", "to"])
async def test_list_bounds(service: Service, case: str) -> Finding:
    begun = sorted({each["timestamp"] for each in await service.listed()})
    if len(begun) < 3:
        raise NotTried("the account has less than three sessions")
    bound = begun[len(begun) // 2]
    answer = await service.get("/v1/sessions", **{case: bound, "limit": 100})
    values = [each["timestamp"] for each in answer.json["data"]]
    holds = [bound < each if case == "from" else each < bound for each in values]
    return found(holds and all(holds), answer.seen)


@guess("`from` and `to` are ISO 8601 with an offset", "`from={}` is answered 400", [
    "yesterday",
    "2000-01-01T00:00:00",
])  # fmt: skip
async def test_list_wrong_date(service: Service, case: str) -> Finding:
    answer = await service.get("/v1/sessions", **{"from": case})
    return found(answer.status == 400, answer.seen)


@guess("`from` and `to` are ISO 8601 with an offset", "an offset may be other than Z")
async def test_list_offset_of_date(service: Service) -> Finding:
    oldest = datetime.fromisoformat((await service.listed())[-1]["timestamp"])
    bound = (oldest - timedelta(days=1)).replace(tzinfo=None).isoformat() + "+00:00"
    answer = await service.get("/v1/sessions", **{"from": bound})
    return found(answer.status == 200 and answer.json["data"], answer.seen)


@guess("`type` that does not occur gives an empty page", "`{}=unheard_of` finds none", [
    "state",
    "type",
])  # fmt: skip
async def test_list_unknown_value(service: Service, case: str) -> Finding:
    answer = await service.get("/v1/sessions", **{case: "unheard_of"})
    return found(answer.status == 200 and answer.json["data"] == [], answer.seen)


@guess("the first value of a repeated parameter counts", "`limit=1&limit=2` is 1")
async def test_list_repeated(service: Service) -> Finding:
    answer = await service.get("/v1/sessions", limit=["1", "2"])
    return found(answer.status == 200 and answer.json["limit"] == 1, answer.seen)


@guess("unknown parameters are ignored", "`unheard=of` changes nothing")
async def test_list_unknown_parameter(service: Service) -> Finding:
    answer = await service.get("/v1/sessions", unheard="of")
    return found(answer.status == 200, answer.seen)


# -- expanding -------------------------------------------------------------------------


@promise("Expanding", "`expand[]=user` replaces the ID in a {} by an object", [
    "session",
    "list",
])  # fmt: skip
async def test_expand_user(service: Service, case: str) -> Finding:
    session = await service.session()
    path = "/v1/sessions" if case == "list" else f"/v1/sessions/{session['_id']}"
    answer = await service.get(path, **{"expand[]": "user"})
    got = answer.json["data"][0] if case == "list" else answer.json
    return found(isinstance(got["user"], dict), shape(got["user"]))


@guess("EXPANDABLE", "`expand[]` may be repeated, and takes `product`, too")
async def test_expand_both(service: Service) -> Finding:
    session = await service.session()
    path = f"/v1/sessions/{session['_id']}"
    answer = await service.get(path, **{"expand[]": ["user", "product"]})
    whole = [answer.json.get(name) for name in ("user", "product")]
    return found(all(isinstance(each, dict) for each in whole), shapes(whole))


@guess(
    "an expanded user or product has an `_id` and a `name`", "an expanded user is so"
)
async def test_expanded_user(service: Service) -> Finding:
    session = await service.session()
    path = f"/v1/sessions/{session['_id']}"
    answer = await service.get(path, **{"expand[]": "user"})
    user = answer.json["user"]
    return found(user["_id"] == session["user"] and "name" in user, shape(user))


@guess("UNKNOWN_EXPAND_IS_REFUSED", "`expand[]=unheard` is answered 400")
async def test_expand_unknown(service: Service) -> Finding:
    session = await service.session()
    answer = await service.get(
        f"/v1/sessions/{session['_id']}", **{"expand[]": "unheard"}
    )
    return found(answer.status == 400, answer.seen)


# -- rate limits -----------------------------------------------------------------------


LIMITS: Final = "Rate limits"


def policy(headers: Any) -> tuple[int, int, float, int, float]:
    """Return limit, remaining, reset, and the policy's capacity and window."""
    capacity, _, window = headers["RateLimit-Policy"].partition(";w=")
    limit, remaining = int(headers["RateLimit-Limit"]), headers["RateLimit-Remaining"]
    reset = float(headers["RateLimit-Reset"])
    return limit, int(remaining), reset, int(capacity), float(window)


ANSWERS: Final = {
    200: "/v1/sessions?limit=1",
    400: "/v1/sessions?limit=0",
    404: UNKNOWN,
}


@promise(LIMITS, "an answer of {} has the four rate headers", [*ANSWERS])
async def test_rate_headers(service: Service, case: int) -> Finding:
    answer = await service.get(ANSWERS[case])
    there = [name for name in answer.headers if name.lower().startswith("ratelimit-")]
    return found(answer.status == case and len(there) == 4, rates(answer.headers))


@promise(
    LIMITS, "`RateLimit-Policy` tells the capacity, as `RateLimit-Limit`, and seconds"
)
async def test_rate_policy(service: Service) -> Finding:
    headers = (await service.get("/v1/sessions", limit=1)).headers
    limit, _, _, capacity, window = policy(headers)
    return found(limit == capacity > 0 and window > 0, rates(headers))


@promise(LIMITS, "`RateLimit-Remaining` goes down by 1 at most for a request")
async def test_rate_remaining(service: Service) -> Finding:
    headers = [(await service.get("/v1/sessions", limit=1)).headers for _ in range(3)]
    left = [policy(each)[1] for each in headers]
    limit = policy(headers[0])[0]
    falls = [one - other for one, other in pairwise(left)]
    holds = min(falls) <= 1 and max(left) <= limit and min(left) >= 0
    return found(holds, rates(headers[-1]))


@promise(
    LIMITS, "`RateLimit-Reset` is the seconds until the bucket is full at that rate"
)
async def test_rate_reset(service: Service) -> Finding:
    headers = (await service.get("/v1/sessions", limit=1)).headers
    limit, remaining, reset, _, window = policy(headers)
    until_full = (limit - remaining) * window / limit
    # Fractions of requests and of seconds are rounded by a rule that is not told.
    return found(abs(reset - until_full) <= 1 + window / limit, rates(headers))
