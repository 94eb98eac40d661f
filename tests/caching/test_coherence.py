"""What is kept of sessions, and what writes do to it; over real sockets."""

import asyncio
import json
import random
import time
from contextlib import asynccontextmanager
from functools import partial

import pytest
import simulated
from aiocache import SimpleMemoryCache
from simulation import client_of, session_of
from waiting import until

from emogg_async import (
    BadRequestError,
    CachePolicy,
    DeadlineError,
    EmotionsTimeline,
    EmotionTotals,
    NotFoundError,
    OutcomeUnknownError,
    RetryPolicy,
    SentimentTimeline,
    ServerError,
    to_dict,
)
from emogg_async._caching import guard, shared

QUICK = RetryPolicy(base=0.001, cap=0.002)


class Slow(SimpleMemoryCache):
    """A backend whose every answer takes a moment, and never the same one."""

    def __init__(self):
        super().__init__(timeout=None)
        self.rng = random.Random(0)

    async def pause(self):
        await asyncio.sleep(self.rng.choice([0, 0, 0.0005, 0.002]))

    async def get(self, key, **options):
        await self.pause()
        value = await super().get(key, **options)
        await self.pause()
        return value

    async def multi_get(self, keys, **options):
        await self.pause()
        values = await super().multi_get(keys, **options)
        await self.pause()
        return values

    async def set(self, key, value, **options):
        await self.pause()
        await super().set(key, value, **options)
        await self.pause()

    async def delete(self, key, **options):
        await self.pause()
        await super().delete(key, **options)
        await self.pause()


CACHES = {
    "memory": lambda: CachePolicy(live_ttl=60.0),
    "shared": lambda: CachePolicy(live_ttl=60.0, backend=Slow()),
    "none": lambda: None,
}


@pytest.fixture
def finished(emulator):
    """Give the id of a finished session."""
    return emulator.add_session(name="Old", state="finished", duration=600.0).id


@pytest.fixture(params=["memory", "shared"])
async def client(request, emulator, monkeypatch):
    """Give a client with either kind of cache, and none that paces."""
    monkeypatch.setattr(guard, "BACKEND_TIMEOUT", 10.0)  # on a machine that is busy
    cache = CACHES[request.param]()
    async with emulator.client(cache=cache, retry=QUICK, pace=False) as opened:
        yield opened


both = pytest.mark.parametrize("kind", ["memory", "shared"])


@asynccontextmanager
async def renaming(kind, **changes):
    """Give an emulator and a client in simulated time, and a finished session."""
    backend = Slow() if kind == "shared" else None
    cache = CachePolicy(**{"live_ttl": 60.0, "backend": backend} | changes)
    options = {"cache": cache, "retry": QUICK, "pace": False}
    async with (
        simulated.emulated(sessions=1) as emulator,
        emulator.client(**options) as client,
    ):
        old = emulator.add_session(name="Old", state="finished", duration=600.0)
        yield emulator, client, old.id


class TestInterleavings:
    @pytest.mark.parametrize(
        "renames",
        [
            pytest.param(100, id="scaled"),
            pytest.param(500, id="full", marks=pytest.mark.soak),
        ],
    )
    @pytest.mark.parametrize("kind", CACHES)
    async def test_no_get_after_a_rename_returns_the_old_name(
        self, emulator, kind, renames
    ):
        """Of all renames amid gets, pages and lookups, none is ever forgotten."""
        rng = random.Random(kind)
        session = emulator.add_session(name="0", state="finished")
        others = [each.id for each in emulator.sessions[:6]]
        emulator.fail("GET", lag=0.003, probability=0.3)
        emulator.fail("GET", delay=0.003, probability=0.2)
        async with emulator.client(cache=CACHES[kind]()) as client:
            reads = [
                partial(client.get_session, session.id),
                partial(client.get_session, session.id, fresh=True),
                partial(client.get_sessions, [session.id, *others], via="pages"),
                partial(client.get_sessions, [session.id]),
            ]

            async def read_later(seconds):
                await asyncio.sleep(seconds)
                await rng.choice(reads)()

            for number in range(1, renames + 1):
                delays = [rng.uniform(0, 0.004) for _ in range(rng.randrange(4))]
                before = [asyncio.create_task(read_later(each)) for each in delays]
                await asyncio.sleep(rng.uniform(0, 0.003))
                await client.update_session(session.id, name=str(number))
                after = [
                    client.get_session(session.id),
                    client.get_sessions([session.id]),
                    client.get_session(session.id),
                ]
                one, many, again = await asyncio.gather(*after)
                assert [str(number)] * 3 == [
                    each.name for each in (one, many[session.id], again)
                ]
                await asyncio.gather(*before)
                assert str(number) == (await client.get_session(session.id)).name
            assert not client._open().sessions._writes.under_way


def tell(emulator):
    """Return the paths of the requests so far, and forget none."""
    return [item.path.rpartition("/")[2] for item in emulator.requests]


WRITES = {
    "update": lambda client, each: client.update_session(each, name="New"),
    "stop": lambda client, each: client.stop_session(each),
    "delete": lambda client, each: client.delete_session(each),
    "register": lambda c, each: c.register_source(each, name="n", format="text"),
    "custom": lambda client, each: client.request(
        "PATCH", f"/v1/sessions/{each.upper()}", json={"name": "New"}
    ),
}


