"""Bulks that are answered by pages of the list, over the real emulator."""

import asyncio
import contextlib
import random
from datetime import timedelta
from types import SimpleNamespace

import pytest
from aiocache import SimpleMemoryCache
from waiting import until

from emogg_async import (
    AuthenticationError,
    CachePolicy,
    ClientClosedError,
    InvalidArgumentError,
    NotFoundError,
    ResponseShapeError,
    RetryPolicy,
    ServerError,
)
from emogg_async._many.jobs import PagedGets
from emogg_async._many.plan import THRIFTY
from emogg_async._many.stream import OutcomeStream
from emogg_async.testing import EmoggEmulator

UNKNOWN = "65ea1530bb50af72b6e3dc1e"
LIST = "/v1/sessions"


@pytest.fixture
def ids(emulator):
    """Give the ids of all 250 sessions, newest first."""
    return [each.id for each in emulator.sessions]


def paths(emulator):
    """Return the paths that were asked for, in order."""
    return [each.path for each in emulator.requests]


def full_account(count):
    """Serve an account of so many sessions, without a limit."""
    return EmoggEmulator(sessions=count, rate_limit=None)


def like(session_id):
    """Return an id that there is not, made in the same second."""
    return f"{session_id[:8]}ffffffff{session_id[16:]}"


async def outcomes_of(client, ids, **options):
    """Return the outcomes of a stream by id."""
    async with client.stream_sessions(ids, **options) as stream:
        return {outcome.session_id: outcome async for outcome in stream}


class TestIdleWorkers:
    """While one worker reads pages, the others sleep."""

    async def test_a_page_wakes_no_worker_in_vain(self, emulator, ids, monkeypatch):
        """After a page without gets only one other worker looks for work."""
        looks = 0
        do_next = PagedGets.do_next

        async def counted(jobs):
            nonlocal looks
            looks += 1
            return await do_next(jobs)

        monkeypatch.setattr(PagedGets, "do_next", counted)
        workers = 30
        async with emulator.client(cache=None, concurrency=40) as client:
            batch = await client.get_sessions(ids, concurrency=workers)
            steps = client.stats.requests + 2 * len(ids) // 100 + 4
        assert len(ids) == len(batch)
        assert looks <= 2 * workers + 3 * steps

    @pytest.mark.parametrize("page", [1, 2, 3])
    async def test_a_leader_that_is_cancelled(self, emulator, ids, page):
        """No bulk sleeps for ever because other code has cancelled its leader."""
        emulator.fail(path=LIST, delay=0.05)
        async with emulator.client(cache=None) as client:
            asking = asyncio.create_task(client.get_sessions(ids))
            await until(lambda: len(emulator.requests) >= page)
            (leader,) = [
                task
                for task in asyncio.all_tasks()
                if "_lead" in {each.f_code.co_name for each in frames_of(task)}
            ]
            leader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(asking, 10)

    async def test_sleepers_that_nobody_can_wake(self, emulator, ids):
        """No bulk sleeps for ever because other code cancels all that are awake."""
        mine = asyncio.all_tasks()
        async with (
            emulator.client(cache=None) as client,
            client.stream_sessions(ids, via="pages", concurrency=3) as outcomes,
        ):
            await anext(outcomes)
            workers = asyncio.all_tasks() - mine
            await until(lambda: any(waits_for_room(each) for each in workers))
            for worker in workers:
                if waits_for_room(worker):
                    worker.cancel()
            with pytest.raises(asyncio.CancelledError):
                async with asyncio.timeout(10):
                    async for _ in outcomes:
                        pass


def waits_for_room(task):
    """Tell whether a worker waits for its consumer."""
    names = [each.f_code.co_name for each in frames_of(task)]
    return "_work" in names and "do_next" not in names


def frames_of(task):
    """Return the frames of the coroutines in which a task waits."""
    frames, waits = [], task.get_coro()
    while waits is not None and getattr(waits, "cr_frame", None) is not None:
        frames.append(waits.cr_frame)
        waits = waits.cr_await
    return frames


