"""Live channels."""

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any, Final

import aiohttp
import attrs

from contract.asking import CLOSED, Line, Service
from contract.emulated import alone
from contract.seeing import Seen, is_date, joined, number, said, shape, words
from contract.stating import Finding, NotTried, found, guess, promise
from contract.test_refusals import WRONG

SOCKET: Final = "WebSocket"
COUNTS: Final = "session_emotions_counts"
INTENSITIES: Final = "session_emotions_intensities"
WORKER: Final = "session_worker_state"
FREQUENCIES: Final = ("1s", "3s", "5s", "10s", "30s", "1m", "5m", "10m")
NOBODY: Final = "0123456789abcdef01234567"

_SILENCE: Final = 65
"""Seconds without traffic after which the service closes a connection."""

_SCENE: Final = 30.0
"""Seconds to wait for an event."""


def told(answer: Any) -> Seen:
    """Tell an answer: its status and its shape, or that there is none."""
    if not isinstance(answer, dict):
        return said("a close") if answer is CLOSED else shape(answer)
    return joined(number(answer.get("status")), shape(answer))


def is_refused(answer: Any, status: int) -> bool:
    return bool(answer["error"] is True and answer["status"] == status)


async def active(service: Service) -> str:
    found_id: str = (await service.session("active"))["_id"]
    return found_id


# -- auth ------------------------------------------------------------------------------


@promise(SOCKET, "auth answers its id, its path and 200")
async def test_auth(service: Service) -> Finding:
    async with service.connected() as line:
        answer = await line.ask("auth:token", {"token": service.token}, id=1)
    holds = answer == {"id": 1, "path": "auth:token", "status": 200}
    return found(holds, told(answer))


async def wrong_token(service: Service) -> tuple[Any, int | None]:
    """Return the answer to a wrong token, and the code of the close after it."""
    async with service.connected() as line:
        answer = await line.ask("auth:token", {"token": WRONG}, id=1)
        if answer is not CLOSED and await line.hear() is not CLOSED:
            return answer, None
        return answer, line.socket.close_code


@promise(SOCKET, "a wrong token is answered 401, id null and a message, then a close")
async def test_wrong_token(service: Service) -> Finding:
    answer, code = await service.once(wrong_token)
    message = answer["data"]["message"]
    holds = (
        is_refused(answer, 401) and answer["id"] is None and isinstance(message, str)
    )
    return found(holds and code, told(answer), number(code))


@guess("CLOSED_AS_WRONG", "the code of that close is 1008")
async def test_code_of_wrong_token(service: Service) -> Finding:
    _, code = await service.once(wrong_token)
    return found(code == 1008, number(code))


@promise(SOCKET, "a first message other than auth makes the service close")
async def test_not_auth_first(service: Service) -> Finding:
    async with service.connected() as line:
        answer = await line.ask("ping", id=1)
        while answer is not CLOSED:
            answer = await line.hear()
        return found(True, number(line.socket.close_code))


WRONG_MESSAGES: Final = {"no JSON": "{", "of another shape": "[]"}


@promise(SOCKET, "a message that is {} makes the service close", [*WRONG_MESSAGES])
async def test_wrong_message(service: Service, case: str) -> Finding:
    async with service.line() as line:
        await line.say(WRONG_MESSAGES[case])
        while await line.hear() is not CLOSED:
            pass
        return found(True, number(line.socket.close_code))


# -- requests --------------------------------------------------------------------------


async def talk(service: Service) -> dict[str, Any]:
    """Return the answers to what one line may ask without a session."""
    async with service.line() as line:
        none = {"channel": "unheard_of", "key": NOBODY}
        answers = {
            "ping": await line.ask("ping", id="a"),
            "ping without id": await line.ask("ping"),
            "field too many": await line.ask("ping", id=2, unheard="of"),
            "unknown path": await line.ask("unheard:of", id=3),
            "no body": await line.ask("channels:subscribe", {}, id=4),
            "no channel": await line.ask("channels:subscribe", none, id=5),
            "no session": await line.subscribe(COUNTS, f"{NOBODY}:1s"),
            "no subscription": await line.ask(
                "channels:unsubscribe", {"subscriptionId": "none"}, id=6
            ),
        }
        again = await line.ask("auth:token", {"token": service.token}, id=7)
        return answers | {"second auth": again}


