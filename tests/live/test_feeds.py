"""Feeds as their readers see them: entering, reading, sharing, merging, leaving."""

import asyncio
import gc
import json
import logging
from datetime import UTC, datetime
from typing import get_args

import attrs
import pytest
import simulated
from factories import FACTORIES
from scene import (
    UNKNOWN,
    Told,
    active,
    balance,
    nothing_left,
    playing,
    reading,
    sent,
    talking,
)
from simulated import emulated, timed

from emogg_async import (
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    EmotionCounts,
    EmotionIntensities,
    Feed,
    Frequency,
    InvalidArgumentError,
    LivePolicy,
    NotFoundError,
    SessionWorkerState,
    WorkerState,
    to_dict,
)

FAST = LivePolicy(base=0.05, cap=0.2)


# -- events ----------------------------------------------------------------------------


@pytest.mark.parametrize("timestamps", ["iso", "ms"])
@timed
async def test_events_of_counts_and_intensities(timestamps):
    """Both kinds of timestamps are read, and events are frozen and go to JSON."""
    async with emulated() as emulator:
        guesses = attrs.evolve(emulator.live.guesses, timestamps=timestamps)
        emulator.live.guesses = guesses
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            async with (
                client.live.counts(session_id) as counts,
                client.live.intensities(session_id.upper(), every="10m") as strong,
            ):
                await asyncio.sleep(1.25)
                emulator.live.emit(session_id, {"joy": 2, "awe": 0})
                measure = {"people": 1, "quantity": 2.5, "intensity": 0.5}
                emulator.live.emit(session_id, {"joy": measure})
                event, other = await counts.next(1), await strong.next(1)
    at = datetime(2024, 4, 1, 10, 30, 1, 250_000, UTC)
    assert isinstance(event, EmotionCounts)
    assert isinstance(other, EmotionIntensities)
    assert (event.session, event.timestamp) == (session_id, at)
    assert (other.session, other.timestamp) == (session_id, at)
    assert event.emotions == {"joy": 2, "awe": 0}
    assert event.gap is None
    assert other.emotions["joy"].intensity == 0.5
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.timestamp = None
    assert json.loads(json.dumps(to_dict(event)))["emotions"] == {"joy": 2, "awe": 0}
    assert json.loads(json.dumps(to_dict(other)))["emotions"]["joy"] == measure


@pytest.mark.parametrize("event_before_ack", [True, False])
@timed
async def test_an_event_in_the_same_burst_as_its_ack(event_before_ack):
    """An event in the same burst as its ack arrives, before or after it."""
    async with emulated() as emulator:
        emulator.live.guesses = attrs.evolve(
            emulator.live.guesses, event_before_ack=event_before_ack
        )
        (session_id,) = active(emulator, meta={"workerState": "working"})
        async with emulator.client(cache=None) as client:
            async with client.live.worker_state(session_id) as feed:
                event = await feed.next(0.5)
    assert isinstance(event, WorkerState)
    assert event.state is SessionWorkerState("working")


@timed
async def test_many_events_before_the_ack():
    """Events that come before the answer which names their id are in order."""

    async def script(call):
        await call.welcome()
        message = await call.hear()
        for number in range(5):
            await call.tell("x", number)
            await call.tell("y", 100 + number)
        await call.answer(message, subscriptionId="x")
        await call.tell("x", 5)
        await call.serve()

    async with playing(script) as service, service.client() as client:
        async with client.live.counts("a" * 24) as feed:
            numbers = [(await feed.next(1)).emotions["joy"] for _ in range(6)]
            assert numbers == [*range(6)]
            assert feed.latest.emotions["joy"] == 5