class TestDropping:
    @pytest.mark.parametrize("write", WRITES)
    async def test_a_write_drops_its_session(self, emulator, client, write):
        """After a write, whatever came of it, its session is asked for anew."""
        session = emulator.add_session(state="finished")
        other = emulator.add_session(state="finished")
        for each in (session, other):
            await client.get_session(each.id)
        if write == "stop":
            with pytest.raises(BadRequestError):
                await WRITES[write](client, session.id)
        else:
            await WRITES[write](client, session.id)
        before = client.stats.requests
        await client.get_session(other.id)
        assert before == client.stats.requests
        if write == "delete":
            with pytest.raises(NotFoundError):
                await client.get_session(session.id)
        else:
            await client.get_session(session.id)
        assert before + 1 == client.stats.requests

    async def test_reads_drop_nothing(self, emulator, client, finished):
        """Neither a custom GET nor an event outdates a session."""
        source = await client.register_source(finished, name="n", format="text")
        await client.get_session(finished)
        await client.request("GET", f"/v1/sessions/{finished}")
        await client.send_event(finished, source.id, time=0, data="x")
        before = client.stats.requests
        await client.get_session(finished)
        assert before == client.stats.requests

    async def test_a_write_in_doubt_drops_its_session(self, emulator, client, finished):
        """A rename that worked, and of which nothing was heard, is seen at once."""
        await client.get_session(finished)
        emulator.fail("PATCH", fault="close", after=True)
        with pytest.raises(OutcomeUnknownError):
            await client.update_session(finished, name="New")
        assert "New" == (await client.get_session(finished)).name

    @pytest.mark.parametrize("how", ["cancel", "deadline"])
    async def test_a_write_that_is_cut_off_drops_its_session(
        self, emulator, client, finished, clocks, how
    ):
        """A rename that was sent, and then given up, is seen by the next get."""
        await client.get_session(finished)
        emulator.fail("PATCH", fault="hang", after=True)

        async def rename():
            with client.deadline(5.0):
                await client.update_session(finished, name="New")

        call = asyncio.create_task(rename())
        await until(lambda: "New" in [each.name for each in emulator.sessions])
        joined = asyncio.create_task(client.get_session(finished))
        if how == "cancel":
            call.cancel()
        else:
            await clocks.forward(5.0)
        with pytest.raises((asyncio.CancelledError, OutcomeUnknownError)):
            await call
        assert "New" == (await client.get_session(finished)).name
        await joined

    @both
    @simulated.timed
    async def test_a_get_during_a_write_that_is_cut_off_is_not_joined_after_it(
        self, kind
    ):
        """Not even in the same turn of the loop in which the rename is given up."""
        async with renaming(kind) as (emulator, client, finished):
            emulator.fail("PATCH", fault="hang", after=True, delay=0.15)
            emulator.fail("GET", lag=0.6, times=1)

            async def get_later():
                await until(lambda: emulator.in_flight == 1)
                return await client.get_session(finished)

            slow = asyncio.create_task(get_later())
            with client.deadline(0.3), pytest.raises(OutcomeUnknownError):
                await client.update_session(finished, name="New")
            assert "New" == (await client.get_session(finished)).name
            assert "Old" == (await slow).name
            assert "New" == (await client.get_session(finished)).name

    @both
    @pytest.mark.parametrize("via", ["get", "pages"])
    @simulated.timed
    async def test_a_get_that_ended_during_a_write_that_is_cut_off_is_not_kept(
        self, kind, via
    ):
        """What was read before the rename took effect answers nothing afterwards."""
        async with renaming(kind) as (emulator, client, finished):
            emulator.fail("PATCH", fault="hang", after=True, delay=0.15)

            async def get_later():
                await until(lambda: emulator.in_flight == 1)
                return await client.get_sessions([finished], via=via)

            quick = asyncio.create_task(get_later())
            with client.deadline(0.3), pytest.raises(OutcomeUnknownError):
                await client.update_session(finished, name="New")
            assert "New" == (await client.get_session(finished)).name
            assert "Old" == (await quick)[finished].name

    @both
    @simulated.timed
    async def test_what_was_kept_before_a_write_that_is_cut_off_is_gone(self, kind):
        """In the very turn in which the rename is given up, nothing old is there."""
        async with renaming(kind) as (emulator, client, finished):
            await client.get_session(finished)
            emulator.fail("PATCH", fault="hang", after=True)
            with client.deadline(0.3), pytest.raises(OutcomeUnknownError):
                await client.update_session(finished, name="New")
            assert "New" == (await client.get_session(finished)).name

    @both
    @simulated.timed
    async def test_a_write_that_ends_during_one_that_is_cut_off(self, kind):
        """As long as one of two renames is under way, nothing is kept."""
        async with renaming(kind) as (emulator, client, finished):
            emulator.fail("PATCH", fault="hang", after=True, delay=0.12, times=1)

            async def rename_and_get():
                await until(lambda: emulator.in_flight == 1)
                await client.update_session(finished, name="First")
                return await client.get_session(finished)

            quick = asyncio.create_task(rename_and_get())
            with client.deadline(0.4), pytest.raises(OutcomeUnknownError):
                await client.update_session(finished, name="Last")
            assert "Last" == (await client.get_session(finished)).name
            assert "First" == (await quick).name

    @both
    @simulated.timed
    async def test_nothing_is_kept_during_a_write(self, kind):
        """What is loaded while a rename is under way is for its caller alone."""
        async with renaming(kind) as (emulator, client, finished):
            emulator.fail("PATCH", delay=0.1)
            call = asyncio.create_task(client.update_session(finished, name="New"))
            await until(lambda: emulator.in_flight == 1)
            assert "Old" == (await client.get_session(finished)).name
            assert (
                "Old"
                == (await client.get_sessions([finished], via="pages"))[finished].name
            )
            await call
            assert "New" == (await client.get_session(finished)).name

    @both
    @simulated.timed
    async def test_a_get_before_the_end_is_not_joined_after_it(self, kind):
        """What was read before the rename, and answered after it, is for its caller."""
        async with renaming(kind) as (emulator, client, finished):
            emulator.fail("GET", lag=0.15, times=1)
            slow = asyncio.create_task(client.get_session(finished))
            await until(lambda: emulator.in_flight == 1)
            await client.update_session(finished, name="New")
            assert "New" == (await client.get_session(finished)).name
            assert "Old" == (await slow).name
            assert "New" == (await client.get_session(finished)).name

    @both
    @simulated.timed
    async def test_a_page_before_a_404_keeps_nothing(self, kind):
        """A page that still has a session does not bring it back after a get's 404."""
        async with renaming(kind) as (emulator, client, finished):
            emulator.fail("GET", "/v1/sessions", lag=0.15, times=1)
            bulk = asyncio.create_task(client.get_sessions([finished], via="pages"))
            await until(lambda: emulator.in_flight == 1)
            emulator.fail("GET", f"*/{finished}", status=404)
            with pytest.raises(NotFoundError):
                await client.get_session(finished)
            assert finished in await bulk
            with pytest.raises(NotFoundError):
                await client.get_session(finished)

    @both
    @pytest.mark.parametrize("via", ["pages", "get"])
    @simulated.timed
    async def test_a_bulk_before_the_end_keeps_nothing(self, kind, via):
        """What a bulk brings that began before the rename is not kept after it."""
        async with renaming(kind) as (emulator, client, finished):
            emulator.fail("GET", lag=0.15, times=1)
            bulk = asyncio.create_task(client.get_sessions([finished], via=via))
            await until(lambda: emulator.in_flight == 1)
            await client.update_session(finished, name="New")
            await bulk
            assert "New" == (await client.get_session(finished)).name

    @both
    @simulated.timed
    async def test_two_writes_at_once(self, kind):
        """The end of one rename does not end the other's hold on what is kept."""
        async with renaming(kind) as (emulator, client, finished):
            emulator.fail("PATCH", delay=0.1, times=1)
            slow = asyncio.create_task(client.update_session(finished, name="Last"))
            await until(lambda: emulator.in_flight == 1)
            await client.update_session(finished, name="First")
            await client.get_session(finished)
            await slow
            assert "Last" == (await client.get_session(finished)).name
            assert not client._open().sessions._writes.under_way