async def said_to(service: Service, name: str) -> Any:
    answer = (await service.once(talk))[name]
    service.latest = told(answer)
    return answer


@promise(SOCKET, "ping answers its id, and the time as ISO 8601 with Z")
async def test_ping(service: Service) -> Finding:
    answer = await said_to(service, "ping")
    holds = (answer["id"], answer["path"], answer["status"]) == ("a", "ping", 200)
    return found(holds and is_date(answer["body"]["ts"]), told(answer))


@promise(SOCKET, "a request without id is answered with id null")
async def test_no_id(service: Service) -> Finding:
    answer = await said_to(service, "ping without id")
    return found(answer["id"] is None and answer["status"] == 200, told(answer))


REFUSED: Final = {
    "no body": ("subscribing without channel and key", 400),
    "no channel": ("subscribing to an unknown channel", 404),
    "no session": ("subscribing to an unknown session", 404),
    "no subscription": ("unsubscribing from what is not subscribed to", 404),
}


@promise(SOCKET, "{0[1]} is answered {0[2]}", [(key, *REFUSED[key]) for key in REFUSED])
async def test_refused(service: Service, case: tuple[str, str, int]) -> Finding:
    answer = await said_to(service, case[0])
    return found(is_refused(answer, case[2]), told(answer))


@guess("LiveGuesses.refusals_have_id", "a refusal has id null")
async def test_refusal_id(service: Service) -> Finding:
    answer = await said_to(service, "no channel")
    return found(answer["id"] is None, told(answer))


@guess("LiveGuesses.error_text_in", "the message of a refusal is in its `data`")
async def test_refusal_text(service: Service) -> Finding:
    answer = await said_to(service, "no channel")
    return found("message" in answer.get("data", {}), told(answer))


@guess("unknown fields of a message are ignored", "a ping may have another field")
async def test_field_too_many(service: Service) -> Finding:
    answer = await said_to(service, "field too many")
    return found(answer["status"] == 200, told(answer))


@guess("an unknown path is a 404", "`unheard:of` is answered so")
async def test_unknown_path(service: Service) -> Finding:
    answer = await said_to(service, "unknown path")
    return found(is_refused(answer, 404), told(answer))


@guess("a second auth a 400", "a second auth is answered so")
async def test_second_auth(service: Service) -> Finding:
    answer = await said_to(service, "second auth")
    return found(is_refused(answer, 400), told(answer))


# -- subscriptions ---------------------------------------------------------------------


@promise("Channels", "`sessionId:{}` is a key", FREQUENCIES)
async def test_frequency(service: Service, case: str) -> Finding:
    async with service.line() as line:
        answer = await line.subscribe(COUNTS, f"{await active(service)}:{case}")
    text = answer["body"]["subscriptionId"]
    return found(answer["status"] == 200 and isinstance(text, str), told(answer))


@promise("Channels", "another frequency is no key: 404")
async def test_no_frequency(service: Service) -> Finding:
    async with service.line() as line:
        answer = await line.subscribe(COUNTS, f"{await active(service)}:2s")
    return found(is_refused(answer, 404), told(answer))


@promise(SOCKET, "unsubscribing is answered 200 with an empty body")
async def test_unsubscribe(service: Service) -> Finding:
    async with service.line() as line:
        made = await line.subscribe(COUNTS, f"{await active(service)}:10m")
        answer = await line.ask("channels:unsubscribe", made["body"], id=1)
    return found(answer["status"] == 200 and answer["body"] == {}, told(answer))


@guess("channel and key may be subscribed to twice", "the second is answered 200")
async def test_twice(service: Service) -> Finding:
    async with service.line() as line:
        for _ in range(2):
            answer = await line.subscribe(COUNTS, f"{await active(service)}:10m")
    return found(answer["status"] == 200, told(answer))