@timed
async def test_what_cannot_be_read(caplog):
    """Unknown types are counted and passed over; a gap and a log line a minute tell."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, on_event=told)
        async with client, client.live.counts(session_id) as feed:
            (held,) = emulator.live.subscriptions
            with caplog.at_level(logging.DEBUG, "emogg_async.live"):
                for text in (
                    f'["{held.id}", 1, "new", [{{"joy": 1}}]]',
                    f'["{held.id}", "never", "sec", [{{"joy": 1}}]]',
                    f'["{held.id}", 1e99, "sec", [{{"joy": 1}}]]',
                    f'["{held.id}", 1, "sec", [{{"joy": "many"}}]]',
                    f'["{held.id}", 1, "sec", []]',
                    f'["{held.id}"]',
                    '["nobody", 1, "sec", [{"joy": 1}]]',
                    '{"id": 99, "path": "channels:subscribe", "status": 200}',
                    '{"id": null, "path": "else", "status": 500}',
                    "[]",
                    "{}",
                    "null",
                    "not JSON",
                    "[" * 100_000,
                ):
                    emulator.live.send(text)
                await asyncio.sleep(0.1)
            lines = [r for r in caplog.records if "passed over" in r.message]
            assert len(lines) == 1
            emulator.live.emit(session_id, {"joy": 7})
            event = await feed.next(1)
            assert event.emotions == {"joy": 7}
            assert (event.gap.reason, event.gap.lost) == ("unreadable", 6)
            assert client.stats.live_unreadable == 12
            assert [each.gap for each in told.gaps] == [event.gap]
            assert told.gaps[0].session_id == session_id
            assert feed.state == "live"
    assert emulator.live.handshakes == 1


@timed
async def test_what_cannot_be_read_while_nobody_listens():
    """A feed that begins with an event from before an unreadable one finds the gap."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(session_id):
                emulator.live.emit(session_id, {"joy": 1})
                await asyncio.sleep(1)
            (lingering,) = emulator.live.subscriptions
            emulator.live.send(f'["{lingering.id}", 1, "new", [{{"joy": 2}}]]')
            await asyncio.sleep(1)
            async with client.live.counts(session_id) as feed:
                first = await feed.next(1)
                emulator.live.emit(session_id, {"joy": 3})
                second = await feed.next(1)
    assert (first.emotions, first.gap) == ({"joy": 1}, None)
    assert (second.emotions, second.gap.reason) == ({"joy": 3}, "unreadable")
    assert (second.gap.since, second.gap.lost) == (first.timestamp, 1)


@pytest.mark.parametrize("size", [2**20 + 1, 5_000_000])
@timed
async def test_an_oversized_frame(size):
    """An oversized frame is a named reason, and a reconnect."""
    async with emulated() as emulator:
        told = Told()
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, live=FAST, on_event=told)
        async with client, client.live.counts(session_id) as feed:
            emulator.live.send("x" * (2**20 - 100))
            await asyncio.sleep(1)
            assert (told.disconnected, client.stats.live_unreadable) == ([], 1)
            emulator.live.send("x" * size)
            await asyncio.sleep(2)
            assert told.reasons == ["a message of the service is longer than 1 MiB"]
            assert feed.state == "live"


# -- entering --------------------------------------------------------------------------


@timed
async def test_an_unknown_session():
    """A session that does not exist is a NotFoundError of its feed alone."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(session_id) as feed:
                with pytest.raises(NotFoundError) as caught:
                    await client.live.counts(UNKNOWN).__aenter__()
                assert f"Session not found: {UNKNOWN} (" in str(caught.value)
                with pytest.raises(NotFoundError):
                    await client.live.worker_state(session_id).__aenter__()
                emulator.live.emit(session_id, {"joy": 1})
                assert await feed.next(1)
                assert len(emulator.live.subscriptions) == 1
        await nothing_left(emulator)


@pytest.mark.parametrize("bound", ["timeout", "deadline"])
@timed
async def test_no_connection_in_time(bound):
    """Entering without a connection ends by a DeadlineError, chained to the cause."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        emulator.live.refuse(path="handshake", status=503)
        timeout = 10 if bound == "timeout" else 60
        async with emulator.client(cache=None, timeout=timeout) as client:
            with client.deadline(10), pytest.raises(DeadlineError) as caught:
                await client.live.counts(session_id).__aenter__()
            assert caught.value.__cause__.status == 503
            assert 10 <= simulated.now() < 10.5
            await asyncio.sleep(60)
            tries = emulator.live.handshakes
            await asyncio.sleep(120)  # nobody needs a connection
            assert emulator.live.handshakes == tries


