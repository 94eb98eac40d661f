import asyncio
import gc
import itertools
import math
import random
import time
import weakref
from collections import Counter

import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st
from simulation import Process, Service, client_of, send, session_of

from emogg_async._calls.call import Backlog, Call, Priority, bulk_share
from emogg_async._calls.gate import Gate, Pacer, shared_pacer
from emogg_async._wire.protocol import RateLimit
from emogg_async.errors import (
    ConnectionLostError,
    DeadlineError,
    NotSentError,
    RateLimitedError,
    ResponseShapeError,
    ServerError,
)
from emogg_async.testing._bucket import TokenBucket

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


@pytest.mark.parametrize("slots", [1, 4, 32])
@pytest.mark.parametrize(("tokens", "window"), [(None, 0), (10_000, 1_000), (0, 10**5)])
def test_bulk_keeps_a_share_beside_endless_single_calls(slots, tokens, window):
    """Bulk has an eighth of the turns for a slot; where tokens are short it yields."""

    async def main():
        gate = Gate(slots)
        if tokens is not None:
            gate = gate_that_knows(tokens, slots, capacity=10_000, window=window)
        log = []

        async def endless(priority):
            while True:
                await hold(gate, priority, 1, log)

        tasks = [asyncio.create_task(endless(Priority.SINGLE)) for _ in range(100)]
        await asyncio.sleep(0)
        tasks += [asyncio.create_task(endless(Priority.BULK)) for _ in range(100)]
        await asyncio.sleep(80)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        share = log.count(Priority.BULK) / len(log)
        if tokens == 0:
            assert share == 0.0
        else:
            assert len(log) >= 79 * slots
            assert 0.08 <= share <= 0.14  # the law for bulk may miss a turn

    simulated.run(main())


def test_each_eighth_turn_is_bulks():
    """Beside single calls without end, bulks that wait have one turn in eight."""

    async def main():
        turns, names = [], (f"{n:024x}" for n in itertools.count(1_000))

        async def answer(request, _):
            turns.append(request.session_id in asked)
            await asyncio.sleep(1.0)
            return session_of(request.session_id)

        async def endless():
            while True:
                await client.get_session(next(names))

        asked = [f"{n:024x}" for n in range(40)]
        client = client_of(answer, concurrency=1, cache=None)
        tasks = [asyncio.create_task(endless()) for _ in range(5)]
        await asyncio.sleep(0.5)
        tasks += [
            asyncio.create_task(client.get_sessions(some, via="get"))
            for some in (asked[:20], asked[20:])
        ]
        await asyncio.sleep(64.0)
        assert ([False] * 7 + [True]) * 8 == turns[1:65]
        await client.aclose()
        await asyncio.gather(*tasks, return_exceptions=True)

    simulated.run(main())


def test_a_retry_of_bulk_goes_before_what_was_not_sent():
    """The time of an item that failed runs already, so its retry does not queue."""

    async def main():
        sends = []

        async def answer(request, _):
            sends.append(int(request.session_id))
            await asyncio.sleep(1.0)
            if [1] == sends:
                raise ServerError("down", status=503)
            return session_of(request.session_id)

        client = client_of(answer, concurrency=1, cache=None)
        asked = [f"{n:024}" for n in range(1, 7)]
        calls = (client.get_sessions([each], via="get") for each in asked)
        for batch in await asyncio.gather(*calls):
            assert not batch.errors
        assert [1, 2, 1, 3, 4, 5, 6] == sends
        await client.aclose()

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


# -- tokens ----------------------------------------------------------------------------


def told(remaining, capacity=100, window=60):
    """Make what an answer says, of a bucket that holds so much."""
    reset = math.ceil((capacity - remaining) * window / capacity)
    return RateLimit(capacity, remaining, float(reset), f"{capacity};w={window}")


def new_pacer():
    return Pacer(asyncio.get_running_loop(), random.Random(0))


