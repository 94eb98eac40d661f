"""What is kept for callers that only read emotions, and how many requests they cost."""

import asyncio
from collections import Counter

import pytest
import simulated
from aiocache import SimpleMemoryCache
from hypothesis import given
from hypothesis import strategies as st
from waiting import until

from emogg_async import (
    CachePolicy,
    NotFoundError,
    RetryPolicy,
    ServerError,
)
from emogg_async._caching import shared
from emogg_async._caching.questions import Questions
from emogg_async.testing import EmoggEmulator

QUICK = RetryPolicy(base=0.001, cap=0.002)
LIVE, TTL = 2.0, 300.0
"""The defaults of a policy."""

BACKENDS = {"memory": lambda: None, "shared": lambda: SimpleMemoryCache(timeout=None)}
GETS = {
    "emotions": lambda client, each: client.get_emotions(each),
    "timeline": lambda client, each: client.get_emotions_timeline(each),
    "sentiment": lambda client, each: client.get_transcription_sentiment(each),
}


@pytest.fixture
def finished(emulator):
    """Give the id of a finished session."""
    return emulator.add_session(name="Old", state="finished", duration=600.0).id


@pytest.fixture
def live(emulator):
    """Give the id of an active session."""
    return emulator.add_session(state="active").id


def opened(emulator, kind="memory", backend=None, **policy):
    """Make a client with a cache of a *kind*, and little patience."""
    cache = CachePolicy(backend=backend or BACKENDS[kind](), **policy)
    return emulator.client(cache=cache, retry=QUICK, pace=False)


@pytest.fixture(params=BACKENDS)
async def client(request, emulator, clocks):
    """Give a client with either kind of cache, whose clock can be put forward."""
    async with opened(emulator, request.param) as client:
        yield client


def asked(emulator):
    """Return how often each kind of thing was asked for."""
    last = [each.path.rpartition("/")[2] for each in emulator.requests]
    return Counter("session" if len(each) == 24 else each for each in last)


class TestFigures:
    @pytest.mark.parametrize("apart", [0.0, 3.0, 50.0])
    @pytest.mark.parametrize("what", GETS)
    async def test_a_finished_session_costs_three_requests(
        self, clocks, client, finished, what, apart
    ):
        """Four questions are three requests at most, and the next hundred none."""
        for _ in range(4):
            await GETS[what](client, finished)
            await clocks.forward(apart)
        before = client.stats.requests
        assert before <= 3
        for _ in range(100):
            await GETS[what](client, finished)
            await clocks.forward(apart / 60)
        assert before == client.stats.requests

    async def test_each_once_costs_one_request_each(self):
        """500 timelines of 500 sessions are 500 requests."""
        with EmoggEmulator(sessions=500, rate_limit=(100_000, 60.0)) as emulator:
            ids = [each.id for each in emulator.sessions]
            async with emulator.client() as client:
                batch = await client.gather(client.get_emotions_timeline, ids)
            assert ids == list(batch)
            assert {"timeline": 500} == asked(emulator)

    async def test_a_bulk_over_and_over(self, emulator, client, clocks):
        """A bulk that comes again and again costs three requests for each session."""
        ended = [each.id for each in emulator.sessions if each.state == "finished"]
        ids = ended[:40]
        for _ in range(5):
            assert ids == list(await client.gather(client.get_emotions, ids))
            await clocks.forward(10.0)
        assert {"emotions": 80, "session": 40} == asked(emulator)

    async def test_different_questions_share_what_they_learn(
        self, emulator, client, clocks, finished
    ):
        """A question of another kind is the second one, too."""
        for get in GETS.values():
            await get(client, finished)
        assert 1 == asked(emulator)["session"]
        assert 4 == len(emulator.requests)

    async def test_a_live_session_is_asked_about_once_in_its_time(
        self, emulator, client, clocks, live
    ):
        """A session that goes on costs one more request in each `ttl`."""
        for _ in range(100):
            await client.get_emotions(live)
            await clocks.forward(TTL / 100 + 0.01)
        assert 100 == asked(emulator)["emotions"]
        assert 1 <= asked(emulator)["session"] <= 2

    async def test_a_finished_session_is_learnt_anew_when_its_time_is_up(
        self, emulator, client, clocks, finished
    ):
        """Each `ttl` costs two requests, and none gets lost between two of them."""
        for _ in range(1_000):
            await client.get_emotions(finished)
            await clocks.forward(3.0)
        assert 10 <= asked(emulator)["session"] <= 12
        assert asked(emulator)["emotions"] <= 25

    async def test_at_once_they_are_one_request(self, emulator, client, finished):
        """Calls at the same time share the question as they share its answer."""
        calls = (client.get_emotions(finished) for _ in range(50))
        assert 1 == len({*await asyncio.gather(*calls)}) == len(emulator.requests)

    async def test_a_session_that_is_known_needs_no_question(
        self, emulator, client, clocks, finished
    ):
        """What a get has told is not asked for again."""
        await client.get_session(finished)
        for _ in range(50):
            await client.get_emotions(finished)
            await clocks.forward(LIVE + 1)
        assert {"session": 1, "emotions": 1} == asked(emulator)

    async def test_a_live_session_that_is_known_needs_none_either(
        self, emulator, client, live
    ):
        """It would be no other before its `live_ttl` is over."""
        await client.get_session(live)
        for get in GETS.values():
            await get(client, live)
            await get(client, live)
        assert 1 == asked(emulator)["session"]
        assert 4 == len(emulator.requests)

    async def test_without_time_nothing_is_learnt(self, emulator, finished):
        """With a `ttl` of 0 a question is one request, whatever `live_ttl` is."""
        for backend in BACKENDS:
            emulator.reset()
            each = emulator.add_session(state="finished").id
            async with opened(emulator, backend, ttl=0, live_ttl=60.0) as client:
                for _ in range(3):
                    await client.get_emotions(each)
            assert {"emotions": 3} == asked(emulator)

    async def test_one_client_learns_for_all(self, emulator, clocks, finished):
        """Clients that share a backend share what one of them has learnt."""
        backend = SimpleMemoryCache(timeout=None)
        one, two = (opened(emulator, backend=backend) for _ in range(2))
        async with one, two:
            for _ in range(2):
                await one.get_emotions(finished)
                await clocks.forward(LIVE + 1)
            for _ in range(10):
                await two.get_emotions(finished)
                await clocks.forward(LIVE + 1)
            assert 0 == two.stats.requests