async def crowded(service: Service) -> Any:
    """Return the answer to a sixth subscription of one connection."""
    if not service.may_change:
        raise NotTried("this would take the account's subscriptions for a moment")
    key = f"{await active(service)}:10m"
    async with service.line() as line:
        for _ in range(5):
            answer = await line.subscribe(COUNTS, key)
            if answer is CLOSED or answer["status"] != 200:
                raise NotTried("others have taken the account's subscriptions")
        return await line.subscribe(COUNTS, key)


@promise(SOCKET, "a connection has five subscriptions at most")
async def test_most_of_connection(service: Service) -> Finding:
    answer = await service.once(crowded)
    return found(answer is CLOSED or answer["error"] is True, told(answer))


@guess("LiveGuesses.over_limit", "what exceeds a limit is answered 429")
async def test_over_limit(service: Service) -> Finding:
    answer = await service.once(crowded)
    return found(answer is not CLOSED and is_refused(answer, 429), told(answer))


def only_ours(service: Service) -> None:
    if not service.is_ours:
        raise NotTried("this would take all that the account may have")


@promise(SOCKET, "a user has ten subscriptions at most")
async def test_most_of_user(service: Service) -> Finding:
    only_ours(service)
    key = f"{await active(service)}:10m"
    async with service.line() as one, service.line() as two, service.line() as three:
        for line in (one, two):
            for _ in range(5):
                await line.subscribe(COUNTS, key)
        answer = await three.subscribe(COUNTS, key)
    return found(answer["error"] is True, told(answer))


# -- events ----------------------------------------------------------------------------


@attrs.frozen
class Scene:
    """What a live session told, by subscription: its events, and what came first."""

    events: dict[str, list[Any]]
    acked_first: bool


async def scene(service: Service) -> Scene:
    """Return the first events of each channel of an active session."""
    session_id = await active(service)
    channels = {COUNTS: ":1s", INTENSITIES: ":1s", WORKER: ""}
    names, acked_first = {}, True
    async with service.line() as line:
        for channel, frequency in channels.items():
            answer = await line.subscribe(channel, f"{session_id}{frequency}")
            if answer is not CLOSED and answer["status"] == 200:
                names[answer["body"]["subscriptionId"]] = channel
                acked_first &= all(each[0] in names for each in line.events[:-1])
        try:
            async with asyncio.timeout(_SCENE):
                # An event of nobody's emotions shows no shape.
                while {each[0] for each in line.events if each[3] != [{}]} < {*names}:
                    await line.next(_SCENE)
        except TimeoutError:
            pass  # nobody is in the picture, or the channel is silent
    events: dict[str, list[Any]] = {channel: [] for channel in channels}
    for event in line.events:
        events[names[event[0]]].append(event)
    return Scene(events, acked_first)


async def event_of(service: Service, channel: str) -> Any:
    events = (await service.once(scene)).events[channel]
    if not events:
        raise NotTried("the active session told nothing on this channel")
    event = next((each for each in events if each[3] != [{}]), events[0])
    service.latest = shape(event)
    return event


KINDS: Final = {COUNTS: "sec", INTENSITIES: "sei", WORKER: "sws"}


@promise(SOCKET, "an event of {} is [id, timestamp, type, [payload]]", [*KINDS])
async def test_event(service: Service, case: str) -> Finding:
    event = await event_of(service, case)
    payload = event[3]
    holds = len(event) == 4 and isinstance(payload, list) and len(payload) == 1
    return found(holds, shape(event))


@promise("Channels", "the type of events of {0[0]} is `{0[1]}`", [*KINDS.items()])
async def test_event_type(service: Service, case: tuple[str, str]) -> Finding:
    event = await event_of(service, case[0])
    return found(event[2] == case[1], words([event[2]]))


@promise("Channels", "an event of session_emotions_counts is a count for each emotion")
async def test_counts(service: Service) -> Finding:
    (payload,) = (await event_of(service, COUNTS))[3]
    holds = all(type(each) is int for each in payload.values())
    return found(holds, shape(payload))


@promise(
    "Channels", "an event of session_emotions_intensities has three measures for each"
)
async def test_intensities(service: Service) -> Finding:
    (payload,) = (await event_of(service, INTENSITIES))[3]
    names = {"people", "quantity", "intensity"}
    return found(all({*each} == names for each in payload.values()), shape(payload))


