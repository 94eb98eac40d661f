"""Views of a client: the same client, whose calls go by other options."""

import asyncio

import pytest
import simulated
from waiting import until

from emogg_async import (
    AsyncEmoggClient,
    CachePolicy,
    ClientClosedError,
    DeadlineError,
    InvalidArgumentError,
    RateLimitedError,
    RetryPolicy,
    ServerError,
)

ONCE = RetryPolicy(attempts=1)
OFTEN = RetryPolicy(attempts=9, base=0.001)


@pytest.fixture
def ids(emulator):
    """Give the ids of all sessions."""
    return [session.id for session in emulator.sessions]


async def sent(client):
    """Wait until the first request is out."""
    while not client.stats.requests:  # noqa: ASYNC110 - statistics are no event
        await asyncio.sleep(0)


class TestSharing:
    async def test_a_view_shares_the_cache_and_the_statistics(self, client, ids):
        """A session that the client has costs its view no request, and is counted."""
        view = client.with_options(timeout=5.0)
        session = await client.get_session(ids[0])
        assert session is await view.get_session(ids[0])
        assert view.stats == client.stats
        assert (1, 1) == (client.stats.requests, client.stats.cache_hits)
        assert view.rate_limit == client.rate_limit is not None

    async def test_calls_with_the_same_options_share_a_load(
        self, emulator, client, ids
    ):
        """So do those that differ in the whole time alone."""
        calls = [
            client.with_options(retry=ONCE, timeout=seconds).get_session(ids[0])
            for seconds in (7.0, 8.0)
        ]
        calls += [client.with_options(timeout=9.0).get_session(ids[0])]
        await asyncio.gather(*calls, client.get_session(ids[0]))
        assert 2 == client.stats.requests
        assert 2 == client.stats.coalesced

    @pytest.mark.parametrize(
        "options",
        [{"attempt_timeout": 9.0}, {"retry": ONCE}, {"cache": None}, {"pace": False}],
        ids=str,
    )
    async def test_calls_with_other_options_do_not(self, client, ids, options):
        """None of the options of a call may be those of another."""
        view = client.with_options(**options)
        await asyncio.gather(client.get_session(ids[0]), view.get_session(ids[0]))
        assert 2 == client.stats.requests

    async def test_a_view_shares_live_subscriptions(self, emulator):
        """Feeds of a client and of its view are one subscription."""
        session_id = emulator.add_session(state="active").id
        async with emulator.client() as client:
            view = client.with_options(timeout=20.0)
            async with (
                client.live.counts(session_id),
                view.live.counts(session_id),
            ):
                assert 1 == client.stats.live_subscriptions

    async def test_a_view_shares_the_budget_of_retries(self, emulator, ids):
        """A budget that the client has used up is used up for its views, too."""
        emulator.fail(status=503)
        policy = RetryPolicy(attempts=9, base=0.001, budget=3.0)
        async with emulator.client(retry=policy, cache=None) as client:
            for caller in (client, client.with_options(retry=OFTEN)):
                with pytest.raises(ServerError):
                    await caller.get_session(ids[0])
            assert 4 + 1 == client.stats.requests

    async def test_a_view_has_views(self, client, ids):
        """A view of a view keeps what the first one has changed."""
        view = client.with_options(cache=None).with_options(timeout=5.0)
        await client.get_session(ids[0])
        assert client.rate_limit == view.rate_limit is not None
        await view.get_session(ids[0])
        assert 2 == client.stats.requests
        await client.aclose()
        assert "(closed)" in repr(view)

    async def test_a_subclass_has_views_of_its_own_kind(self, emulator):
        """Methods that a user adds are there in views, too."""

        class Mine(AsyncEmoggClient):
            pass

        async with Mine(emulator.token, base_url=emulator.url) as client:
            assert isinstance(client.with_options(timeout=1.0), Mine)


