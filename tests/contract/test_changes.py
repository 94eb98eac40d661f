"""The life of one session, made for this: every change, and every refusal of one."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from contract.asking import Answer, Service
from contract.emulated import alone
from contract.seeing import is_date, joined, said, words
from contract.stating import Finding, NotTried, found, guess, promise
from contract.test_sessions import UNKNOWN, is_text

CREATE: Final = "Create session"
UPDATE: Final = "Update session"
STOP: Final = "Stop session"
DELETE: Final = "Delete session"
REGISTER: Final = "Register source"
EVENTS: Final = "Custom events"

Life = dict[str, Answer]

WITH_SOURCE: Final = {"number", "text", "wrong data", "wrong time"}
"""Steps that report an event of a source."""


def renamed(service: Service) -> str:
    return f"{service.name} again"


async def life(service: Service) -> Life:
    """Make a session, do everything to it, delete it, and return the answers."""
    created = await service.create()
    if created.status != 201:
        return {"created": created}
    one = f"/v1/sessions/{created.json['_id']}"
    steps = {"created": created} | await _refused_creates(service)
    steps |= await _changes(service, one)
    steps |= await _events(service, one)
    steps["stopped"] = await service.ask("POST", f"{one}/stop")
    steps["stopped again"] = await service.ask("POST", f"{one}/stop")
    steps["deleted when stopped"] = await service.ask("DELETE", one)
    steps["deleted"] = steps["deleted when stopped"]
    if steps["deleted"].status == 400:
        steps["deleted"] = await service.delete(one)
    if steps["deleted"].status < 300:
        service.forget(created.json["_id"])
    steps["got when deleted"] = await service.get(one)
    steps["emotions when deleted"] = await service.get(f"{one}/emotions")
    steps["deleted again"] = await service.ask("DELETE", one)
    return steps


async def _refused_creates(service: Service) -> Life:
    return {
        "long name": await service.create(name=service.name.ljust(257, "n")),
        "no name": await service.create(name=""),
        "web stream": await service.create(streamUri="https://stream.example.com/live"),
        "field too many": await service.create(unheard="of"),
    }


async def _changes(service: Service, one: str) -> Life:
    async def patch(**body: Any) -> Answer:
        return await service.ask("PATCH", one, body=body)

    return {
        "deleted when active": await service.ask("DELETE", one),
        "renamed": await patch(name=renamed(service)),
        "renamed too long": await patch(name=service.name.ljust(257, "n")),
        "changed state": await patch(name=renamed(service), state="finished"),
        "got when changed": await service.get(one),
    }


async def _events(service: Service, one: str) -> Life:
    async def post(path: str, **body: Any) -> Answer:
        return await service.ask("POST", path, body=body)

    scalar = await post(f"{one}/events", name="pulse", format="scalar")
    text = await post(f"{one}/events", name="notes", format="text")
    pulse, notes = (
        f"{one}/sources/{(each.json or {}).get('id', 'none')}/events"
        for each in (scalar, text)
    )
    return {
        "scalar source": scalar,
        "text source": text,
        "source of no format": await post(f"{one}/events", name="odd", format="odd"),
        "source of no session": await post(
            f"{UNKNOWN}/events", name="a", format="text"
        ),
        "number": await post(pulse, time=1.5, data=72.5),
        "text": await post(notes, time=2, data="calm"),
        "wrong data": await post(pulse, time=3, data="much"),
        "wrong time": await post(pulse, time=-1, data=1),
        "event at the printed path": await post(f"{one}/events", time=1.5, data=72.5),
        "event of no session": await post(
            f"{UNKNOWN}/sources/s/events", time=1, data=1
        ),
    }


async def step(service: Service, name: str) -> Answer:
    """Return the answer to a step of that life, which should have come so far."""
    steps = await service.once(life)
    if name not in steps:
        raise NotTried("no session could be made")
    if name in WITH_SOURCE and steps["number"].status == 404:
        raise NotTried("the path of events is not the one that is guessed")
    service.latest = steps[name].seen
    return steps[name]


def answered(
    page: str, what: str, name: str, status: int, also: Callable[[Any], object] = bool
) -> Callable[..., None]:
    """State with which *status* a step is answered, and what *also* is so."""

    async def check(service: Service) -> Finding:
        answer = await step(service, name)
        holds = answer.status == status and (status >= 400 or also(answer.json))
        return found(holds, answer.seen)

    return promise(page, what)(check)


def is_session(value: Any) -> bool:
    return (
        is_text(value["_id"])
        and is_text(value["state"])
        and is_date(value["timestamp"])
    )


def is_source(value: Any) -> bool:
    return is_text(value["id"]) and value["device"] == value["type"] == "generic_sensor"


def is_report(value: Any) -> bool:
    (event,) = value
    texts = all(is_text(event[name]) for name in ("source", "session", "user"))
    return texts and event["type"] == "sensor_report" and {"time", "data"} <= {*event}


test_create = answered(
    CREATE,
    "answers 201 with the session, which is active",
    "created",
    201,
    lambda value: is_session(value) and value["state"] == "active",
)
test_long_name = answered(
    CREATE, "a name of 257 characters is answered 400", "long name", 400
)
test_web_stream = answered(
    CREATE, "a stream by https is answered 400", "web stream", 400
)
test_update = answered(
    UPDATE, "answers 200 with the session", "renamed", 200, is_session
)
test_update_long = answered(
    UPDATE, "a name of 257 characters is answered 400", "renamed too long", 400
)
test_stop = answered(STOP, "answers 200 with the session", "stopped", 200, is_session)
test_stop_again = answered(
    STOP, "a session that is not active is answered 400", "stopped again", 400
)
test_delete_active = answered(
    DELETE, "an active session is answered 400", "deleted when active", 400
)
test_deleted = answered(
    DELETE, "a session that is deleted is gone: 404", "got when deleted", 404
)
test_deleted_emotions = answered(
    DELETE, "so are its emotions: 404", "emotions when deleted", 404
)
test_delete_again = answered(
    DELETE, "a session that is gone is answered 404", "deleted again", 404
)
test_register_scalar = answered(
    REGISTER,
    "answers 201 with a generic_sensor of that format",
    "scalar source",
    201,
    lambda value: is_source(value) and value["format"] == "scalar",
)
test_register_text = answered(
    REGISTER,
    "a source may be of format text",
    "text source",
    201,
    lambda value: is_source(value) and value["format"] == "text",
)
test_register_wrong = answered(
    REGISTER, "another format is answered 400", "source of no format", 400
)
test_register_unknown = answered(
    REGISTER, "an unknown session is answered 404", "source of no session", 404
)
test_event_of_scalar = answered(
    EVENTS, "answers 201 with an array of the event", "number", 201, is_report
)
test_event_of_text = answered(
    EVENTS, "a source of format text takes strings", "text", 201, is_report
)
test_event_wrong = answered(
    EVENTS, "a scalar source takes no string: 400", "wrong data", 400
)
test_event_unknown = answered(
    EVENTS, "an unknown session is answered 404", "event of no session", 404
)


@promise(DELETE, "a session that is processed is answered 400")
async def test_delete_processed(service: Service) -> Finding:
    if service.is_ours:
        async with alone(processing=60.0) as asker:
            one = f"/v1/sessions/{(await asker.create()).json['_id']}"
            await asker.ask("POST", f"{one}/stop")
            answer = await asker.ask("DELETE", one)
    elif (await step(service, "stopped")).json["state"] == "processing":
        answer = await step(service, "deleted when stopped")
    else:
        raise NotTried("a stopped session is not processed")
    return found(answer.status == 400, answer.seen)


@promise(DELETE, "answers 204 without a body")
async def test_delete(service: Service) -> Finding:
    answer = await step(service, "deleted")
    return found(answer.status == 204 and not answer.body, answer.seen)


@promise(UPDATE, "only the name can be edited")
async def test_only_name(service: Service) -> Finding:
    session = (await step(service, "got when changed")).json
    holds = session["name"] == renamed(service)
    return found(holds and session["state"] == "active", words([session["state"]]))


@promise(STOP, "an unknown session is answered 404")
async def test_stop_unknown(service: Service) -> Finding:
    if not service.may_change:
        raise NotTried("changes are not allowed")
    answer = await service.ask("POST", f"{UNKNOWN}/stop")
    return found(answer.status == 404, answer.seen)


# -- guesses ---------------------------------------------------------------------------


def guessed(
    name: str, what: str, of: str, holds: Callable[[Answer], object]
) -> Callable[..., None]:
    """State a guess about the answer to the step *of* that life."""

    async def check(service: Service) -> Finding:
        answer = await step(service, of)
        return found(holds(answer), answer.seen)

    return guess(name, what)(check)


def refused(answer: Answer) -> bool:
    return answer.status == 400


test_no_name = guessed(
    "no name is empty", "an empty name is answered 400", "no name", refused
)
test_field_too_many = guessed(
    "UNKNOWN_FIELDS_ARE_REFUSED",
    "an undocumented field is answered 400",
    "field too many",
    refused,
)
test_change_of_state = guessed(
    "UNKNOWN_FIELDS_ARE_REFUSED",
    "a change of `state` is answered 400",
    "changed state",
    refused,
)
test_negative_time = guessed(
    "time from 0 on, and a source may have",
    "a time below 0 is 400",
    "wrong time",
    refused,
)
test_type_of_stream = guessed(
    "STREAM_TYPE",
    "the stream of a session is a source of type `stream`",
    "created",
    lambda answer: answer.json["sources"][0]["type"] == "stream",
)
test_device_of_stream = guessed(
    "STREAM_DEVICE",
    "the device of a stream is named after its protocol",
    "created",
    lambda answer: answer.json["sources"][0]["device"] == "rtmps_stream",
)
test_worker_ends = guessed(
    "WORKER_FIELDS",
    "a stop removes `workerState` and `healthCheck`",
    "stopped",
    lambda answer: not {"workerState", "healthCheck"} & {*answer.json["meta"]},
)


@guess("STOPPED_STATE", "a stopped session is finished at once")
async def test_stopped_state(service: Service) -> Finding:
    state = (await step(service, "stopped")).json["state"]
    return found(state == "finished", words([state]))


@guess("EXPIRES_AFTER", "a session expires after 30 days")
async def test_expires(service: Service) -> Finding:
    session = (await step(service, "created")).json
    days = (
        datetime.fromisoformat(session["meta"]["expires"])
        - datetime.fromisoformat(session["timestamp"])
    ).days
    return found(days == 30, said("30 days") if days == 30 else said("another time"))


@guess("REGISTER_PATH", "the printed path registers sources, and takes no events")
async def test_register_path(service: Service) -> Finding:
    source = await step(service, "scalar source")
    event = await step(service, "event at the printed path")
    return found(source.status == 201 and event.status == 400, source.seen, event.seen)


@guess("REPORT_PATH", "events go to a path with the source in it")
async def test_report_path(service: Service) -> Finding:
    printed = await step(service, "event at the printed path")
    inferred = (await service.once(life))["number"]
    seen = joined(said("at the printed path"), printed.seen)
    return found(inferred.status == 201 and printed.status != 201, inferred.seen, seen)