class TestWhatItCosts:
    """The figures that the guide gives, as bounds."""

    async def fetch(self, emulator, ids):
        """Fetch *ids* both ways, compare, and return the requests by pages."""
        async with emulator.client(cache=None) as client:
            by_pages = await client.get_sessions(ids)
            requests = client.stats.requests
            plain = await client.get_sessions(ids, via="get")
        assert list(plain.items()) == list(by_pages.items())
        assert list(plain.errors) == list(by_pages.errors)
        return requests

    async def test_recent_ones(self):
        """300 recent ids of 3,000 take 12 requests at most."""
        async with full_account(3_000) as emulator:
            ids = [each.id for each in emulator.sessions[:300]]
            assert await self.fetch(emulator, ids) <= 12

    @pytest.mark.parametrize(("count", "most"), [(3_000, 45), (30_000, 240)])
    async def test_random_ones(self, count, most):
        """300 ids at random take as few requests as the density allows."""
        async with full_account(count) as emulator:
            chance = random.Random(count)
            ids = [each.id for each in chance.sample(emulator.sessions, 300)]
            assert await self.fetch(emulator, ids) <= most

    async def test_clusters_with_hidden_ones(self):
        """290 ids in ten clusters, one in 50 hidden from lists: 22 requests at most."""
        with EmoggEmulator(rate_limit=None) as emulator:
            start = emulator.now()
            for number in range(3_000):
                emulator.add_session(
                    timestamp=start + timedelta(minutes=number),
                    hidden=number % 50 == 30,
                )
            everything = [each.id for each in emulator.sessions]
            ids = [each for n in range(0, 3_000, 300) for each in everything[n:][:29]]
            assert await self.fetch(emulator, ids) <= 22

    async def test_ids_older_than_their_timestamps(self):
        """Ids that are 25 days older than their timestamps are all got one by one."""
        with EmoggEmulator(rate_limit=None) as emulator:
            for number in range(600):
                moment = emulator.now() - timedelta(minutes=number)
                second = int(moment.timestamp()) - 25 * 86_400
                emulator.add_session(id=f"{second:08x}{number:016x}", timestamp=moment)
            ids = [each.id for each in emulator.sessions[:300]]
            assert await self.fetch(emulator, ids) <= 303

    async def test_a_long_stream_of_ids_that_pages_do_not_hold(self):
        """Pages that answer nothing cost a stream of any length three requests."""
        async with full_account(4_000) as emulator:
            ids = [like(each.id) for each in emulator.sessions]
            async with emulator.client(cache=None) as client:
                assert 4_000 == len(await outcomes_of(client, ids))
                assert client.stats.requests == 4_003

    async def test_what_pages_save_pays_for_those_that_bring_nothing(self):
        """A thousand ids that pages do not hold keep no later ones from being paged."""
        async with full_account(2_000) as emulator:
            ids = [each.id for each in emulator.sessions]
            unknown = [like(each) for each in ids[:1_000]]
            async with emulator.client(cache=None) as client:
                await outcomes_of(client, [*ids[:1_000], *unknown, *ids[1_000:]])
                assert client.stats.requests <= 11 + 1_003 + 11


