"""The steps before and after the routes of the emulated API.

A request is logged, meets the faults, is authenticated, pays a token and is handled;
then its answer meets the faults. A handshake of a live connection is logged and meets
the faults only.
"""

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from aiohttp import web

from emogg_async.testing._bucket import TokenBucket
from emogg_async.testing._damage import CONNECTION_FAULTS, CUTS, GARBLES
from emogg_async.testing._faults import FaultRule
from emogg_async.testing._live import LIVE_PATH
from emogg_async.testing._refusals import RefusalError, phrase
from emogg_async.testing._routes import JSON, Caller, add_routes, caller
from emogg_async.testing._state import State
from emogg_async.testing._stored import User

__all__ = ["make_application"]

_SERVER: Final = "emogg-emulator"
"""Name of the server; it tells `emogg doctor` that the date is made up."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_application(current: Callable[[], State]) -> web.Application:
    """Make the web application that serves the *current* state."""

    @web.middleware
    async def serve(request: web.Request, handler: Handler) -> web.StreamResponse:
        return await _serve(current(), request, handler)

    app = web.Application(middlewares=[serve])
    add_routes(app)
    return app


async def _serve(
    state: State, request: web.Request, handler: Handler
) -> web.StreamResponse:
    entry = state.journal.begin(request.method, request.raw_path, state.clock.now())
    transport = request.transport
    assert transport is not None  # noqa: S101 - there is one until the client leaves
    state.transports.add(transport)
    status: int | None = None
    try:
        rule = state.faults.choose(entry.method, entry.path)
        fault = (rule and rule.fault) or ""
        delay = state.latency + (rule.delay if rule else 0.0)
        if delay:
            await asyncio.sleep(delay)
        if fault in CONNECTION_FAULTS and not (rule and rule.after):
            await CONNECTION_FAULTS[fault](request)
        if request.path == LIVE_PATH and request.method == "GET":
            refusal = await _refuse_live(state, request, rule)
            if refusal is None:
                status = HTTPStatus.SWITCHING_PROTOCOLS
                state.journal.end(entry, status)
                return await state.live.serve(request)
            answer = refusal
        else:
            answer = await _answer(state, request, handler, rule)
        answer.headers.setdefault("Date", _date(int(state.clock.now().timestamp())))
        answer.headers.setdefault("Server", _SERVER)
        if rule and rule.lag:
            await asyncio.sleep(rule.lag)
        if fault in CONNECTION_FAULTS:
            await CONNECTION_FAULTS[fault](request)
        with suppress(ConnectionResetError):  # the client has left
            if fault in CUTS:
                await CUTS[fault](request, answer)
            # Logged before it is sent, so that a client that has read it finds it.
            state.journal.end(entry, answer.status)
            await answer.prepare(request)
            await answer.write_eof()
            status = answer.status
        return answer
    finally:
        state.journal.end(entry, status)
        state.transports.discard(transport)


async def _refuse_live(
    state: State, request: web.Request, rule: FaultRule | None
) -> web.Response | None:
    """Return the answer to a handshake that is refused, damaged as *rule* says."""
    if rule and (rule.status is not None or rule.fault in GARBLES):
        answer = _ruled(rule, rule.status or HTTPStatus.OK)
    else:
        status = await state.live.admit(request)
        if status is None:
            return None
        answer = _error(status, phrase(status))
    return _damaged(answer, rule) if rule else answer


async def _answer(
    state: State, request: web.Request, handler: Handler, rule: FaultRule | None
) -> web.Response:
    """Make the answer, damaged as *rule* says; all but 401s have rate headers."""
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
        if rule.after:
            await _handle(Caller(state, user), request, handler)
        answer = _ruled(rule, rule.status)
    else:
        answer = await _handle(Caller(state, user), request, handler)
    if bucket:
        answer.headers.update(_rate_headers(state, bucket, now))
    return _damaged(answer, rule) if rule else answer


@functools.lru_cache(maxsize=8)
def _date(second: int) -> str:
    """Write a second of the emulator's clock as headers do (RFC 9110)."""
    return formatdate(second, usegmt=True)


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


async def _handle(who: Caller, request: web.Request, handler: Handler) -> web.Response:
    caller.set(who)
    try:
        answer = await handler(request)
    except RefusalError as error:
        return _error(error.status, error.message)
    except web.HTTPException as error:  # no such route, or not with this method
        refusal = _error(error.status, error.reason)
        if allow := error.headers.get("Allow"):
            refusal.headers["Allow"] = allow
        return refusal
    assert isinstance(answer, web.Response)  # noqa: S101 - all handlers return one
    return answer


def _ruled(rule: FaultRule, status: int) -> web.Response:
    if rule.body is None and status >= HTTPStatus.BAD_REQUEST:
        return _error(status, phrase(status))
    return web.Response(status=status, body=rule.body or b"", headers=JSON)


def _error(status: int, message: str) -> web.Response:
    body = json.dumps({"error": True, "status": status, "message": message})
    return web.Response(status=status, body=body.encode(), headers=JSON)