class TestFailingBackend:
    @simulated.timed
    async def test_a_bulk_is_over_when_its_time_is_up(self):
        """A backend that hangs keeps no bulk beyond its deadline, chunk after chunk."""
        backend = SimpleMemoryCache(timeout=None)

        async def hangs(keys, **_):
            await asyncio.sleep(60)

        backend.multi_get = hangs
        ids = [f"{number:024x}" for number in range(1_000)]
        async with (
            simulated.emulated() as emulator,
            emulator.client(cache=CachePolicy(backend=backend)) as client,
        ):
            began = simulated.now()
            with client.deadline(0.02):
                batch = await client.get_sessions(ids)
            assert simulated.now() - began < 0.2
        assert {DeadlineError} == {type(error) for error in batch.errors.values()}
        assert ids == [*batch.errors]

    async def test_what_it_failed_to_delete_is_never_used(
        self, emulator, finished, monkeypatch
    ):
        """A backend that is down for the rename does not bring the old name back."""
        monkeypatch.setattr(shared, "FIRST_WAIT", 60.0)
        backend = SimpleMemoryCache(timeout=None)
        async with emulator.client(cache=CachePolicy(backend=backend)) as client:
            await client.get_session(finished)
            delete = backend.delete

            async def fails(key, **_):
                raise OSError

            backend.delete = fails
            await client.update_session(finished, name="New")
            backend.delete = delete
            assert any(":session:" in key for key in backend._cache)
            assert "New" == (await client.get_session(finished)).name
            assert "New" == (await client.get_sessions([finished]))[finished].name
            before = client.stats.requests
            assert "New" == (await client.get_session(finished)).name
            assert before == client.stats.requests

    async def test_what_was_written_is_noted_up_to_a_limit(
        self, emulator, finished, monkeypatch
    ):
        """However much is written, memory is bounded, and nothing old comes back."""
        monkeypatch.setattr(shared, "NOTED_WRITES", 100)
        policy = CachePolicy(backend=SimpleMemoryCache(timeout=None))
        async with emulator.client(cache=policy) as client:
            await client.get_session(finished)
            cache = client._open().sessions.cache
            for number in range(100):
                await cache.drop(str(number), is_written=True)
            assert await cache.get(finished) is not None
            await cache.drop("last", is_written=True)
            assert 100 == len(cache._written)
            assert await cache.get("0") is None
            assert await cache.get(finished) is None  # it is older than what was noted
            await client.get_session(finished)
            assert await cache.get(finished) is not None

    async def test_what_it_stores_late_is_never_used(self, emulator, finished):
        """A store that was given up and works after the rename is passed by."""
        backend = SimpleMemoryCache(timeout=None)
        store, late = backend.set, []

        async def hangs(*args, **options):
            late.append((args, options))
            await asyncio.sleep(1)

        backend.set = hangs
        async with emulator.client(cache=CachePolicy(backend=backend)) as client:
            await client.get_session(finished)
            await client.update_session(finished, name="New")
            backend.set = store
            for args, options in late:
                await store(*args, **options)
            assert any(":session:" in key for key in backend._cache)
            assert "New" == (await client.get_session(finished)).name
            assert "New" == (await client.get_sessions([finished]))[finished].name

    @pytest.mark.parametrize("via", ["get", "pages"])
    @simulated.timed
    async def test_what_another_client_stores_late_is_never_used(self, via):
        """What another client asked for before the rename, the renaming one passes by.

        The other client cannot know of it.
        """
        policy = CachePolicy(backend=SimpleMemoryCache(timeout=None))
        async with (
            simulated.emulated() as emulator,
            emulator.client(cache=policy) as client,
            emulator.client(cache=policy) as other,
        ):
            finished = emulator.add_session(name="Old").id
            await other.list_sessions().first()  # or its get would be the pacer's probe
            emulator.fail("GET", lag=0.15, times=1)
            slow = asyncio.create_task(other.get_sessions([finished], via=via))
            await until(lambda: emulator.in_flight == 1)
            await client.update_session(finished, name="New")
            assert "Old" == (await slow)[finished].name
            assert any(":session:" in key for key in policy.backend._cache)
            assert "New" == (await client.get_session(finished)).name
            assert "New" == (await other.get_session(finished)).name

    async def test_a_slow_store_is_over_before_the_rename(
        self, emulator, finished, monkeypatch
    ):
        """Another client does not get what was stored while the rename was made."""
        monkeypatch.setattr(guard, "BACKEND_TIMEOUT", 60.0)
        policy = CachePolicy(backend=SimpleMemoryCache(timeout=None))
        stored, let_go = asyncio.Event(), asyncio.Event()
        store = policy.backend.set

        async def hesitates(key, value, **options):
            if ":session:" in key:
                stored.set()
                await let_go.wait()
            return await store(key, value, **options)

        policy.backend.set = hesitates
        client, other = (emulator.client(cache=policy) for _ in range(2))
        async with client, other:
            slow = asyncio.create_task(client.get_session(finished))
            await stored.wait()
            rename = asyncio.create_task(client.update_session(finished, name="New"))
            await asyncio.wait([rename], timeout=0.2)
            let_go.set()
            await asyncio.gather(slow, rename)
            assert "New" == (await other.get_session(finished)).name

    async def test_a_store_under_way_is_waited_out(self, emulator, finished):
        """A store that the rename overtakes leaves nothing behind."""
        backend = SimpleMemoryCache(timeout=None)
        stored, let_go = asyncio.Event(), asyncio.Event()
        store = backend.set

        async def hesitates(key, value, **options):
            stored.set()
            await let_go.wait()
            return await store(key, value, **options)

        backend.set = hesitates
        async with emulator.client(cache=CachePolicy(backend=backend)) as client:
            slow = asyncio.create_task(client.get_session(finished))
            await stored.wait()
            rename = asyncio.create_task(client.update_session(finished, name="New"))
            await until(lambda: "New" in [each.name for each in emulator.sessions])
            let_go.set()
            await rename
            await slow
            assert "New" == (await client.get_session(finished)).name
            assert not client._open().sessions.cache._turns._locks