def gate_that_knows(remaining, slots=32, **options):
    """Make a gate that has just had its first answer."""
    gate = Gate(slots, new_pacer())
    call = Call(Priority.SINGLE, math.inf)
    assert gate.enter_nowait(call, simulated.now())
    gate.answered(call, simulated.now(), told(remaining, **options))
    return gate


def model_of(gate):
    return gate._pacer.model


def timers():
    """Count the timers that the loop holds, but not those that were called off."""
    return sum(not each.cancelled() for each in asyncio.get_running_loop()._scheduled)


class HastyLoop(simulated.SimulatedLoop):
    """A loop that, as uvloop, makes no timer for less than half a millisecond.

    What it returns then is a handle without `when`.
    """

    def call_at(self, when, callback, *args, context=None):
        if when - self.time() >= 0.0005:
            return super().call_at(when, callback, *args, context=context)
        self.clock.now = max(self.clock.now, when)
        return self.call_soon(callback, *args, context=context)


async def enter(gate, priority=Priority.SINGLE, deadline=math.inf, left=math.inf):
    """Enter the gate, and return when."""
    await gate.enter(Call(priority, deadline, backlog=Backlog(left)))
    return simulated.now()


def test_a_loop_may_have_no_timers_for_short_times():
    """Calls that wait for less than the loop's timers tell are served all the same."""

    async def main():
        gate = gate_that_knows(0, capacity=10_000, window=1)
        calls = [asyncio.create_task(enter(gate)) for _ in range(5)]
        await asyncio.gather(*calls)
        assert not any(gate.queues)

    with asyncio.Runner(loop_factory=HastyLoop) as runner:
        runner.run(main())


def test_one_probe_finds_out():
    """As long as nothing is known, one request goes and all others wait for it."""

    async def main():
        gate = Gate(500, new_pacer())
        probe = Call(Priority.BULK, math.inf)
        assert gate.enter_nowait(probe, 0.0)
        tasks = [asyncio.create_task(enter(gate)) for _ in range(200)]
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in tasks)
        gate.answered(probe, 0.0, told(99))
        await asyncio.sleep(0)
        assert 99 == sum(task.done() for task in tasks)
        for task in tasks:
            task.cancel()

    simulated.run(main())


def test_without_headers_nothing_is_paced():
    """When the first answer tells of no bucket, nobody waits; a later one may."""

    async def main():
        gate = Gate(500, new_pacer())
        call = Call(Priority.SINGLE, math.inf)
        await gate.enter(call)
        gate.answered(call, 0.0, None, RateLimitedError("", status=429))
        assert gate.after_refusal() is None
        calls = [Call(Priority.SINGLE, math.inf) for _ in range(200)]
        assert all(gate.enter_nowait(each, 0.0) for each in calls)
        gate.answered(calls[0], 0.0, told(199))
        assert not gate.enter_nowait(call, 0.0)

    simulated.run(main())


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (NotSentError("refused"), 0.0),
        (ConnectionLostError("reset"), 0.0),
        (asyncio.CancelledError(), 0.0),
        (None, 1.0),
    ],
)
def test_a_failed_probe_holds_nobody_back(error, seconds):
    """One that fails lets others go, and one that hangs does so after a second."""

    async def main():
        gate = Gate(500, new_pacer())
        probe = Call(Priority.SINGLE, math.inf)
        await gate.enter(probe)
        waiting = asyncio.create_task(enter(gate))
        await asyncio.sleep(0)
        if error is not None:
            gate.failed(probe, error)
        assert seconds == pytest.approx(await waiting)

    simulated.run(main())