@timed
async def test_no_answer_in_time():
    """Entering ends by a DeadlineError if a service answers nothing."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None, timeout=25) as client:
            emulator.live.go_silent(1000)
            with pytest.raises(DeadlineError) as caught:
                await client.live.counts(session_id).__aenter__()
            assert isinstance(
                caught.value.__cause__, ConnectionLostError | DeadlineError
            )
            assert 25 <= simulated.now() < 26


@timed
async def test_a_session_that_is_over_already():
    """A feed of a finished session enters, and ends by itself within 35 s."""
    async with emulated() as emulator:
        session_id = emulator.add_session(state="finished").id
        async with emulator.client(cache=None) as client:
            async with reading(client.live.counts(session_id)) as reader:
                await asyncio.sleep(35)
                assert (reader.feed.state, reader.errors) == ("ended", [])


@timed
async def test_joining_while_the_connection_is_lost():
    """A feed that joins others meanwhile enters with them, or ends by DeadlineError."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None, live=FAST, timeout=200)
        async with client, reading(client.live.counts(session_id)) as reader:
            emulator.live.emit(session_id, {"joy": 1})
            await asyncio.sleep(0.1)
            emulator.live.refuse(path="handshake", status=503, times=90)
            emulator.live.cut()
            await asyncio.sleep(0.1)
            with client.deadline(5), pytest.raises(DeadlineError) as caught:
                await client.live.counts(session_id).__aenter__()
            assert caught.value.__cause__.status == 503
            assert reader.feed.state == "reconnecting"
            feed = await client.live.counts(session_id).__aenter__()
            assert (await feed.next(0.1)).emotions == {"joy": 1}
            emulator.live.emit(session_id, {"joy": 2})
            assert (await feed.next(1)).emotions == {"joy": 2}
            assert reader.feed.state == feed.state == "live"
            await feed.__aexit__(None, None, None)


@timed
async def test_joining_while_the_subscription_is_ended():
    """A feed that comes while the unsubscribe is under way gets a new subscription."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(session_id):
                pass
            await asyncio.sleep(4.9)
            loop = asyncio.get_running_loop()
            joining = loop.create_future()

            def join():
                feed = client.live.counts(session_id)
                joining.set_result(asyncio.ensure_future(feed.__aenter__()))

            loop.call_later(0.1001, join)  # when the linger is over, and not much later
            feed = await (await joining)
            assert feed.state == "live"
            await asyncio.sleep(5)
            assert len(emulator.live.subscriptions) == 1
            emulator.live.emit(session_id, {"joy": 1})
            assert (await feed.next(1)).gap is None
            await feed.__aexit__(None, None, None)


@timed
async def test_states():
    """A feed is waiting, live with or without events, reconnecting, and ended."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None, live=FAST) as client:
            feed = client.live.counts(session_id)
            states = [feed.state]
            emulator.live.refuse(path="handshake", status=503, times=1)
            entering = asyncio.create_task(feed.__aenter__())
            await asyncio.sleep(0.01)
            states.append(feed.state)
            await entering
            states.append(feed.state)
            assert feed.latest is None
            emulator.live.emit(session_id, {"joy": 1})
            await asyncio.sleep(0.1)
            assert feed.latest.emotions == {"joy": 1}
            emulator.live.refuse(path="handshake", status=503, times=3)
            emulator.live.cut()
            await asyncio.sleep(0.01)
            states.append(feed.state)
            await asyncio.sleep(3)
            states.append(feed.state)
            await feed.__aexit__(None, None, None)
            states.append(feed.state)
    assert states == ["waiting", "waiting", "live", "reconnecting", "live", "ended"]
    assert feed.dropped == 0


