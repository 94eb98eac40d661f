"""The promises of the pacer in figures: real sockets, real processes, real time.

Each row runs on a bucket of 50 per 1 s here, and full-size by `nox -s soak`.
"""

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from statistics import median

import attrs
import pytest
from server_process import served

from emogg_async import (
    AsyncEmoggClient,
    RateLimitedError,
    RetryPolicy,
    StatusError,
)
from emogg_async.testing import EmoggEmulator

CAPACITY = 50
SCALED = pytest.param(1.0, id="scaled")
FULL = pytest.param(5.0, id="full", marks=pytest.mark.soak)
timing = pytest.mark.timing
both_sizes = pytest.mark.parametrize("window", [SCALED, FULL])


@attrs.frozen
class Share:
    """What one process got."""

    fetched: int
    refused: int
    began: float
    ended: float


class Race:
    """What a process of a race knows of the others."""

    start = None
    """The barrier at which all wait for one another."""


def line_up(barrier):
    """Take a process to the start."""
    Race.start = barrier


def fetch(url, token, ids):
    """Get so many sessions in a process of its own, once all of them are ready."""

    async def main():
        async with AsyncEmoggClient(token, base_url=url, cache=None) as client:
            Race.start.wait(30)
            began = time.time()
            batch = await client.gather(client.get_session, ids)
            stats = client.stats
            return Share(len(batch), stats.rate_limited, began, time.time())

    return asyncio.run(main())


def race(processes, gets, window, latency=0.0):
    """Let processes get sessions from one bucket; return what all of them got."""
    limit = (CAPACITY, window)
    with served(sessions=gets * processes, rate_limit=limit, latency=latency) as server:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(
            processes,
            mp_context=context,
            initializer=line_up,
            initargs=(context.Barrier(processes),),
        ) as pool:
            shares = [
                pool.submit(fetch, server.url, server.token, server.ids[i::processes])
                for i in range(processes)
            ]
            found = [share.result() for share in shares]
    seconds = max(each.ended for each in found) - min(each.began for each in found)
    return (
        sum(each.fetched for each in found),
        sum(each.refused for each in found),
        seconds,
    )


@timing
@both_sizes
@pytest.mark.parametrize(
    ("processes", "gets", "refusals", "slack"),
    [(1, 300, 1, 1.03), (4, 75, 3, 1.10), (4, 40, 4, 1.15)],
    ids=["1x300", "4x75", "4x40"],
)
def test_plain_gets(processes, gets, refusals, slack, window):
    """Everything is fetched, next to nothing refused, in next to the least time."""
    if window < 5:
        gets = gets * 2 // 3
    total = processes * gets
    fetched, refused, seconds = race(processes, gets, window)
    least = (total - CAPACITY) * window / CAPACITY
    print(
        f"\n{processes} x {gets} gets, bucket {CAPACITY} per {window:.0f} s: "
        f"{fetched} fetched, {refused} refused, {seconds / least:.3f} of the least time"
    )
    assert total == fetched
    assert refused <= refusals
    # With fewer cores than processes, a fast bucket also shows the machine's delays.
    assert seconds <= slack * least + (0.5 if window < 5 else 0)


@timing
def test_a_full_bucket_is_drained():
    """50 gets that the bucket has room for are not held back for long."""
    fetched, refused, seconds = race(1, 50, 5.0, latency=0.02)
    print(f"\n50 gets on a full bucket, 20 ms: {refused} refused, {seconds:.2f} s")
    assert (50, 0) == (fetched, refused)
    assert seconds <= 1.5


@timing
@both_sizes
async def test_a_single_call_beside_a_bulk(window):
    """While a bulk takes all that the bucket gives, a single call does not wait."""
    latency, limit = 0.01, (CAPACITY, window)
    with served(sessions=200, rate_limit=limit, latency=latency) as server:
        async with AsyncEmoggClient(
            server.token, base_url=server.url, cache=None
        ) as client:

            async def endless():
                while True:
                    for session_id in server.ids:
                        yield session_id

            async def saturate():
                async with client.stream(client.get_session, endless()) as outcomes:
                    async for _ in outcomes:
                        pass

            bulk = asyncio.create_task(saturate())
            await asyncio.sleep(2 * window)
            waits = []
            for number in range(100 if window >= 5 else 50):
                await asyncio.sleep(window / CAPACITY * 2)  # half of the refill
                before = client.stats.waited
                began = time.perf_counter()
                await client.get_session(server.ids[number], fresh=True)
                waits.append(time.perf_counter() - began - latency)
                assert client.stats.waited >= before
            bulk.cancel()
            await asyncio.wait([bulk])
            stats = client.stats
    waits.sort()
    print(
        f"\na single call beside a bulk: {median(waits) * 1e3:.1f} ms at the median, "
        f"{waits[-2] * 1e3:.1f} ms at p99; {stats.rate_limited} refused"
    )
    assert waits[-2] <= (0.05 if window < 5 else 0.025)
    assert stats.rate_limited <= 2


# -- the client ------------------------------------------------------------------------


