"""The routes of the emulated API; each reads a request and answers it."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

import attrs
from aiohttp import web

from emogg_async.testing._guesses import REGISTER_PATH, REPORT_PATH
from emogg_async.testing._reading import (
    NAME,
    Field,
    Window,
    is_format,
    is_number,
    is_stream_uri,
    is_time,
    read_expand,
    read_fields,
    read_moment,
    read_whole,
    read_window,
)
from emogg_async.testing._state import State
from emogg_async.testing._stored import StoredSession, User, encode
from emogg_async.testing._world import Page

__all__ = ["JSON", "Caller", "add_routes", "caller"]

JSON: Final = {"Content-Type": "application/json; charset=utf-8"}

_MOST_PER_PAGE: Final = 100

_STREAM_URI: Final[Field] = is_stream_uri, "an rtmp, rtsp or rtmps address"
_FORMAT: Final[Field] = is_format, '"text" or "scalar"'
_TIME: Final[Field] = is_time, "a number of seconds from 0"
_DATA: Final[Field] = (
    lambda value: isinstance(value, str) or is_number(value),
    "a number or a string",
)


@attrs.frozen
class Caller:
    """The user of a request, and the emulator's state when it arrived.

    Attributes:
        state: State of the emulator.
        user: User whose token the request has.
    """

    state: State
    user: User

    def find(self, request: web.Request) -> StoredSession:
        """Return the session that *request* names."""
        return self.state.world.get(self.user, request.match_info["id"])


# The oldest supported aiohttp has no typed storage in requests.
caller: ContextVar[Caller] = ContextVar("caller")


def add_routes(app: web.Application) -> None:
    """Add a route for every call of the API to *app*."""
    one = "/v1/sessions/{id}"
    sentiment = f"{one}/audio/transcription-sentiment"
    app.router.add_route("GET", "/v1/sessions", list_sessions)
    app.router.add_route("POST", "/v1/sessions", create_session)
    app.router.add_route("GET", one, get_session)
    app.router.add_route("PATCH", one, update_session)
    app.router.add_route("DELETE", one, delete_session)
    app.router.add_route("POST", f"{one}/stop", stop_session)
    app.router.add_route("GET", f"{one}/emotions", get_emotions)
    app.router.add_route("GET", f"{one}/emotions/timeline", get_emotions_timeline)
    app.router.add_route("GET", sentiment, get_transcription_sentiment)
    app.router.add_route("POST", REGISTER_PATH, register_source)
    app.router.add_route("POST", REPORT_PATH, report_event)


async def get_session(request: web.Request) -> web.Response:
    """Answer with one session.

    Source: https://docs.emogg.com, "Get a session".
    """
    expand = read_expand(request, "session")
    return _session(caller.get().find(request), expand)


async def list_sessions(request: web.Request) -> web.Response:
    """Answer with a page of sessions, newest first.

    Source: https://docs.emogg.com, "List sessions".
    """
    state = caller.get().state
    expand = read_expand(request, "session")
    page = Page(
        state=request.query.get("state"),
        type=request.query.get("type"),
        after=read_moment(request, "from"),
        before=read_moment(request, "to"),
        limit=read_whole(request, "limit", 10, least=1, most=_MOST_PER_PAGE),
        offset=read_whole(request, "offset", 0),
        by_id=state.sort == "id",
    )
    found, has_more = state.world.page(caller.get().user, page)
    more = "true" if has_more else "false"
    head = f'{{"hasMore":{more},"offset":{page.offset},"limit":{page.limit},"data":['
    now = state.clock.now()
    items = b",".join(_session_body(stored, expand, now) for stored in found)
    return web.Response(body=head.encode() + items + b"]}", headers=JSON)


async def create_session(request: web.Request) -> web.Response:
    """Create a session; its analysis begins at once.

    Source: https://docs.emogg.com, "Create session".
    """
    expand = read_expand(request, "session")
    rules = {"name": NAME, "streamUri": _STREAM_URI}
    fields = await read_fields(request, rules)
    world, user = caller.get().state.world, caller.get().user
    stored = world.create(user, fields["name"], fields["streamUri"])
    return _session(stored, expand, HTTPStatus.CREATED)


async def update_session(request: web.Request) -> web.Response:
    """Give a session another name.

    Source: https://docs.emogg.com, "Update session".
    """
    expand = read_expand(request, "session")
    changes = await read_fields(request, {"name": NAME})
    world, user = caller.get().state.world, caller.get().user
    return _session(world.change(user, request.match_info["id"], changes), expand)


async def stop_session(request: web.Request) -> web.Response:
    """Finish an active session.

    Source: https://docs.emogg.com, "Stop session".
    """
    expand = read_expand(request, "session")
    world, user = caller.get().state.world, caller.get().user
    return _session(world.stop(user, request.match_info["id"]), expand)


async def delete_session(request: web.Request) -> web.Response:
    """Delete a session that is over, with its events.

    Source: https://docs.emogg.com, "Delete session".
    """
    world, user = caller.get().state.world, caller.get().user
    world.delete(user, request.match_info["id"])
    return web.Response(status=HTTPStatus.NO_CONTENT)


async def get_emotions(request: web.Request) -> web.Response:
    """Answer with the number of detections of each emotion in a session.

    Source: https://docs.emogg.com, "Get emotions".
    """
    expand = read_expand(request, "analysis")
    state, stored = caller.get().state, caller.get().find(request)
    now = state.clock.now()
    totals = state.analyst.totals(stored.id, stored.duration(now))
    return _analysis(stored, expand, now, "emotions", encode(totals))


async def get_emotions_timeline(request: web.Request) -> web.Response:
    """Answer with a session's emotions, interval by interval.

    Source: https://docs.emogg.com, "Get emotions timeline".
    """
    return _timeline(request, caller.get().state.analyst.emotions)


async def get_transcription_sentiment(request: web.Request) -> web.Response:
    """Answer with the sentiment of a session's speech, interval by interval.

    Source: https://docs.emogg.com, "Get transcription sentiment".
    """
    return _timeline(request, caller.get().state.analyst.sentiments)


async def register_source(request: web.Request) -> web.Response:
    """Register a source of custom events.

    Source: https://docs.emogg.com, "Register source".
    """
    read_expand(request, "source")
    fields = await read_fields(request, {"name": NAME, "format": _FORMAT})
    world, user = caller.get().state.world, caller.get().user
    session_id = request.match_info["id"]
    source = world.register(user, session_id, fields["name"], fields["format"])
    return _answer(source, HTTPStatus.CREATED)


async def report_event(request: web.Request) -> web.Response:
    """Keep the report of a registered source.

    Source: https://docs.emogg.com, "Custom events".
    """
    expand = read_expand(request, "event")
    fields = await read_fields(request, {"time": _TIME, "data": _DATA})
    state, user = caller.get().state, caller.get().user
    place = request.match_info
    event = state.world.report(user, place["id"], place["source"], fields)
    stored = state.world.get(user, place["id"])
    now = state.clock.now()
    return _answer([event | _expanded(stored, expand, now)], HTTPStatus.CREATED)


def _timeline(
    request: web.Request, analyse: Callable[[str, float, Window], str]
) -> web.Response:
    expand = read_expand(request, "analysis")
    window = read_window(request)
    stored = caller.get().find(request)
    now = caller.get().state.clock.now()
    intervals = analyse(stored.id, stored.duration(now), window)
    return _analysis(stored, expand, now, "timeline", intervals.encode())


def _analysis(
    stored: StoredSession,
    expand: frozenset[str],
    now: datetime,
    name: str,
    found: bytes,
) -> web.Response:
    """Answer with what was *found* in a session, which is JSON already."""
    head = encode({"session": stored.id} | _expanded(stored, expand, now))[:-1]
    return web.Response(
        body=b'%b,"%b":%b}' % (head, name.encode(), found), headers=JSON
    )


def _session(
    stored: StoredSession, expand: frozenset[str], status: int = HTTPStatus.OK
) -> web.Response:
    now = caller.get().state.clock.now()
    body = _session_body(stored, expand, now)
    return web.Response(status=status, body=body, headers=JSON)


def _session_body(
    stored: StoredSession, expand: frozenset[str], now: datetime
) -> bytes:
    if not expand:
        return stored.body(now)
    return encode(stored.wire(now) | _expanded(stored, expand, now))


def _expanded(
    stored: StoredSession, expand: Iterable[str], now: datetime
) -> dict[str, Any]:
    """Return whole objects for the IDs in an answer about a session."""
    whole: dict[str, Callable[[], dict[str, Any]]] = {
        "session": lambda: stored.wire(now),
        "user": stored.user.wire,
        "product": stored.user.product_wire,
    }
    return {name: whole[name]() for name in expand}


def _answer(value: Any, status: int = HTTPStatus.OK) -> web.Response:
    return web.Response(status=status, body=encode(value), headers=JSON)