@timed
async def test_misuse():
    """A feed is entered once and read by one task, within its block."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            feed = client.live.counts(session_id)
            with pytest.raises(ConfigurationError, match="enter a feed"):
                await feed.next()
            async with feed:
                with pytest.raises(ConfigurationError, match="only once"):
                    await feed.__aenter__()
                reader = asyncio.create_task(feed.next())
                await asyncio.sleep(0)
                with pytest.raises(ConfigurationError, match="another task"):
                    await feed.next()
                emulator.live.emit(session_id, {"joy": 1})
                assert await reader
            with pytest.raises(ConfigurationError, match="was left"):
                await feed.next()
            with pytest.raises(ConfigurationError, match="only once"):
                client.live.merge([feed])


@pytest.mark.parametrize("every", ["2s", "", "1S", 1, None, ["1s"], "x" * 999])
async def test_frequencies_that_are_refused(client, every):
    """`every` is one of eight strings."""
    with pytest.raises(InvalidArgumentError, match="every: expected one of 1s, 3s"):
        client.live.counts("a" * 24, every=every)


@pytest.mark.parametrize("buffer", [0, -1, 1.5, True, "9", None])
async def test_buffers_that_are_refused(client, buffer):
    """A buffer holds one event or more."""
    for make in (client.live.counts, client.live.worker_state):
        with pytest.raises(InvalidArgumentError, match="buffer"):
            make("a" * 24, buffer=buffer)


@pytest.mark.parametrize("session_id", ["", "x" * 24, None, 5, f"{'a' * 24}:1s"])
async def test_ids_that_are_refused(client, session_id):
    """An id has 24 hex digits, so nothing else reaches the key of a channel."""
    for make in (client.live.intensities, client.live.worker_state):
        with pytest.raises(InvalidArgumentError, match="session_id"):
            make(session_id)


@timed
async def test_every_frequency():
    """Each frequency of the type is one that the service takes."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            for every in get_args(Frequency):
                async with client.live.counts(session_id, every=every):
                    keys = [each.key for each in emulator.live.subscriptions]
                    assert f"{session_id}:{every}" in keys


# -- reading ---------------------------------------------------------------------------


@timed
async def test_next_in_time():
    """`next()` raises when the time is up, and loses nothing."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, talking(emulator, [session_id]):
            async with client.live.counts(session_id) as feed:
                numbers, late = [], 0
                while len(numbers) < 20:
                    try:
                        numbers.append((await feed.next(0.3)).emotions["joy"])
                    except DeadlineError:
                        late += 1
                assert numbers == [*range(1, 21)]
                assert late == 60
                with client.deadline(0.3), pytest.raises(DeadlineError):
                    await feed.next()
                with client.deadline(0.2), pytest.raises(DeadlineError):
                    await feed.next(5)
                for timeout in (0, -1, "1", float("nan"), True):
                    with pytest.raises(InvalidArgumentError, match="timeout"):
                        await feed.next(timeout)


@timed
async def test_a_cancelled_next():
    """A `next()` that is cancelled at the moment of an event loses nothing."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, talking(emulator, [session_id], 0.01):
            async with client.live.counts(session_id, buffer=10_000) as feed:
                numbers = []
                for step in range(300):
                    task = asyncio.create_task(feed.next())
                    await asyncio.sleep(0.0005 * (step % 40))
                    task.cancel()
                    await asyncio.wait([task])
                    if not task.cancelled():
                        numbers.append(task.result().emotions["joy"])
                assert numbers == [*range(1, len(numbers) + 1)]
                assert len(numbers) > 50