def test_tokens_are_waited_for_in_turn():
    """Single calls wait for a token each, first come, first served, bulk after all."""

    async def main():
        gate = gate_that_knows(2)
        order = []

        async def visit(name, priority):
            order.append((name, await enter(gate, priority)))

        kinds = [("bulk", Priority.BULK), *((n, Priority.SINGLE) for n in range(5))]
        tasks = [asyncio.create_task(visit(*each)) for each in kinds]
        await asyncio.wait(tasks, timeout=60)
        assert [0, 1, 2, 3, 4, "bulk"] == [name for name, _ in order]
        waits = [when for _, when in order]
        assert [0.0, 0.0, 0.6, 1.2, 1.8] == pytest.approx(waits[:5], abs=1e-3)

    simulated.run(main())


def test_too_near_a_deadline_fails_at_once():
    """A call that would wait longer than it can is refused, with the time to wait."""

    async def main():
        gate = gate_that_knows(0)
        tasks = [asyncio.create_task(enter(gate)) for _ in range(9)]
        await asyncio.sleep(0)
        with pytest.raises(RateLimitedError) as caught:
            await enter(gate, deadline=5.9)
        assert (429, 0) == (caught.value.status, caught.value.attempts)
        assert 6.0 == pytest.approx(caught.value.retry_after)
        assert 0.0 == simulated.now()
        assert 6.0 == pytest.approx(await enter(gate, deadline=6.1), abs=1e-3)
        await asyncio.gather(*tasks)

    simulated.run(main())


def test_a_refusal_turns_away_whom_it_outlasts():
    """After `Retry-After: 60` nobody waits in vain whose time is up before."""

    async def main():
        gate = gate_that_knows(1)
        call = Call(Priority.SINGLE, math.inf)
        assert gate.enter_nowait(call, 0.0)
        short = asyncio.create_task(enter(gate, deadline=30.0))
        long = asyncio.create_task(enter(gate))
        await asyncio.sleep(0)
        refusal = RateLimitedError("", status=429, retry_after=60.0)
        gate.answered(call, 0.0, told(0), refusal)
        with pytest.raises(RateLimitedError) as caught:
            await short
        assert 60.0 == caught.value.retry_after
        assert 60.0 <= await long <= 61.0

    simulated.run(main())


@pytest.mark.parametrize("priority", Priority)
def test_who_waits_for_a_slot_waits_for_no_token(priority):
    """A long queue before one client's slot keeps no token from another client."""

    async def main():
        busy = gate_that_knows(57, slots=1, capacity=60)
        assert busy.enter_nowait(Call(Priority.SINGLE, math.inf), 0.0)
        tasks = [asyncio.create_task(enter(busy)) for _ in range(70)]
        await asyncio.sleep(0)
        idle = Gate(32, busy._pacer)
        for _ in range(3):
            assert 0.5 >= await enter(idle, priority, deadline=1.0, left=0)
        for task in tasks:
            task.cancel()

    simulated.run(main())


@pytest.mark.parametrize("priority", Priority)
def test_clients_take_turns_for_tokens(priority):
    """A client that has a long queue for tokens does not put off another's first."""

    async def main():
        busy = gate_that_knows(0, window=10)
        tasks = [asyncio.create_task(enter(busy, priority)) for _ in range(100)]
        await asyncio.sleep(0)
        idle = Gate(32, busy._pacer)
        with pytest.raises(RateLimitedError) as caught:
            await enter(idle, priority, deadline=0.1)
        assert 0.2 == pytest.approx(caught.value.retry_after)
        if priority is Priority.SINGLE:
            assert 0.2 == pytest.approx(await enter(idle, deadline=0.3), abs=1e-3)
        for task in tasks:
            task.cancel()

    simulated.run(main())


def closed(seconds, slots=32):
    """Make a gate whose service has just asked for so many seconds of quiet."""
    gate = gate_that_knows(50, slots=slots)
    refuse(gate, seconds)
    return gate


def refuse(gate, seconds, call=None):
    """Let a request be refused that asks for so many seconds of quiet."""
    if call is None:
        call = Call(Priority.SINGLE, math.inf)
        assert gate.enter_nowait(call, simulated.now())
    refusal = RateLimitedError("", status=429, retry_after=seconds)
    gate.answered(call, simulated.now(), told(0), refusal)


