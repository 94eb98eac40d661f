import asyncio
import contextlib
import gc
import itertools
import traceback
import tracemalloc
import typing
from collections.abc import AsyncIterable
from types import SimpleNamespace

import pytest
import simulated
from simulation import client_of, session_of
from waiting import until

import emogg_async
from emogg_async import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    DeadlineError,
    Failed,
    Fetched,
    InvalidArgumentError,
    NotFoundError,
    NotSentError,
    RetryPolicy,
    ServerError,
    Session,
)
from emogg_async._many.jobs import Calls, PagedGets
from emogg_async._many.plan import THRIFTY
from emogg_async._many.stream import OutcomeStream, collect

UNKNOWN = "0" * 24


@pytest.fixture
def ids(emulator):
    """Give the ids of all sessions, newest first."""
    return [each.id for each in emulator.sessions]


async def no_task_but_this():
    """Say whether nothing is left running."""
    return asyncio.all_tasks() == {asyncio.current_task()}


class TestGetSessions:
    async def test_brings_all_in_the_order_asked(self, emulator, client, ids):
        """A batch maps each id to its session, in the order of the ids."""
        asked = ids[::-1]
        batch = await client.get_sessions(asked)
        assert asked == list(batch)
        assert list(emulator.sessions) == list(batch.values())[::-1]
        assert {} == batch.errors
        batch.raise_for_errors()

    async def test_asks_once_for_each_distinct_id(self, emulator, client, ids):
        """An id that comes twice, in either letter case, costs one request."""
        batch = await client.get_sessions([ids[0], ids[0].upper(), ids[1], ids[0]])
        assert ids[:2] == list(batch)
        assert batch[ids[0].upper()] == batch[ids[0]]
        assert 2 == len(emulator.requests)

    async def test_failures_stay_with_their_ids(self, emulator, ids):
        """Bad ids, unknown ids and failing ones leave the others alone."""
        broken = ids[5]
        emulator.fail(path=f"*/{broken}", status=500)
        bad = ["zz", "", 42, None, ["list"], "../users"]
        async with emulator.client(retry=RetryPolicy(base=0.01)) as client:
            batch = await client.get_sessions([*bad, *ids[:100], UNKNOWN], via="get")
        assert [each for each in ids[:100] if each != broken] == list(batch)
        assert [
            "zz",
            "",
            42,
            None,
            "['list']",
            "../users",
            broken,
            UNKNOWN,
        ] == list(batch.errors)
        assert isinstance(batch.errors["zz"], InvalidArgumentError)
        assert isinstance(batch.errors[broken], ServerError)
        assert isinstance(batch.errors[UNKNOWN.upper()], NotFoundError)
        with pytest.raises(ExceptionGroup, match="8 of 107 ids failed") as caught:
            batch.raise_for_errors()
        assert list(batch.errors.values()) == list(caught.value.exceptions)

    async def test_takes_any_iterable_and_none(self, client, ids):
        """A generator works like a list, and no ids give an empty batch."""
        assert 3 == len(await client.get_sessions(each for each in ids[:3]))
        assert {} == await client.get_sessions([])

    @pytest.mark.parametrize("bad", [UNKNOWN, b"0" * 24, 42, None])
    async def test_refuses_what_is_no_collection(self, emulator, client, bad):
        """A single id where many are expected is an error, not 24 letters."""
        for call in (client.get_sessions, client.stream_sessions):
            with pytest.raises(InvalidArgumentError, match="session_ids"):
                await call(bad)
        assert () == emulator.requests

    @pytest.mark.parametrize("bad", [0, -1, 1.5, "8"])
    async def test_concurrency_is_checked(self, client, ids, bad):
        """A concurrency that makes no sense is refused by name."""
        with pytest.raises(InvalidArgumentError, match="concurrency"):
            await client.get_sessions(ids, concurrency=bad)

    async def test_concurrency_bounds_what_is_in_flight(self, emulator, client, ids):
        """No more requests than asked for are out at once."""
        emulator.latency = 0.01
        await client.get_sessions(ids[:30], concurrency=3, via="get")
        assert 3 == emulator.max_in_flight

    async def test_a_revoked_token_ends_it_at_once(self, emulator, ids):
        """A 401 ends the bulk: no other id is asked for, and the caller is told."""
        async with emulator.client(token="revoked") as client:
            with pytest.raises(AuthenticationError):
                await client.get_sessions(ids)
            assert client.stats.requests <= 24

    async def test_a_repeat_has_what_is_left_of_the_time(self, emulator, ids, clocks):
        """The time of an id begins with its first request, not anew with a second."""
        emulator.fail(fault="hang")
        retry = RetryPolicy(base=0.001)
        options = {"timeout": 60, "attempt_timeout": 40, "retry": retry}
        async with emulator.client(**options) as client:
            bulk = asyncio.create_task(client.get_sessions([ids[0]], via="get"))
            await until(lambda: len(emulator.requests) == 1)
            await clocks.forward(40)
            await until(lambda: len(emulator.requests) == 2)
            await clocks.forward(20)
            async with asyncio.timeout(10):
                batch = await bulk
        assert isinstance(batch.errors[ids[0]], DeadlineError)
        assert 2 == len(emulator.requests)

    async def test_fresh_passes_the_cache_by(self, emulator, client, ids):
        """A second bulk is answered by the cache, a fresh one by the service."""
        finished = [each.id for each in emulator.sessions if each.state == "finished"]
        await client.get_sessions(finished, via="get")
        await client.get_sessions(finished, via="get")
        assert len(finished) == len(emulator.requests)
        await client.get_sessions(finished, fresh=True, via="get")
        assert 2 * len(finished) == len(emulator.requests)


