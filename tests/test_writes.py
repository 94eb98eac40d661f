"""Writes: done once, or said to be in doubt; over real sockets."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from aiocache import SimpleMemoryCache
from ports import free_port
from waiting import until

from emogg_async import (
    AsyncEmoggClient,
    BadRequestError,
    CachePolicy,
    ClientClosedError,
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    InvalidArgumentError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseShapeError,
    RetryPolicy,
    ServerError,
    SessionState,
)
from emogg_async._caching import guard
from emogg_async._many.listing import CLOCK_SLACK
from emogg_async.testing import EmoggEmulator

URI = "rtmp://live.example/app/s3cret-key"
UNKNOWN = "0" * 24
QUICK = RetryPolicy(base=0.001, cap=0.002)


@pytest.fixture
async def client(emulator):
    """Give a client of the emulator that waits for next to nothing between attempts."""
    async with emulator.client(retry=QUICK) as opened:
        yield opened


@pytest.fixture
def active(emulator):
    """Give the id of an active session."""
    return emulator.add_session(name="Pitch", state="active").id


@pytest.fixture
def finished(emulator):
    """Give the id of a finished session."""
    return emulator.add_session(name="Pitch", state="finished").id


def named(emulator, name):
    """Return the emulator's sessions of a name."""
    return [each for each in emulator.sessions if each.name == name]


def sent(emulator, method):
    """Return how many requests of a method arrived."""
    return [item.method for item in emulator.requests].count(method)


class TestUsual:
    async def test_a_session_lives_and_dies(self, emulator, client):
        """Created it is active, renamed, stopped it is finished, deleted it is gone."""
        created = await client.create_session("Pitch", URI)
        assert ("Pitch", SessionState.ACTIVE) == (created.name, created.state)
        renamed = await client.update_session(created.id.upper(), name="Second pitch")
        assert (created.id, "Second pitch") == (renamed.id, renamed.name)
        stopped = await client.stop_session(created.id)
        assert (created.id, SessionState.FINISHED) == (stopped.id, stopped.state)
        assert await client.delete_session(created.id) is None
        with pytest.raises(NotFoundError):
            await client.get_session(created.id)
        assert [] == named(emulator, "Second pitch")

    async def test_events_of_a_source(self, emulator, client, active):
        """A source is registered, its events arrive, and the session has it then."""
        await client.get_session(active)
        source = await client.register_source(active, name="Pulse", format="scalar")
        (event,) = await client.send_event(active, source.id, time=1.5, data=72)
        assert (1.5, 72.0, source.id, active) == (
            event.time,
            event.data,
            event.source,
            event.session,
        )
        assert (event,) == emulator.events(active)
        session = await client.get_session(active)
        assert ("Pulse", "scalar") in [(s.name, s.format) for s in session.sources]

    @pytest.mark.parametrize(
        "name", ["<script>alert(1)</script>", "\x1b[2J", "é😀" * 99]
    )
    async def test_names_come_back_as_they_were(self, client, name):
        """A name is nobody's business but its owner's."""
        session = await client.create_session(name, URI)
        assert name == session.name == (await client.get_session(session.id)).name

    async def test_refusals_are_raised_at_the_first_try(self, emulator, client, active):
        """What the service refuses is refused, after one request."""
        done = emulator.add_session(state="finished").id
        with pytest.raises(BadRequestError, match="active"):
            await client.delete_session(active)
        with pytest.raises(BadRequestError):
            await client.stop_session(done)
        for call in (
            client.update_session(UNKNOWN, name="n"),
            client.stop_session(UNKNOWN),
            client.delete_session(UNKNOWN),
            client.register_source(UNKNOWN, name="n", format="text"),
        ):
            with pytest.raises(NotFoundError) as caught:
                await call
            assert caught.value.attempts == 1
        assert 6 == len(emulator.requests)

    async def test_in_a_bulk(self, emulator, client):
        """A bulk of writes ends in one outcome for each."""
        ids = [emulator.add_session(state="finished").id for _ in range(30)]
        batch = await client.gather(client.delete_session, [*ids, UNKNOWN])
        assert ids == list(batch)
        assert [UNKNOWN] == list(batch.errors)
        assert {*ids}.isdisjoint(each.id for each in emulator.sessions)