class Failing(SimpleMemoryCache):
    """A view of another backend, which fails as it is told."""

    def __init__(self, backend):
        super().__init__(timeout=None)
        self._cache, self._handlers = backend._cache, backend._handlers
        self.failure = None

    async def fail(self):
        if self.failure == "error":
            raise OSError
        if self.failure == "hang":
            await asyncio.sleep(60)

    async def get(self, *args, **options):
        await self.fail()
        return await super().get(*args, **options)

    async def multi_get(self, *args, **options):
        await self.fail()
        return await super().multi_get(*args, **options)

    async def set(self, *args, **options):
        await self.fail()
        return await super().set(*args, **options)

    async def delete(self, *args, **options):
        await self.fail()
        return await super().delete(*args, **options)


@pytest.fixture
async def pair(emulator):
    """Give two clients that share a backend, which fails for the first one alone."""
    backend = SimpleMemoryCache(timeout=None)
    failing = Failing(backend)
    caches = [CachePolicy(backend=each, live_ttl=60.0) for each in (failing, backend)]
    one, two = (emulator.client(cache=each, retry=QUICK) for each in caches)
    async with one, two:
        yield one, two, failing


async def eventually(is_so):
    """Wait until *is_so* returns something true."""
    async with asyncio.timeout(30):
        while not is_so():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.01)


class TestOwedRemovals:
    """What a backend failed to remove is removed when it is back."""

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch):
        monkeypatch.setattr(guard, "PAUSE", 0.2)
        monkeypatch.setattr(guard, "QUESTION_TIMEOUT", 0.3)
        monkeypatch.setattr(shared, "PAUSE", 0.2)
        monkeypatch.setattr(shared, "FIRST_WAIT", 0.02)

    @pytest.mark.parametrize("failure", ["error", "hang"])
    @pytest.mark.parametrize("write", ["update", "delete", "custom"])
    async def test_another_client_sees_the_write(
        self, emulator, pair, finished, failure, write
    ):
        """A backend that failed during a write keeps nothing old for the others."""
        one, two, failing = pair
        await two.get_session(finished)
        await two.get_emotions(finished)
        failing.failure = failure
        await WRITES[write](one, finished)
        assert "Old" == (await two.get_session(finished)).name
        failing.failure = None
        await eventually(lambda: not one._open().sessions.cache._owed)
        if write == "delete":
            with pytest.raises(NotFoundError):
                await two.get_session(finished)
        else:
            assert "New" == (await two.get_session(finished)).name

    async def test_each_outage_is_made_good(self, pair, finished):
        """What fails after an outage that was made good is owed, and removed, too."""
        one, two, failing = pair
        for name in ("New", "Newer"):
            await two.get_session(finished)
            failing.failure = "error"
            await one.update_session(finished, name=name)
            failing.failure = None
            await eventually(lambda: not one._open().sessions.cache._owed)
            assert name == (await two.get_session(finished)).name

    async def test_a_write_stays_owed_as_a_write(self, pair, finished):
        """A later removal that fails, of what is not stored, does not replace it."""
        one, _, failing = pair
        failing.failure = "hang"
        cache = one._open().sessions.cache
        await cache.drop(finished, is_written=True)
        await cache.drop(finished, is_written=False)
        assert {finished: True} == cache._owed

    async def test_closing_tries_once_more(self, emulator, pair, finished, monkeypatch):
        """A client that is closed first makes a last attempt, and leaves nothing."""
        monkeypatch.setattr(shared, "FIRST_WAIT", 60.0)
        one, two, failing = pair
        await two.get_session(finished)
        failing.failure = "error"
        await one.update_session(finished, name="New")
        failing.failure = None
        await one.aclose()
        assert "New" == (await two.get_session(finished)).name
        assert {asyncio.current_task()} == asyncio.all_tasks()

    async def test_closing_tries_once_more_though_the_backend_is_left_alone(
        self, pair, finished, monkeypatch
    ):
        """The last attempt is made even in the pause that follows many failures."""
        monkeypatch.setattr(guard, "PAUSE", 60.0)
        one, two, failing = pair
        await two.get_session(finished)
        failing.failure = "error"
        for _ in range(guard.ERRORS_IN_A_ROW):
            await one.update_session(finished, name="New")
        failing.failure = None
        await one.aclose()
        assert "New" == (await two.get_session(finished)).name

    @pytest.mark.parametrize("failure", ["error", "hang"])
    async def test_closing_waits_for_no_backend(self, pair, finished, failure):
        """A backend that is still out does not keep a client from being closed."""
        one, _, failing = pair
        failing.failure = failure
        await one.update_session(finished, name="New")
        async with asyncio.timeout(5):
            await one.aclose()
        assert {asyncio.current_task()} == asyncio.all_tasks()

    async def test_it_is_bounded(self, pair, monkeypatch):
        """However many fail, memory is bounded."""
        monkeypatch.setattr(shared, "NOTED_WRITES", 100)
        one, _, failing = pair
        failing.failure = "error"
        cache = one._open().sessions.cache
        for number in range(300):
            await cache.drop(f"{number:024x}", is_written=True)
        assert 100 == len(cache._owed)

    async def test_a_write_that_is_cut_off_is_owed_too(self, pair, finished):
        """A deadline that ends the wait for the backend does not end the debt."""
        one, two, failing = pair
        await two.get_session(finished)
        failing.failure = "hang"
        with one.deadline(0.02), pytest.raises(DeadlineError):
            await one.update_session(finished, name="New")
        await eventually(lambda: [finished] == [*one._open().sessions.cache._owed])

    async def test_a_debt_outlives_a_stranger(self, pair, finished):
        """Other code may cancel all tasks; later removals are still made good."""
        one, two, failing = pair
        cache = one._open().sessions.cache
        await two.get_session(finished)
        failing.failure = "error"
        await one.update_session(finished, name="New")
        cache._paying.cancel()
        await asyncio.wait([cache._paying])
        await one.update_session(finished, name="Newer")
        failing.failure = None
        await eventually(lambda: not cache._owed)
        assert "Newer" == (await two.get_session(finished)).name