class TestStream:
    async def test_yields_each_outcome_as_it_comes(self, emulator, client, ids):
        """The quick ones come before the slow one, each with its id."""
        await client.get_session(ids[-1])  # from then on the rate limit is known
        emulator.fail(path=f"*/{ids[0]}", delay=0.6)
        seen = []
        async with client.stream_sessions([*ids[:20], "zz"], via="get") as outcomes:
            async for outcome in outcomes:
                match outcome:
                    case Fetched(session_id, session):
                        assert session_id == session.id
                        assert session is outcome.unwrap()
                    case Failed(session_id, error):
                        assert ("zz", "session_id") == (session_id, str(error)[:10])
                        with pytest.raises(InvalidArgumentError):
                            outcome.unwrap()
                seen.append(outcome.session_id)
        assert ids[0] == seen[-1]
        assert {*ids[:20], "zz"} == set(seen)

    async def test_breaking_off_leaves_nothing(self, emulator, client, ids):
        """After a break no task is alive, and few requests were made."""
        emulator.latency = 0.01
        async with client.stream_sessions(ids, via="get") as outcomes:
            async for _ in outcomes:
                break
        assert await no_task_but_this()
        assert 0 == client.stats.in_flight
        assert client.stats.requests <= 24 + 24

    async def test_an_error_in_the_block_leaves_nothing(self, emulator, client, ids):
        """An exception of the consumer's leaves as it is, and nothing runs on."""
        emulator.latency = 0.01
        with pytest.raises(KeyError, match="mine"):
            async with client.stream_sessions(ids, via="get") as outcomes:
                async for _ in outcomes:
                    raise KeyError("mine")
        assert await no_task_but_this()

    async def test_a_slow_consumer_slows_it_down(self, emulator, client, ids):
        """The number of outcomes that wait is bounded for any number of ids."""
        async with client.stream_sessions(ids, concurrency=4, via="get") as outcomes:
            await anext(outcomes)
            await asyncio.sleep(0.2)
            assert client.stats.requests <= 9

    async def test_endless_ids_are_pulled_as_they_are_needed(self, client, ids):
        """Ids come from a generator a window at a time, not all at once."""
        pulled = itertools.count()
        endless = (ids[next(pulled) % 50] for _ in itertools.count())
        async with client.stream_sessions(endless) as outcomes:
            for _ in range(120):
                await anext(outcomes)
        assert next(pulled) <= 4_000

    async def test_duplicates_in_a_window_are_asked_once(self, emulator, client, ids):
        """Each distinct id of a thousand in a row has one outcome."""
        async with client.stream_sessions(ids[:10] * 100) as outcomes:
            seen = [outcome.session_id async for outcome in outcomes]
        assert sorted(ids[:10]) == sorted(seen)

    async def test_takes_an_async_iterable(self, client, ids):
        """Ids may come slowly from elsewhere: each is fetched when it is there."""
        fetched = asyncio.Event()

        async def feed():
            for each in ids[:3]:
                yield each
            await asyncio.wait_for(fetched.wait(), 5)
            yield "zz"
            yield ids[0]

        seen = []
        async with client.stream_sessions(feed()) as outcomes:
            async for outcome in outcomes:
                seen.append(outcome.session_id)
                if len(seen) == 3:
                    fetched.set()
        assert sorted([*ids[:3], "zz", ids[0]]) == sorted(seen)

    async def test_leaving_does_not_wait_for_an_async_iterable(self, client, ids):
        """A feed that never ends does not hold the block."""

        async def feed():
            yield ids[0]
            await asyncio.sleep(60)
            yield ids[1]

        async with client.stream_sessions(feed()) as outcomes:
            await anext(outcomes)
        assert await no_task_but_this()

    async def test_a_failing_source_reaches_the_consumer(self, client, ids):
        """An exception of the caller's own generator is raised where it is consumed."""

        def broken():
            yield ids[0]
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            async with client.stream_sessions(broken()) as outcomes:
                async for _ in outcomes:
                    pass
        assert await no_task_but_this()

    async def test_a_closed_client_ends_it(self, emulator, ids):
        """The consumer is told if the client is closed meanwhile."""
        emulator.latency = 0.02
        client = emulator.client()
        with pytest.raises(ClientClosedError):
            async with client.stream_sessions(ids, via="get") as outcomes:
                async for _ in outcomes:
                    await client.aclose()
        assert await no_task_but_this()

    async def test_what_was_fetched_before_the_end_is_not_lost(
        self, emulator, client, ids
    ):
        """The outcomes that are there come before the error that ends a bulk."""
        emulator.fail(path=f"*/{ids[5]}", status=401, delay=0.1)
        seen = []
        with pytest.raises(AuthenticationError):
            async with client.stream_sessions(ids[:6], via="get") as outcomes:
                await asyncio.sleep(0.2)
                async for outcome in outcomes:
                    seen.append(outcome.session_id)  # noqa: PERF401 - it ends in error
        assert sorted(ids[:5]) == sorted(seen)

    async def test_what_ended_it_is_raised_again_without_older_frames(self, emulator):
        """Each later `anext` raises the same error, and its traceback stays short."""
        ids, lengths = [each.id for each in emulator.sessions[:3]], set()
        async with emulator.client(token="other") as client:
            async with client.stream_sessions(ids) as outcomes:
                for _ in range(10):
                    with pytest.raises(AuthenticationError) as caught:
                        await anext(outcomes)
                    lengths.add(len(caught.traceback))
        assert 1 == len(lengths)

    async def test_says_that_it_was_left(self, client, ids):
        """Outside of its block a stream is over, and does not look complete."""
        async with client.stream_sessions(ids[:5]) as outcomes:
            await anext(outcomes)
        with pytest.raises(ConfigurationError, match="left"):
            await anext(outcomes)

    async def test_ids_may_come_from_a_generator_with_a_deadline(self, client):
        """A deadline inside a generator of ids bounds what the generator does."""

        async def newest():
            with client.deadline(5):
                async for session in client.list_sessions():
                    yield session.id

        async with client.stream_sessions(newest()) as outcomes:
            assert 250 == len([outcome async for outcome in outcomes])

    async def test_is_entered_once(self, client, ids):
        """A stream that is not entered, or entered twice, says how to use it."""
        stream = client.stream_sessions(ids[:1])
        with pytest.raises(ConfigurationError, match="async with"):
            await anext(stream)
        async with stream:
            with pytest.raises(ConfigurationError, match="once"):
                await stream.__aenter__()
            assert 1 == len([outcome async for outcome in stream])
            with pytest.raises(StopAsyncIteration):
                await anext(stream)