@timed
async def test_a_deadline_does_not_bound_an_iteration():
    """`deadline()` bounds entering and `next()`, not an iteration."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            with client.deadline(5):
                async with client.live.counts(session_id) as feed:
                    loop = asyncio.get_running_loop()
                    loop.call_later(20, emulator.live.emit, session_id, {"joy": 1})
                    async for event in feed:
                        assert event.emotions == {"joy": 1}
                        break
                    assert simulated.now() >= 20
                    assert feed.state == "live"
                    with pytest.raises(DeadlineError):
                        await feed.next()


# -- sharing ---------------------------------------------------------------------------


@timed
async def test_a_thousand_feeds():
    """1,000 feeds have one subscription; the first who leaves does not cut the rest."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, talking(emulator, [session_id]):
            feeds = [client.live.counts(session_id, buffer=n + 1) for n in range(1000)]
            await asyncio.gather(*(feed.__aenter__() for feed in feeds))
            assert balance(emulator)["channels:subscribe"] == 1
            await feeds[0].__aexit__(None, None, None)
            await asyncio.sleep(10.5)
            assert [feed.dropped for feed in feeds[1:10]] == [*range(8, -1, -1)]
            for feed in feeds[10:]:
                numbers = [(await feed.next(1)).emotions["joy"] for _ in range(10)]
                assert numbers == [*range(1, 11)]
            assert client.stats.live_events == 10
            assert client.stats.live_dropped == sum(range(9))
            for feed in feeds[1:]:
                await feed.__aexit__(None, None, None)
            await asyncio.sleep(6)
            assert balance(emulator)["channels:unsubscribe"] == 1
        await nothing_left(emulator)


@timed
async def test_a_thousand_feeds_that_stand_still():
    """A stalled consumer: memory is bounded by the buffers, and `dropped` is exact."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, talking(emulator, [session_id]):
            feeds = [client.live.counts(session_id, buffer=64) for _ in range(1000)]
            await asyncio.gather(*(feed.__aenter__() for feed in feeds))
            sizes = []
            for _ in range(2):
                await asyncio.sleep(300.25)
                gc.collect()
                alive = (o for o in gc.get_objects() if type(o) is EmotionCounts)
                sizes.append(sum(event.session == session_id for event in alive))
            assert sizes == [64, 64]  # all feeds share them
            for feed in feeds:
                assert feed.dropped == 600 - 64
                event = await feed.next()
                assert (event.emotions["joy"], event.gap.lost) == (537, 536)
                await feed.__aexit__(None, None, None)


@timed
async def test_a_slow_feed_delays_nobody():
    """A slow feed loses only its own events, and a fast one loses none."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, talking(emulator, [session_id]):
            async with (
                client.live.counts(session_id, buffer=1) as slow,
                reading(client.live.counts(session_id, buffer=1)) as fast,
            ):
                await asyncio.sleep(20.5)
                assert (slow.dropped, fast.feed.dropped) == (19, 0)
                assert len(fast.events) == 20
                assert fast.gaps == []
                assert slow.latest == fast.feed.latest == fast.events[-1]


@timed
async def test_who_joins():
    """A feed that joins begins with the latest event, if there is one."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(session_id) as first:
                async with client.live.counts(session_id) as second:
                    with pytest.raises(DeadlineError):
                        await second.next(1)
                for number in (1, 2):
                    emulator.live.emit(session_id, {"joy": number})
                await asyncio.sleep(0.1)
                async with client.live.counts(session_id, buffer=1) as third:
                    assert third.latest == first.latest
                    event = await third.next(0.1)
                    assert (event.emotions, event.gap) == ({"joy": 2}, None)
                    emulator.live.emit(session_id, {"joy": 3})
                    assert (await third.next(1)).gap is None
            assert balance(emulator)["channels:subscribe"] == 1


@timed
async def test_lingering():
    """A subscription outlives its last feed by 5 s: a page reload costs no message."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            for _ in range(5):
                async with client.live.counts(session_id):
                    await asyncio.sleep(1)
                await asyncio.sleep(4.9)
                assert len(emulator.live.subscriptions) == 1
            assert balance(emulator)["channels:subscribe"] == 1
            await asyncio.sleep(0.2)
            assert emulator.live.subscriptions == ()
            assert client.stats.live_subscriptions == 0
            async with client.live.counts(session_id):
                assert len(emulator.live.subscriptions) == 1