forgetting = partial(renaming, live_ttl=0, stale_if_error=60.0)
"""The same with a client that keeps what is finished, and nothing else."""


class TestNotStored:
    """What the policy does not store replaces what is stored."""

    @pytest.fixture(params=["memory", "shared"])
    async def client(self, request, emulator):
        """Give a client that keeps what is finished, and nothing else."""
        backend = SimpleMemoryCache(timeout=None) if request.param == "shared" else None
        cache = CachePolicy(live_ttl=0, stale_if_error=60.0, backend=backend)
        async with emulator.client(cache=cache, retry=QUICK) as opened:
            yield opened

    @pytest.mark.parametrize("via", ["get", "bulk", "pages"])
    async def test_a_newer_state_is_not_forgotten(
        self, emulator, client, finished, via
    ):
        """Who has seen another state never gets the older one after that."""
        await client.get_session(finished)
        emulator.update_session(finished, state="processing")
        if via == "get":
            seen = await client.get_session(finished, fresh=True)
        else:
            how = {"bulk": "get", "pages": "pages"}[via]
            batch = await client.get_sessions([finished], fresh=True, via=how)
            seen = batch[finished]
        assert "processing" == seen.state
        assert "processing" == (await client.get_session(finished)).state
        emulator.fail(status=503)
        with pytest.raises(ServerError):
            await client.get_session(finished)

    @both
    @simulated.timed
    async def test_an_older_page_does_not_come_back(self, kind):
        """A page that was asked for before a fresh get, and came after, is not kept."""
        async with forgetting(kind) as (emulator, client, finished):
            other = next(each.id for each in emulator.sessions if each.id != finished)
            await client.get_session(other)  # from then on the rate limit is known
            emulator.fail("GET", "/v1/sessions", lag=0.15, times=1)
            bulk = asyncio.create_task(client.get_sessions([finished], via="pages"))
            await until(lambda: emulator.in_flight == 1)
            emulator.update_session(finished, state="processing")
            seen = await client.get_session(finished, fresh=True)
            await bulk
            assert seen == await client.get_session(finished)

    @both
    @simulated.timed
    async def test_an_older_get_of_a_bulk_does_not_come_back(self, kind):
        """A bulk's get that overlaps a fresh get, and ends after it, is not kept."""
        async with forgetting(kind) as (emulator, client, finished):
            other = next(each.id for each in emulator.sessions if each.id != finished)
            await client.get_session(other)  # from then on the rate limit is known
            emulator.fail("GET", f"*/{finished}", delay=0.2, times=1)
            fresh = asyncio.create_task(client.get_session(finished, fresh=True))
            await until(lambda: emulator.in_flight == 1)
            emulator.fail("GET", f"*/{finished}", lag=0.5, times=1)
            bulk = asyncio.create_task(client.get_sessions([finished], via="get"))
            await until(lambda: emulator.in_flight == 2)
            emulator.update_session(finished, state="processing")
            seen = await fresh
            await bulk
            assert "processing" == seen.state
            assert seen == await client.get_session(finished)

    @both
    @pytest.mark.parametrize("via", ["pages", "get"])
    @simulated.timed
    async def test_what_a_write_keeps_from_being_stored(self, kind, via):
        """A fresh bulk whose answers may not be stored leaves no older ones behind."""
        async with forgetting(kind) as (emulator, client, finished):
            other = next(each.id for each in emulator.sessions if each.id != finished)
            written = finished if via == "get" else other
            await client.get_session(finished)
            emulator.update_session(finished, state="processing")
            emulator.fail("PATCH", delay=0.3)
            rename = asyncio.create_task(client.update_session(written, name="New"))
            await until(lambda: emulator.in_flight == 1)
            batch = await client.get_sessions([finished], fresh=True, via=via)
            assert "processing" == batch[finished].state
            assert "processing" == (await client.get_session(finished)).state
            await rename

    async def test_a_backend_that_fails_is_passed_by(self, emulator, finished):
        """What could not be removed is not used."""
        failing = Failing(SimpleMemoryCache(timeout=None))
        cache = CachePolicy(live_ttl=0, backend=failing)
        async with emulator.client(cache=cache) as client:
            await client.get_session(finished)
            emulator.update_session(finished, state="processing")
            failing.failure = "error"
            await client.get_session(finished, fresh=True)
            failing.failure = None
            assert "processing" == (await client.get_session(finished)).state


