import asyncio
import json
import logging
import math
import random
import time

import pytest
import simulated
from aiocache import SimpleMemoryCache

from emogg_async import CachePolicy, InvalidArgumentError, Session
from emogg_async._caching.opening import open_cache
from emogg_async._wire.converter import structure, to_dict
from emogg_async.models import SessionState

WIRE = {
    "_id": "65ea1530bb50af72b6e3dc1e",
    "name": "Pitch",
    "type": "live_analysis",
    "state": "finished",
    "timestamp": "2024-04-01T10:30:00.000Z",
    "duration": 120,
    "product": "65946a77408bd7b32c5189a3",
    "user": "65d7a8fb532f66218ecd4cab",
    "version": 3,
}
SESSION = structure(WIRE, Session)
ID = SESSION.id


def shared(backend=None, *, token="token", url="https://a.example", **policy):
    backend = SimpleMemoryCache() if backend is None else backend
    policy = CachePolicy(backend=backend, **policy)
    return open_cache(policy, base_url=url, token=token, rng=random.Random(0))


class Broken(SimpleMemoryCache):
    """A backend that fails as it is told, and counts how often it was asked."""

    def __init__(self, failure):
        super().__init__(timeout=None)
        self.failure = failure
        self.asked = 0

    async def get(self, key, **options):
        self.asked += 1
        return await self.failure(options["loads_fn"])

    async def set(self, key, value, **options):
        self.asked += 1
        return await self.failure(options["dumps_fn"])


async def raises(_):
    raise OSError("cannot reach redis://user:secret@10.0.0.1")


async def hangs(_):
    await asyncio.sleep(60)


async def answers_soon(loads):
    await asyncio.sleep(0.02)
    return loads(None)


def answers(value):
    async def answer(loads):
        return loads(value)

    return answer


class TestPolicy:
    @pytest.mark.parametrize(
        ("state", "seconds"),
        [("finished", 300.0), ("active", 2.0), ("processing", 2.0), ("paused", 2.0)],
    )
    def test_only_what_is_finished_is_kept_long(self, state, seconds):
        """A finished session stays fresh for `ttl`, any other for `live_ttl`."""
        session = structure(WIRE | {"state": state}, Session)
        assert session.state == SessionState(state)
        assert seconds == CachePolicy().ttl_of(session)

    @pytest.mark.parametrize(
        "option",
        [
            {"ttl": -1},
            {"ttl": math.nan},
            {"ttl": math.inf},
            {"ttl": "300"},
            {"live_ttl": -0.5},
            {"max_entries": 0},
            {"max_entries": 1.5},
            {"backend": "redis://localhost"},
        ],
    )
    def test_refuses_nonsense(self, option):
        """A policy out of its range is refused where it is made, by name."""
        with pytest.raises(InvalidArgumentError, match=next(iter(option))):
            CachePolicy(**option)