class TestAnyCall:
    async def test_gather_and_stream_take_any_call(self, client, ids):
        """Any method of one id can be made for many, with the same partial failures."""

        async def name(session_id):
            return (await client.get_session(session_id)).name.upper()

        batch = await client.gather(name, [*ids[:3], "zz"])
        assert ids[:3] == list(batch)
        assert ["zz"] == list(batch.errors)
        async with client.stream(name, ids[:3]) as outcomes:
            names = {outcome.unwrap() async for outcome in outcomes}
        assert set(batch.values()) == names

    async def test_a_bug_in_the_call_is_no_outcome(self, client, ids):
        """An exception other than `EmoggError` ends the bulk, as no id is to blame."""
        for kind in (StopAsyncIteration, asyncio.CancelledError):

            async def broken(session_id, kind=kind):
                raise kind

            with pytest.raises(RuntimeError, match=kind.__name__):
                await client.gather(broken, ids[:3])

    @pytest.mark.parametrize("call", [None, "get_session"])
    async def test_refuses_what_is_no_call(self, client, ids, call):
        """A value that cannot be called is refused at once, by name."""
        with pytest.raises(InvalidArgumentError, match="call"):
            client.stream(call, ids)
        with pytest.raises(InvalidArgumentError, match="call"):
            await client.gather(call, ids)

    async def test_a_deadline_inside_a_call_stays_there(self, emulator, client, ids):
        """A deadline that one item sets does not reach the items beside it."""

        async def hasty(session_id):
            if session_id != ids[0]:
                return await client.get_session(session_id)
            with client.deadline(0.001):
                return await client.get_session(session_id)

        emulator.latency = 0.02
        batch = await client.gather(hasty, ids[:8], concurrency=8)
        assert [ids[0]] == list(batch.errors)


