"""Serve the sessions of an account as JSON, with aiohttp's own server.

    PORT=8080 python examples/aiohttp_app.py

    curl 'localhost:8080/sessions?state=finished&limit=3'       a list
    curl localhost:8080/sessions/6606810e62d82c07cd0c20aa       one session
    curl localhost:8080/sessions/6606810e62d82c07cd0c20aa/emotions
    curl 'localhost:8080/batch?id=6606810e62d82c07cd0c20aa&id=…'  many by their ids

The token comes from EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL. All
visitors see what that token may see: put your own log-in in front of it.
"""

import logging
import os
import sys

from aiohttp import web

from emogg_async import CachePolicy, EmoggError, Session
from emogg_async.integrations import answer_to
from emogg_async.integrations.aiohttp_web import (
    emogg_client,
    error_middleware,
    get_client,
)

routes = web.RouteTableDef()


def summary(session: Session) -> dict[str, object]:
    """Return the facts of a session that visitors may see."""
    return {
        "id": session.id,
        "name": session.name,
        "state": session.state,
        "started": session.timestamp.isoformat(),
        "minutes": round(session.duration / 60, 1),
    }


def refusal(detail: str) -> web.Response:
    """Refuse a request, in the form of all other errors."""
    body = {"error": "invalid_argument", "detail": detail}
    return web.json_response(body, status=400)


@routes.get("/sessions")
async def list_sessions(request: web.Request) -> web.Response:
    """List the newest sessions."""
    limit = request.query.get("limit", "20")
    if limit not in map(str, range(1, 101)):
        return refusal("limit: expected 1 to 100")
    listing = get_client(request).list_sessions(
        state=request.query.get("state"), page_size=int(limit)
    )
    sessions = await listing.collect(limit=int(limit))
    return web.json_response([summary(session) for session in sessions])


@routes.get("/sessions/{session_id}")
async def get_session(request: web.Request) -> web.Response:
    """Get one session."""
    session_id = request.match_info["session_id"]
    return web.json_response(summary(await get_client(request).get_session(session_id)))


@routes.get("/sessions/{session_id}/emotions")
async def get_emotions(request: web.Request) -> web.Response:
    """Get how often each emotion was detected in a session."""
    totals = await get_client(request).get_emotions(request.match_info["session_id"])
    return web.json_response({**totals.emotions})


@routes.get("/batch")
async def get_sessions(request: web.Request) -> web.Response:
    """Get many sessions; an id that fails does not disturb the others."""
    ids = request.query.getall("id", [])
    if not 1 <= len(ids) <= 100:
        return refusal("id: expected 1 to 100 of them")
    client = get_client(request)
    with client.deadline(5.0):  # for all ids together
        batch = await client.get_sessions(ids)
    return web.json_response(
        {
            "sessions": [summary(session) for session in batch.values()],
            "errors": {key: answer_to(item).body for key, item in batch.errors.items()},
        }
    )


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Count what the client of this process has done, without a request."""
    stats = get_client(request).stats
    return web.json_response({"calls": stats.calls, "requests": stats.requests})


def make_app() -> web.Application:
    """Make the app: one client for all visitors, from its start-up to its clean-up."""
    app = web.Application(middlewares=[error_middleware])
    # No visitor waits longer than 5 s; in an outage they get past values.
    policy = CachePolicy(stale_if_error=600.0)
    app.cleanup_ctx.append(emogg_client(timeout=5.0, cache=policy))
    app.add_routes(routes)
    return app


if __name__ == "__main__":
    logging.basicConfig()  # failures that a visitor did not cause are logged
    try:
        web.run_app(
            make_app(),
            host="127.0.0.1",
            port=int(os.environ.get("PORT", "8080")),
            handler_cancellation=True,  # visitors who leave cancel their calls
        )
    except EmoggError as error:
        sys.exit(f"error: {error}")