FIRST = datetime(1, 1, 1, tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, tzinfo=UTC)
NAIVE = datetime(2024, 4, 1)  # noqa: DTZ001 - that is the point
UUID = "c1fcba18-15ec-457c-a1de-fcbb87aeaa0e"

ARGUMENTS = [
    ("name", lambda client: client.create_session("n" * 257, URI)),
    ("name", lambda client: client.create_session("", URI)),
    ("stream_uri", lambda client: client.create_session("n", "http://h/s3cret")),
    ("session_id", lambda client: client.update_session("../x", name="n")),
    ("name", lambda client: client.update_session(UNKNOWN, name="")),
    ("session_id", lambda client: client.stop_session("x")),
    ("session_id", lambda client: client.delete_session(None)),
    ("granularity", lambda c: c.get_emotions_timeline(UNKNOWN, granularity=4)),
    ("end", lambda c: c.get_transcription_sentiment(UNKNOWN, start=9, end=9)),
    ("expand", lambda client: client.get_emotions(UNKNOWN, expand="session")),
    ("expand", lambda client: client.get_session(UNKNOWN, expand="user")),
    ("expand", lambda client: client.get_session(UNKNOWN, expand="")),
    ("expand", lambda client: client.list_sessions(expand="user").first()),
    ("format", lambda c: c.register_source(UNKNOWN, name="n", format="video")),
    ("time", lambda c: c.send_event(UNKNOWN, UUID, time=-1, data=1)),
    ("data", lambda c: c.send_event(UNKNOWN, UUID, time=0, data=float("nan"))),
    ("source_id", lambda c: c.send_event(UNKNOWN, "x", time=0, data=1)),
    ("name", lambda c: c.find_created_sessions("", since=datetime.now(UTC))),
    ("since", lambda c: c.find_created_sessions("n", since=NAIVE)),
    ("since", lambda c: c.find_created_sessions("n", since="2024-04-01")),
    ("since", lambda c: c.find_created_sessions("n", since=FIRST)),
    ("since", lambda c: c.find_created_sessions("n", since=LAST)),
]


class TestArguments:
    @pytest.mark.parametrize(("argument", "call"), ARGUMENTS)
    async def test_are_checked_before_any_request(
        self, emulator, client, argument, call
    ):
        """What cannot be right is refused by name, and is never sent."""
        with pytest.raises(InvalidArgumentError, match=f"^{argument}: ") as caught:
            await call(client)
        assert "s3cret" not in str(caught.value)
        assert () == emulator.requests
        assert 0 == client.stats.calls

    @pytest.mark.parametrize("ahead", [-3_000_000, 3_000_000])
    async def test_a_date_at_the_end_of_time_is_refused(
        self, client, monkeypatch, ahead
    ):
        """A *since* that no clock of the service shows is no OverflowError."""
        pipeline = client._open().pipeline
        monkeypatch.setattr(pipeline, "skew", lambda: timedelta(days=ahead))
        with pytest.raises(InvalidArgumentError, match="service's clock"):
            await client.find_created_sessions("n", since=datetime.now(UTC))

    @pytest.mark.parametrize(
        ("source_format", "data"), [("scalar", "72"), ("text", 72), ("text", 0.5)]
    )
    async def test_data_of_a_known_source(
        self, emulator, client, active, source_format, data
    ):
        """What a source that was registered here does not take is not even sent."""
        source = await client.register_source(active, name="n", format=source_format)
        for source_id in (source.id, source.id.upper()):
            with pytest.raises(InvalidArgumentError, match=r"^data: "):
                await client.send_event(active, source_id, time=0, data=data)
        assert 1 == len(emulator.requests)

    async def test_data_of_a_source_that_the_cache_knows(self, emulator, active):
        """A session in the cache tells what its sources take, too."""
        async with emulator.client() as one, emulator.client() as other:
            source = await one.register_source(active, name="n", format="scalar")
            with pytest.raises(BadRequestError):  # nobody knows: the service says it
                await other.send_event(active, source.id, time=0, data="x")
            await other.get_session(active)
            with pytest.raises(InvalidArgumentError, match=r"^data: "):
                await other.send_event(active, source.id, time=0, data="x")

    async def test_formats_are_remembered_up_to_a_limit(self, client, active):
        """However many sources are registered, memory does not grow with them."""
        sessions = client._open().sessions
        for number in range(1_000):
            sessions._sources._formats[str(number)] = "text"
        await client.register_source(active, name="n", format="text")
        assert 1_000 == len(sessions._sources._formats)