TIMELINE = {"granularity": 60, "start": 0, "end": 300}

DERIVED = {
    "emotions": (EmotionTotals, lambda c, each, **o: c.get_emotions(each, **o)),
    "timeline": (
        EmotionsTimeline,
        lambda c, each, **o: c.get_emotions_timeline(each, **TIMELINE, **o),
    ),
    "sentiment": (
        SentimentTimeline,
        lambda c, each, **o: c.get_transcription_sentiment(each, **TIMELINE, **o),
    ),
}


@pytest.mark.parametrize(("model", "get"), DERIVED.values(), ids=DERIVED)
class TestDerived:
    async def test_comes_as_the_service_has_it(self, client, finished, model, get):
        """What is derived of a session is its model, and of that session."""
        derived = await get(client, finished.upper())
        assert type(derived) is model
        assert finished == derived.session
        assert to_dict(derived)

    async def test_of_a_session_known_to_be_finished_is_kept(
        self, client, finished, model, get
    ):
        """Once the cache has the finished session, the second call is a hit."""
        await client.get_session(finished)
        first = await get(client, finished)
        before = client.stats
        assert first == await get(client, finished)
        assert before.requests == client.stats.requests
        assert before.cache_hits + 1 == client.stats.cache_hits

    async def test_of_any_other_session_is_kept_for_a_moment(
        self, emulator, clocks, client, model, get
    ):
        """What is live, or of which nothing is known, is kept for `live_ttl`."""
        for state in ("active", "processing", "paused", None):
            each = emulator.add_session(state=state or "finished").id
            if state is not None:
                await client.get_session(each)
            before = client.stats.requests
            await get(client, each)
            await get(client, each)
            assert before + 1 == client.stats.requests
            await clocks.forward(70.0)  # the `live_ttl` of these clients, and a tenth
            await get(client, each)
            assert before + 1 < client.stats.requests

    async def test_one_call_is_one_request(
        self, emulator, client, finished, model, get
    ):
        """A first call asks for nothing but what it is for."""
        await get(client, finished)
        assert 1 == len(emulator.requests)

    async def test_calls_at_once_share_one_request(
        self, emulator, client, finished, model, get
    ):
        """A hundred calls for the same are one request, with or without a cache."""
        found = await asyncio.gather(*(get(client, finished) for _ in range(100)))
        assert 1 == len(set(found)) == len(emulator.requests)
        assert 99 == client.stats.coalesced

    async def test_what_is_expanded_is_shared_and_not_kept(
        self, client, finished, model, get
    ):
        """The full session comes beside its ID, once for all who ask at once."""
        await client.get_session(finished)
        await get(client, finished)
        before = client.stats.requests
        calls = (get(client, finished, expand=["session"]) for _ in range(9))
        expanded, *_ = await asyncio.gather(*calls)
        assert before + 1 == client.stats.requests
        assert "Old" == expanded.expanded["session"]["name"]
        assert finished == expanded.session
        await get(client, finished, expand=["session"])
        assert before + 2 == client.stats.requests
        assert not (await get(client, finished)).expanded

    @pytest.mark.parametrize("write", ["update", "delete", "register"])
    async def test_goes_with_its_session(self, client, finished, model, get, write):
        """What is derived of a session is not used once the session is written."""
        await client.get_session(finished)
        await get(client, finished)
        await WRITES[write](client, finished)
        before = client.stats.requests
        if write == "delete":
            with pytest.raises(NotFoundError):
                await get(client, finished)
        else:
            await client.get_session(finished)
            await get(client, finished)
            assert before + 2 == client.stats.requests
            await get(client, finished)
            assert before + 2 == client.stats.requests

    async def test_goes_with_a_write_that_left_the_session_as_it_was(
        self, emulator, client, finished, model, get
    ):
        """What a write may have done to what is derived is seen."""
        session = await client.get_session(finished)
        await get(client, finished)
        emulator.fail("POST", status=200, body={}, times=1)
        await client.request("POST", f"/v1/sessions/{finished}/analysis")
        assert session == await client.get_session(finished)
        before = client.stats.requests
        await get(client, finished)
        assert before + 1 == client.stats.requests
        await get(client, finished)
        assert before + 1 == client.stats.requests

    async def test_stays_when_its_session_is_refreshed(
        self, client, finished, model, get
    ):
        """A session that is the same when it is asked for anew loses nothing."""
        await client.get_session(finished)
        await get(client, finished)
        await client.get_session(finished, fresh=True)
        before = client.stats.requests
        await get(client, finished)
        assert before == client.stats.requests

    @both
    @simulated.timed
    async def test_a_load_before_a_write_is_neither_kept_nor_joined(
        self, kind, model, get
    ):
        """What was asked for before a delete answers no call after it."""
        async with renaming(kind) as (emulator, client, finished):
            await client.get_session(finished)
            emulator.fail("GET", "*/*/*/*/*", lag=0.15, times=1)
            slow = asyncio.create_task(get(client, finished))
            await until(lambda: emulator.in_flight == 1)
            await client.delete_session(finished)
            with pytest.raises(NotFoundError):
                await get(client, finished)
            await slow
            with pytest.raises(NotFoundError):
                await get(client, finished)

    async def test_an_answer_about_another_session_is_refused(
        self, emulator, client, finished, model, get
    ):
        """A 2xx about another session is no answer."""
        wire = to_dict(await get(client, finished))
        await client.update_session(finished, name="New")  # nothing is kept
        emulator.fail("GET", status=200, body=wire | {"session": "0" * 24})
        with pytest.raises(Exception, match="session: not the id that was asked for"):
            await get(client, finished)

    async def test_in_bulk(self, emulator, client, model, get):
        """`gather` and `stream` take it as they take `get_session`."""
        ids = [each.id for each in emulator.sessions[:40]]
        unknown = "0" * 24
        batch = await client.gather(partial(get, client), [*ids, unknown, "no id"])
        assert ids == list(batch)
        assert {model} == {type(each) for each in batch.values()}
        assert [unknown, "no id"] == list(batch.errors)
        assert isinstance(batch.errors[unknown], NotFoundError)
        seen = set()
        async with client.stream(partial(get, client), ids, concurrency=3) as outcomes:
            async for outcome in outcomes:
                assert outcome.session_id == outcome.unwrap().session
                seen.add(outcome.session_id)
                assert emulator.max_in_flight <= 24
        assert {*ids} == seen


