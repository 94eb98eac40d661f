import asyncio
import gc
import math
import traceback
import weakref
from contextlib import suppress

import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._calls.alarms import Alarms
from emogg_async._calls.call import Call, Priority
from emogg_async._calls.flights import Abandoned, Cut, Flights
from emogg_async.errors import NotFoundError

ABANDONED_OR_FINE = Abandoned | None.__class__


class Loads:
    """Loads that take a second, counted."""

    def __init__(self, error=None):
        self.flights = Flights(Alarms(asyncio.get_running_loop()))
        self.error = error
        self.begun = self.ended = self.cancelled = self.aloft = self.most = 0

    async def load(self, call):
        self.begun += 1
        self.aloft += 1
        self.most = max(self.most, self.aloft)
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.aloft -= 1
        self.ended += 1
        if self.error:
            raise self.error
        return self.ended

    async def get(self, deadline=math.inf, key="key"):
        flight = self.flights.joinable.get(key) or self.flights.start(
            key, Call(Priority.SINGLE, deadline), self.load
        )
        return await flight.wait(deadline)


def test_callers_at_the_same_time_share_one_load():
    """Ten thousand callers cost one load, and the next caller a new one."""

    async def main():
        loads = Loads()
        results = await asyncio.gather(*(loads.get() for _ in range(10_000)))
        assert {1} == set(results)
        assert 2 == await loads.get()
        assert 2 == loads.begun

    simulated.run(main())


def test_a_cancelled_caller_hurts_nobody():
    """The last of a hundred callers gets the value when all others are cancelled."""

    async def main():
        loads = Loads()
        tasks = [asyncio.create_task(loads.get()) for _ in range(100)]
        await asyncio.sleep(0.5)
        for task in tasks[:-1]:
            task.cancel()
        await asyncio.sleep(0)
        assert all(task.cancelled() for task in tasks[:-1])
        assert 1 == await tasks[-1]
        assert 1 == loads.begun

    simulated.run(main())


def test_the_load_ends_with_its_last_caller():
    """The load is cancelled when its last caller leaves, and no other call joins it."""

    async def main():
        loads = Loads()
        tasks = [asyncio.create_task(loads.get()) for _ in range(3)]
        await asyncio.sleep(0.5)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert 1 == await loads.get()
        assert (2, 1) == (loads.begun, loads.cancelled)
        await loads.flights.drain()
        assert 1 == len(asyncio.all_tasks())

    simulated.run(main())


def test_a_load_abandoned_before_it_began_leaves_nothing():
    """A load that is cancelled before its first step never runs and is never joined."""

    async def main():
        loads = Loads()
        call = Call(Priority.SINGLE, math.inf)
        loads.flights.abandon(loads.flights.start("key", call, loads.load))
        await loads.flights.drain()
        assert 0 == loads.begun
        assert 1 == await loads.get()

    simulated.run(main())


def test_each_caller_has_its_own_deadline():
    """A caller whose time is up leaves; the others stay."""

    async def main():
        loads = Loads()
        patient = asyncio.create_task(loads.get(deadline=5.0))
        await asyncio.sleep(0)
        with pytest.raises(Abandoned):
            await loads.get(deadline=0.25)
        assert 0.25 <= simulated.now() <= 0.27
        assert 1 == await patient

    simulated.run(main())


def test_a_failure_reaches_everybody_and_is_kept_for_nobody():
    """All callers get the error, each its own copy of it; the next call loads anew."""

    async def main():
        error = NotFoundError("no such session", status=404, method="GET", path="/x")
        error.__cause__ = KeyError("cause")
        loads = Loads(error)
        results = await asyncio.gather(
            *(loads.get() for _ in range(50)), return_exceptions=True
        )
        assert {NotFoundError} == set(map(type, results))
        assert 50 == len(set(map(id, results)))
        assert {error.__cause__} == {result.__cause__ for result in results}
        lengths = {len(traceback.extract_tb(each.__traceback__)) for each in results}
        assert max(lengths) < 12
        with pytest.raises(NotFoundError):
            await loads.get()
        assert 2 == loads.begun

    simulated.run(main())


def test_a_failure_that_nobody_waits_for_is_silent():
    """A load that fails while it is cancelled logs no unretrieved exception."""

    async def main():
        problems = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: problems.append(context)
        )
        flights = Flights(Alarms(asyncio.get_running_loop()))

        async def load(call):
            try:
                await asyncio.sleep(1)
            finally:
                raise KeyError("while going down")

        flight = flights.start("key", Call(Priority.SINGLE, math.inf), load)
        task = asyncio.create_task(flight.wait(math.inf))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.wait([task])
        await flights.drain()
        del flight, task
        gc.collect()
        assert [] == problems

    simulated.run(main())


def test_closing_cuts_everybody_off():
    """Closing ends all loads, begun or not, and every caller gets an error."""

    async def main():
        loads = Loads()
        early = asyncio.create_task(loads.get())
        await asyncio.sleep(0.5)
        late = asyncio.create_task(loads.get(key="other"))
        await asyncio.sleep(0)
        await loads.flights.close()
        for task in (early, late):
            with pytest.raises(Cut):
                await task
        assert 1 == loads.begun
        assert 1 == len(asyncio.all_tasks())

    simulated.run(main())


