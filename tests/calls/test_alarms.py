import asyncio
from collections import Counter

import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._calls.alarms import SLOT_SECONDS, Alarms, Limit


def scheduled(loop):
    return [timer for timer in loop._scheduled if not timer.cancelled()]


@pytest.mark.property
@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=60),
)
def test_rings_each_alarm_once_and_on_time(plan):
    """An alarm rings once, never early and at most a slot late, unless disarmed."""

    async def main():
        alarms = Alarms(asyncio.get_running_loop())
        rung = {}
        slots = [
            alarms.arm(when, key, lambda key: rung.setdefault(key, simulated.now()))
            for key, (when, _) in enumerate(plan)
        ]
        for key, (_, called_off) in enumerate(plan):
            if called_off:
                alarms.disarm(slots[key], key)
        await asyncio.sleep(4)
        kept = {key: when for key, (when, off) in enumerate(plan) if not off}
        assert kept.keys() == rung.keys()
        for key, when in kept.items():
            assert when <= rung[key] <= when + SLOT_SECONDS + 1e-6
        assert [] == scheduled(asyncio.get_running_loop())

    simulated.run(main())


def test_many_alarms_share_one_timer():
    """Ten thousand alarms of the same moment cost the loop one timer."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms = Alarms(loop)
        rung = Counter()
        slots = [alarms.arm(5.0, n, lambda n: rung.update([n])) for n in range(10_000)]
        assert 1 == len(scheduled(loop))
        for n, slot in enumerate(slots[1:], start=1):
            alarms.disarm(slot, n)
        await asyncio.sleep(6)
        assert {0: 1} == rung

    simulated.run(main())


def test_calling_off_the_last_alarm_leaves_no_timer():
    """The timer is cancelled with its last alarm."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms = Alarms(loop)
        slot = alarms.arm(5.0, "key", print)
        alarms.disarm(slot, "key")
        alarms.disarm(slot, "key")
        assert [] == scheduled(loop)

    simulated.run(main())


class TestLimit:
    def test_raises_timeout_when_the_time_is_up(self):
        """The body is cut off at its limit, and the caller sees a TimeoutError."""

        async def main():
            alarms = Alarms(asyncio.get_running_loop())
            with pytest.raises(TimeoutError), Limit(alarms, simulated.now() + 1.5):
                await asyncio.sleep(10)
            assert 1.5 <= simulated.now() <= 1.5 + SLOT_SECONDS + 1e-6
            assert 0 == asyncio.current_task().cancelling()

        simulated.run(main())

    def test_lets_a_quick_body_pass(self):
        """The limit neither cancels a body that ends in time nor the code after it."""

        async def main():
            alarms = Alarms(asyncio.get_running_loop())
            with Limit(alarms, simulated.now() + 1.5):
                await asyncio.sleep(1)
            await asyncio.sleep(10)

        simulated.run(main())

    def test_leaves_errors_of_the_body_alone(self):
        """The caller sees the error that the body raises in time."""

        async def main():
            alarms = Alarms(asyncio.get_running_loop())
            with pytest.raises(KeyError), Limit(alarms, simulated.now() + 1.5):
                raise KeyError("mine")

        simulated.run(main())

    def test_a_foreign_cancellation_stays_one(self):
        """A task that other code cancels is cancelled, even at the same moment."""

        async def main():
            loop = asyncio.get_running_loop()
            alarms = Alarms(loop)

            async def limited():
                with Limit(alarms, simulated.now() + 1.0):
                    await asyncio.sleep(10)

            for moment in (0.5, 1.0 + SLOT_SECONDS):
                task = asyncio.create_task(limited())
                loop.call_at(simulated.now() + moment, task.cancel)
                with pytest.raises(asyncio.CancelledError):
                    await task

        simulated.run(main())
