"""Serve the sessions of an account as JSON, with FastAPI and uvicorn.

    python -m pip install . fastapi uvicorn
    PORT=8000 python examples/fastapi_app.py

    curl 'localhost:8000/sessions?state=finished&limit=3'       a list
    curl localhost:8000/sessions/6606810e62d82c07cd0c20aa       one session
    curl localhost:8000/sessions/6606810e62d82c07cd0c20aa/emotions
    curl 'localhost:8000/batch?id=6606810e62d82c07cd0c20aa&id=…'  many by their ids

The token comes from EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL. All
visitors see what that token may see: put your own log-in in front of it.
"""

import logging
import os
import signal
import sys
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, Query

from emogg_async import AsyncEmoggClient, CachePolicy, Session
from emogg_async.integrations import answer_to
from emogg_async.integrations.starlette import (
    CancelOnDisconnect,
    add_error_handlers,
    emogg_lifespan,
    get_client,
)

Client = Annotated[AsyncEmoggClient, Depends(get_client)]

# No visitor waits longer than 5 s; in an outage they get past values.
policy = CachePolicy(stale_if_error=600.0)
app = FastAPI(lifespan=emogg_lifespan(timeout=5.0, cache=policy))
app.add_middleware(CancelOnDisconnect)
add_error_handlers(app)


def summary(session: Session) -> dict[str, object]:
    """Return the facts of a session that visitors may see."""
    return {
        "id": session.id,
        "name": session.name,
        "state": session.state,
        "started": session.timestamp.isoformat(),
        "minutes": round(session.duration / 60, 1),
    }


@app.get("/sessions")
async def list_sessions(
    client: Client,
    state: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> list[dict[str, object]]:
    """List the newest sessions."""
    listing = client.list_sessions(state=state, page_size=limit)
    return [summary(session) for session in await listing.collect(limit=limit)]


@app.get("/sessions/{session_id}")
async def get_session(session_id: str, client: Client) -> dict[str, object]:
    """Get one session."""
    return summary(await client.get_session(session_id))


@app.get("/sessions/{session_id}/emotions")
async def get_emotions(session_id: str, client: Client) -> dict[str, int]:
    """Get how often each emotion was detected in a session."""
    totals = await client.get_emotions(session_id)
    return {**totals.emotions}


@app.get("/batch")
async def get_sessions(
    client: Client, ids: Annotated[list[str], Query(alias="id", max_length=100)]
) -> dict[str, object]:
    """Get many sessions; an id that fails does not disturb the others."""
    with client.deadline(5.0):  # for all ids together
        batch = await client.get_sessions(ids)
    return {
        "sessions": [summary(session) for session in batch.values()],
        "errors": {id_: answer_to(error).body for id_, error in batch.errors.items()},
    }


@app.get("/health")
async def health(client: Client) -> dict[str, int]:
    """Count what the client of this process has done, without a request."""
    return {"calls": client.stats.calls, "requests": client.stats.requests}


if __name__ == "__main__":
    logging.basicConfig()  # failures that a visitor did not cause are logged
    # uvicorn answers all visitors, and then sends itself its SIGTERM again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