@pytest.mark.parametrize("priority", Priority)
def test_many_callers_of_a_service_that_refuses_everything(priority):
    """After a refusal requests leave one by one, until a success; 32 left before."""

    async def main():
        gate = gate_that_knows(900, slots=32, capacity=1_000, window=1)
        sends, well = [], False

        async def ask():
            while True:
                call = Call(priority, math.inf, backlog=Backlog(0))
                if not gate.enter_nowait(call, simulated.now()):
                    await gate.enter(call)
                now = simulated.now()
                sends.append(now)
                await asyncio.sleep(0.02)
                refusal = None if well else RateLimitedError("", status=429)
                gate.answered(call, now, told(900 * well, 1_000, 1), refusal)
                if well:
                    return now

        await asyncio.sleep(1.0)
        tasks = [asyncio.create_task(ask()) for _ in range(32)]
        await asyncio.sleep(4.0)
        assert len(sends) <= 32 + 20
        well = True
        ends = await asyncio.gather(*tasks)
        if priority is Priority.SINGLE:
            assert max(ends) <= min(ends) + 0.1

    simulated.run(main())


def test_who_has_little_time_waits_for_a_trial():
    """While one request finds out whether a refusal still holds, nobody is refused."""

    async def main():
        gate = gate_that_knows(50)
        await asyncio.sleep(0.1)
        refuse(gate, None)
        await asyncio.sleep(60.0)
        trial = Call(Priority.SINGLE, math.inf)
        assert gate.enter_nowait(trial, simulated.now())
        other = asyncio.create_task(enter(gate, deadline=simulated.now() + 0.5))
        await asyncio.sleep(0.1)
        assert not other.done()
        gate.answered(trial, simulated.now() - 0.1, told(40))
        assert simulated.now() == await other

    simulated.run(main())


@pytest.mark.parametrize(
    "error", [NotSentError("refused"), ConnectionLostError("reset")]
)
def test_a_trial_that_fails_holds_nobody_back(error):
    """A service that dies after a refusal makes calls fail, and not queue."""

    async def main():
        gate = gate_that_knows(50)
        await asyncio.sleep(0.1)
        refuse(gate, None)
        await asyncio.sleep(300.0)
        began = simulated.now()

        async def ask():
            call = Call(Priority.SINGLE, math.inf)
            await gate.enter(call)
            await asyncio.sleep(0.01)
            gate.failed(call, error)

        await asyncio.gather(*(ask() for _ in range(20)))
        assert simulated.now() <= began + 0.25

    simulated.run(main())


@pytest.mark.parametrize("priority", Priority)
def test_a_long_pause_is_looked_into_every_minute(priority):
    """Calls that cannot wait are refused, but one a minute asks the service again."""

    async def main():
        await asyncio.sleep(0.1)
        gate = closed(30_000.0)
        looks, waits = [], []
        for _ in range(40):
            await asyncio.sleep(5.0)
            for _ in range(3):
                call = Call(priority, math.inf, allowance=10.0)
                if priority is Priority.SINGLE:
                    call = Call(priority, simulated.now() + 10.0)
                try:
                    await gate.enter(call)
                except RateLimitedError as error:
                    waits.append(error.retry_after)
                else:
                    looks.append(call)
                    refuse(gate, 30_000.0, call)
        assert (3, 117) == (len(looks), len(waits))
        assert min(waits) > 29_000
        assert [0, 0] == gate._taken
        await asyncio.sleep(60.0)
        call = Call(priority, simulated.now() + 10.0, allowance=10.0)
        await gate.enter(call)
        with pytest.raises(RateLimitedError):  # one at a time
            await gate.enter(Call(priority, simulated.now() + 10.0, allowance=10.0))
        gate.answered(call, simulated.now(), told(90))
        for _ in range(20):
            assert gate.enter_nowait(Call(Priority.SINGLE, math.inf), simulated.now())

    simulated.run(main())


