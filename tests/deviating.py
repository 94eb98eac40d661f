"""A proxy that answers as the service does, but for one thing."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

import aiohttp
import attrs
from aiohttp import web
from multidict import CIMultiDict

from emogg_async.testing._thread import serving

HOP: Final = {"content-length", "transfer-encoding", "connection", "host"}


@attrs.define
class Exchange:
    """A request, and its answer."""

    method: str
    path: str
    query: dict[str, str]
    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Send = Callable[..., Any]


async def no_rate_headers(exchange: Exchange, send: Send) -> None:
    for name in [*exchange.headers]:
        if name.lower().startswith("ratelimit-"):
            del exchange.headers[name]


async def reset_in_milliseconds(exchange: Exchange, send: Send) -> None:
    if reset := exchange.headers.get("RateLimit-Reset"):
        exchange.headers["RateLimit-Reset"] = str(int(reset) * 1000)


async def sorted_by_id(exchange: Exchange, send: Send) -> None:
    if exchange.path == "/v1/sessions" and exchange.status == 200:
        page = exchange.json
        page["data"].sort(key=lambda session: session["_id"], reverse=True)
        exchange.body = json.dumps(page).encode()


async def sessions_without_names(exchange: Exchange, send: Send) -> None:
    exchange.body = exchange.body.replace(b'"name"', b'"title"')


async def any_limit(exchange: Exchange, send: Send) -> None:
    if int(exchange.query.get("limit", 0)) > 100:
        again = await send("GET", exchange.path, query={"limit": "100"})
        exchange.status, exchange.body = again.status, again.body


async def stop_is_always_right(exchange: Exchange, send: Send) -> None:
    if exchange.path.endswith("/stop") and exchange.status == 400:
        again = await send("GET", exchange.path.removesuffix("/stop"))
        exchange.status, exchange.body = again.status, again.body


async def creates_whatever(exchange: Exchange, send: Send) -> None:
    asked = exchange.method, exchange.path, exchange.status
    if asked == ("POST", "/v1/sessions", 400):
        body = {"name": "whatever", "streamUri": "rtmps://stream.example.com/live"}
        again = await send("POST", exchange.path, json=body)
        exchange.status, exchange.body = again.status, again.body


async def delete_has_a_body(exchange: Exchange, send: Send) -> None:
    if exchange.method == "DELETE" and exchange.status == 204:
        exchange.status, exchange.body = 200, b'{"deleted":true}'


async def no_zone(exchange: Exchange, send: Send) -> None:
    exchange.body = re.sub(rb'(\.\d{3})Z"', rb'\1"', exchange.body)


async def another_404(exchange: Exchange, send: Send) -> None:
    if exchange.status == 404:
        exchange.body = b'{"statusCode":404,"code":"not_found"}'


@attrs.define
class EventsAtPrintedPath:
    """Take events where sources are registered, and nowhere else."""

    source: str = ""

    async def __call__(self, exchange: Exchange, send: Send) -> None:
        head, _, tail = exchange.path.rpartition("/")
        if "/sources/" in exchange.path:
            exchange.status, exchange.body = 404, b'{"error":true}'
        elif tail == "events" and exchange.status == 201:
            self.source = self.source or exchange.json["id"]
        elif tail == "events" and self.source and exchange.status == 400:
            path = f"{head}/sources/{self.source}/events"
            again = await send("POST", path, json={"time": 1.5, "data": 72.5})
            exchange.status, exchange.body = again.status, again.body


async def secrets_everywhere(exchange: Exchange, send: Send) -> None:
    """Answer errors that repeat what nobody may read."""
    if exchange.status >= 400:
        secret = exchange.headers["X-Token"]
        value = {secret: secret, "message": secret, "state": secret, "status": 4e99}
        exchange.body = json.dumps(value).encode()
        exchange.headers["RateLimit-Reset"] = secret


def live_in_milliseconds(text: str) -> str:
    event = json.loads(text)
    if isinstance(event, list):
        event[1] = int(datetime.fromisoformat(event[1]).timestamp() * 1000)
    return json.dumps(event)


def _end_to_end(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict(each for each in headers.items() if each[0].lower() not in HOP)


@asynccontextmanager
async def deviating(
    url: str,
    change: Callable[[Exchange, Send], Any] | None = None,
    live: Callable[[str], str] = str,
) -> AsyncIterator[str]:
    """Serve what *url* does, each answer and each live message changed."""
    async with aiohttp.ClientSession() as http:

        async def relay(request: web.Request) -> web.StreamResponse:
            if request.path == "/ws/v1":
                return await _relay_live(http, url, request, live)
            headers = _end_to_end(request.headers)

            async def send(
                method: str,
                path: str,
                query: Mapping[str, str] | None = None,
                **more: Any,
            ) -> Exchange:
                sent = http.request(
                    method, f"{url}{path}", params=query, headers=headers, **more
                )
                async with sent as answer:
                    return Exchange(
                        method,
                        path,
                        dict(query or {}),
                        answer.status,
                        _end_to_end(answer.headers),
                        await answer.read(),
                    )

            exchange = await send(
                request.method, request.path, request.query, data=await request.read()
            )
            exchange.headers["X-Token"] = headers.get("Authorization", "")[7:]
            if change is not None:
                await change(exchange, send)
            del exchange.headers["X-Token"]
            return web.Response(
                status=exchange.status, headers=exchange.headers, body=exchange.body
            )

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", relay)
        async with serving(app, 0) as port:
            yield f"http://127.0.0.1:{port}"


async def _relay_live(
    http: aiohttp.ClientSession,
    url: str,
    request: web.Request,
    live: Callable[[str], str],
) -> web.WebSocketResponse:
    near = web.WebSocketResponse()
    await near.prepare(request)
    async with http.ws_connect(f"{url}/ws/v1") as far:

        async def down() -> None:
            async for frame in far:
                await near.send_str(live(frame.data))
            await near.close(code=far.close_code or 1000)

        downward = asyncio.create_task(down())
        try:
            async for frame in near:
                await far.send_str(frame.data)
        finally:
            downward.cancel()
    return near