class TestResults:
    async def test_are_those_of_plain_gets(self, emulator, ids):
        """Order, letter case, bad ids and missing ones: all as if got one by one."""
        hidden = emulator.add_session(hidden=True).id
        asked = [ids[7].upper(), "zz", *ids[:200][::-1], UNKNOWN, 42, ids[7], hidden]
        async with emulator.client(cache=None) as client:
            plain = await client.get_sessions(asked, via="get")
            for via in ("auto", "pages"):
                batch = await client.get_sessions(asked, via=via)
                assert list(plain.items()) == list(batch.items())
                assert list(map(str, plain.errors.values())) == list(
                    map(str, batch.errors.values())
                )
                streamed = await outcomes_of(client, asked, via=via)
                assert {*plain, *plain.errors} == set(streamed)
                assert dict(plain) == {key: streamed[key].unwrap() for key in plain}
        assert isinstance(batch.errors[UNKNOWN], NotFoundError)
        assert batch[ids[7].upper()].id == ids[7]

    async def test_absence_from_a_page_is_no_404(self, emulator, client, ids):
        """A session that lists hide is got by itself: only a get can say it is gone."""
        hidden = [emulator.add_session(hidden=True).id for _ in range(3)]
        batch = await client.get_sessions([*ids[:50], *hidden, UNKNOWN])
        assert {*ids[:50], *hidden} == set(batch)
        assert [UNKNOWN] == list(batch.errors)
        assert {f"{LIST}/{each}" for each in [*hidden, UNKNOWN]} <= {*paths(emulator)}

    async def test_each_way_can_be_forced(self, emulator, client, ids):
        """Four ids take gets, one page when pages are asked for, and never both."""
        await client.get_sessions(ids[-4:])
        assert 4 == len(paths(emulator))
        await client.get_sessions(ids[-4:], fresh=True, via="pages")
        assert LIST == paths(emulator)[-1]
        await client.get_sessions(ids[-9:], fresh=True, via="get")
        assert 4 + 1 + 9 == len(paths(emulator))

    @pytest.mark.parametrize("bad", ["page", "", None, True, ["get"]])
    async def test_other_ways_are_refused(self, emulator, client, ids, bad):
        """An unknown way to get sessions is refused by name, before any request."""
        with pytest.raises(InvalidArgumentError, match="via: expected one of auto"):
            await client.get_sessions(ids, via=bad)
        with pytest.raises(InvalidArgumentError, match="via: expected one of auto"):
            client.stream_sessions(ids, via=bad)
        assert () == emulator.requests

    async def test_an_async_iterable_takes_gets(self, emulator, client, ids):
        """Ids that come one by one are never waited for to make a page pay."""

        async def feed():
            for each in ids[:20]:
                yield each

        assert set(ids[:20]) == set(await outcomes_of(client, feed(), via="pages"))
        assert LIST not in paths(emulator)

    async def test_streams_are_planned_a_thousand_at_a_time(self, emulator):
        """Each window takes pages of its own, and has duplicates of its own."""
        ids = [each.id for each in emulator.sessions]
        async with emulator.client(cache=None) as client:
            async with client.stream_sessions(ids * 8) as outcomes:
                seen = [outcome.session_id async for outcome in outcomes]
        assert sorted(ids * 2) == sorted(seen)
        assert len(emulator.requests) <= 2 * 4


class TestCache:
    async def test_comes_first(self, emulator, client, ids):
        """Sessions of pages are stored like those of gets, and not asked for again."""
        finished = [each.id for each in emulator.sessions if each.state == "finished"]
        await client.get_sessions(finished[:100])
        before = len(emulator.requests)
        assert before <= 2
        batch = await client.get_sessions([*finished[:100], UNKNOWN])
        await client.get_session(finished[0])
        assert finished[:100] == list(batch)
        assert [f"{LIST}/{UNKNOWN}"] == paths(emulator)[before:]
        stats = client.stats
        assert (100 + 101 + 1, 101) == (stats.calls, stats.cache_hits)
        assert 101 == stats.cache_misses

    async def test_fresh_passes_it_by(self, emulator, client):
        """A fresh bulk asks the service, and stores what it says."""
        old = [emulator.add_session(name="old").id for _ in range(9)]
        await client.get_sessions(old)
        for each in old:
            emulator.update_session(each, name="new")
        assert {"old"} == {
            each.name for each in (await client.get_sessions(old)).values()
        }
        fresh = await client.get_sessions(old, fresh=True)
        assert {"new"} == {each.name for each in fresh.values()}
        assert "new" == (await client.get_session(old[0])).name

    async def test_keeps_only_what_was_asked_for(self, emulator, client):
        """The other sessions of a page are not stored: they would push out hot ones."""
        finished = [each.id for each in emulator.sessions if each.state == "finished"]
        await client.get_sessions(finished[:50:10])
        before = len(emulator.requests)
        await client.get_session(finished[1])
        assert before + 1 == len(emulator.requests)

    async def test_a_shared_one_is_asked_in_chunks(self, emulator, ids):
        """A custom backend is asked for a hundred ids at a time."""
        asked = []

        class Backend(SimpleMemoryCache):
            async def multi_get(self, keys, **options):
                asked.append(len(keys))
                return await super().multi_get(keys, **options)

        finished = [each.id for each in emulator.sessions if each.state == "finished"]
        policy = CachePolicy(backend=Backend())
        async with emulator.client(cache=policy) as client:
            await client.get_sessions(finished[:230])
        before = len(emulator.requests)
        async with emulator.client(cache=policy) as client:
            assert finished[:230] == list(await client.get_sessions(finished[:230]))
            assert 230 == client.stats.cache_hits
        assert before == len(emulator.requests)
        assert [100, 100, 30] * 2 == asked

    @pytest.mark.parametrize("answer", [None, [], ["rubbish"] * 9, "text", 42])
    async def test_rubbish_of_a_backend_is_a_miss(self, emulator, ids, answer):
        """A bulk gets sessions from the service if a backend answers nonsense."""

        class Backend(SimpleMemoryCache):
            async def multi_get(self, keys, **options):
                return answer

        async with emulator.client(cache=CachePolicy(backend=Backend())) as client:
            assert ids[:9] == list(await client.get_sessions(ids[:9]))