ONCE = {
    "create": lambda client, session_id: client.create_session("Lost", URI),
    "register": lambda client, session_id: client.register_source(
        session_id, name="Lost", format="text"
    ),
    "event": lambda client, session_id: client.send_event(
        session_id, UUID, time=0, data="x"
    ),
}

LOST = [
    {"fault": "close"},
    {"fault": "reset"},
    {"fault": "cut"},
    {"status": 500},
    {"status": 503, "headers": {"Retry-After": "0"}},
    {"status": 504},
    {"status": 201, "fault": "html"},
    {"status": 201, "fault": "garbage"},
    {"status": 201, "body": b""},
    {"status": 200, "body": {}},
    {"status": 200, "body": "null"},
]


@pytest.mark.parametrize("what", ONCE)
class TestOnce:
    @pytest.mark.parametrize("failure", LOST, ids=str)
    async def test_what_is_in_doubt_is_never_sent_again(
        self, emulator, client, active, what, failure
    ):
        """A write that must not be doubled arrives once, and is said to be in doubt."""
        emulator.fail("POST", **failure)
        before = datetime.now(UTC)
        with pytest.raises(OutcomeUnknownError) as caught:
            await ONCE[what](client, active)
        error = caught.value
        assert 1 == sent(emulator, "POST") == error.attempts
        assert before <= error.since <= datetime.now(UTC)
        assert isinstance(
            error.__cause__, ConnectionLostError | ServerError | ResponseShapeError
        )
        assert "s3cret" not in f"{error}{error!r}{error.__cause__}{vars(error)}"

    async def test_what_was_refused_for_its_rate_is_sent_again(
        self, emulator, client, active, what
    ):
        """A 429 came before the write was looked at."""
        emulator.fail("POST", status=200, body={}, times=1)
        emulator.fail("POST", status=429, times=2)
        with pytest.raises(OutcomeUnknownError):
            await ONCE[what](client, active)
        assert 3 == sent(emulator, "POST")

    @pytest.mark.parametrize("status", [302, 400, 403, 404, 409, 422, 501, 505])
    async def test_a_plain_refusal_is_no_doubt(
        self, emulator, client, active, what, status
    ):
        """A status that says no is raised as it is, after one request."""
        emulator.fail("POST", status=status)
        with pytest.raises(EmoggError) as caught:
            await ONCE[what](client, active)
        assert status == caught.value.status
        assert 1 == sent(emulator, "POST")

    async def test_a_deadline_leaves_it_in_doubt(
        self, emulator, client, active, clocks, what
    ):
        """A write that was out when its time ended may have worked."""
        emulator.fail("POST", fault="hang")
        with client.deadline(5.0):
            call = asyncio.create_task(ONCE[what](client, active))
        await until(lambda: emulator.in_flight == 1)
        await clocks.forward(5.0)
        with pytest.raises(OutcomeUnknownError):
            await call
        assert 1 == sent(emulator, "POST")

    async def test_an_attempt_that_takes_too_long_leaves_it_in_doubt(
        self, emulator, active, clocks, what
    ):
        """An answer that does not come in time is not asked for again."""
        emulator.fail("POST", fault="hang")
        async with emulator.client(attempt_timeout=5.0, retry=QUICK) as client:
            call = asyncio.create_task(ONCE[what](client, active))
            await until(lambda: emulator.in_flight == 1)
            await clocks.forward(5.0)
            with pytest.raises(OutcomeUnknownError) as caught:
                await call
        assert isinstance(caught.value.__cause__, DeadlineError)
        assert 1 == sent(emulator, "POST")

    async def test_closing_leaves_it_in_doubt(self, emulator, active, what):
        """A write that was out when the client was closed may have worked."""
        emulator.fail("POST", fault="hang")
        client = emulator.client()
        call = asyncio.create_task(ONCE[what](client, active))
        await until(lambda: emulator.in_flight == 1)
        await client.aclose()
        with pytest.raises(OutcomeUnknownError):
            await call

    async def test_cancelling_is_a_cancellation(self, emulator, client, active, what):
        """Who cancels a write gets its own cancellation, and nothing runs on."""
        emulator.fail("POST", fault="hang")
        call = asyncio.create_task(ONCE[what](client, active))
        await until(lambda: emulator.in_flight == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await until(lambda: client.stats.in_flight == 0)
        assert 1 == sent(emulator, "POST")

    async def test_a_deadline_before_the_send_is_no_doubt(
        self, emulator, client, active, what
    ):
        """What was never sent is said to be so."""
        with client.deadline(0.001):
            await asyncio.sleep(0.01)
            with pytest.raises(DeadlineError) as caught:
                await ONCE[what](client, active)
        assert not caught.value.sent
        assert () == emulator.requests


class TestCreate:
    @pytest.mark.parametrize(
        "creates",
        [
            pytest.param(50, id="scaled"),
            pytest.param(200, id="full", marks=pytest.mark.soak),
        ],
    )
    async def test_lost_answers(self, emulator, client, creates):
        """Each create whose connection drops is one session, one error, and found."""
        emulator.fail("POST", "/v1/sessions", fault="close", after=True)
        names = [f"Lost {number}" for number in range(creates)]

        async def create(name):
            with pytest.raises(OutcomeUnknownError) as caught:
                await client.create_session(name, URI)
            return caught.value

        errors = await asyncio.gather(*map(create, names))
        assert creates == len(errors) == sent(emulator, "POST")
        for name, error in zip(names, errors, strict=True):
            (created,) = named(emulator, name)
            (found,) = await client.find_created_sessions(name, since=error.since)
            assert created.id == found.id

    async def test_since_is_when_the_call_began(self, emulator, client):
        """However late the answer is lost, `since` is from before the send."""
        emulator.fail("POST", fault="close", delay=0.3)
        call = asyncio.create_task(client.create_session("Pitch", URI))
        await until(lambda: emulator.in_flight == 1)
        arrived = datetime.now(UTC)
        with pytest.raises(OutcomeUnknownError) as caught:
            await call
        assert caught.value.since < arrived

    @pytest.mark.timing
    async def test_a_refused_connection_at_the_first_try(self, unused_port):
        """A service that comes up a moment later creates one session, without error."""
        retry = RetryPolicy(base=0.5)
        url = f"http://127.0.0.1:{unused_port}"
        refused = asyncio.Event()
        async with AsyncEmoggClient(
            "emogg-emulator-token",
            base_url=url,
            retry=retry,
            on_event=lambda _: refused.set(),
        ) as client:
            call = asyncio.create_task(client.create_session("Pitch", URI))
            await refused.wait()
            assert 1 == client.stats.requests
            async with EmoggEmulator(port=unused_port) as emulator:
                created = await call
                assert [created.id] == [each.id for each in emulator.sessions]

    async def test_a_connection_that_is_always_refused(self, unused_port):
        """What surely never left is said to be so, and is in no doubt."""
        url = f"http://127.0.0.1:{unused_port}"
        async with AsyncEmoggClient("token", base_url=url, retry=QUICK) as client:
            with pytest.raises(NotSentError) as caught:
                await client.create_session("Pitch", URI)
        assert QUICK.attempts == caught.value.attempts

    async def test_the_pacer_may_refuse_it(self, emulator):
        """A create that no token was left for was not sent, and says when to come."""
        async with EmoggEmulator(rate_limit=(1, 60.0)) as slow:
            async with slow.client() as client:
                await client.create_session("Pitch", URI)
                with client.deadline(0.5), pytest.raises(RateLimitedError) as caught:
                    await client.create_session("Pitch", URI)
            assert 0 == caught.value.attempts
            assert 1 == len(slow.sessions)


@pytest.fixture
def unused_port():
    """Give a port on which nobody listens."""
    with free_port() as port:
        yield port


class TestFindCreated:
    async def test_finds_the_exact_name_since_then(self, emulator, client):
        """Neither another name nor an older session of that name is found."""
        emulator.add_session(name="Pitch")
        emulator.advance(60)
        since = datetime.now(UTC)
        await client.create_session("Pitch 2", URI)
        first = await client.create_session("Pitch", URI)
        await asyncio.sleep(0.002)
        second = await client.create_session("Pitch", URI)
        found = await client.find_created_sessions("Pitch", since=since)
        assert [second.id, first.id] == [each.id for each in found]

    async def test_goes_by_the_services_clock(self, emulator, client):
        """However far the two clocks are apart, the moment is the same one."""
        created = await client.create_session("Pitch", URI)
        since = datetime.now(UTC)
        emulator.advance(3_600)
        await client.list_sessions().first()
        assert () == await client.find_created_sessions("Pitch", since=since)
        early = since - timedelta(seconds=3_601)
        (found,) = await client.find_created_sessions("Pitch", since=early)
        assert created.id == found.id

    async def test_learns_the_clock_if_nothing_was_heard_yet(self, emulator, client):
        """A client that has asked for nothing so far asks what time it is."""
        created = await client.create_session("Pitch", URI)
        since = datetime.now(UTC) - timedelta(seconds=1)
        async with emulator.client() as other:
            (found,) = await other.find_created_sessions("Pitch", since=since)
            assert created.id == found.id
            assert 2 == other.stats.requests

    async def test_without_a_date_the_clocks_are_one(self, emulator):
        """A service that does not tell the time is taken to have ours."""
        async with emulator.client() as client:
            emulator.fail("GET", headers={"Date": "nonsense"})
            await client.list_sessions().first()
            assert timedelta(0) == client._open().pipeline.skew()
            since = datetime.now(UTC)
            assert () == await client.find_created_sessions("Pitch", since=since)
        query = dict(emulator.requests[-1].query)
        asked = datetime.fromisoformat(query["from"])
        assert CLOCK_SLACK <= since - asked <= CLOCK_SLACK + timedelta(milliseconds=1)

    async def test_skew_errs_to_the_early_side(self, emulator, client):
        """The difference of the clocks is never taken to be more than it is."""
        emulator.latency = 0.05
        began = datetime.now(UTC)
        await client.list_sessions().first()
        before, theirs, after = datetime.now(UTC), emulator.now(), datetime.now(UTC)
        skew = client._open().pipeline.skew()
        assert skew <= theirs - before + timedelta(milliseconds=5)
        # The service tells the time in whole seconds, at some moment of the call.
        assert theirs - after - (before - began) - timedelta(seconds=1) < skew

    async def test_nothing_was_heard(self, client):
        """Before the first answer nothing is known of the service's clock."""
        assert client._open().pipeline.skew() is None


class TestUpdate:
    @pytest.mark.parametrize("failure", LOST[:6], ids=str)
    async def test_is_sent_again(self, emulator, client, active, failure):
        """A rename whose answer was lost is repeated: twice is like once."""
        emulator.fail("PATCH", **failure, after=failure.get("fault") != "cut", times=2)
        assert "New" == (await client.update_session(active, name="New")).name
        assert 3 == sent(emulator, "PATCH")

    async def test_is_in_doubt_when_all_answers_are_lost(
        self, emulator, client, active
    ):
        """A rename of which nothing was heard may have worked."""
        emulator.fail("PATCH", fault="close", after=True)
        with pytest.raises(OutcomeUnknownError):
            await client.update_session(active, name="New")
        assert QUICK.attempts == sent(emulator, "PATCH")

    @pytest.mark.parametrize("failure", LOST[6:], ids=str)
    async def test_is_in_doubt_when_the_answer_is_none(
        self, emulator, client, active, failure
    ):
        """A success that is no session leaves it open what was renamed."""
        emulator.fail("PATCH", **failure)
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.update_session(active, name="New")
        assert isinstance(caught.value.__cause__, ResponseShapeError)
        assert 1 == sent(emulator, "PATCH")

    async def test_is_in_doubt_when_another_session_answers(
        self, emulator, client, active, finished
    ):
        """A success about another session is none."""
        other = await client.request("GET", f"/v1/sessions/{finished}")
        emulator.fail("PATCH", status=200, body=other)
        with pytest.raises(OutcomeUnknownError, match="_id: not the id"):
            await client.update_session(active, name="New")

    async def test_an_earlier_doubt_outlives_a_refusal(self, emulator, client, active):
        """A 404 after a lost answer does not say what the lost one did."""
        emulator.fail("PATCH", status=404)
        emulator.fail("PATCH", fault="close", times=1)
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.update_session(active, name="New")
        assert isinstance(caught.value.__cause__, NotFoundError)


class TestDelete:
    @pytest.mark.parametrize(
        "failure", [*LOST[:2], *LOST[3:6], {"fault": "hang"}], ids=str
    )
    async def test_a_repeat_that_finds_nothing_has_worked(
        self, emulator, finished, clocks, failure
    ):
        """A DELETE that worked and was lost is success, once."""
        lost = emulator.fail("DELETE", **failure, after=True, times=1)
        async with emulator.client(retry=QUICK, attempt_timeout=5.0) as client:
            call = asyncio.create_task(client.delete_session(finished))
            await until(lambda: lost.hits)
            if failure == {"fault": "hang"}:
                await clocks.forward(5.0)
            assert await call is None
        assert 2 == sent(emulator, "DELETE")
        assert finished not in [each.id for each in emulator.sessions]

    async def test_on_a_connection_that_died_meanwhile(self, emulator, finished):
        """Aiohttp's own silent repeat counts as one: it makes no 404 of a success."""
        async with emulator.client(retry=QUICK) as client:
            await client.list_sessions().first()  # a connection to keep
            emulator.fail("DELETE", fault="reset", after=True, times=1)
            assert await client.delete_session(finished) is None
            assert 1 == client.stats.retries
        assert 2 == sent(emulator, "DELETE")

    @pytest.mark.parametrize("failure", LOST[6:8], ids=str)
    async def test_a_garbled_success_has_worked(
        self, emulator, client, finished, failure
    ):
        """A 2xx that does not decode is still a 2xx."""
        emulator.fail("DELETE", **failure)
        assert await client.delete_session(finished) is None
        assert 1 == sent(emulator, "DELETE")

    async def test_is_in_doubt_when_all_answers_are_lost(
        self, emulator, client, finished
    ):
        """A DELETE of which nothing was heard may have worked."""
        emulator.fail("DELETE", status=503)
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.delete_session(finished)
        assert isinstance(caught.value.__cause__, ServerError)
        assert QUICK.attempts == caught.value.attempts

    async def test_is_cancelled(self, emulator, client, finished):
        """Who cancels a DELETE gets its own cancellation."""
        emulator.fail("DELETE", fault="hang")
        call = asyncio.create_task(client.delete_session(finished))
        await until(lambda: emulator.in_flight == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


class TestStop:
    @pytest.mark.parametrize("failure", LOST[:6], ids=str)
    async def test_a_repeat_that_is_refused_is_settled_by_one_get(
        self, emulator, client, active, failure
    ):
        """A stop that worked and was lost returns the session, after one look."""
        emulator.fail("POST", **failure, after=failure.get("fault") != "cut", times=1)
        session = await client.stop_session(active)
        assert (active, SessionState.FINISHED) == (session.id, session.state)
        assert ["POST", "POST", "GET"] == [item.method for item in emulator.requests]

    async def test_the_look_is_no_retry(self, emulator, client, active):
        """A repeat counts as a retry, and the get that settles it does not."""
        emulator.fail("POST", fault="close", after=True, times=1)
        await client.stop_session(active)
        assert (3, 1) == (client.stats.requests, client.stats.retries)

    async def test_a_repeat_that_works_needs_no_get(self, emulator, client, active):
        """A stop whose first request was lost on its way is done by the second."""
        emulator.fail("POST", fault="close", times=1)
        assert (await client.stop_session(active)).state == SessionState.FINISHED
        assert ["POST", "POST"] == [item.method for item in emulator.requests]

    async def test_a_session_that_is_still_processing_was_stopped(
        self, emulator, client, active
    ):
        """After a stop a session may have to be processed first."""
        emulator.update_session(active, state="processing")
        emulator.fail("POST", fault="close", times=1)
        assert (await client.stop_session(active)).state == SessionState.PROCESSING

    async def test_a_refusal_that_the_get_confirms_is_raised(
        self, emulator, client, active
    ):
        """Refused though it is active: the 400 stands, whatever came before it."""
        emulator.fail("POST", status=400)
        emulator.fail("POST", status=503, times=1)
        with pytest.raises(BadRequestError) as caught:
            await client.stop_session(active)
        assert caught.value.__cause__ is None
        assert ["POST", "POST", "GET"] == [item.method for item in emulator.requests]

    async def test_a_look_that_fails_leaves_it_in_doubt(self, emulator, client, active):
        """Nobody knows, when it could not be looked at; the cause says why."""
        emulator.fail("POST", fault="close", after=True, times=1)
        emulator.fail("GET", status=403)
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.stop_session(active)
        assert 403 == caught.value.__cause__.status
        assert ("POST", 3) == (caught.value.method, caught.value.attempts)

    async def test_a_look_that_takes_too_long_leaves_it_in_doubt(
        self, emulator, client, active
    ):
        """The deadline counts for the look as well."""
        emulator.fail("POST", fault="close", after=True, times=1)
        emulator.fail("GET", fault="hang")
        with client.deadline(0.2), pytest.raises(OutcomeUnknownError):
            await client.stop_session(active)

    async def test_the_look_passes_the_cache_by(self, emulator, client, active):
        """What the cache knew before the stop decides nothing."""
        await client.get_session(active)
        emulator.fail("POST", fault="close", after=True, times=1)
        assert (await client.stop_session(active)).state == SessionState.FINISHED

    @pytest.mark.parametrize("failure", LOST[6:], ids=str)
    async def test_a_garbled_success_is_settled_by_one_get(
        self, emulator, client, active, failure
    ):
        """A 2xx that is no session: the session itself tells."""
        rule = emulator.fail("POST", **failure)
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.stop_session(active)  # it is active still
        assert isinstance(caught.value.__cause__, ResponseShapeError)
        rule.remove()
        emulator.fail("POST", **failure, after="status" in failure)
        assert (await client.stop_session(active)).state == SessionState.FINISHED
        assert ["POST", "GET"] * 2 == [item.method for item in emulator.requests]

    async def test_is_in_doubt_when_all_answers_are_lost(
        self, emulator, client, active
    ):
        """A stop of which nothing was heard may have worked; nobody looks."""
        emulator.fail("POST", status=503)
        with pytest.raises(OutcomeUnknownError):
            await client.stop_session(active)
        assert ["POST"] * QUICK.attempts == [item.method for item in emulator.requests]

    async def test_closing_leaves_it_in_doubt(self, emulator, active):
        """A stop that was out when the client was closed may have worked."""
        emulator.fail("POST", fault="hang")
        client = emulator.client()
        call = asyncio.create_task(client.stop_session(active))
        await until(lambda: emulator.in_flight == 1)
        await client.aclose()
        with pytest.raises(OutcomeUnknownError):
            await call
        with pytest.raises(ClientClosedError):
            await client.stop_session(active)


CHANGES = {
    "update": lambda client, each: client.update_session(each, name="Done"),
    "stop": lambda client, each: client.stop_session(each),
    "delete": lambda client, each: client.delete_session(each),
    "register": lambda client, each: client.register_source(
        each, name="Done", format="text"
    ),
}


@pytest.mark.parametrize("what", CHANGES)
class TestCutOffOnceItIsDone:
    """The answer is there, and a slow backend has still to forget the session."""

    @pytest.fixture
    def reached(self):
        """Give what is set when that backend was reached."""
        return asyncio.Event()

    @pytest.fixture
    def slow(self, monkeypatch, reached):
        """Give a policy whose backend hangs when the answer is there."""
        monkeypatch.setattr(guard, "BACKEND_TIMEOUT", 5.0)
        backend = SimpleMemoryCache(timeout=None)
        deletions = []

        async def delete(key, **_):
            deletions.append(key)
            if len(deletions) == 2:
                reached.set()
                await asyncio.sleep(5)

        backend.delete = delete
        return CachePolicy(backend=backend)

    @pytest.fixture
    def each(self, emulator, what):
        """Give the id of a session that can be changed so."""
        state = "finished" if what == "delete" else "active"
        return emulator.add_session(state=state).id

    @pytest.mark.parametrize("failure", [None, {"status": 503, "times": 1}], ids=str)
    async def test_by_a_deadline(  # noqa: PLR0917 - fixtures
        self, emulator, slow, clocks, reached, what, each, failure
    ):
        """Nobody is told that the time was up for what has worked."""
        if failure and what != "register":
            emulator.fail("[!G]*", **failure)
        async with emulator.client(cache=slow, retry=QUICK) as client:
            with client.deadline(3.0):
                call = asyncio.create_task(CHANGES[what](client, each))
            await reached.wait()
            await clocks.forward(3.0)
            result = await call
        assert (result is None) == (what == "delete")

    async def test_by_closing(self, emulator, slow, reached, what, each):
        """Nobody is told that the client was closed for what has worked."""
        client = emulator.client(cache=slow)
        call = asyncio.create_task(CHANGES[what](client, each))
        await reached.wait()
        await client.aclose()
        assert (await call is None) == (what == "delete")

    async def test_with_an_answer_that_is_none(  # noqa: PLR0917 - fixtures
        self, emulator, slow, clocks, reached, what, each
    ):
        """A success that cannot be read is in doubt, not too late."""
        emulator.fail("[!G]*", status=200, body={"_id": 1})
        async with emulator.client(cache=slow) as client:
            with client.deadline(3.0):
                call = asyncio.create_task(CHANGES[what](client, each))
            await reached.wait()
            await clocks.forward(3.0)
            if what == "delete":  # of which nothing is to be read
                await call
            else:
                with pytest.raises(OutcomeUnknownError):
                    await call

    async def test_with_a_refusal(  # noqa: PLR0917 - fixtures
        self, emulator, slow, clocks, reached, what, each
    ):
        """A 404 stays one: it was sent, and nothing is in doubt."""
        emulator.fail("[!G]*", status=404)
        async with emulator.client(cache=slow) as client:
            with client.deadline(3.0):
                call = asyncio.create_task(CHANGES[what](client, each))
            await reached.wait()
            await clocks.forward(3.0)
            with pytest.raises(NotFoundError) as caught:
                await call
        assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "call",
    [
        lambda client, each: client.create_session("Swept", URI),
        lambda client, each: client.update_session(each, name="Swept"),
        lambda client, each: client.stop_session(each),
        lambda client, each: client.delete_session(each),
        lambda client, each: client.register_source(each, name="n", format="text"),
        lambda client, each: client.get_emotions(each),
        lambda client, each: client.find_created_sessions("x", since=datetime.now(UTC)),
    ],
    ids=["create", "update", "stop", "delete", "register", "emotions", "find"],
)
async def test_cancelled_at_any_step_nothing_is_left(emulator, call):
    """However far a call is when it is cancelled, nothing of it is left over."""
    session_id = emulator.add_session(state="active").id
    async with emulator.client(concurrency=2) as client:
        sessions = client._open().sessions
        await client.get_session(session_id)
        for steps in range(0, 200, 5):
            task = asyncio.ensure_future(call(client, session_id))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await sessions.pipeline.flights.drain()
            assert {asyncio.current_task()} == asyncio.all_tasks()
            assert not sessions._writes.under_way
            assert not sessions.pipeline.flights._aloft
            assert not sessions.pipeline.flights.joinable
            assert [0, 0] == sessions.pipeline.gate._taken


class TestRetries:
    @pytest.mark.parametrize(
        ("failure", "retries"),
        [({"fault": "close", "after": True}, 1), ({"status": 200, "body": {}}, 0)],
        ids=["lost", "garbled"],
    )
    async def test_a_get_that_settles_a_stop_is_none(
        self, emulator, client, active, failure, retries
    ):
        """The look whether a stop has worked repeats nothing, so it is no retry."""
        emulator.fail("POST", **failure, times=1)
        if not retries:
            emulator.update_session(active, state="finished")
        session = await client.stop_session(active)
        assert SessionState.FINISHED == session.state
        assert 1 == sent(emulator, "GET")
        assert 1 + retries == sent(emulator, "POST")
        assert retries == client.stats.retries