def frames_of(error):
    """Return the frames that an error holds, by its causes and contexts, too."""
    chain, found = [error], []
    for each in chain:
        found += [frame for frame, _ in traceback.walk_tb(each.__traceback__)]
        links = (each.__cause__, each.__context__, *getattr(each, "exceptions", ()))
        chain += (link for link in links if link is not None and link not in chain)
    return found


class TestMemoryOfFailures:
    async def test_a_failed_id_holds_no_frames(self, emulator, client, ids):
        """The errors of a bulk and their causes keep no local variables."""

        async def call(session_id):
            if session_id == ids[0]:
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(client.get_session(UNKNOWN))
                except ExceptionGroup:
                    raise NotSentError("not sent")  # noqa: B904 - its context is meant
            try:
                return await other.get_session(session_id)
            except NotFoundError as error:
                raise ServerError("not found", status=500) from error

        emulator.fail(path=f"*/{ids[1]}", status=503)
        emulator.fail(path=f"*/{ids[2]}", fault="reset")
        asked = [*ids[:3], UNKNOWN, "zz", None]
        async with emulator.client(retry=RetryPolicy(attempts=2, base=0.01)) as other:
            batches = [
                await other.gather(call, asked),
                await other.get_sessions(asked, via="get"),
                await other.get_sessions(asked, via="pages"),
            ]
        failures = [error for batch in batches for error in batch.errors.values()]
        assert 6 + 5 + 3 == len(failures)
        assert [] == [frame for error in failures for frame in frames_of(error)]

    async def test_each_takes_two_kilobytes_at_most(self, client):
        """A batch of many failed ids holds at most 2 kB for each, all in all."""

        async def call(session_id):
            answer = "x" * 5_000
            try:
                return int(answer)
            except ValueError as error:
                raise ServerError("no number", status=503) from error

        asked = [f"{number:024x}" for number in range(3_000)]
        gc.collect()
        tracemalloc.start()
        try:
            batch = await client.gather(call, asked)
            assert 3_000 == len(batch.errors)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held <= 2_000 * 3_000


async def nothing_to_drain():
    """Stand for the loads of a client that has none."""