def test_a_look_without_an_answer_is_repeated_after_a_minute():
    """Nobody hammers a service that is closed because a look was lost."""

    async def main():
        await asyncio.sleep(0.1)
        gate = closed(30_000.0)
        await asyncio.sleep(60.0)
        for _ in range(2):
            call = Call(Priority.SINGLE, simulated.now() + 10.0)
            await gate.enter(call)
            gate.failed(call, ConnectionLostError("reset"))
            await asyncio.sleep(59.0)
            with pytest.raises(RateLimitedError):
                await gate.enter(Call(Priority.SINGLE, simulated.now() + 10.0))
            await asyncio.sleep(1.0)

    simulated.run(main())


def test_a_call_that_can_wait_does_not_look():
    """Nothing is sent before the service asks by those who have the time for it."""

    async def main():
        await asyncio.sleep(0.1)
        gate = closed(300.0)
        patient = asyncio.create_task(enter(gate))
        await asyncio.sleep(100.0)
        assert not patient.done()
        look = Call(Priority.SINGLE, simulated.now() + 10.0)
        await gate.enter(look)  # somebody else cannot wait so long
        refuse(gate, 100.0, look)  # and the newest word counts
        assert 200.0 == pytest.approx(await patient, abs=1.0)

    simulated.run(main())


def test_lost_requests_do_not_starve_a_small_bucket():
    """After ten connections died with their requests, the next token is soon there."""

    async def main():
        gate = gate_that_knows(10, capacity=10, window=10)
        for _ in range(10):
            call = Call(Priority.SINGLE, math.inf)
            assert gate.enter_nowait(call, simulated.now())
            gate.failed(call, ConnectionLostError("reset"))
        assert 1.0 == pytest.approx(await enter(gate, deadline=2.0), abs=1e-3)

    simulated.run(main())


def test_a_call_that_lacks_only_a_slot_is_not_refused_a_token():
    """With tokens left, a call that comes too late is not blamed on the rate limit."""

    async def main():
        gate = gate_that_knows(50, slots=1)
        await asyncio.sleep(1.0)
        call = Call(Priority.SINGLE, math.inf)
        assert gate.enter_nowait(call, simulated.now())
        late = asyncio.create_task(enter(gate, deadline=0.5))
        await asyncio.sleep(0)
        assert not late.done()
        gate.answered(call, simulated.now(), told(49))
        assert 1.0 == pytest.approx(await late)

    simulated.run(main())


def test_gates_share_a_bucket():
    """Two clients of one token take from one bucket, each with slots of its own."""

    async def main():
        one = gate_that_knows(3, slots=2)
        other = Gate(2, one._pacer)
        calls = [Call(Priority.SINGLE, math.inf) for _ in range(4)]
        assert one.enter_nowait(calls[0], 0.0)
        assert one.enter_nowait(calls[1], 0.0)
        assert not one.enter_nowait(calls[2], 0.0)  # no slot
        assert other.enter_nowait(calls[2], 0.0)
        assert not other.enter_nowait(calls[3], 0.0)  # no token
        assert 0.6 == pytest.approx(await enter(other), abs=1e-3)

    simulated.run(main())


def test_a_pacer_for_each_user_and_loop():
    """Clients share a pacer when base URL, token and loop are the same."""

    async def pacers():
        rng = random.Random(0)
        one = shared_pacer("http://a", "t", rng)
        assert one is shared_pacer("http://a", "t", rng)
        assert one is not shared_pacer("http://a", "u", rng)
        assert one is not shared_pacer("http://b", "t", rng)
        gone = weakref.ref(one)
        del one
        gc.collect()
        assert gone() is None

    simulated.run(pacers())
    simulated.run(pacers())