def test_closing_that_is_cancelled_still_tells_everybody():
    """Every caller gets an error, even of a load that had not begun, and none hangs."""

    async def main():
        loads = Loads()
        early = asyncio.create_task(loads.get())
        await asyncio.sleep(0.5)
        late = asyncio.create_task(loads.get(key="other"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(loads.flights.close())
        asyncio.get_running_loop().call_soon(closing.cancel)
        await asyncio.wait([closing])
        for task in (early, late):
            with pytest.raises(Cut):
                await task

    simulated.run(main())


async def stubborn(call):
    """Load for ten seconds, whoever cancels it."""
    while simulated.now() < 10:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(10)


def test_a_load_that_will_not_end_holds_no_bulk():
    """Who leaves a bulk waits only a second for loads that swallow a cancellation."""

    async def main():
        flights = Flights(Alarms(asyncio.get_running_loop()))
        flight = flights.start("key", Call(Priority.BULK, math.inf), stubborn)
        await asyncio.sleep(0)
        flights.abandon(flight)
        await flights.drain()
        assert 1.0 <= simulated.now() <= 1.01
        await asyncio.wait([flight.task])

    simulated.run(main())


def test_a_load_that_will_not_end_holds_no_closer():
    """Closing waits only a second for loads that swallow their cancellation."""

    async def main():
        flights = Flights(Alarms(asyncio.get_running_loop()))
        flight = flights.start("key", Call(Priority.SINGLE, math.inf), stubborn)
        load = flight.task
        task = asyncio.create_task(flight.wait(math.inf))
        await asyncio.sleep(0)
        await flights.close()
        assert 1.0 <= simulated.now() <= 1.01
        with pytest.raises(Cut):
            await task
        await asyncio.wait([load])

    simulated.run(main())


def test_a_failure_keeps_nothing_alive():
    """The error of a load is part of no reference cycle."""

    async def main():
        loads = Loads(NotFoundError("no such session", status=404))
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(NotFoundError) as caught:
                await loads.get()
            gone = weakref.ref(caught.value)
            loads.error = None
            del caught
            await asyncio.sleep(0)
            assert gone() is None
        finally:
            gc.enable()

    simulated.run(main())


def test_a_foreign_error_is_not_copied():
    """Every caller gets the same object if the error is not one of ours."""

    class OddError(Exception):
        def __init__(self, one, two):
            super().__init__("message")

    async def main():
        loads = Loads(OddError(1, 2))
        ends = await asyncio.gather(loads.get(), loads.get(), return_exceptions=True)
        assert [OddError, OddError] == list(map(type, ends))

    simulated.run(main())


def test_a_load_that_has_ended_still_has_its_result():
    """A caller may wait for a load after its end, as happens with eager tasks."""

    async def main():
        flights = Flights(Alarms(asyncio.get_running_loop()))

        async def load(call):
            return 42

        call = Call(Priority.SINGLE, math.inf)
        flight = flights.start("key", call, load)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert 42 == await flight.wait(math.inf)
        assert flights.joinable.get("key") is None

    simulated.run(main())


@pytest.mark.property
@given(
    st.lists(
        st.tuples(
            st.floats(0, 5), st.none() | st.floats(0, 2), st.none() | st.floats(0, 2)
        ),
        min_size=1,
        max_size=25,
    )
)
def test_every_caller_gets_an_end_and_loads_never_overlap(plan):
    """No caller hangs, and no two loads run, in any order of joins and departures."""

    async def main():
        loads = Loads()
        ends = []

        async def caller(arrives, patience, cancelled):
            await asyncio.sleep(arrives)
            deadline = math.inf if patience is None else simulated.now() + patience
            task = asyncio.create_task(loads.get(deadline))
            if cancelled is not None:
                await asyncio.sleep(cancelled)
                task.cancel()
            await asyncio.wait([task])
            ends.append(task)

        await asyncio.gather(*(caller(*each) for each in plan))
        assert len(plan) == len(ends)
        for task in ends:
            assert task.cancelled() or isinstance(task.exception(), ABANDONED_OR_FINE)
        await loads.flights.drain()
        assert loads.begun == loads.cancelled + loads.ended
        assert 1 == len(asyncio.all_tasks())

    simulated.run(main())


def test_a_detached_load_is_joined_by_nobody():
    """Detached loads go on for their waiters, and are marked as outdated."""

    async def main():
        loads = Loads()
        calls = [asyncio.create_task(loads.get(key=key)) for key in ("ab", "ac", "b")]
        await asyncio.sleep(0.5)
        old = [loads.flights.joinable.get(key) for key in ("ab", "ac", "b")]
        loads.flights.detach_if(lambda key: key[0] == "a")
        assert [True, True, False] == [flight.call.is_detached for flight in old]
        calls += [asyncio.create_task(loads.get(key=key)) for key in ("ab", "ac", "b")]
        await asyncio.gather(*calls)
        assert 5 == loads.begun

    simulated.run(main())