def stream_of(call, ids, workers=4):
    """Return a stream that needs no client, for simulated time."""
    return OutcomeStream(Calls(call, ids), workers, nothing_to_drain)


async def test_stream_has_a_public_name(client, emulator):
    """A stream can be annotated with what it yields, and is an async iterable."""
    ids = [session.id for session in emulator.sessions[:3]]
    stream: emogg_async.OutcomeStream[Session] = client.stream_sessions(ids)
    assert isinstance(stream, emogg_async.OutcomeStream)
    assert isinstance(stream, AsyncIterable)
    hint = emogg_async.OutcomeStream[Session]
    assert typing.get_args(hint) == (Session,)
    async with stream as outcomes:
        assert {outcome.session_id async for outcome in outcomes} == {*ids}


class CountedId(str):
    """An id that counts how often any of them is looked at."""

    __slots__ = ()
    looks = 0

    def __hash__(self):
        CountedId.looks += 1
        return super().__hash__()


async def most_in_a_turn(counted, bulk):
    """Return the result of *bulk*, and the most that was counted in one turn."""
    most, task = 0, asyncio.create_task(bulk)
    while not task.done():
        before = counted()
        await asyncio.sleep(0)
        most = max(most, counted() - before)
    return await task, most


class TestTurns:
    """The loop turns while a bulk of any number of ids works."""

    @pytest.mark.parametrize("way", ["get_sessions", "gather", "stream_sessions"])
    async def test_between_a_thousand_ids_others_run(self, client, way):
        """Each turn of the loop works through some thousand ids at most."""
        ids = [CountedId(f"bad {number}") for number in range(20_000)]

        async def streamed():
            async with client.stream_sessions(ids) as outcomes:
                return [outcome async for outcome in outcomes]

        async def batch_of(bulk):
            return (await bulk).errors

        bulk = {
            "get_sessions": lambda: batch_of(client.get_sessions(ids)),
            "gather": lambda: batch_of(client.gather(client.get_session, ids)),
            "stream_sessions": streamed,
        }[way]()
        failures, most = await most_in_a_turn(lambda: CountedId.looks, bulk)
        assert 20_000 == len(failures)
        assert most <= 5_000

    async def test_between_a_thousand_sessions_others_run(self):
        """A cache that has all sessions is asked for few of them in one turn."""
        found = 0

        async def cached(session_ids, **_):
            nonlocal found
            found += len(session_ids)
            return dict.fromkeys(session_ids, "a session")

        parts = SimpleNamespace(sessions=SimpleNamespace(cached=cached))

        def jobs(ids):
            return PagedGets(lambda: parts, ids, THRIFTY, None)

        ids = [f"{number:024x}" for number in range(20_000)]
        bulk = collect(jobs, ids, 24, nothing_to_drain)
        batch, most = await most_in_a_turn(lambda: found, bulk)
        assert ids == list(batch)
        assert most <= 1_000

    async def test_ids_that_change_meanwhile_are_those_of_the_call(self, client):
        """A bulk gets the ids that it was given, even if they change meanwhile."""
        ids = {f"bad {number}" for number in range(5_000)}
        bulk = asyncio.create_task(client.get_sessions(ids))
        await asyncio.sleep(0)
        ids.clear()
        assert 5_000 == len((await bulk).errors)