@timed
async def test_a_feed_that_waits_ends_a_linger():
    """A feed that waits for a slot ends a linger at once."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        policy = LivePolicy(subscriptions=1)
        async with emulator.client(cache=None, live=policy) as client:
            async with client.live.counts(ids[0]):
                pass
            async with client.live.counts(ids[1]):
                assert simulated.now() < 1


@pytest.mark.parametrize("way", ["break", "error", "cancel", "return"])
@timed
async def test_leaving(way):
    """Leaving by any way starts the linger, and ends in one unsubscribe without gc."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)

        async def read():
            async with client.live.counts(session_id) as feed:
                async for _ in feed:
                    if way == "break":
                        break
                    if way == "return":
                        return
                    if way == "error":
                        raise ZeroDivisionError

        async with client:
            gc.disable()  # nothing waits for it
            try:
                task = asyncio.create_task(read())
                await asyncio.sleep(0.5)
                if way == "cancel":
                    task.cancel()
                else:
                    emulator.live.emit(session_id, {"joy": 1})
                await asyncio.sleep(4)
                assert task.done()
                assert len(emulator.live.subscriptions) == 1
                await asyncio.sleep(2)
                assert emulator.live.subscriptions == ()
            finally:
                gc.enable()
            assert len(sent(emulator, "channels:unsubscribe")) == 1
            await asyncio.gather(task, return_exceptions=True)


@timed
async def test_breaking_out_of_the_for():
    """Breaking out of the `for` alone does not leave the feed."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        client = emulator.client(cache=None)
        async with client, talking(emulator, [session_id]):
            async with client.live.counts(session_id) as feed:
                numbers = []
                for _ in range(3):
                    async for event in feed:
                        numbers.append(event.emotions["joy"])
                        break
                await asyncio.sleep(7)
                numbers += [(await feed.next()).emotions["joy"] for _ in range(7)]
                assert numbers == [*range(1, 11)]


@timed
async def test_an_unsubscribe_that_is_refused():
    """A subscription whose end the service refuses is ended later."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        emulator.live.refuse(path="channels:unsubscribe", status=500, times=2)
        async with emulator.client(cache=None) as client:
            async with client.live.counts(session_id):
                pass
            await asyncio.sleep(40)
            assert emulator.live.subscriptions == ()
            assert balance(emulator)["channels:unsubscribe"] == 3


# -- merging ---------------------------------------------------------------------------


@timed
async def test_merging():
    """A merged feed brings several channels in order of arrival, in one loop."""
    async with emulated() as emulator:
        ids = active(emulator, 2, meta={"workerState": "working"})
        async with emulator.client(cache=None) as client:
            live = client.live
            feeds = [
                live.counts(ids[0]),
                live.counts(ids[1]),
                live.worker_state(ids[0]),
            ]
            async with live.merge(iter(feeds)) as merged:
                assert isinstance(merged, Feed)
                assert (await merged.next(1)).state == "working"
                for number in range(6):
                    emulator.live.emit(ids[number % 2], {"joy": number})
                    await asyncio.sleep(0.01)
                assert merged.latest.emotions == {"joy": 5}
                numbers = [(await merged.next(1)).emotions["joy"] for _ in range(6)]
                assert numbers == [*range(6)]
                with pytest.raises(ConfigurationError, match="only once"):
                    await feeds[0].__aenter__()
            assert merged.state == "ended"
            await asyncio.sleep(6)
            assert emulator.live.subscriptions == ()


@timed
async def test_merging_merged_feeds():
    """A merged feed can be merged, each with its own buffer."""
    async with emulated() as emulator:
        ids = active(emulator, 3)
        client = emulator.client(cache=None)
        async with client, talking(emulator, ids):
            feeds = [client.live.counts(each, buffer=2) for each in ids]
            inner = client.live.merge(feeds[:2])
            async with client.live.merge([inner, feeds[2]]) as merged:
                await asyncio.sleep(5.5)
                assert merged.dropped == 9
                events = [await merged.next(1) for _ in range(6)]
                assert [event.session for event in events] == ids * 2
                assert [event.emotions["joy"] for event in events] == [4] * 3 + [5] * 3
                assert [e.gap and e.gap.lost for e in events] == [3] * 3 + [None] * 3


