"""A visitor of the dashboard without a browser, and what its pages say."""

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
from yarl import URL


@attrs.frozen
class Seen:
    """An answer of the dashboard."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def kind(self) -> str:
        """The type of its content, without parameters."""
        return self.headers["Content-Type"].partition(";")[0]

    @property
    def names(self) -> list[str]:
        """The names in the rows of a list."""
        return self._found(
            r'<a href="[^"]*"><bdi>([^<]*)</bdi></a>\s*<span class="spark'
        )

    @property
    def ids(self) -> list[str]:
        """The ids in the rows of a list."""
        return [row.partition(".")[0] for row in self.rows]

    @property
    def rows(self) -> list[str]:
        """What the rows of a list ask for, to draw their charts."""
        return self._found(r'data-row="(.*?)"')

    @property
    def problems(self) -> list[str]:
        """What it complains of."""
        return self._found(r'<p class="problem">(.*?)</p>')

    @property
    def isolated(self) -> list[str]:
        """The texts that come from elsewhere."""
        return self._found(r"<bdi>(.*?)</bdi>")

    @property
    def more(self) -> str | None:
        """The address of the next page of a list."""
        return next(iter(self._found(r'<a href="([^"]*)" rel="next"')), None)

    @property
    def title(self) -> str:
        """Its first heading."""
        return self._found(r"<h1>(.*?)</h1>")[0]

    @property
    def tags(self) -> set[str]:
        """The kinds of its elements."""
        return {each.lower() for each in re.findall(r"<(\w+)", self.text)}

    def _found(self, pattern: str) -> list[str]:
        found = re.findall(pattern, self.text, re.DOTALL)
        return [html.unescape(each) for each in found]


class Visitor:
    """Visits a dashboard, over as many connections as there are visits."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url.rstrip("/")

    async def get(self, path: str = "/", method: str = "GET", **options: Any) -> Seen:
        """Ask for *path*, which is sent as it is."""
        url = URL(self._url + path, encoded=True)
        async with self._session.request(method, url, **options) as answer:
            return Seen(answer.status, answer.headers, await answer.text())

    async def fresh_until(self, condition: Callable[[Seen], object], path: str) -> None:
        """Ask for *path* again until its answer is as wanted."""
        async with asyncio.timeout(20):
            while not condition(await self.get(path)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def charts(self, rows: list[str]) -> list[dict[str, str]]:
        """Ask for the charts of rows; return what the answer notes, and each chart."""
        seen = await self.get("/charts?" + "&".join(f"row={row}" for row in rows))
        lines = [json.loads(line) for line in seen.text.splitlines()]
        notes = [line for line in lines if "note" in line]
        charts = [line["charts"] for line in lines if "charts" in line]
        return notes + [
            {"id": session_id, "html": html}
            for each in charts
            for session_id, html in each.items()
        ]

    @asynccontextmanager
    async def stream(self, path: str = "/live") -> AsyncIterator["Stream"]:
        """Open a stream, as a page does."""
        forever = aiohttp.ClientTimeout(total=None)
        async with self._session.get(self._url + path, timeout=forever) as answer:
            assert (200, "text/event-stream") == (answer.status, answer.content_type)
            yield Stream(answer)


@attrs.define
class Stream:
    """A stream that is open."""

    answer: aiohttp.ClientResponse

    async def event(self) -> tuple[str, dict[str, str]]:
        """Wait for the next event; its kind is empty at the end of the stream."""
        kind = ""
        async with asyncio.timeout(20):
            while line := await self.answer.content.readline():
                name, _, value = line.decode().strip().partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    return kind, json.loads(value)
        return "", {}

    async def until(self, words: str, place: str = "live") -> str:
        """Wait until a piece says *words*; return it."""
        while True:
            kind, pieces = await self.event()
            assert kind == "show", f"it ends before it says {words!r}"
            if words in pieces.get(place, ""):
                return pieces[place]


@asynccontextmanager
async def visiting(url: str) -> AsyncIterator[Visitor]:
    """Visit the dashboard at *url*."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=40)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield Visitor(session, url)