async def test_a_near_deadline_is_refused_unsent():
    """What would wait too long fails at once, says when to come back, and is unsent."""
    with EmoggEmulator(sessions=1, rate_limit=(1, 30.0)) as emulator:
        session_id = emulator.sessions[0].id
        async with emulator.client(cache=None) as client:
            await client.get_session(session_id)
            began = time.monotonic()
            with client.deadline(2.0), pytest.raises(RateLimitedError) as caught:
                await client.get_session(session_id)
            assert time.monotonic() - began < 1.5
            assert 0 == caught.value.attempts
            assert 28 <= caught.value.retry_after <= 31
            assert "attempt" not in str(caught.value)
            assert 1 == client.stats.requests == len(emulator.requests)
            assert 0 == client.stats.retries == client.stats.rate_limited


async def test_waiting_for_a_token_is_counted():
    """`stats.waited` is what calls have waited for tokens, too."""
    with EmoggEmulator(sessions=1, rate_limit=(2, 1.0)) as emulator:
        session_id = emulator.sessions[0].id
        async with emulator.client(cache=None) as client:
            for _ in range(4):
                await client.get_session(session_id)
            assert 0.3 <= client.stats.waited <= 1.5
            assert 0 == client.stats.rate_limited
            assert 2 == client.rate_limit.limit


async def test_clients_of_one_token_share_what_they_know():
    """Two clients in one loop pace together; another token has another bucket."""
    with EmoggEmulator(sessions=1, rate_limit=(20, 3_600.0)) as emulator:
        session_id = emulator.sessions[0].id
        other_token = emulator.add_token()
        async with (
            emulator.client(cache=None) as one,
            emulator.client(cache=None) as two,
            emulator.client(cache=None, token=other_token) as other,
        ):
            for client in [one] * 10 + [two] * 10:
                await client.get_session(session_id)
            with two.deadline(1.0), pytest.raises(RateLimitedError) as caught:
                await two.get_session(session_id)
            assert 0 == caught.value.attempts
            await other.list_sessions().first()
            assert 0 == one.stats.rate_limited == two.stats.rate_limited


async def test_without_pacing_refusals_back_off():
    """`pace=False` sends at once, and waits longer from refusal to refusal."""
    with EmoggEmulator(sessions=1, rate_limit=(2, 0.4)) as emulator:
        session_id = emulator.sessions[0].id
        quick = RetryPolicy(base=0.05)
        async with emulator.client(cache=None, pace=False, retry=quick) as client:
            await asyncio.gather(
                *(client.get_session(session_id, fresh=True) for _ in range(6))
            )
            assert 0 < client.stats.rate_limited == client.stats.retries


@pytest.mark.parametrize(
    "headers",
    [
        False,
        {"RateLimit-Limit": "0"},
        {"RateLimit-Remaining": "-1"},
        {"RateLimit-Reset": "1000000000"},
        {"RateLimit-Remaining": "99"},
        {"RateLimit-Limit": "many"},
    ],
)
async def test_headers_that_make_no_sense(headers):
    """Without headers to go by nothing is paced, and refusals back off."""
    with EmoggEmulator(
        sessions=5, rate_limit=(5, 0.25), rate_headers=headers
    ) as emulator:
        ids = [each.id for each in emulator.sessions]
        async with emulator.client(cache=None, retry=RetryPolicy(base=0.1)) as client:
            for _ in range(2):
                assert 5 == len(await client.gather(client.get_session, ids))
            assert client.rate_limit is None
            assert len(emulator.requests) == client.stats.requests


async def test_a_refusal_that_headers_contradict_backs_off():
    """A 429 while there are tokens has another reason, and is no cause for haste."""
    with EmoggEmulator(sessions=1) as emulator:
        session_id = emulator.sessions[0].id
        emulator.fail(status=429)
        async with emulator.client(cache=None) as client:
            with client.deadline(1.0), pytest.raises(Exception, match=r"429|time"):
                await client.get_session(session_id)
            assert 2 <= client.stats.requests <= 25


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("headers", "least"),
    [
        ({"Retry-After": "172800"}, 172_800),
        ({"Retry-After": "172800", "RateLimit-Remaining": "0"}, 172_800),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 GMT"}, 10**9),
    ],
)
async def test_a_wait_of_days_is_longer_than_any_deadline(status, headers, least):
    """A service that says "in two days" is asked once, and its word is passed on."""
    with EmoggEmulator(sessions=1) as emulator:
        session_id = emulator.sessions[0].id
        emulator.fail(status=status, headers=headers)
        async with emulator.client(cache=None) as client:
            with pytest.raises(StatusError) as caught:
                await client.get_session(session_id)
            assert (status, 1) == (caught.value.status, len(emulator.requests))
            assert caught.value.retry_after >= least - 1


async def test_answers_that_overtake_each_other():
    """News that is late is not taken for new."""
    with EmoggEmulator(sessions=40, rate_limit=(20, 1.0)) as emulator:
        emulator.fail(lag=0.1, probability=0.5)
        ids = [each.id for each in emulator.sessions]
        async with emulator.client(cache=None) as client:
            assert 40 == len(await client.gather(client.get_session, ids))
            assert client.stats.rate_limited <= 1
