import asyncio
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._caching.memory import ExpiringLRU, LRUMemoryCache
from emogg_async._caching.outages import Past


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.none() | st.floats()),
        st.tuples(st.just("get"), st.sampled_from("abcd"), st.none()),
        st.tuples(st.just("pop"), st.sampled_from("abcd"), st.none()),
        st.tuples(st.just("wait"), st.none(), st.floats(0, 10)),
    ),
    max_size=60,
)


@pytest.mark.property
@given(OPERATIONS, st.integers(1, 3))
def test_agrees_with_a_plain_model(operations, size):
    """Whatever is done with it: it holds what an unbounded, exact model says it may."""
    clock = Clock()
    lru = ExpiringLRU(size, clock)
    model = OrderedDict()
    for turn, (operation, key, number) in enumerate(operations):
        if operation == "wait":
            clock.now += number
        elif operation == "put":
            lru.put(key, turn, number)
            model.pop(key, None)
            if number is None or number > 0:
                model[key] = (turn, None if number is None else clock.now + number)
                while len(model) > size:
                    model.popitem(last=False)
        elif operation == "pop":
            lru.pop(key)
            model.pop(key, None)
        else:
            value, expires = model.get(key, (None, None))
            if expires is not None and expires <= clock.now:
                value = model.pop(key) and None
            elif key in model:
                model.move_to_end(key)
            assert value == lru.get(key)
        assert len(lru) <= size


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(clock):
    return LRUMemoryCache(3, clock)


class TestAsAnAiocacheCache:
    """The whole interface of an aiocache cache works, without its traps."""

    async def test_keeps_and_expires(self, cache, clock):
        """A value is there until its time is up, and no timer is needed for that."""
        await cache.set("a", 1, ttl=5)
        assert 1 == await cache.get("a") == cache.entries.get("a")
        assert await cache.exists("a")
        clock.now += 5
        assert await cache.get("a") is None
        assert not await cache.exists("a")
        assert [] == asyncio.get_running_loop()._scheduled

    @pytest.mark.parametrize("ttl", [0, -1, float("nan"), 1e-300])
    async def test_no_time_to_live_is_not_eternity(self, cache, ttl):
        """What has no time to live is not there afterwards, not even an older value."""
        await cache.set("a", "old")
        await cache.set("a", "new", ttl=ttl)
        assert await cache.get("a") is None

    async def test_forgets_the_least_recently_used(self, cache):
        """It holds so many entries; one that was read lately stays."""
        for key in "abc":
            await cache.set(key, key)
        await cache.get("a")
        await cache.set("d", "d")
        assert ["a", None, "c", "d"] == await cache.multi_get(list("abcd"))

    async def test_deletes_and_stores_many(self, cache):
        """A deleted entry is gone, and several can be stored at once."""
        await cache.multi_set([("a", 1), ("b", 2)], ttl=1)
        assert [1, 2] == await cache.multi_get(["a", "b"])
        assert [1, 0] == [await cache.delete("a") for _ in range(2)]
        assert [None, 2] == await cache.multi_get(["a", "b"])

    async def test_add_refuses_what_is_there(self, cache, clock):
        """`add` stores only where nothing fresh is."""
        assert await cache.add("a", 1, ttl=1)
        with pytest.raises(ValueError, match="already exists"):
            await cache.add("a", 2)
        clock.now += 1
        assert await cache.add("a", 3)

    def test_expires_across_event_loops(self, cache, clock):
        """What was stored under an earlier event loop still expires."""
        asyncio.run(cache.set("a", 1, ttl=1))
        clock.now += 1
        assert asyncio.run(cache.get("a")) is None


@pytest.mark.property
@given(st.lists(st.floats(0, 10), max_size=10), st.floats(0, 20), st.floats(0, 20))
def test_what_expired_is_kept_for_its_grace(waits, ttl, grace):
    """Each entry is fresh, then expired for as long as the grace, then gone."""
    clock = Clock()
    lru = ExpiringLRU(3, clock, grace)
    lru.put("key", "value", ttl)
    expires = clock.now + ttl
    for wait in waits:
        clock.now += wait
        is_fresh = ttl > 0 and clock.now < expires
        assert ("value" if is_fresh else None) == lru.get("key")
        found = lru.find("key")
        left = expires + grace - clock.now
        is_kept = ttl > 0 and expires <= clock.now < expires + grace
        past = Past("value", left) if is_kept else None
        assert ("value" if is_fresh else past) == found


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "pop"]),
            st.sampled_from("abcd"),
            st.integers(0, 6),
        ),
        max_size=40,
    ),
    st.integers(1, 10),
)
def test_weighs_no_more_than_it_may(operations, capacity):
    """Whatever its entries weigh, all together never weigh more than is allowed."""
    clock = Clock()
    lru = ExpiringLRU(capacity, clock)
    for operation, key, weight in operations:
        if operation == "put":
            lru.put(key, key, 5.0, weight)
            assert (key in lru) == (weight <= capacity)
        elif operation == "pop":
            lru.pop(key)
        else:
            clock.now += 1
            lru.get(key)
        weights = [entry[2] for entry in lru._entries.values()]
        assert sum(weights) == lru._weight <= capacity


def test_the_least_recently_used_make_room_for_what_is_heavy():
    """As many entries go as the new one needs, and no more."""
    lru = ExpiringLRU(10, Clock())
    for key in "abcde":
        lru.put(key, key, None, 2)
    lru.get("a")
    lru.put("heavy", "heavy", None, 3)
    assert ["d", "e", "a", "heavy"] == list(lru)