@promise("Channels", "an event of session_worker_state is the state, sent at once")
async def test_worker_state(service: Service) -> Finding:
    (payload,) = (await event_of(service, WORKER))[3]
    return found(isinstance(payload, str), words([payload]))


@guess("LiveGuesses.timestamps", "the timestamp of an event is ISO 8601 with Z")
async def test_event_timestamp(service: Service) -> Finding:
    event = await event_of(service, COUNTS)
    return found(is_date(event[1]), shape(event[1]))


@guess("LiveGuesses.event_before_ack", "a subscription is confirmed before its events")
async def test_ack_first(service: Service) -> Finding:
    await event_of(service, WORKER)
    holds = (await service.once(scene)).acked_first
    return found(holds, said("confirmed first") if holds else said("events first"))


# -- silence ---------------------------------------------------------------------------


@attrs.frozen
class Silence:
    """What became of three lines: seconds until the close, or None, and its code."""

    silent: float | None
    code: int | None
    pinging: float | None
    only_frames: float | None


async def silence(service: Service) -> Silence:
    """Say nothing on one line, ping on another, and send ping frames on a third."""

    async def closes(line: Line, start: float) -> float:
        while await line.next(2 * _SILENCE) is not CLOSED:
            pass
        return asyncio.get_running_loop().time() - start

    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(service.line()) for _ in range(3)]
        silent, pinging, frames = lines
        start = asyncio.get_running_loop().time()
        ends = [asyncio.create_task(closes(line, start)) for line in lines]
        await asyncio.sleep(_SILENCE / 2)
        await pinging.say(json.dumps({"path": "ping"}))
        await frames.socket.ping()
        _, open_still = await asyncio.wait(ends, timeout=_SILENCE / 2 + 5)
        for each in open_still:
            each.cancel()
        seconds = [None if each in open_still else each.result() for each in ends]
        return Silence(seconds[0], silent.socket.close_code, *seconds[1:])


def about(seconds: float | None) -> Seen:
    if seconds is None:
        return said("no close")
    return joined(said("a close after"), number(round(seconds)), said("s"))


def is_silence(seconds: float | None) -> bool:
    return seconds is not None and abs(seconds - _SILENCE) < 3


@promise(SOCKET, "65 s of silence make the service close")
async def test_silence(service: Service) -> Finding:
    seen = (await service.once(silence)).silent
    return found(is_silence(seen), about(seen))


@promise(SOCKET, "a ping counts against that silence")
async def test_silence_pinging(service: Service) -> Finding:
    seen = (await service.once(silence)).pinging
    return found(seen is None, about(seen))


@guess("no ping frame of the WebSocket protocol does", "such a frame is no traffic")
async def test_silence_frames(service: Service) -> Finding:
    seen = (await service.once(silence)).only_frames
    return found(is_silence(seen), about(seen))


@guess("CLOSED_AS_SILENT", "the code of that close is 1001")
async def test_silence_code(service: Service) -> Finding:
    code = (await service.once(silence)).code
    return found(code == 1001, number(code))


# -- limits ----------------------------------------------------------------------------


async def many_pings(service: Service) -> list[Any]:
    """Return the answers to 80 pings after the auth, which is a message, too."""
    only_ours(service)
    async with alone() as asker, asker.line() as line:
        return [await line.ask("ping", id=each) for each in range(80)]


@promise(SOCKET, "a user may send 80 messages in 60 s")
async def test_most_messages(service: Service) -> Finding:
    *accepted, last = await service.once(many_pings)
    holds = all(each["status"] == 200 for each in accepted)
    return found(holds and last["error"] is True, told(last))


@guess("LiveGuesses.pings_count", "pings count among these")
async def test_pings_count(service: Service) -> Finding:
    last = (await service.once(many_pings))[-1]
    return found(last["status"] != 200, told(last))


@promise(SOCKET, "an address may open 90 connections in 60 s")
async def test_most_connections(service: Service) -> Finding:
    only_ours(service)
    async with alone() as asker:
        for _ in range(90):
            async with asker.connected():
                pass
        try:
            async with asker.connected():
                return found(False, said("one more"))
        except aiohttp.WSServerHandshakeError as error:
            return found(True, number(error.status))