class TestFreshness:
    async def test_a_live_answer_is_soon_asked_for_again(
        self, emulator, client, clocks, live
    ):
        """What was derived of a live session is not served beyond `live_ttl`."""
        before = await client.get_emotions(live)
        assert before is not None
        emulator.advance(600.0)
        emulator.update_session(live, state="finished")
        await clocks.forward(LIVE * 1.1 + 0.1)
        requests = client.stats.requests
        await client.get_emotions(live)
        assert requests < client.stats.requests

    async def test_who_knows_of_the_end_asks_again_at_once(
        self, emulator, client, live
    ):
        """After `get_session` has told of the end, older emotions are not served."""
        await client.get_emotions(live)
        emulator.update_session(live, state="finished")
        assert "finished" == (await client.get_session(live, fresh=True)).state
        await client.get_emotions(live)
        assert 2 == asked(emulator)["emotions"]
        await client.get_emotions(live)
        assert 2 == asked(emulator)["emotions"]

    async def test_what_is_asked_for_after_the_end_is_kept(
        self, emulator, client, clocks, live
    ):
        """The state comes first: the answer that is kept long is from after the end."""
        await client.get_emotions(live)
        await clocks.forward(LIVE + 1)
        emulator.update_session(live, state="finished")
        await client.get_emotions(live)
        kinds = [each.path.rpartition("/")[2] for each in emulator.requests]
        assert ["emotions", live, "emotions"] == kinds

    @pytest.mark.parametrize("kind", BACKENDS)
    @simulated.timed
    async def test_a_fresh_get_is_newer_than_what_is_being_learnt(self, clocks, kind):
        """A state that was asked for before a fresh get is not kept after it."""
        async with simulated.emulated() as emulator, opened(emulator, kind) as client:
            finished = emulator.add_session(name="Old", duration=600.0).id
            await client.get_emotions(finished)
            clocks.ahead += LIVE + 1
            emulator.fail("GET", f"*/{finished}", lag=0.3, times=1)
            slow = asyncio.create_task(client.get_emotions(finished))
            await until(lambda: emulator.in_flight == 1)
            emulator.update_session(finished, name="New")
            assert "New" == (await client.get_session(finished, fresh=True)).name
            await slow
            assert "New" == (await client.get_session(finished)).name


WRITES = {
    "update": lambda client, each: client.update_session(each, name="New"),
    "delete": lambda client, each: client.delete_session(each),
    "register": lambda c, each: c.register_source(each, name="n", format="text"),
    "custom": lambda client, each: client.request(
        "PATCH", f"/v1/sessions/{each.upper()}", json={"name": "New"}
    ),
}


