import asyncio
import math
from collections import Counter

import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._context import Call, Priority
from emogg_async._gate import Gate, bulk_share

# -- slots -----------------------------------------------------------------------------


async def hold(gate, priority, seconds, log=None):
    call = Call(priority, math.inf)
    await gate.enter(call)
    try:
        if log is not None:
            log.append(priority)
        await asyncio.sleep(seconds)
    finally:
        gate.answered(call, 0.0)


def test_bulk_leaves_a_quarter_of_the_slots():
    """However much bulk there is, a single call finds a slot at once."""

    async def main():
        gate = Gate(32)
        bulk = [asyncio.create_task(hold(gate, Priority.BULK, 1)) for _ in range(100)]
        await asyncio.sleep(0.5)
        await hold(gate, Priority.SINGLE, 0)
        assert 0.5 == simulated.now()
        await asyncio.gather(*bulk)
        assert 24 == bulk_share(32)
        assert 5.0 == pytest.approx(simulated.now())  # 100 through 24 slots

    simulated.run(main())


def test_single_calls_go_first():
    """A single call that waits is served before bulk work that waited longer."""

    async def main():
        gate = Gate(1)
        log = []
        kinds = [Priority.BULK, Priority.BULK, Priority.SINGLE, Priority.SINGLE]
        tasks = []
        for kind in kinds:
            tasks.append(asyncio.create_task(hold(gate, kind, 1, log)))
            await asyncio.sleep(0)
        await asyncio.gather(*tasks)
        assert log == [Priority.BULK, Priority.SINGLE, Priority.SINGLE, Priority.BULK]

    simulated.run(main())


@pytest.mark.property
@given(
    slots=st.integers(1, 6),
    plan=st.lists(
        st.tuples(
            st.sampled_from(Priority),
            st.floats(0, 3),
            st.floats(0, 2),
            st.none() | st.floats(0, 4),
        ),
        max_size=30,
    ),
)
def test_slots_are_never_lost_nor_exceeded(slots, plan):
    """Whoever enters, is cancelled or leaves: the limits hold, and all slots return."""

    async def main():
        gate = Gate(slots)
        inside, most = Counter(), Counter()

        async def visit(priority, arrives, stays, cancelled):
            await asyncio.sleep(arrives)
            call = Call(priority, math.inf)
            await gate.enter(call)
            try:
                inside.update([priority, "all"])
                most.update(
                    {key: max(0, inside[key] - most[key]) for key in (priority, "all")}
                )
                await asyncio.sleep(stays)
            finally:
                inside.subtract([priority, "all"])
                gate.leave(call)

        tasks = []
        for each in plan:
            task = asyncio.create_task(visit(*each))
            if each[3] is not None:
                asyncio.get_running_loop().call_at(each[3], task.cancel)
            tasks.append(task)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {asyncio.CancelledError, None.__class__} >= set(map(type, results))
        assert most["all"] <= slots
        assert most[Priority.BULK] <= bulk_share(slots)
        call = Call(Priority.SINGLE, math.inf)
        for _ in range(slots):
            assert gate.enter_nowait(call, 0.0)
        assert not gate.enter_nowait(call, 0.0)

    simulated.run(main())
