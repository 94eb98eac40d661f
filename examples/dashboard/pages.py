"""The pages of the dashboard, as a FastAPI app; `app.state.client` is its client."""

import asyncio
import csv
import io
import json
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from account import Filters, Page, figures, granularity, read_page
from boards import Board, Boards, watch_account, watch_session
from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from problems import Problem, is_limited, problem_of
from pydantic import BaseModel, Field
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emogg_async import AsyncEmoggClient, SessionState, SessionType, to_json
from emogg_async.errors import EmoggError, ServerError, TransportError
from emogg_async.integrations.starlette import CancelOnDisconnect, get_client

HERE: Final = Path(__file__).parent
RISKY: Final = {*"=+-@\t\r"}
KEPT_PAGES: Final = 20  # of the list, which are shown again while the service is out

POLICY: Final = "Content-Security-Policy"
HEADERS: Final = {
    POLICY: "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Drawing(BaseModel):
    """The choice of what to draw, as it stands in the address."""

    measure: Literal["intensity", "quantity", "people"] = "intensity"
    every: Literal[""] | Annotated[int, Field(ge=5, le=3600)] = ""
    width: int = Field(640, ge=20, le=4000)


Client = Annotated[AsyncEmoggClient, Depends(get_client)]
Choice = Annotated[Drawing, Query()]
Row = Annotated[str, Field(pattern=r"^[0-9a-f]{24}\.[0-9]{1,4}$")]
Rows = Annotated[list[Row], Query(max_length=100)]
What = Literal["totals", "timeline", "sentiment"]
Form = Literal["csv", "json", "svg"]
Read = Callable[[str], Awaitable[Any]]

templates = Jinja2Templates(HERE / "templates")
templates.env.filters["minutes"] = lambda seconds: f"{round(seconds / 60):,} min"
templates.env.globals["figures"] = figures
templates.env.globals["spark_seconds"] = partial(granularity, parts=24)


def render(name: str, **facts: Any) -> str:
    """Write a piece of a page."""
    return templates.get_template(f"pieces/{name}.html").render(facts)


def reads(client: AsyncEmoggClient, every: int) -> dict[str, Read]:
    """Return the calls for what is known of a session."""
    return {
        "totals": client.get_emotions,
        "timeline": partial(client.get_emotions_timeline, granularity=every),
        "sentiment": partial(client.get_transcription_sentiment, granularity=every),
    }


async def try_to(read: Read, session_id: str, client: AsyncEmoggClient) -> Any:
    """Read what is known of a session, or say why it cannot be read."""
    try:
        return await read(session_id)
    except EmoggError as error:
        return problem_of(error, client)


def secured(app: ASGIApp) -> ASGIApp:
    """Tell browsers what a page may do: run our own script, and no more."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                for name, value in HEADERS.items():
                    MutableHeaders(scope=message).setdefault(name, value)
            await send(message)

        await app(scope, receive, answer)

    return call


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
    """Keep the client open while the app runs."""
    async with app.state.client as client:
        boards = Boards()
        yield {"emogg_client": client, "boards": boards, "kept": OrderedDict()}
        await boards.close()


app = FastAPI(lifespan=lifespan, openapi_url=None)
app.add_middleware(CancelOnDisconnect)
app.add_middleware(secured)
app.mount("/static", StaticFiles(directory=HERE / "static"))


@app.exception_handler(EmoggError)
@app.exception_handler(HTTPException)
@app.exception_handler(RequestValidationError)
async def answer_error(request: Request, error: Exception) -> Response:
    """Answer an error by a page that says what to do."""
    if isinstance(error, EmoggError):
        problem = problem_of(error, await get_client(request))
    else:
        words = "There is no such page. Correct the address, or go back to the list."
        problem = Problem(words, getattr(error, "status_code", 400))
    facts = {"problem": problem}
    return templates.TemplateResponse(request, "problem.html", facts, problem.status)


# -- the list --------------------------------------------------------------------------


@app.get("/", response_class=HTMLResponse)
async def list_sessions(
    request: Request, client: Client, filters: Annotated[Filters, Query()]
) -> Response:
    """Show a page of the list; in an outage, the page as it was."""
    kept: OrderedDict[str, tuple[float, Page]] = request.state.kept
    address, age, problem = filters.address(), 0.0, None
    try:
        page = await read_page(client, filters)
    except (TransportError, ServerError) as error:
        if address not in kept:
            raise
        since, page = kept[address]
        age, problem = time.monotonic() - since, problem_of(error, client)
    else:
        kept[address] = time.monotonic(), page
        kept.move_to_end(address)
        if len(kept) > KEPT_PAGES:
            kept.popitem(last=False)
    facts = {"page": page, "filters": filters, "age": age, "problem": problem}
    kinds = {"states": [*SessionState], "types": [*SessionType]}
    return templates.TemplateResponse(request, "sessions.html", facts | kinds)


@app.get("/charts")
async def draw_charts(request: Request, client: Client, row: Rows) -> Response:
    """Send the charts of rows, each in a line of its own as soon as it is there.

    They are bulk work, which leaves the rate limit to what visitors wait for. Each row
    is an id and the seconds of an interval, as `6606810e62d82c07cd0c20aa.60`.
    """
    wanted = {each[:24]: int(each[25:]) for each in row}

    async def work(board: Board) -> None:
        async def draw(session_id: str) -> None:
            read = reads(client, wanted[session_id])["timeline"]
            found = await try_to(read, session_id, client)
            board.show(session_id, render("spark", timeline=found))

        await client.gather(draw, wanted)

    async def lines() -> AsyncIterator[str]:
        if is_limited(client, calls=len(wanted)):
            yield json.dumps({"note": "Charts wait for the rate limit."}) + "\n"
        with request.state.boards.board(f"charts {row}", work) as board:
            async for pieces in board.pieces(request.app.state.is_stopping):
                yield json.dumps({"charts": pieces}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@app.get("/live", response_class=EventSourceResponse)
async def stream(
    request: Request, client: Client, session: str = ""
) -> AsyncIterator[ServerSentEvent]:
    """Send what moves on the list, or on the page of a session, as it changes."""
    of_one = partial(watch_session, client, session)
    watch = of_one if session else partial(watch_account, client)
    with request.state.boards.board(f"live {session}", partial(watch, render)) as board:
        async for pieces in board.pieces(request.app.state.is_stopping):
            yield ServerSentEvent(event="show", data=pieces)
        if board.is_over:
            yield ServerSentEvent(event="end", data={})


# -- one session -----------------------------------------------------------------------
@app.get("/sessions/{session_id}", response_class=HTMLResponse)
async def show_session(
    request: Request, client: Client, session_id: str, choice: Choice
) -> Response:
    """Show one session: facts, totals, timeline and sentiment."""
    session = await client.get_session(session_id)
    seconds = choice.every or granularity(session.duration, 120)

    calls = reads(client, seconds)
    tried = (try_to(read, session_id, client) for read in calls.values())
    found = await asyncio.gather(*tried)
    facts = dict(zip(calls, found, strict=True))
    facts |= {"session": session, "choice": choice, "seconds": seconds}
    facts["is_past"] = any(getattr(each, "stale", False) for each in (session, *found))
    return templates.TemplateResponse(request, "session.html", facts)


@app.get("/sessions/{session_id}/{what}.{form}")
async def download(
    client: Client, session_id: str, what: What, form: Form, choice: Choice
) -> Response:
    """Send what is known of a session as a table, as JSON or as a picture."""
    model = await reads(client, choice.every or 60)[what](session_id)
    headers = {"Content-Disposition": f'inline; filename="{what}-{session_id}.{form}"'}
    if form == "json":
        return Response(to_json(model), 200, headers, "application/json")
    if form == "svg":
        more = {"measure": choice.measure} if what == "timeline" else {}
        is_small = what == "timeline" and choice.width < 200
        draw = model.to_sparkline if is_small else model.to_svg
        headers[POLICY] = "default-src 'none'; style-src 'unsafe-inline'"
        return Response(draw(width=choice.width, **more), 200, headers, "image/svg+xml")
    columns, file = model.to_columns(), io.StringIO(newline="")
    rows = ([*map(cell, row)] for row in zip(*columns.values(), strict=True))
    csv.writer(file).writerows([[*columns], *rows])
    return Response(file.getvalue(), 200, headers, "text/csv")


def cell(value: Any) -> Any:
    """Let no spreadsheet take a text for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in RISKY else value