def test_ten_thousand_waiters_one_timer():
    """However many wait, the loop holds one timer, and all can leave at once."""

    async def main():
        gate = gate_that_knows(0, slots=64)
        tasks = [asyncio.create_task(enter(gate)) for _ in range(10_000)]
        await asyncio.sleep(0)
        assert 1 == timers()
        await asyncio.sleep(30.1)
        assert 50 == sum(task.done() for task in tasks)
        assert 1 == timers()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert 0 == sum(map(len, gate.queues))

    simulated.run(main())


@pytest.mark.timing
async def test_waiting_costs_next_to_nothing():
    """Ten thousand waiters take no more than 2 % of the CPU."""
    gate = Gate(64, new_pacer())
    call = Call(Priority.SINGLE, math.inf)
    assert gate.enter_nowait(call, 0.0)
    gate.answered(call, 0.0, told(0))
    tasks = [asyncio.create_task(enter(gate)) for _ in range(10_000)]
    await asyncio.sleep(0.1)
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.sleep(2.0)
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - began
    print(f"\n10,000 waiters: {cpu / seconds:.2%} CPU")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert cpu <= 0.02 * seconds


@pytest.mark.property
@given(
    st.lists(
        st.tuples(
            st.sampled_from(Priority),
            st.floats(0, 3),  # when it comes
            st.floats(0, 2),  # how long its request takes
            st.none() | st.floats(0, 4),  # when it is cancelled
            st.booleans(),  # whether its request was sent
        ),
        max_size=30,
    ),
    st.integers(1, 10),
)
def test_law_tokens_are_conserved(plan, remaining):
    """Whoever is cancelled at whatever step: each token is spent or given back."""

    async def main():
        gate = gate_that_knows(remaining, slots=4, window=10**6)
        sent = 0

        async def visit(priority, arrives, stays, cancelled, is_sent):
            nonlocal sent
            await asyncio.sleep(arrives)
            call = Call(priority, math.inf, backlog=Backlog(0))
            await gate.enter(call)
            if not is_sent:
                gate.leave(call)
                return
            sent += 1
            try:
                await asyncio.sleep(stays)
            except asyncio.CancelledError as error:
                gate.failed(call, error)
                raise
            gate.answered(call, 0.0)

        tasks = []
        for each in plan:
            task = asyncio.create_task(visit(*each))
            if each[3] is not None:
                asyncio.get_running_loop().call_at(each[3], task.cancel)
            tasks.append(task)
        await asyncio.sleep(5)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        model = model_of(gate)
        assert sent <= remaining
        assert remaining - sent == pytest.approx(model.level(simulated.now()), abs=0.1)
        model.level(simulated.now() + 6)
        assert 0 == model.in_flight
        assert [0, 0] == gate._taken
        assert [0, 0] == [len(queue) for queue in gate.queues]

    simulated.run(main())


