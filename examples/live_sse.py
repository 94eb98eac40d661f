"""Send what a session shows right now to many browsers, with FastAPI and uvicorn.

    python -m pip install . 'fastapi>=0.135' uvicorn
    PORT=8000 python examples/live_sse.py

    curl -N localhost:8000/sessions/SESSION-ID/live

The session is active; with the emulator it is one that `emogg sessions create NAME URI`
has made. All browsers of a session share one subscription. A browser that reads slowly
loses its own oldest events only, and a gap is an event of its own. The token comes from
EMOGG_API_TOKEN, the service's address from EMOGG_BASE_URL. All visitors see what that
token may see: put your own log-in in front of it.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent

from emogg_async import (
    AsyncEmoggClient,
    DeadlineError,
    EmotionIntensities,
    Feed,
    to_dict,
)
from emogg_async.integrations.starlette import (
    add_error_handlers,
    emogg_lifespan,
    get_client,
)

app = FastAPI(lifespan=emogg_lifespan(timeout=5.0))
add_error_handlers(app)
port = int(os.environ.get("PORT", "8000"))
server = uvicorn.Server(uvicorn.Config(app, port=port))


async def live_feed(
    session_id: str, client: Annotated[AsyncEmoggClient, Depends(get_client)]
) -> AsyncIterator[Feed[EmotionIntensities]]:
    """Enter a feed before the answer begins, so that a failure still has a status."""
    async with client.live.intensities(session_id, every="1s", buffer=16) as feed:
        yield feed


@app.get("/sessions/{session_id}/live", response_class=EventSourceResponse)
async def live(
    feed: Annotated[Feed[EmotionIntensities], Depends(live_feed)],
) -> AsyncIterator[ServerSentEvent]:
    """Send events until the session ends, the browser leaves or the server stops."""
    while not server.should_exit:  # an open stream does not hold up the shutdown
        try:
            event = await feed.next(timeout=1.0)
        except DeadlineError:
            continue
        except StopAsyncIteration:
            break
        if event.gap is not None:
            yield ServerSentEvent(event="gap", data=to_dict(event.gap))
        yield ServerSentEvent(event="emotions", data=to_dict(event))
    yield ServerSentEvent(event="end", data={})


if __name__ == "__main__":
    # uvicorn answers all visitors, and then sends itself its SIGTERM again.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server.run()