class TestParameters:
    async def test_each_span_has_its_own_entry(self, emulator, client, finished):
        """Other parameters are another question; equal ones the same."""
        await client.get_session(finished)
        spans = [
            *({}, {"granularity": 30}, {"start": 60}, {"end": 300}),
            {"start": 60, "end": 300},
        ]
        for span in spans:
            await client.get_emotions_timeline(finished, **span)
            await client.get_transcription_sentiment(finished, **span)
        assert 11 == client.stats.requests
        for span in [*spans, {"granularity": 60, "start": 0.0, "end": None}]:
            await client.get_emotions_timeline(finished, **span)
        await client.get_emotions_timeline(finished, end=300.0)
        assert 11 == client.stats.requests

    async def test_long_timelines_push_out_no_sessions(self, emulator, finished):
        """Timelines weigh by their intervals, and lie apart from sessions."""
        policy = CachePolicy(max_entries=20)
        async with emulator.client(cache=policy) as client:
            await client.get_session(finished)
            for start in range(10):  # ten intervals each
                await client.get_emotions_timeline(finished, start=start)
            await client.get_emotions_timeline(finished, start=9)
            before = client.stats.requests
            await client.get_session(finished)
            await client.get_emotions_timeline(finished, start=9)
            assert before == client.stats.requests
            await client.get_emotions_timeline(finished, start=0)
            assert before + 1 == client.stats.requests
            assert client._open().sessions.cache._derived._weight <= 20


class TestExpandedSessions:
    async def test_get(self, emulator, client, finished):
        """`user` stays the ID; the object is beside it, and the cache left alone."""
        plain = await client.get_session(finished)
        session = await client.get_session(finished, expand=["user", "product"])
        assert (plain.user, plain.product) == (session.user, session.product)
        assert {"user", "product"} == {*session.expanded}
        assert session.user == session.expanded["user"]["_id"]
        assert plain == await client.get_session(finished)
        assert 2 == len(emulator.requests)

    async def test_gets_at_once_share_one_request(self, emulator, client, finished):
        """Equal expansions are one request, others another."""
        emulator.latency = 0.05
        calls = [
            client.get_session(finished, expand=names)
            for names in (["user"], ("user", "user"), {"user"}, ["product"], [])
        ]
        sessions = await asyncio.gather(*calls)
        assert 3 == len(emulator.requests)
        assert sessions[0] is sessions[2]
        assert [1, 1, 1, 1, 0] == [len(each.expanded) for each in sessions]

    async def test_fresh_joins_no_earlier_load(self, emulator, client, finished):
        """It means the same with an expansion as without."""
        emulator.latency = 0.05
        calls = [
            asyncio.create_task(
                client.get_session(finished, expand=["user"], fresh=fresh)
            )
            for fresh in (False, True)
        ]
        await asyncio.gather(*calls)
        assert 2 == len(emulator.requests)

    async def test_list(self, emulator, client):
        """A listing expands on every page, and keeps nothing."""
        listing = client.list_sessions(expand=["user"], page_size=40)
        sessions = await listing.collect(limit=90)
        assert {"user"} == {name for each in sessions for name in each.expanded}
        queries = {item.query[-1] for item in emulator.requests}
        assert {("expand[]", "user")} == queries
        await client.get_session(sessions[0].id)
        assert 0 == client.stats.cache_hits


