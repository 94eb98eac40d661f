"""The emulated API over HTTP: one handler for each route, and the chain before them.

A request is logged, meets the faults, is authenticated, pays a token, is handled, and
its answer meets the faults. What the reference leaves open was decided here, by
guessing:

- a 401 comes before everything else, costs nothing and has no rate headers; all other
  answers cost a token, those to unknown routes and those of faults with a status too;
- an id that is not 24 hex digits belongs to no session: 404; letter case does not
  matter;
- `from` and `to` are ISO 8601 with an offset, and 400 otherwise; a `state` or `type`
  that does not occur gives an empty page; of a parameter that is repeated the first
  counts, and unknown ones are ignored;
- "newest first" is by timestamp, and sessions with the same one are listed by id,
  descending; an emulator can be told to sort by id alone instead.
"""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import datetime
from http import HTTPStatus
from typing import Final

import attrs
from aiohttp import web

from emogg_async.testing._bucket import TokenBucket
from emogg_async.testing._damage import CONNECTION_FAULTS, CUTS, GARBLES
from emogg_async.testing._faults import FaultRule
from emogg_async.testing._state import State
from emogg_async.testing._world import Page, User

__all__ = ["make_application"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_JSON: Final = {"Content-Type": "application/json; charset=utf-8"}
_WHOLE: Final = re.compile(r"[0-9]{1,15}")
_MOST_PER_PAGE: Final = 100


@attrs.frozen
class Caller:
    """Whose request it is, and in which state of the emulator it arrived."""

    state: State
    user: User


# aiohttp's own storage in requests is typed only in releases newer than we require.
_caller: ContextVar[Caller] = ContextVar("caller")


class ApiError(Exception):
    """A request that the service refuses, with what it says about it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def make_application(current: Callable[[], State]) -> web.Application:
    """Make the web application that serves whatever state is *current*."""

    @web.middleware
    async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _serve(current(), request, handler)

    app = web.Application(middlewares=[serve])
    app.router.add_route("GET", "/v1/sessions", list_sessions)
    app.router.add_route("GET", "/v1/sessions/{id}", get_session)
    return app


async def get_session(request: web.Request) -> web.Response:
    """Answer with one session.

    Source: https://docs.emogg.com, "Get a session".
    """
    caller = _caller.get()
    stored = caller.state.world.find(caller.user, request.match_info["id"])
    if stored is None:
        raise ApiError(HTTPStatus.NOT_FOUND, "Session not found")
    return web.Response(body=stored.body, headers=_JSON)


async def list_sessions(request: web.Request) -> web.Response:
    """Answer with a page of sessions, newest first.

    Source: https://docs.emogg.com, "List sessions".
    """
    caller = _caller.get()
    page = Page(
        state=request.query.get("state"),
        type=request.query.get("type"),
        after=_moment(request, "from"),
        before=_moment(request, "to"),
        limit=_whole(request, "limit", 10, least=1, most=_MOST_PER_PAGE),
        offset=_whole(request, "offset", 0),
        by_id=caller.state.sort == "id",
    )
    found, has_more = caller.state.world.page(caller.user, page)
    more = "true" if has_more else "false"
    head = f'{{"hasMore":{more},"offset":{page.offset},"limit":{page.limit},"data":['
    body = head.encode() + b",".join(stored.body for stored in found) + b"]}"
    return web.Response(body=body, headers=_JSON)


def _moment(request: web.Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = datetime.min  # noqa: DTZ901 - has no offset, and so is refused below
    if moment.tzinfo is None:
        raise ApiError(HTTPStatus.BAD_REQUEST, f'"{name}" must be an ISO 8601 date')
    return moment


def _whole(
    request: web.Request, name: str, default: int, least: int = 0, most: int = 10**15
) -> int:
    text = request.query.get(name)
    if text is None:
        return default
    if not (_WHOLE.fullmatch(text) and least <= int(text) <= most):
        rule = f"an integer from {least} to {most}" if least else "an integer from 0"
        raise ApiError(HTTPStatus.BAD_REQUEST, f'"{name}" must be {rule}')
    return int(text)


async def _serve(
    state: State, request: web.Request, handler: Handler
) -> web.StreamResponse:
    entry = state.journal.begin(request.method, request.raw_path, state.clock.now())
    transport = request.transport
    assert transport is not None  # noqa: S101 - had the client left, we were cancelled
    state.transports.add(transport)
    status = None
    try:
        rule = state.faults.choose(entry.method, entry.path)
        fault = (rule and rule.fault) or ""
        delay = state.latency + (rule.delay if rule else 0.0)
        if delay:
            await asyncio.sleep(delay)
        if fault in CONNECTION_FAULTS:
            await CONNECTION_FAULTS[fault](request)
        answer = await _answer(state, request, handler, rule)
        if rule and rule.lag:
            await asyncio.sleep(rule.lag)
        if fault in CUTS:
            await CUTS[fault](request, answer)
        # Before it leaves: whoever has read the answer shall find it in the log.
        state.journal.end(entry, answer.status)
        with suppress(ConnectionResetError):  # the client has left: no error of ours
            await answer.prepare(request)
            await answer.write_eof()
            status = answer.status
        return answer
    finally:
        state.journal.end(entry, status)
        state.transports.discard(transport)


async def _answer(
    state: State, request: web.Request, handler: Handler, rule: FaultRule | None
) -> web.Response:
    """Make the answer, damaged if *rule* says so; all but 401s have rate headers."""
    user = _authenticate(state, request)
    if user is None:
        return _error(HTTPStatus.UNAUTHORIZED, "Invalid token")
    bucket, now = user.bucket, state.clock.elapsed()
    if rule and rule.status == HTTPStatus.UNAUTHORIZED:
        bucket = None
    if bucket and not bucket.take(now):
        answer = _error(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests")
        answer.headers.update(_rate_headers(state, bucket, now))
        return answer
    if rule and rule.status is not None:
        answer = _ruled(rule, rule.status)
    else:
        _caller.set(Caller(state, user))
        answer = await _handle(request, handler)
    if bucket:
        answer.headers.update(_rate_headers(state, bucket, now))
    return _damaged(answer, rule) if rule else answer


def _rate_headers(state: State, bucket: TokenBucket, now: float) -> Mapping[str, str]:
    wanted = state.rate_headers
    if isinstance(wanted, bool):
        return bucket.headers(now) if wanted else {}
    return bucket.headers(now) | dict(wanted)


def _damaged(answer: web.Response, rule: FaultRule) -> web.Response:
    garble = GARBLES.get(rule.fault or "")
    if garble:
        answer = garble(answer)
        answer.set_status(rule.status or HTTPStatus.OK)
    answer.headers.update(rule.headers)
    return answer


def _authenticate(state: State, request: web.Request) -> User | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return state.world.user(token) if scheme.lower() == "bearer" else None


async def _handle(request: web.Request, handler: Handler) -> web.Response:
    try:
        answer = await handler(request)
    except ApiError as error:
        return _error(error.status, error.message)
    except web.HTTPException as error:  # no such route, or not with this method
        refusal = _error(error.status, error.reason)
        if allow := error.headers.get("Allow"):
            refusal.headers["Allow"] = allow
        return refusal
    assert isinstance(answer, web.Response)  # noqa: S101 - as all handlers return it
    return answer


def _ruled(rule: FaultRule, status: int) -> web.Response:
    if rule.body is None and status >= HTTPStatus.BAD_REQUEST:
        return _error(status, _phrase(status))
    return web.Response(status=status, body=rule.body or b"", headers=_JSON)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:  # such as the 520s of some proxies
        return f"Error {status}"


def _error(status: int, message: str) -> web.Response:
    body = json.dumps({"error": True, "status": status, "message": message})
    return web.Response(status=status, body=body.encode(), headers=_JSON)