def test_a_turn_that_nobody_takes_is_given_back():
    """Cancelled in the very turn in which it was let go, a call costs no token."""

    async def main():
        gate = gate_that_knows(0)
        task = asyncio.create_task(enter(gate))
        await asyncio.sleep(0)
        next(iter(gate.queues[Priority.SINGLE]))
        gate.admit(Priority.SINGLE, 0.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (0.0, 0) == (model_of(gate).level(0.0), model_of(gate).in_flight)
        assert [0, 0] == gate._taken

    simulated.run(main())


def test_a_cancelled_waiter_is_skipped():
    """One that was cancelled, and does not know it yet, takes no token."""

    async def main():
        gate = gate_that_knows(1)
        call = Call(Priority.SINGLE, math.inf)
        assert gate.enter_nowait(call, 0.0)
        first, second = (asyncio.create_task(enter(gate)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        gate.leave(call)  # in the same turn of the loop
        assert 0.0 == await second
        assert first.cancelled()
        assert 1 == model_of(gate).in_flight

    simulated.run(main())


def test_a_turn_that_comes_too_late_is_given_back():
    """A call that gets its turn when its time is up takes no slot from the others."""

    async def answer(request, _):
        await asyncio.sleep(10.002)
        return session_of(request.session_id)

    async def main():
        client = client_of(answer, concurrency=1, cache=None)
        first = asyncio.create_task(client.get_session("1" * 24))
        await asyncio.sleep(0)
        with pytest.raises(DeadlineError) as caught, client.deadline(10.0):
            await client.get_session("2" * 24)
        assert not caught.value.sent
        assert 10.0 <= simulated.now() <= 10.01
        await first
        await client.get_session("3" * 24)
        assert simulated.now() == pytest.approx(20.004)
        await client.aclose()

    simulated.run(main())


@pytest.mark.parametrize(
    ("error", "most"),
    [(ConnectionLostError("reset"), 1.0), (DeadlineError("late", sent=True), 6.0)],
)
def test_lost_requests_starve_no_small_bucket(error, most):
    """After ten lost creates the next call of a bucket of ten need not wait for long.

    They hold tokens for as long as they may still arrive, and after that no more.
    """

    async def main():
        gate = gate_that_knows(10, capacity=10, window=10)
        creates = [Call(Priority.SINGLE, math.inf) for _ in range(10)]
        for create in creates:
            assert gate.enter_nowait(create, 0.0)
        for create in creates:
            gate.failed(create, error)
        assert await enter(gate) <= most + 0.001
        await asyncio.sleep(60.0)
        ends = await asyncio.gather(*(enter(gate) for _ in range(9)))
        assert ends == [pytest.approx(simulated.now(), abs=0.001)] * 9

    simulated.run(main())


@pytest.mark.parametrize("priority", Priority)
def test_each_client_of_a_bucket_is_served(priority):
    """Of two clients that always want more than there is, each gets one in two."""

    async def want(service, gate, process):
        while True:
            await send(service, gate, Call(priority, math.inf), process)

    async def main():
        bucket = TokenBucket(10, 10.0)
        service = Service(bucket, random.Random(0), delay=0.01, jitter=0.0)
        pacer = new_pacer()
        clients = [(Gate(8, pacer), Process()) for _ in range(2)]
        tasks = [
            asyncio.create_task(want(service, *client))
            for client in clients
            for _ in range(12)
        ]
        await asyncio.sleep(60.0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        accepted = [process.accepted for _, process in clients]
        assert sum(accepted) >= 60
        assert max(accepted) <= min(accepted) + 8

    simulated.run(main())


@pytest.mark.parametrize(
    "error", [NotSentError("refused"), DeadlineError("late", sent=False)]
)
def test_what_was_not_sent_costs_no_token(error):
    """A call that failed before it was sent leaves its token to the next one."""

    async def main():
        gate = gate_that_knows(1)
        call = Call(Priority.SINGLE, math.inf)
        assert gate.enter_nowait(call, 0.0)
        gate.failed(call, error)
        assert 0.0 == await enter(gate)

    simulated.run(main())


@pytest.mark.parametrize(
    ("error", "out"),
    [
        (DeadlineError("late"), 1),
        (asyncio.CancelledError(), 1),
        (ConnectionLostError("reset"), 0),
        (ResponseShapeError("no HTTP"), 0),
    ],
)
def test_what_was_cut_off_may_still_arrive(error, out):
    """A request counts as out for a while, unless its connection is gone."""

    async def main():
        gate = gate_that_knows(50)
        call = Call(Priority.SINGLE, math.inf)
        assert gate.enter_nowait(call, simulated.now())
        gate.failed(call, error)
        assert out == model_of(gate).in_flight

    simulated.run(main())


@pytest.mark.parametrize(("left", "is_cause"), [(0, True), (1, False)])
def test_a_refusal_with_tokens_left_is_not_for_want_of_them(left, is_cause):
    """The pacer foretells nothing where the service refuses for reasons of its own."""

    async def main():
        gate = gate_that_knows(50)
        call = Call(Priority.SINGLE, math.inf)
        assert gate.enter_nowait(call, 0.0)
        gate.answered(call, 0.0, told(left), RateLimitedError("", status=429))
        assert is_cause == (gate.after_refusal() is not None)

    simulated.run(main())


@pytest.mark.parametrize(("left", "enters"), [(0, True), (49, True), (50, False)])
def test_only_a_bulk_that_fits_goes_ahead(left, enters):
    """With 50 tokens, 50 ids begin at once; the first of 51 waits for the law."""

    async def main():
        gate = gate_that_knows(50)
        call = Call(Priority.BULK, math.inf, backlog=Backlog(left))
        assert enters == gate.enter_nowait(call, 0.0)

    simulated.run(main())


def test_a_bulk_call_that_tries_again_is_ahead_of_the_others():
    """It waits although those behind it have no chance to go before its deadline."""

    async def main():
        gate = gate_that_knows(0)
        tasks = [asyncio.create_task(enter(gate, Priority.BULK)) for _ in range(20)]
        await asyncio.sleep(0)
        call = Call(Priority.BULK, simulated.now() + 1.5, backlog=Backlog(0))
        with pytest.raises(RateLimitedError):
            await gate.enter(call)
        call.attempts = 1
        tasks.append(asyncio.create_task(gate.enter(call)))
        await asyncio.sleep(0.1)
        assert not tasks[-1].done()
        for task in tasks:
            task.cancel()

    simulated.run(main())


def test_what_was_lost_costs_its_token_and_no_slot():
    """A call without an answer may have been served, but its slot is free."""

    async def main():
        for left, least in ((50, 0.0), (1, 0.5)):
            gate = gate_that_knows(left, slots=1)
            call = Call(Priority.SINGLE, math.inf)
            began = simulated.now()
            assert gate.enter_nowait(call, began)
            gate.failed(call, DeadlineError("late"))
            assert least <= await enter(gate) - began <= least + 0.2

    simulated.run(main())


def test_bulk_that_leaves_holds_no_bulk_back():
    """A call of a bulk that is not sent after all makes room for the next one."""

    async def main():
        gate = gate_that_knows(50)
        for _ in range(50):
            call = Call(Priority.BULK, math.inf, backlog=Backlog(0))
            await gate.enter(call)
            gate.leave(call)
        assert 0.0 == simulated.now()

    simulated.run(main())


def test_a_single_call_does_not_queue_behind_full_bulk():
    """Where bulk has all of its share, a single call still enters at once."""

    async def main():
        gate = gate_that_knows(50, slots=4)
        for _ in range(3):
            await enter(gate, Priority.BULK)
        await asyncio.sleep(60.0)
        now = simulated.now()
        assert not gate.enter_nowait(Call(Priority.BULK, math.inf), now)
        assert gate.enter_nowait(Call(Priority.SINGLE, math.inf), now)

    simulated.run(main())


def test_bulk_knows_that_single_calls_go_first():
    """A call of a bulk is refused at once if the single calls leave it no time."""

    async def main():
        gate = gate_that_knows(0)
        tasks = [asyncio.create_task(enter(gate)) for _ in range(9)]
        await asyncio.sleep(0)
        with pytest.raises(RateLimitedError) as caught:
            await enter(gate, Priority.BULK, deadline=5.9)
        assert 6.0 == pytest.approx(caught.value.retry_after)
        for task in tasks:
            task.cancel()

    simulated.run(main())


def test_another_try_waits_for_the_bucket_only_if_that_refused():
    """A refusal with tokens left has another reason, which the pacer does not know."""

    async def main():
        gate = gate_that_knows(50)
        for left, is_known in ((0, True), (40, False)):
            call = Call(Priority.SINGLE, math.inf)
            await gate.enter(call)
            refusal = RateLimitedError("", status=429, retry_after=5.0)
            gate.answered(call, simulated.now(), told(left), refusal)
            wait = gate.after_refusal()
            assert (wait is not None) == is_known
            assert wait is None or wait >= 5.0

    simulated.run(main())