class TestFailures:
    async def test_a_revoked_token_ends_it_at_the_first_page(self, emulator, ids):
        """A 401 ends the bulk: nothing else is asked for, and the caller is told."""
        async with emulator.client(token="revoked") as client:
            with pytest.raises(AuthenticationError):
                await client.get_sessions(ids)
            assert 1 == client.stats.requests
            with pytest.raises(AuthenticationError):
                await outcomes_of(client, ids)
            assert 2 == client.stats.requests

    async def test_a_closed_client_ends_it_at_the_first_page(self, emulator, ids):
        """The caller is told if the client is closed while a page is out."""
        emulator.fail(path=LIST, fault="hang")
        client = emulator.client()
        bulk = asyncio.create_task(client.get_sessions(ids))
        await until(lambda: emulator.in_flight == 1)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await bulk
        with pytest.raises(ClientClosedError):
            await client.get_sessions(ids)
        assert 1 == len(emulator.requests)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    @pytest.mark.parametrize(
        "fault",
        [
            {"status": 500},
            {"status": 400},
            {"status": 200, "body": {"hasMore": False, "data": None}},
            {"fault": "garbage"},
            {"fault": "reset"},
        ],
    )
    async def test_a_failed_page_is_replaced_by_gets(self, emulator, ids, fault):
        """Any other failure of the list costs no id."""
        emulator.fail(path=LIST, **fault)
        async with emulator.client(retry=RetryPolicy(attempts=1)) as client:
            batch = await client.get_sessions(ids[:60])
        assert ids[:60] == list(batch)

    async def test_pages_that_fail_again_and_again_are_given_up(self):
        """A stream asks a list that fails three times, and gets all ids without it."""
        pages = 0

        async def cached(session_ids, **_):
            return {}

        async def page(query, take, **_):
            nonlocal pages
            pages += 1
            raise ServerError("down", status=500)

        async def read(request, *_, **__):
            return request.session_id

        async def nothing_to_drain():
            """Stand for the loads of a client that has none."""

        ids = [f"{number:024x}" for number in range(100)]
        parts = SimpleNamespace(
            sessions=SimpleNamespace(cached=cached, page=page, read=read)
        )
        jobs = PagedGets(lambda: parts, ids, THRIFTY, window=10)
        async with OutcomeStream(jobs, 4, nothing_to_drain) as outcomes:
            assert sorted(ids) == sorted([each.unwrap() async for each in outcomes])
        assert 3 == pages

    async def test_a_list_that_hangs_costs_an_exchange(self, emulator, ids):
        """Gets do not wait for a page for longer than one exchange may take."""
        emulator.fail("GET", LIST, fault="hang")
        async with emulator.client(attempt_timeout=0.3) as client:
            assert 40 == len(await client.get_sessions(ids[:40]))
        assert 1 == paths(emulator).count(LIST)

    async def test_errors_of_gets_stay_with_their_ids(self, emulator, ids):
        """An id that pages do not bring fails as it would alone."""
        hidden = emulator.add_session(hidden=True).id
        emulator.fail(path=f"*/{hidden}", status=500)
        async with emulator.client(retry=RetryPolicy(attempts=1)) as client:
            batch = await client.get_sessions([*ids[:60], hidden])
        assert ids[:60] == list(batch)
        assert isinstance(batch.errors[hidden], ServerError)

    async def test_a_session_that_breaks_its_page_breaks_alone(self, emulator, ids):
        """A list with one bad item is left for gets, of which one fails."""
        async with emulator.client(retry=RetryPolicy(attempts=1)) as client:
            bad = dict(await client.request("GET", f"{LIST}/{ids[0]}"), state=None)
            page = {"hasMore": False, "offset": 0, "limit": 100, "data": [bad]}
            emulator.fail(path=LIST, status=200, body=page)
            emulator.fail(path=f"*/{ids[0]}", status=200, body=bad)
            batch = await client.get_sessions(ids[:60])
        assert ids[1:60] == list(batch)
        assert isinstance(batch.errors[ids[0]], ResponseShapeError)