class TestCancellation:
    """Leaving the block ends a bulk, even if its calls ignore their cancellation."""

    async def test_leaving_ends_calls_that_swallow_it(self, emulator, client, ids):
        """A call may answer although it was cancelled; no other call is begun then."""
        emulator.latency = 0.02
        begun = []

        async def stubborn(session_id):
            begun.append(session_id)
            try:
                return await client.get_session(session_id)
            except asyncio.CancelledError:
                return None

        async with client.stream(stubborn, ids, concurrency=4) as outcomes:
            await anext(outcomes)
            so_many = len(begun)
        assert so_many == len(begun)
        assert await no_task_but_this()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.03):
                await client.gather(stubborn, ids)
        assert len(begun) < len(ids)
        assert await no_task_but_this()

    async def test_leaving_ends_calls_with_a_limit(self, emulator, client, ids):
        """`asyncio.wait_for`, which may lose a cancellation, holds no bulk."""

        async def limited(session_id):
            get = client.get_session(session_id, fresh=True)
            return await asyncio.wait_for(get, 5)

        for turns in range(20):
            async with asyncio.timeout(10), client.stream(limited, ids) as outcomes:
                await anext(outcomes)
                for _ in range(turns):
                    await asyncio.sleep(0)
            assert await no_task_but_this()

    async def test_leaving_ends_a_feed_that_swallows_it(self, client, ids):
        """No call is made for an id that a feed yields when it is cancelled."""
        asked = []

        async def feed():
            yield ids[0]
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                yield ids[1]

        async def call(session_id):
            asked.append(session_id)

        async with client.stream(call, feed()) as outcomes:
            await anext(outcomes)
        assert [ids[0]] == asked
        assert await no_task_but_this()

    def test_a_call_may_clean_up(self):
        """The block waits for the `finally` of a call, and does not cancel it."""
        cleaned = []

        async def careful(session_id):
            try:
                await asyncio.sleep(60)
            finally:
                await asyncio.sleep(0.9)
                cleaned.append(session_id)

        async def leave():
            async with stream_of(careful, ["a", "b"]):
                await asyncio.sleep(0.1)

        simulated.run(leave())
        assert ["a", "b"] == sorted(cleaned)

    def test_a_call_that_goes_on_is_cancelled_again(self):
        """A call that swallows its cancellation and goes on ends within a second."""

        async def stubborn(session_id):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)

        async def leave():
            async with stream_of(stubborn, ["a", "b"]):
                await asyncio.sleep(0.1)
            assert await no_task_but_this()
            return simulated.now()

        assert simulated.run(leave()) <= 1.2

    def test_a_call_that_never_ends_is_left_and_reported(self):
        """The block is left after five seconds, and calls that run on are reported."""
        reports = []

        async def deaf(session_id):
            while simulated.now() < 60:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(60)

        async def leave():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: reports.append(context))
            async with stream_of(deaf, ["a", "b", "c"], workers=2):
                await asyncio.sleep(0.1)
            left_at = simulated.now()
            await asyncio.wait([each["task"] for each in reports])
            assert await no_task_but_this()
            return left_at

        assert simulated.run(leave()) <= 5.2
        assert 2 == len(reports)
        assert "ignores its cancellation" in reports[0]["message"]

    def test_a_second_cancellation_leaves_nothing_either(self):
        """A block that is cancelled while it waits for calls cancels them again."""

        async def stubborn(session_id):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(60)

        async def consume():
            async with stream_of(stubborn, ["a", "b"]) as outcomes:
                await anext(outcomes)

        async def cancel_twice():
            task = asyncio.create_task(consume())
            for _ in range(2):
                await asyncio.sleep(0.1)
                task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert await no_task_but_this()
            return simulated.now()

        assert simulated.run(cancel_twice()) <= 0.3

    async def test_workers_cancelled_by_others_cancel_the_bulk(
        self, emulator, client, ids
    ):
        """A bulk is not complete if all tasks are cancelled, as at the loop's end."""
        emulator.fail(fault="hang")

        async def cancel_all_others():
            before = len(emulator.requests)
            while len(emulator.requests) == before:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            for task in asyncio.all_tasks() - {me, asyncio.current_task()}:
                task.cancel()

        me = asyncio.current_task()
        for kind in ("gather", "stream", "get_sessions"):
            canceller = asyncio.create_task(cancel_all_others())
            with pytest.raises(asyncio.CancelledError):
                if kind == "gather":
                    await client.gather(client.get_session, ids[:50])
                elif kind == "get_sessions":
                    await client.get_sessions(ids[:50])
                else:
                    stream = client.stream(client.get_session, ids[:50])
                    async with stream as outcomes:
                        async for _ in outcomes:
                            pass
            await canceller
            assert await no_task_but_this()

    async def test_a_call_may_use_cancellation_itself(self, client, ids):
        """A task group that fails inside a call, and cancels it, ends no bulk."""

        async def grouped(session_id):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(client.get_session(UNKNOWN))
            except* NotFoundError:
                pass
            return session_id

        batch = await client.gather(grouped, ids[:50], concurrency=2)
        assert ids[:50] == list(batch.values())

    async def test_workers_cancelled_before_they_begin_cancel_the_bulk(
        self, client, ids
    ):
        """A bulk is not complete if its tasks are cancelled before their first step."""
        mine = asyncio.all_tasks()
        async with client.stream_sessions(ids) as outcomes:
            for task in asyncio.all_tasks() - mine:
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await anext(outcomes)

    async def test_what_is_no_exception_ends_a_bulk_too(self, client, ids):
        """A call's bare `BaseException`, like a test's failure, is raised as it is."""

        class Stop(BaseException):
            """An exception like those that end a test."""

        async def broken(session_id):
            raise Stop

        with pytest.raises(Stop):
            await client.gather(broken, ids[:30])
        assert await no_task_but_this()

    async def test_leaving_tells_who_still_waits(self, emulator, client, ids):
        """A task that waits for outcomes while another leaves the block is told so."""
        emulator.latency = 0.05
        async with client.stream_sessions(ids, via="get") as outcomes:
            waiting = asyncio.create_task(anext(outcomes))
            await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="left"):
            await waiting