class TestSharedBackend:
    async def test_gives_back_what_it_got(self):
        """A session survives the envelope, unknown fields and values included."""
        odd = structure(WIRE | {"state": "paused", "new": [1, {"a": None}]}, Session)
        cache = shared()
        await cache.put(odd)
        assert odd == await cache.get(ID)
        assert cache.peek(ID) is None

    async def test_holds_text_and_never_a_pickle(self):
        """What lies in the backend is JSON, whatever its own serializer is."""
        backend = SimpleMemoryCache()
        await shared(backend).put(SESSION)
        (text,) = backend._cache.values()
        assert WIRE | {"sources": []} == json.loads(text)["body"]

    async def test_tenants_do_not_meet(self):
        """Neither another token nor another service sees a session."""
        backend = SimpleMemoryCache()
        await shared(backend).put(SESSION)
        assert await shared(backend, token="other").get(ID) is None
        assert await shared(backend, url="https://b.example").get(ID) is None
        assert SESSION == await shared(backend).get(ID)

    async def test_keys_carry_no_token(self):
        """Neither keys nor values have any part of the token."""
        token = "sk-0123456789abcdef"
        backend = SimpleMemoryCache()
        await shared(backend, token=token).put(SESSION)
        stored = repr(backend._cache)
        for start in range(len(token) - 7):
            assert token[start : start + 8] not in stored

    @pytest.mark.parametrize(
        ("policy", "least", "most"),
        [
            ({"ttl": 100}, 90, 111),
            ({"ttl": 0.01}, 1, 1),
            ({"ttl": 100.5, "stale_if_error": 50.2}, 140, 161),
            ({"ttl": 1e9}, 2_592_000, 2_592_000),
            ({"ttl": 1e300}, 2_592_000, 2_592_000),
            ({"ttl": 10, "stale_if_error": 1e9}, 2_592_000, 2_592_000),
        ],
    )
    async def test_the_backend_may_forget_it_in_time(
        self, monkeypatch, policy, least, most
    ):
        """The backend gets the time to live in whole seconds, at most 30 days of them.

        So garbage does not pile up, and memcached takes it.
        """
        backend = SimpleMemoryCache()
        times = []

        async def note(key, value, ttl, **_):
            times.append(ttl)

        monkeypatch.setattr(backend, "set", note)
        cache = shared(backend, **policy)
        await cache.put(SESSION)
        await cache.drop(ID, is_written=True)
        assert [int, int] == [type(each) for each in times]
        assert least <= times[0] <= most
        assert least <= times[1] <= most

    async def test_zero_stores_nothing(self):
        """A time to live of 0 is *do not store*, never *for ever*."""
        backend = SimpleMemoryCache()
        await shared(backend, ttl=0).put(SESSION)
        assert {} == backend._cache

    async def test_freshness_is_in_the_envelope(self, monkeypatch):
        """A backend that forgets to expire does not make an old session fresh."""
        backend = SimpleMemoryCache()
        cache = shared(backend, ttl=10)
        await cache.put(SESSION)
        present = time.time()
        monkeypatch.setattr(time, "time", lambda: present + 12)
        assert await cache.get(ID) is None

    async def test_a_foreign_policy_keeps_nothing_longer(self):
        """What another client stored for longer than we would is not fresh for us."""
        backend = SimpleMemoryCache()
        await shared(backend, ttl=3600).put(SESSION)
        assert await shared(backend, ttl=60).get(ID) is None
        assert SESSION == await shared(backend, ttl=3600).get(ID)

    @pytest.mark.parametrize(
        "rubbish",
        [
            None,
            b"",
            b"\xff\xfe",
            "",
            "null",
            "[]",
            "{",
            "1e999",
            '{"schema": "1"}',
            '{"schema": "1", "fresh_until": 1' + "0" * 400 + ', "body": {}}',
            '{"schema": "1", "fresh_until": "soon", "body": {}}',
            42,
            object(),
            SESSION,
            "[" * 100_000,
        ],
    )
    async def test_rubbish_is_a_miss(self, rubbish):
        """Whatever lies under our key and is none of ours counts as nothing."""
        assert await shared(Broken(answers(rubbish))).get(ID) is None

    @pytest.mark.parametrize(
        "change",
        [
            {"schema": "0"},
            {"fresh_until": 0},
            {"fresh_until": math.nan},
            {"asked_at": None},
            {"asked_at": "then"},
            {"asked_at": math.nan},
            {"body": {**WIRE, "_id": "0" * 24}},
            {"body": {**WIRE, "duration": "120"}},
        ],
    )
    async def test_a_wrong_envelope_is_a_miss(self, change):
        """Another schema, a past date, another session or a wrong shape is nothing."""
        now = time.time()
        times = {"asked_at": now, "fresh_until": now + 60}
        envelope = {"schema": "1", **times, "body": to_dict(SESSION)}
        assert SESSION == await shared(Broken(answers(json.dumps(envelope)))).get(ID)
        changed = json.dumps(envelope | change)
        assert await shared(Broken(answers(changed))).get(ID) is None

    @pytest.mark.timing
    @pytest.mark.parametrize(("failure", "times"), [(raises, 5), (hangs, 2)])
    async def test_a_failing_backend_costs_little_and_is_left_alone(
        self, failure, times
    ):
        """It may cost two tenths of a second in all; then it is not asked."""
        backend = Broken(failure)
        cache = shared(backend)
        started = time.monotonic()
        for _ in range(50):
            assert await cache.get(ID) is None
            await cache.put(SESSION)
        assert time.monotonic() - started < 0.2
        assert times == backend.asked

    @pytest.mark.parametrize("apart", [0.0, 0.01, 0.05, 0.3])
    def test_a_hanging_backend_costs_no_caller_more(self, apart):
        """Callers who come together, or some time apart, lose 0.2 s each at most."""
        lost = []

        async def ask(cache, number):
            await asyncio.sleep(number * apart)
            started = simulated.now()
            await cache.get(ID)
            await cache.put(SESSION)
            lost.append(simulated.now() - started)

        async def main():
            cache = shared(Broken(hangs))
            await asyncio.gather(*(ask(cache, number) for number in range(10)))
            await ask(cache, 1)

        simulated.run(main())
        assert 0.1 < max(lost) < 0.18
        assert 0.0 == lost[-1]

    @pytest.mark.parametrize("callers", [1, 50])
    def test_a_hiccup_is_no_outage(self, callers):
        """A backend that hangs for 0.15 s is used right after that, also by many."""

        async def hiccups(loads):
            await asyncio.sleep(max(0.02, 0.15 - simulated.now()))
            return loads(None)

        async def main():
            backend = Broken(hiccups)
            cache = shared(backend)
            for _ in range(20):
                await asyncio.gather(*(cache.get(ID) for _ in range(callers)))
            assert 20 * callers == backend.asked

        simulated.run(main())

    def test_one_finds_out_whether_it_is_back(self):
        """After each pause a single caller waits; all use what works again at once."""

        async def main():
            backend = Broken(hangs)
            cache = shared(backend)
            for asked in (50, 51, 52):
                await asyncio.gather(*(cache.get(ID) for _ in range(50)))
                await cache.get(ID)
                assert asked + 1 == backend.asked
                await asyncio.sleep(5.1)
            backend.failure = answers_soon
            await asyncio.gather(*(cache.get(ID) for _ in range(50)))
            await asyncio.gather(*(cache.get(ID) for _ in range(50)))
            assert 53 + 51 == backend.asked

        simulated.run(main())

    def test_who_leaves_has_waited_too(self):
        """Callers with less time than the cache may take lose it only a few times."""
        outcomes = []

        async def main():
            cache = shared(Broken(hangs))
            for _ in range(10):
                try:
                    async with asyncio.timeout(0.05):
                        outcomes.append(await cache.get(ID))
                except TimeoutError:
                    outcomes.append("too late")

        simulated.run(main())
        assert ["too late"] * 3 + [None] * 7 == outcomes

    def test_who_leaves_at_once_says_nothing(self):
        """A backend that nobody has the time to wait for is as good as any."""

        async def main():
            backend = Broken(answers_soon)
            cache = shared(backend)
            for _ in range(50):
                leaving = asyncio.create_task(cache.get(ID))
                await asyncio.sleep(0.001)
                leaving.cancel()
                await asyncio.sleep(0)
            await cache.get(ID)
            await cache.get(ID)
            assert 52 == backend.asked

        simulated.run(main())

    async def test_a_failing_backend_is_asked_again_after_its_pause(self, monkeypatch):
        """Once its five seconds are over, a backend that works again is used."""
        backend = Broken(raises)
        cache = shared(backend)
        for _ in range(5):
            await cache.get(ID)
        loop = asyncio.get_running_loop()
        backend.failure = answers(None)
        await cache.get(ID)
        assert 5 == backend.asked
        later = loop.time() + 5.1
        monkeypatch.setattr(loop, "time", lambda: later)
        await cache.get(ID)
        assert 6 == backend.asked

    async def test_a_busy_loop_is_not_a_failing_backend(self, caplog):
        """Who is held up by somebody else's work still gets the backend's answer."""
        backend = Broken(answers_soon)
        cache = shared(backend)
        asyncio.get_running_loop().call_later(0.01, time.sleep, 0.3)
        await asyncio.gather(*(cache.get(ID) for _ in range(20)))
        assert [] == caplog.records
        await cache.get(ID)
        assert 21 == backend.asked

    async def test_failures_are_logged_once_and_without_secrets(self, caplog):
        """One warning a minute, with the kind of failure and nothing else."""
        with caplog.at_level(logging.DEBUG, logger="emogg_async"):
            cache = shared(Broken(raises))
            for _ in range(9):
                await cache.get(ID)
        (record,) = caplog.records
        assert "the cache backend failed: OSError" == record.getMessage()

    async def test_cancellation_is_delivered(self):
        """A caller that is cancelled while the backend thinks is cancelled."""
        task = asyncio.create_task(shared(Broken(hangs)).get(ID))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_a_swallowed_cancellation_is_delivered(self):
        """A backend that swallows a cancellation, as aiocache's can, hides none."""

        async def swallows(_):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return

        task = asyncio.create_task(shared(Broken(swallows)).get(ID))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_an_earlier_cancellation_is_none_of_this_question(self):
        """Who cleans up after a cancellation may ask the cache as before."""
        cache = shared()
        await cache.put(SESSION)

        async def clean_up():
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                return await cache.get(ID)

        task = asyncio.create_task(clean_up())
        await asyncio.sleep(0.01)
        task.cancel()
        assert SESSION == await task

    async def test_a_cancellation_that_is_due_already_is_delivered(self):
        """A task that cancels itself, as a listener can, learns of it at the cache."""

        async def ask():
            asyncio.current_task().cancel()
            await shared(Broken(hangs)).get(ID)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(ask())

    async def test_a_backend_that_cancels_is_a_failing_one(self):
        """A cancellation that the backend made up is a miss like any failure."""

        async def cancels(_):
            raise asyncio.CancelledError

        assert await shared(Broken(cancels)).get(ID) is None

    async def test_a_switched_off_aiocache_is_a_miss(self, monkeypatch):
        """`AIOCACHE_DISABLE=1` makes every get a miss and breaks nothing."""
        monkeypatch.setenv("AIOCACHE_DISABLE", "1")
        cache = shared()
        await cache.put(SESSION)
        assert await cache.get(ID) is None


class TestOwnMemory:
    async def test_holds_the_very_object(self):
        """Our own cache keeps models as they are, and can be peeked into."""
        policy = CachePolicy(max_entries=2)
        cache = open_cache(policy, base_url="u", token="t", rng=random.Random(0))
        await cache.put(SESSION)
        assert SESSION is cache.peek(ID)
        assert SESSION is await cache.get(ID)

    async def test_what_was_stored_together_expires_apart(self):
        """Each time to live is jittered by up to a tenth."""
        policy = CachePolicy(ttl=100)
        cache = open_cache(policy, base_url="u", token="t", rng=random.Random(0))
        times = []
        cache._sessions.put = lambda key, value, ttl: times.append(ttl)
        for _ in range(200):
            await cache.put(SESSION)
        assert 90 <= min(times) < 93
        assert 107 < max(times) <= 110