class TestStream:
    async def test_breaking_off_leaves_nothing(self, emulator, client, ids):
        """After a break, a page that is out is given up, and no task is alive."""
        emulator.latency = 0.02
        async with client.stream_sessions(ids) as outcomes:
            async for _ in outcomes:
                break
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert 0 == client.stats.in_flight

    async def test_nothing_is_left_while_the_first_page_is_out(self, emulator, client):
        """Leaving the block at any moment, also by cancellation, ends what runs."""
        emulator.latency = 0.05
        ids = [each.id for each in emulator.sessions]

        async def consume():
            async with client.stream_sessions(ids) as outcomes:
                async for _ in outcomes:
                    await asyncio.sleep(0.01)

        for seconds in (0.0, 0.02, 0.06, 0.08):
            task = asyncio.create_task(consume())
            await asyncio.sleep(seconds)
            task.cancel()
            await asyncio.wait([task])
            assert asyncio.all_tasks() == {asyncio.current_task()}

    async def test_nothing_more_is_taken_after_it_was_left(self):
        """After work that ignores its cancellation, no page and no get follows."""
        taken = []

        async def cached(session_ids, **_):
            taken.append("cached")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
            return {}

        async def page(query, take, **_):
            taken.append("page")
            return []

        async def read(request, *_, **__):
            taken.append("get")

        async def nothing_to_drain():
            """Stand for the loads of a client that has none."""

        ids = [f"{number:024x}" for number in range(100)]
        parts = SimpleNamespace(
            sessions=SimpleNamespace(cached=cached, page=page, read=read)
        )
        jobs = PagedGets(lambda: parts, ids, THRIFTY)
        async with OutcomeStream(jobs, 4, nothing_to_drain):
            await asyncio.sleep(0.01)
        assert ["cached"] == taken

    async def test_a_slow_consumer_slows_it_down(self, emulator, client, ids):
        """No page is asked for while the last one waits to be taken."""
        async with client.stream_sessions(ids) as outcomes:
            await anext(outcomes)
            await asyncio.sleep(0.1)
            assert 1 == client.stats.requests
            for _ in range(20):
                await anext(outcomes)
            await asyncio.sleep(0.1)
            assert 1 == client.stats.requests
            assert 250 - 21 == len([outcome async for outcome in outcomes])

    async def test_ids_are_pulled_as_they_are_needed(self, emulator, ids):
        """A few windows of endless ids at most are pulled ahead."""
        pulled = 0

        def endless():
            nonlocal pulled
            while True:
                yield ids[pulled % 250]
                pulled += 1

        async with emulator.client(cache=None) as client:
            async with client.stream_sessions(endless()) as outcomes:
                for _ in range(300):
                    await anext(outcomes)
                await asyncio.sleep(0.1)
        assert pulled <= 3_000

    async def test_gets_go_on_beside_pages(self, emulator, ids):
        """Ids that pages will not answer do not wait for the last page."""
        hidden = [emulator.add_session(hidden=True).id for _ in range(10)]
        emulator.latency = 0.05
        async with emulator.client(cache=None) as client:
            await client.get_sessions([*hidden, *ids])
        order = paths(emulator)
        last_page = len(order) - 1 - order[::-1].index(LIST)
        assert all(order.index(f"{LIST}/{each}") < last_page for each in hidden)
        assert emulator.max_in_flight > 5
