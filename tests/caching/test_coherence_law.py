"""A law about what is kept, checked in simulated time over a service made up here."""

import asyncio
import json
import random

import pytest
import simulated
from aiocache import SimpleMemoryCache
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    ConnectionLostError,
    EmoggError,
    RetryPolicy,
)
from emogg_async._core import assemble
from emogg_async._wire.protocol import Response

ID = "65ea1530bb50af72b6e3dc1e"
WIRE = {
    "_id": ID,
    "type": "live_analysis",
    "state": "finished",
    "timestamp": "2024-03-07T19:30:24.000Z",
    "duration": 120,
    "product": "p",
    "user": "u",
    "version": 3,
}


class Service:
    """A service with one session, whose names are numbered, and a moody network."""

    def __init__(self, rng, losses):
        self.names = ["0"]
        self.rng = rng
        self.losses = losses

    async def send(self, request, _):
        await asyncio.sleep(self.rng.uniform(0, 1))
        answer = self.handle(request)
        await asyncio.sleep(self.rng.uniform(0, 1))
        if self.rng.random() < self.losses:
            raise ConnectionLostError("lost")
        return Response(200, CIMultiDict(), json.dumps(answer).encode())

    def handle(self, request):
        session = WIRE | {"name": self.names[-1]}
        if request.method == "PATCH":
            self.names.append(json.loads(request.body)["name"])
            return session | {"name": self.names[-1]}
        if request.path.endswith("/emotions"):
            return {"session": ID, "emotions": {"names": len(self.names) - 1}}
        if request.path.endswith("/sessions"):
            return {"hasMore": False, "data": [session]}
        return session

    def last(self, name):
        """Return where a name stands last: a repeated rename gives it twice."""
        return len(self.names) - 1 - self.names[::-1].index(name)

    async def close(self):
        """Have nothing to close."""


class Moody(SimpleMemoryCache):
    """A backend that takes its time, and sometimes too long."""

    def __init__(self, rng):
        super().__init__(timeout=None)
        self.rng = rng

    async def pause(self):
        await asyncio.sleep(self.rng.choice([0, 0, 0.05, 0.05, 0.3]))

    async def get(self, *args, **options):
        await self.pause()
        return await super().get(*args, **options)

    async def multi_get(self, *args, **options):
        await self.pause()
        return await super().multi_get(*args, **options)

    async def set(self, key, value, **options):
        await self.pause()
        return await super().set(key, value, dumps_fn=options["dumps_fn"])

    async def delete(self, *args, **options):
        await self.pause()
        return await super().delete(*args, **options)


def open_client(service, policy):
    """Open a client of *service* in the running loop."""
    client = AsyncEmoggClient(
        "token",
        base_url="http://localhost",
        retry=RetryPolicy(attempts=3, base=0.1),
        cache=policy,
        concurrency=8,
        pace=False,
    )
    client._core = assemble(
        client._settings, client._counters, transport=service, rng=random.Random(0)
    )
    return client


async def read(client, what):
    """Return the number of the name that a read shows."""
    if what == "emotions":
        return (await client.get_emotions(ID)).emotions["names"]
    if what == "fresh":
        return int((await client.get_session(ID, fresh=True)).name)
    if what == "pages":
        return int((await client.get_sessions([ID], via="pages"))[ID].name)
    return int((await client.get_session(ID)).name)


WHAT = ["get", "get", "fresh", "pages", "emotions", "rename"]
PLANS = st.lists(
    st.tuples(
        st.floats(0, 8, width=16),
        st.sampled_from(WHAT),
        st.none() | st.floats(0, 2, width=16),
    ),
    min_size=2,
    max_size=20,
)


KINDS = [
    *("memory", "shared", "none", "past in memory", "past, shared"),
    *("learning in memory", "learning, shared"),
]
PAST = {"ttl": 1e-6, "live_ttl": 1e-6, "stale_if_error": 1_000.0}
"""Whatever is stored is past at once: real time passes too, though hardly any."""

LEARNING = {"live_ttl": 1e-6, "stale_if_error": 1_000.0}
"""No answer of a session of unknown state is fresh, so that the next one learns it."""


@pytest.mark.property
@pytest.mark.parametrize("kind", KINDS)
@given(PLANS, st.integers(0, 1_000))
def test_law_no_read_shows_what_an_ended_write_has_outdated(  # noqa: C901
    kind, plan, seed
):
    """Whatever is read, renamed, lost and cancelled when: none is from before."""

    async def main():
        rng = random.Random(seed)
        service = Service(rng, losses=0.5 if "past" in kind else 0.15)
        backend = Moody(rng) if "shared" in kind else None
        times = PAST if "past" in kind else LEARNING if "learning" in kind else {}
        policy = CachePolicy(backend=backend, **times) if kind != "none" else None
        client = open_client(service, policy)
        newest = 0  # of the names that renames, which have ended, have left
        names = iter(range(1, 1_000))

        async def rename():
            nonlocal newest
            name = str(next(names))
            try:
                await client.update_session(ID, name=name)
            except EmoggError:
                pass
            finally:
                if name in service.names:
                    newest = max(newest, service.names.index(name))

        async def look(what):
            floor = newest
            try:
                shown = await read(client, what)
            except (EmoggError, KeyError):
                return
            if what != "emotions":  # which counts the names, as they came
                shown = service.last(str(shown))
            assert floor <= shown

        async def act(begin, what, patience):
            await asyncio.sleep(begin)
            call = asyncio.ensure_future(rename() if what == "rename" else look(what))
            if patience is not None:
                await asyncio.sleep(patience)
                call.cancel()
            await asyncio.wait([call])
            if not call.cancelled():
                call.result()
            await look(rng.choice(WHAT[:5]))

        await asyncio.gather(*(act(*step) for step in plan))
        await look("get")
        await look("emotions")
        await client.aclose()
        assert not client._core.sessions._writes.under_way
        assert 1 == len(asyncio.all_tasks())

    simulated.run(main())