class TestCache:
    async def test_without_it_nothing_is_read_or_stored(self, client, ids):
        """Each call of such a view asks the service, and leaves nothing behind."""
        view = client.with_options(cache=None)
        await view.get_session(ids[0])
        await view.get_sessions(ids[:1])
        assert (2, 0) == (client.stats.requests, client.stats.cache_hits)
        await client.get_session(ids[0])
        assert 3 == client.stats.requests

    async def test_its_writes_outdate_what_the_client_keeps(self, emulator, client):
        """A rename by a view without a cache is seen by the client at once."""
        session_id = emulator.add_session(name="Old", state="finished").id
        assert "Old" == (await client.get_session(session_id)).name
        await client.with_options(cache=None).update_session(session_id, name="New")
        assert "New" == (await client.get_session(session_id)).name

    @simulated.timed
    async def test_its_fresh_reads_outdate_loads_under_way(self):
        """A fresh read of one view is never answered by an older load of another."""
        async with simulated.emulated() as emulator, emulator.client() as client:
            id_ = emulator.add_session().id
            emulator.fail(lag=0.2, times=1)
            older = asyncio.create_task(client.get_session(id_))
            await until(lambda: emulator.in_flight == 1)
            await client.with_options(cache=None).get_session(id_, fresh=True)
            await older
            await client.get_session(id_)
            assert 0 == client.stats.cache_hits

    @pytest.mark.parametrize("cache", [None, CachePolicy()], ids=["none", "memory"])
    def test_a_fresh_read_outdates_what_began_during_it(self, cache):
        """Nobody joins an older load of a view, and nothing of it is kept."""

        async def main():
            async with (
                simulated.emulated() as emulator,
                emulator.client(cache=cache) as client,
            ):
                session_id = emulator.add_session(name="Old", state="finished").id
                view = client.with_options(attempt_timeout=9.0)
                emulator.fail(status=503, headers={"Retry-After": "2"}, times=1)
                fresh = asyncio.create_task(client.get_session(session_id, fresh=True))
                await asyncio.sleep(1)
                emulator.fail(lag=5.0, times=1)
                older = asyncio.create_task(view.get_session(session_id))
                await asyncio.sleep(0.5)
                emulator.update_session(session_id, name="New")
                assert "New" == (await fresh).name
                assert "New" == (await view.get_session(session_id)).name
                assert "Old" == (await older).name
                assert "New" == (await view.get_session(session_id)).name

        simulated.run(main())


class TestTimes:
    @simulated.timed
    async def test_each_caller_has_its_own_patience(self):
        """A hanging service fails each caller at the end of its own time."""
        async with simulated.emulated() as emulator, emulator.client() as client:
            emulator.fail(fault="hang")
            session_id = emulator.add_session().id
            ends = []

            async def ask(seconds):
                view = client.with_options(timeout=seconds)
                with pytest.raises(DeadlineError):
                    await view.get_session(session_id)
                ends.append(simulated.now())

            began = simulated.now()
            await asyncio.gather(ask(3.0), ask(1.0), ask(2.0))
            assert [1.0, 2.0, 3.0] == pytest.approx([end - began for end in ends])
            assert 1 == client.stats.requests

    @pytest.mark.parametrize("seconds", [0.5, 40.0])
    def test_an_attempt_has_the_time_of_the_view(self, seconds):
        """It may be shorter than the client's, or longer."""

        async def main():
            async with simulated.emulated() as emulator, emulator.client() as client:
                emulator.fail(fault="hang")
                view = client.with_options(attempt_timeout=seconds, retry=ONCE)
                began = simulated.now()
                with pytest.raises(DeadlineError, match=f"within {seconds:g} s"):
                    await view.get_session("a" * 24)
                assert seconds == pytest.approx(simulated.now() - began)

        simulated.run(main())

    @simulated.timed
    async def test_a_page_has_it_too(self):
        """A page that hangs holds up a bulk for as long as the view says."""
        async with simulated.emulated(sessions=20) as emulator:
            ids = [session.id for session in emulator.sessions]
            async with emulator.client() as client:
                emulator.fail("GET", "/v1/sessions", fault="hang")
                view = client.with_options(attempt_timeout=0.5)
                batch = await view.get_sessions(ids, via="pages")
                assert ids == list(batch)
                assert 0.5 <= simulated.now() <= 1.0


class TestRetries:
    async def test_nobody_fails_by_the_policy_of_another(self, emulator, client, ids):
        """A call that retries goes on where one that does not has failed."""
        emulator.fail(status=503, times=2)
        hasty, patient = await asyncio.gather(
            client.with_options(retry=ONCE).get_session(ids[0]),
            client.with_options(retry=OFTEN).get_session(ids[0]),
            return_exceptions=True,
        )
        assert isinstance(hasty, ServerError)
        assert ids[0] == patient.id
        assert 3 == client.stats.requests

    async def test_bulks_and_listings_have_them(self, emulator, client, ids):
        """The options hold for each request of a bulk, and for pages."""
        emulator.fail(status=503)
        view = client.with_options(retry=ONCE)
        batch = await view.get_sessions(ids[:3], via="get")
        assert 3 == len(batch.errors) == client.stats.requests
        with pytest.raises(ServerError):
            await view.list_sessions().first()
        assert 4 == client.stats.requests


