import asyncio

import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._calls.alarms import PAUSE_SECONDS, Alarms, Limit


def scheduled(loop):
    return [timer for timer in loop._scheduled if not timer.cancelled()]


@pytest.mark.property
@given(
    st.lists(st.tuples(st.floats(0.0, 3.0), st.booleans()), max_size=60),
)
def test_rings_each_alarm_once_and_on_time(plan):
    """An alarm rings once, never early and at most a pause late, unless disarmed."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms = Alarms(loop)
        rung = {}
        armed = []
        for key, (when, _) in enumerate(plan):
            alarm = loop.create_future()
            alarm.add_done_callback(
                lambda _, key=key: rung.setdefault(key, simulated.now())
            )
            alarms.arm(alarm, when)
            armed.append(alarm)
        for alarm, (_, called_off) in zip(armed, plan, strict=True):
            if called_off:
                del alarms.due[alarm]
        await asyncio.sleep(4)
        kept = {key: when for key, (when, off) in enumerate(plan) if not off}
        assert kept.keys() == rung.keys()
        for key, when in kept.items():
            assert when <= rung[key] <= when + PAUSE_SECONDS + 1e-6
        assert [] == scheduled(loop)

    simulated.run(main())


def test_an_alarm_that_is_armed_later_may_ring_first():
    """The timer is set anew for an alarm that is due before all others."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms = Alarms(loop)
        later, first = loop.create_future(), loop.create_future()
        alarms.arm(later, 5.0)
        alarms.arm(first, 1.0)
        assert 1 == len(scheduled(loop))
        await first
        assert 1.0 <= simulated.now() <= 1.0 + PAUSE_SECONDS + 1e-6
        await later
        assert 5.0 <= simulated.now() <= 5.0 + PAUSE_SECONDS + 1e-6

    simulated.run(main())


def test_many_alarms_share_one_timer():
    """Ten thousand alarms cost the loop one timer, and few looks at all of them."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms = Alarms(loop)
        armed = [loop.create_future() for _ in range(10_000)]
        for n, alarm in enumerate(armed):
            alarms.arm(alarm, 5.0 + n / 1e6)
        assert 1 == len(scheduled(loop))
        for alarm in armed[1:]:
            del alarms.due[alarm]
        await asyncio.sleep(6)
        assert [armed[0]] == [alarm for alarm in armed if alarm.done()]
        assert [] == scheduled(loop)

    simulated.run(main())


def test_a_closed_client_leaves_no_timer():
    """The timer is cancelled, and an alarm that is armed afterwards still rings."""

    async def main():
        loop = asyncio.get_running_loop()
        alarms = Alarms(loop)
        alarms.arm(loop.create_future(), 5.0)
        alarms.close()
        assert [] == scheduled(loop)
        late = loop.create_future()
        alarms.arm(late, 2.0)
        await late
        assert simulated.now() <= 2.0 + PAUSE_SECONDS + 1e-6

    simulated.run(main())


class TestLimit:
    def test_raises_timeout_when_the_time_is_up(self):
        """The body is cut off at its limit, and the caller sees a TimeoutError."""

        async def main():
            alarms = Alarms(asyncio.get_running_loop())
            with pytest.raises(TimeoutError), Limit(alarms, simulated.now() + 1.5):
                await asyncio.sleep(10)
            assert 1.5 <= simulated.now() <= 1.5 + PAUSE_SECONDS + 1e-6
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

            for moment in (0.5, 1.0):
                task = asyncio.create_task(limited())
                loop.call_at(simulated.now() + moment, task.cancel)
                with pytest.raises(asyncio.CancelledError):
                    await task

        simulated.run(main())