@timed
async def test_a_failure_in_a_merged_feed():
    """The failure of one is raised once, and the iteration goes on with the others."""
    async with emulated() as emulator:
        ids = active(emulator, 2)
        async with emulator.client(cache=None) as client:
            both = client.live.merge(client.live.counts(each) for each in ids)
            async with reading(both) as reader:
                emulator.live.emit(ids[0], {"joy": 1})
                emulator.remove_session(ids[0])
                await asyncio.sleep(31)
                assert [type(error) for error in reader.errors] == [NotFoundError]
                assert reader.feed.state == "live"
                emulator.live.emit(ids[1], {"joy": 2})
                await asyncio.sleep(0.1)
                assert [e.emotions["joy"] for e in reader.events] == [1, 2]
                await client.stop_session(ids[1])
                await asyncio.sleep(0.1)
                assert reader.feed.state == "ended"
                assert reader.ended_at is not None


@timed
async def test_a_failure_on_entering_a_merged_feed():
    """One that cannot be entered is raised by the iteration, all of them at once."""
    async with emulated() as emulator:
        (session_id,) = active(emulator)
        async with emulator.client(cache=None) as client:
            live = client.live
            some = live.merge([live.counts(UNKNOWN), live.counts(session_id)])
            async with reading(some) as reader:
                emulator.live.emit(session_id, {"joy": 1})
                await asyncio.sleep(0.1)
                assert [type(error) for error in reader.errors] == [NotFoundError]
                assert len(reader.events) == 1
            none = live.merge([live.counts(UNKNOWN), live.counts("e" * 24)])
            with pytest.raises(NotFoundError):
                await none.__aenter__()


@pytest.mark.parametrize("feeds", [[], 5, ["feed"], None])
async def test_what_cannot_be_merged(client, feeds):
    """Only feeds can be merged, one or more."""
    with pytest.raises(InvalidArgumentError, match="feeds: expected"):
        client.live.merge(feeds)


# -- seeing inside ---------------------------------------------------------------------


@timed
async def test_statistics_and_events():
    """`stats` and `on_event` tell of connections, subscriptions, events and losses."""
    async with emulated() as emulator:
        told = Told()
        ids = active(emulator, 6)
        client = emulator.client(cache=None, live=FAST, on_event=told)
        async with client, talking(emulator, ids):
            merged = client.live.merge(client.live.counts(each) for each in ids)
            async with reading(merged):
                await asyncio.sleep(3.5)
                stats = client.stats
                assert (stats.live_connections, stats.live_subscriptions) == (2, 6)
                assert (stats.live_events, stats.live_dropped) == (18, 0)
                emulator.live.cut()
                await asyncio.sleep(2)
                stats = client.stats
                assert (stats.live_connections, stats.live_subscriptions) == (2, 6)
                assert stats.live_reconnects == 2
                assert len(told.connected) == 4
                assert len(told.gaps) == 6
        stats = client.stats
        assert (stats.live_connections, stats.live_subscriptions) == (0, 0)
        assert (len(told.connected), len(told.disconnected)) == (4, 4)
        assert (
            told.reasons
            == ["the connection was lost"] * 2 + ["the client was closed"] * 2
        )


# -- other tasks -----------------------------------------------------------------------


@pytest.mark.parametrize("factory", FACTORIES)
def test_other_kinds_of_tasks(factory):
    """Feeds live with whatever factory the loop makes its tasks by."""

    async def main():
        asyncio.get_running_loop().set_task_factory(factory)
        async with emulated() as emulator:
            ids = active(emulator, 7)
            client = emulator.client(live=FAST)
            async with client, talking(emulator, ids):
                for each in ids:
                    await client.get_session(each)  # a look finds it in the cache
                feeds = [client.live.counts(each) for each in ids]
                async with reading(client.live.merge(feeds)) as reader:
                    await asyncio.sleep(3.5)
                    emulator.live.cut()
                    await asyncio.sleep(2)
                    assert reader.feed.state == "live"
                    assert len(reader.events) >= 7 * 4
                    await client.stop_session(ids[0])
                    assert len(emulator.live.subscriptions) <= 7
            await nothing_left(emulator)

    simulated.run(main())