class TestPace:
    @simulated.timed
    async def test_without_it_nobody_waits_for_a_token(self):
        """Such a call is sent although the bucket is empty; others are not."""
        async with simulated.emulated(rate_limit=(2, 60.0)) as emulator:
            session_id = emulator.add_session().id
            async with emulator.client(cache=None) as client:
                for _ in range(2):
                    await client.get_session(session_id)
                quick = client.with_options(timeout=1.0)
                with pytest.raises(RateLimitedError) as unsent:
                    await quick.get_session(session_id)
                with pytest.raises(RateLimitedError) as refused:
                    await quick.with_options(pace=False).get_session(session_id)
                assert 0 == unsent.value.attempts < refused.value.attempts

    @simulated.timed
    async def test_what_it_sends_is_learnt(self):
        """The client waits for the tokens that its view has used up."""
        async with simulated.emulated(rate_limit=(4, 60.0)) as emulator:
            session_id = emulator.add_session().id
            async with emulator.client(cache=None) as client:
                await client.get_session(session_id)
                view = client.with_options(pace=False)
                for _ in range(3):
                    await view.get_session(session_id)
                assert simulated.now() < 1.0
                await client.get_session(session_id)
                assert simulated.now() > 10.0
                assert 0 == client.stats.rate_limited

    @simulated.timed
    async def test_it_still_waits_for_slots(self):
        """Calls with and without tokens take turns, and all of them end."""
        async with simulated.emulated() as emulator:
            emulator.latency = 0.5
            ids = [emulator.add_session().id for _ in range(8)]
            async with emulator.client(concurrency=1, cache=None) as client:
                view = client.with_options(pace=False)
                calls = [client.get_session(each) for each in ids[:4]]
                calls += [view.get_session(each) for each in ids[4:]]
                done = asyncio.gather(*calls)
                cut = asyncio.create_task(view.get_session("a" * 24))
                await asyncio.sleep(0.75)
                cut.cancel()
                assert ids == [session.id for session in await done]
                assert 8 == client.stats.requests
                assert 0.5 * 8 <= simulated.now() < 0.5 * 9

    @simulated.timed
    async def test_a_bulk_without_it_holds_up_no_single_call(self):
        """A single call gets the slots that are not for bulks, as with tokens."""
        async with simulated.emulated() as emulator:
            emulator.fail(path="*/sessions/*", lag=10.0)
            ids = [emulator.add_session().id for _ in range(6)]
            async with emulator.client(concurrency=4, cache=None) as client:
                view = client.with_options(pace=False)
                bulks = [
                    asyncio.create_task(view.get_sessions(some, via="get"))
                    for some in (ids[:3], ids[3:])
                ]
                await asyncio.sleep(1.0)
                hold, call = (
                    asyncio.create_task(view.request("GET", "/v1/sessions"))
                    for _ in range(2)
                )
                await asyncio.gather(hold, call)
                assert simulated.now() < 5.0
                await asyncio.gather(*bulks)

    def test_a_client_that_does_not_pace_has_no_view_that_does(self):
        """It keeps no account of the tokens, and says so."""
        client = AsyncEmoggClient("token", pace=False)
        client.with_options(pace=False, timeout=2.0)
        with pytest.raises(InvalidArgumentError, match="pace"):
            client.with_options(pace=True)


class TestClosing:
    async def test_closing_a_view_closes_nothing(self, client, ids):
        """Neither the client nor the view itself."""
        async with client.with_options(timeout=5.0) as view:
            await view.get_session(ids[0])
        await view.aclose()
        await view.get_session(ids[1])
        await client.get_session(ids[2])

    async def test_a_view_ends_with_its_client(self, emulator, ids):
        """Its calls, under way and new, end with `ClientClosedError`."""
        emulator.fail(fault="hang")
        client = emulator.client()
        view = client.with_options(timeout=50.0)
        call = asyncio.create_task(view.get_session(ids[0]))
        await sent(client)
        assert "a view of" in repr(view)
        assert "(open)" in repr(view)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await call
        for late in (view, client.with_options(timeout=3.0)):
            with pytest.raises(ClientClosedError):
                await late.get_session(ids[0])
        assert "(closed)" in repr(view)

    async def test_the_first_call_of_a_view_opens_the_client(self, emulator, ids):
        """A view may be made, and used, before the client is open."""
        client = emulator.client()
        view = client.with_options(cache=None)
        assert "not open" in repr(client)
        await view.get_sessions(ids[:2])
        assert "(open)" in repr(client)
        with view.deadline(5.0):
            await client.get_session(ids[0])
        await client.aclose()


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0},
        {"timeout": None},
        {"timeout": "other"},
        {"attempt_timeout": -1.0},
        {"retry": 3},
        {"retry": None},
        {"cache": CachePolicy()},
        {"cache": False},
        {"pace": 1},
        {"pace": None},
    ],
    ids=str,
)
def test_refuses_what_is_no_option(options):
    """The error names the option, before any request."""
    (name,) = options
    with pytest.raises(InvalidArgumentError, match=f"^{name}: "):
        AsyncEmoggClient("token").with_options(**options)


@pytest.mark.parametrize(
    "name", ["get_emotions", "get_emotions_timeline", "get_transcription_sentiment"]
)
async def test_what_is_derived_can_be_asked_for_freshly(emulator, client, name):
    """`fresh=True` asks the service for what the cache has, and keeps the answer."""
    session_id = emulator.add_session(state="finished").id
    call = getattr(client, name)
    await client.get_session(session_id)
    kept = await call(session_id)
    assert kept is await call(session_id)
    before = client.stats.requests
    assert kept == await call(session_id, fresh=True)
    assert before + 1 == client.stats.requests