@pytest.mark.parametrize("what", GETS)
class TestCoherence:
    @pytest.mark.parametrize("write", WRITES)
    @pytest.mark.parametrize("kind", BACKENDS)
    async def test_a_write_drops_what_is_kept(
        self, emulator, finished, kind, write, what
    ):
        """What was kept for a moment is not served after a write, to no client."""
        backend = BACKENDS[kind]()
        one, two = (opened(emulator, backend=backend, live_ttl=60.0) for _ in "12")
        reader = two if backend else one
        async with one, two:
            await GETS[what](reader, finished)
            await WRITES[write](one, finished)
            before = reader.stats.requests
            if write == "delete":
                with pytest.raises(NotFoundError):
                    await GETS[what](reader, finished)
            else:
                await GETS[what](reader, finished)
            assert before < reader.stats.requests

    async def test_a_404_drops_what_is_kept(self, emulator, client, finished, what):
        """After the session was found gone, none of its emotions is served."""
        await GETS[what](client, finished)
        emulator.remove_session(finished)
        with pytest.raises(NotFoundError):
            await client.get_session(finished)
        with pytest.raises(NotFoundError):
            await GETS[what](client, finished)

    async def test_a_backend_that_was_down_for_the_write(
        self, emulator, finished, what, monkeypatch
    ):
        """What it could not be told to drop is not served by the client that wrote."""
        monkeypatch.setattr(shared, "FIRST_WAIT", 60.0)
        backend = SimpleMemoryCache(timeout=None)
        async with opened(emulator, backend=backend, live_ttl=60.0) as client:
            await GETS[what](client, finished)

            async def fails(*_, **__):
                raise OSError

            for name in ("set", "delete"):
                monkeypatch.setattr(backend, name, fails)
            await client.update_session(finished, name="New")
            for name in ("set", "delete"):
                monkeypatch.delattr(backend, name)
            before = client.stats.requests
            await GETS[what](client, finished)
            assert before < client.stats.requests

    @pytest.mark.parametrize("kind", BACKENDS)
    @simulated.timed
    async def test_what_began_before_a_write_is_not_kept(self, kind, what):
        """Emotions that were asked for before a rename answer no call after it."""
        async with simulated.emulated() as emulator, opened(emulator, kind) as client:
            finished = emulator.add_session(duration=600.0).id
            emulator.fail("GET", f"*/{finished}/*", lag=0.15, times=1)
            slow = asyncio.create_task(GETS[what](client, finished))
            await until(lambda: emulator.in_flight == 1)
            await client.update_session(finished, name="New")
            await slow
            before = client.stats.requests
            await GETS[what](client, finished)
            assert before + 1 == client.stats.requests


class TestOutages:
    @pytest.fixture(params=BACKENDS)
    async def client(self, request, emulator, clocks):
        """Give a client that keeps past values."""
        async with opened(emulator, request.param, stale_if_error=3600.0) as client:
            yield client

    @pytest.mark.parametrize("what", GETS)
    @pytest.mark.parametrize("state", ["finished", "active"])
    async def test_the_past_value_stands_in(
        self, emulator, client, clocks, state, what
    ):
        """It does so for a session of which nothing else is known."""
        each = emulator.add_session(state=state, duration=600.0).id
        value = await GETS[what](client, each)
        await clocks.forward(LIVE + 1)
        emulator.fail(status=503)
        for _ in range(3):
            past = await GETS[what](client, each)
            assert (value, True) == (past, past.stale)

    async def test_the_state_is_learnt_and_then_the_service_is_out(
        self, emulator, client, clocks, finished
    ):
        """The emotions from before the state was known stand in then, too."""
        value = await client.get_emotions(finished)
        await clocks.forward(LIVE + 1)
        emulator.fail("GET", "*/emotions", status=503)
        past = await client.get_emotions(finished)
        assert (value, True) == (past, past.stale)
        assert 1 == asked(emulator)["session"]

    async def test_nobody_asks_for_a_state_while_the_service_is_out(
        self, emulator, client, finished
    ):
        """The question would only delay the answer, or the error."""
        await client.get_emotions(finished)
        emulator.fail(status=503)
        gets = client.get_session("a" * 24), client.get_emotions_timeline(finished)
        for call in gets:
            with pytest.raises(ServerError):
                await call
        assert not [each for each in emulator.requests if each.path.endswith(finished)]

    async def test_not_after_a_404_or_a_write(self, emulator, client, clocks, finished):
        """What is gone or written has no past value."""
        for end in (404, "write"):
            await client.get_emotions(finished)
            await clocks.forward(LIVE + 1)
            if end == "write":
                await client.update_session(finished, name="New")
            else:
                emulator.fail("GET", "*/emotions", status=404, times=1)
                with pytest.raises(NotFoundError):
                    await client.get_emotions(finished)
            outage = emulator.fail("GET", status=503)
            with pytest.raises(ServerError):
                await client.get_emotions(finished)
            outage.remove()