class TestFramesOfGroups:
    async def test_a_failed_id_holds_no_frames_of_a_group(self, client, ids):
        """What failed together in a task group keeps no local variables, either."""

        async def get(session_id):
            return await client.get_session(session_id)

        async def call(session_id):
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(get(session_id))
                    group.create_task(get(UNKNOWN))
            except ExceptionGroup as group:
                raise ServerError("not found", status=500) from group

        batch = await client.gather(call, ids[:2])
        assert ids[:2] == list(batch.errors)
        errors = batch.errors.values()
        assert [] == [frame for error in errors for frame in frames_of(error)]


class TestTimeOfItems:
    @pytest.mark.parametrize("seconds", [0.3, 1.0, 100.0])
    def test_an_item_takes_no_longer_than_a_call(self, seconds):
        """From its first request on, an item ends in the time that a call has."""

        async def main():
            sends, ends = {}, {}

            async def answer(request, time_left):
                sends.setdefault(request.session_id, []).append(simulated.now())
                await asyncio.sleep(min(seconds, time_left))
                if seconds > time_left:
                    raise DeadlineError("late")
                raise ServerError("down", status=503)

            retry = RetryPolicy(attempts=100, base=0.5, cap=0.5, budget=1_000)
            client = client_of(answer, timeout=5.0, concurrency=2, retry=retry)
            asked = [f"{n:024x}" for n in range(4)]
            async with client.stream_sessions(asked, via="get") as stream:
                async for outcome in stream:
                    ends[outcome.session_id] = simulated.now()
            for each in asked:
                assert max(sends[each]) - sends[each][0] < 5.0
                assert ends[each] - sends[each][0] <= 5.02
            await client.aclose()

        simulated.run(main())

    def test_an_item_does_not_queue_beyond_its_time(self):
        """An item that waits for a slot, to be sent again, ends in its time, too."""

        async def main():
            async def answer(request, _):
                if request.session_id == "1" * 24:
                    await asyncio.sleep(1.0)
                    raise ServerError("down", status=503)
                await asyncio.sleep(30.0)
                return session_of(request.session_id)

            retry = RetryPolicy(attempts=100, base=0.5, cap=0.5, budget=1_000)
            client = client_of(answer, timeout=5.0, concurrency=1, retry=retry)
            item = asyncio.create_task(client.get_sessions(["1" * 24], via="get"))
            await asyncio.sleep(0.5)
            with client.deadline(60.0):
                hogs = asyncio.create_task(client.request("GET", "/v1/x"))
            errors = (await item).errors
            assert ["1" * 24] == list(errors)
            assert simulated.now() <= 5.02
            hogs.cancel()
            await asyncio.wait([hogs])
            await client.aclose()

        simulated.run(main())