class TestSharedBackend:
    async def test_derived_data_are_text(self, emulator, finished):
        """What lies in a shared cache is JSON, found by any client of the tenant."""
        policy = CachePolicy(backend=SimpleMemoryCache(timeout=None))
        async with emulator.client(cache=policy) as one:
            async with emulator.client(cache=policy) as two:
                await one.get_session(finished)
                totals = await one.get_emotions(finished)
                assert totals == await two.get_emotions(finished)
                assert (0, 1) == (two.stats.requests, two.stats.cache_hits)
                # A rename by one client takes from all what was derived before.
                await two.update_session(finished, name="New")
                await one.get_emotions(finished)
                assert 3 == one.stats.requests
                # So does any other write, after which the session is the same.
                await one.get_session(finished)
                totals = await one.get_emotions(finished)
                emulator.fail("POST", status=200, body={}, times=1)
                await two.request("POST", f"/v1/sessions/{finished}/analysis")
                await one.get_session(finished)
                before = one.stats.requests
                await one.get_emotions(finished)
                assert before + 1 == one.stats.requests
        stored = policy.backend._cache.items()
        bodies = [
            json.loads(text)["body"] for key, text in stored if "written" not in key
        ]
        assert to_dict(totals) in bodies

    @pytest.mark.parametrize(
        "change",
        [
            {"of": "0"},
            {"of": None},
            {"schema": "0"},
            {"fresh_until": 0},
            {"fresh_until": 1e12},
            {"body": {"session": "0" * 24, "emotions": {}}},
            {"body": {"session": 1}},
            None,
        ],
        ids=str,
    )
    async def test_rubbish_is_a_miss(self, emulator, finished, change):
        """What is not exactly ours, fresh and of this session counts as nothing."""
        backend = SimpleMemoryCache(timeout=None)
        async with emulator.client(cache=CachePolicy(backend=backend)) as client:
            await client.get_session(finished)
            await client.get_emotions(finished)
            (key,) = (key for key in backend._cache if ":derived:" in key)
            envelope = json.loads(backend._cache[key])
            text = json.dumps(envelope | change) if change else "[" * 10**5
            backend._cache[key] = text
            before = client.stats.requests
            await client.get_emotions(finished)
            assert before + 1 == client.stats.requests

    async def test_a_load_from_before_another_clients_write_is_not_used(
        self, emulator, finished
    ):
        """What was asked for before a write, and stored after it, is of no use."""
        policy = CachePolicy(backend=SimpleMemoryCache(timeout=None))
        one, two = (emulator.client(cache=policy) for _ in range(2))
        async with one, two:
            await one.get_session(finished)
            emulator.fail("GET", "*/emotions", lag=0.15, times=1)
            slow = asyncio.create_task(one.get_emotions(finished))
            await until(lambda: emulator.in_flight == 1)
            emulator.fail("POST", status=200, body={}, times=1)
            await two.request("POST", f"/v1/sessions/{finished}/analysis")
            await slow
            await one.get_session(finished)
            before = one.stats.requests
            await one.get_emotions(finished)
            assert before + 1 == one.stats.requests

    async def test_a_backend_that_answers_too_little_is_a_miss(
        self, emulator, finished
    ):
        """A list of another length, or none at all, counts as nothing."""
        backend = SimpleMemoryCache(timeout=None)

        async def too_little(keys, **_):
            return []

        async with emulator.client(cache=CachePolicy(backend=backend)) as client:
            await client.get_session(finished)
            backend.multi_get = too_little
            await client.get_emotions(finished)
            await client.get_emotions(finished)
        assert 3 == len(emulator.requests)

    async def test_a_policy_without_time_keeps_nothing(self, emulator, finished):
        """A `ttl` of 0 stores neither a session nor what is derived from it."""
        for backend in (None, SimpleMemoryCache(timeout=None)):
            policy = CachePolicy(ttl=0, backend=backend)
            async with emulator.client(cache=policy) as client:
                await client.get_session(finished)
                await client.get_emotions(finished)
                await client.get_emotions(finished)
                assert 3 == client.stats.requests


class TestExpiry:
    @pytest.mark.timing
    async def test_derived_data_expire(self, emulator, finished):
        """What is derived is fresh for `ttl`, as its session is."""
        async with emulator.client(cache=CachePolicy(ttl=0.1)) as client:
            await client.get_session(finished)
            await client.get_emotions(finished)
            await asyncio.sleep(0.15)
            await client.get_session(finished)
            started = time.monotonic()
            await client.get_emotions(finished)
            assert time.monotonic() - started < 5
        assert 4 == len(emulator.requests)

    async def test_a_session_that_changed_has_nothing_derived(self, emulator, finished):
        """What was derived belongs to the session as it was, not to its successor."""
        async with emulator.client() as client:
            await client.get_session(finished)
            await client.get_emotions(finished)
            emulator.update_session(finished, duration=700.0)
            await client.get_session(finished, fresh=True)
            await client.get_emotions(finished)
        assert 4 == len(emulator.requests)


class TestSlowStores:
    def test_a_write_waits_for_a_store_under_way(self):
        """No other client finds what a rename has outdated, however slow a store is."""

        class Backend(SimpleMemoryCache):
            async def set(self, key, value, **options):
                if ":session:" in key:
                    await asyncio.sleep(0.05)
                return await super().set(key, value, dumps_fn=options["dumps_fn"])

        async def main():
            name = "Old"

            async def answer(request, _):
                nonlocal name
                if request.method == "PATCH":
                    name = "New"
                return session_of(request.session_id, name)

            policy = CachePolicy(backend=Backend(timeout=None))
            client, other = (client_of(answer, cache=policy) for _ in range(2))
            slow = asyncio.create_task(client.get_session("1" * 24))
            await asyncio.sleep(0.01)  # it stores by now
            await client.update_session("1" * 24, name="New")
            assert "Old" == (await slow).name
            await asyncio.sleep(1.0)
            assert "New" == (await other.get_session("1" * 24)).name
            await client.aclose()
            await other.aclose()

        simulated.run(main())


class TestGone:
    @pytest.mark.parametrize("kind", ["memory", "shared"])
    def test_a_page_from_before_a_404_stores_nothing(self, kind):
        """What a get has found gone is not kept by a page that was asked for before."""
        gone, *others = [f"{n:024x}" for n in range(6)]

        async def answer(request, _):
            if request.path == "/v1/sessions":
                await asyncio.sleep(1.0)  # on its way back
                data = [session_of(each) for each in [gone, *others]]
                return {"hasMore": False, "data": data}
            raise NotFoundError("gone", status=404)

        async def main():
            backend = SimpleMemoryCache() if kind == "shared" else None
            client = client_of(answer, cache=CachePolicy(backend=backend))
            asked = client.get_sessions([gone, *others], via="pages")
            page = asyncio.create_task(asked)
            await asyncio.sleep(0.5)
            with pytest.raises(NotFoundError):
                await client.get_session(gone)
            assert gone in await page
            with pytest.raises(NotFoundError):
                await client.get_session(gone)
            await client.aclose()

        simulated.run(main())