class TestFailures:
    @pytest.mark.parametrize(
        "fault",
        [
            *({"status": 503}, {"status": 418}),
            *({"fault": "cut"}, {"status": 200, "body": []}),
        ],
        ids=str,
    )
    async def test_a_state_that_cannot_be_learnt_hurts_nobody(
        self, emulator, client, clocks, finished, fault
    ):
        """The emotions come all the same, and one attempt in a `ttl` has to do."""
        emulator.fail("GET", f"*/{finished}", **fault)
        for _ in range(20):
            await client.get_emotions(finished)
            await clocks.forward(LIVE + 1)
        assert {"emotions": 20, "session": 1} == asked(emulator)

    @simulated.timed
    async def test_a_question_that_hangs_leaves_time_for_the_answer(self):
        """The emotions come within the time of their call."""
        async with simulated.emulated() as emulator:
            session_id = emulator.add_session(state="finished").id
            async with emulator.client(timeout=5.0) as client:
                await client.get_emotions(session_id)
                emulator.fail("GET", f"*/{session_id}", fault="hang")
                await client.get_emotions_timeline(session_id)
            assert 1 == asked(emulator)["session"]

    @simulated.timed
    async def test_a_view_that_does_not_pace_waits_for_no_question(self):
        """Its question is sent at once, although the bucket is empty."""
        async with simulated.emulated(rate_limit=(2, 60.0)) as emulator:
            ids = [emulator.add_session(state="finished").id for _ in range(2)]
            async with emulator.client() as client:
                await client.get_emotions(ids[0])
                await client.get_session(ids[1])
                view = client.with_options(pace=False)
                call = asyncio.create_task(view.get_emotions_timeline(ids[0]))
                await asyncio.sleep(1.0)
                assert client.stats.requests > 2
                await call

    async def test_a_session_that_is_gone_is_its_own_error(
        self, emulator, client, clocks, finished
    ):
        """A session that went away between two questions is a NotFoundError."""
        await client.get_emotions(finished)
        await clocks.forward(LIVE + 1)
        emulator.remove_session(finished)
        with pytest.raises(NotFoundError) as caught:
            await client.get_emotions(finished)
        assert caught.value.path.endswith("/emotions")

    async def test_a_cache_that_fails_makes_no_questions(self, emulator, finished):
        """Nothing is learnt for a backend that cannot keep it."""

        class Broken(SimpleMemoryCache):
            async def multi_get(self, *_, **__):
                raise OSError

        async with opened(emulator, backend=Broken(timeout=None)) as client:
            for _ in range(3):
                await client.get_emotions(finished)
        assert {"emotions": 3} == asked(emulator)


class TestDecider:
    def test_the_second_question_learns(self):
        """The first does not, nor does one that comes much later."""
        questions = Questions(100.0, 10)
        assert questions.ask("a", 0.0) is None
        assert questions.ask("b", 1.0) is None
        assert questions.ask("a", 99.0) is not None
        assert questions.ask("a", 99.0) is None
        assert questions.ask("b", 101.0) is None

    def test_one_that_learnt_is_followed_by_one_in_its_time(self):
        """That is from 0.9 of a `ttl` after it on, and up to two after it."""
        for wait, learns in ((89, False), (91, True), (199, True), (201, False)):
            questions = Questions(100.0, 10)
            questions.ask("a", 0.0)
            assert questions.ask("a", 1.0) is not None
            assert learns is (questions.ask("a", 1.0 + wait) is not None)

    def test_the_oldest_is_forgotten_first(self):
        """A session that is asked about again counts as new."""
        questions = Questions(100.0, 2)
        for session_id in "abac":
            questions.ask(session_id, 0.0)
        assert ["a", "c"] == [each for each in "abc" if each in questions]

    def test_what_is_forgotten_begins_anew(self):
        """A note is no longer there after the session was written."""
        questions = Questions(100.0, 10)
        questions.ask("a", 0.0)
        note = questions.ask("a", 1.0)
        assert questions.has("a", note)
        questions.forget("a")
        assert not questions.has("a", note)
        assert questions.ask("a", 2.0) is None

    @pytest.mark.property
    @given(
        st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 60)), max_size=80),
        st.integers(1, 4),
    )
    def test_learns_rarely_and_remembers_little(self, asks, size):
        """Questions that learn lie 0.9 of a `ttl` apart, as long as there is room."""
        questions, now = Questions(100.0, size), 0.0
        learnt = {}
        for session_id, wait in asks:
            now += wait
            if questions.ask(session_id, now):
                apart = now - learnt.get(session_id, -1e9)
                assert apart >= 90.0 - 1e-6 or size < len("abcd")
                learnt[session_id] = now
            assert len(questions) <= size
