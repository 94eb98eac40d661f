import asyncio
import contextlib
import math
import random

import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st
from simulation import client_of

from emogg_async._calls.call import Call, Priority
from emogg_async._calls.policy import RetryPolicy
from emogg_async._calls.retry import REWARD, Budget, Retrier, Verdict, verdict
from emogg_async._wire.protocol import Repeat, Request
from emogg_async.errors import (
    AuthenticationError,
    BadRequestError,
    ClientClosedError,
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    InvalidArgumentError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseShapeError,
    ServerError,
    StatusError,
)

FACTS = {"method": "GET", "path": "/v1/sessions/65ea1530bb50af72b6e3dc1e"}


def server_error(status=503, retry_after=None):
    return ServerError("down", status=status, retry_after=retry_after, **FACTS)


def rate_limited(retry_after=None):
    return RateLimitedError("slow down", status=429, retry_after=retry_after, **FACTS)


NOT_SENT = NotSentError("refused", **FACTS)
LOST = ConnectionLostError("reset", **FACTS)
LATE = DeadlineError("late", **FACTS)
UNSENT_LATE = DeadlineError("late", sent=False, **FACTS)
GARBAGE = ResponseShapeError("garbage", **FACTS)
NOT_FOUND = NotFoundError("gone", status=404, **FACTS)


def depart(call):
    """Note that a request of *call* leaves, as the pipeline does."""
    if not call.attempts:
        call.departed = simulated.now()
    call.attempts += 1
    call.is_out = True


async def carry_out(retrier, request, call, attempt):
    """Do what the pipeline does: the retrier hears of failures only."""
    try:
        result = await attempt(request, call)
    except EmoggError as error:
        return await retrier.retry(request, call, attempt, error)
    retrier.budget.give(REWARD)
    return result


class Service:
    """Attempts that end as planned, and the waits between them, in simulated time."""

    def __init__(
        self, *ends, policy=None, repeat=Repeat.SAFE, seed=0, paced=lambda: None
    ):
        self.ends = list(ends)
        self.sends = []
        self.waits = []
        self.request = Request("GET", FACTS["path"], repeat=repeat)
        self.retrier = Retrier(
            policy or RetryPolicy(),
            rng=random.Random(seed),
            paced=paced,
            on_retry=self.note,
        )

    def note(self, request, call, wait):
        assert request is self.request
        self.waits.append(wait)

    async def attempt(self, request, call):
        assert request is self.request
        depart(call)
        self.sends.append(simulated.now())
        end = self.ends.pop(0) if self.ends else "done"
        if callable(end):
            end = await end()
        if isinstance(end, BaseException):
            raise end
        call.is_out = False
        return end

    async def run(self, deadline=60.0):
        self.call = Call(Priority.SINGLE, deadline)
        return await carry_out(self.retrier, self.request, self.call, self.attempt)


TABLE = [
    # failure, GET, PATCH and PUT, DELETE, POST
    (NOT_SENT, "RETRY", "RETRY", "RETRY", "RETRY"),
    (UNSENT_LATE, "RETRY", "RETRY", "RETRY", "RETRY"),
    (NotSentError("password", final=True), "RAISE", "RAISE", "RAISE", "RAISE"),
    (rate_limited(), "RETRY_FREE", "RETRY_FREE", "RETRY_FREE", "RETRY_FREE"),
    (LOST, "RETRY", "RETRY", "RETRY", "RAISE"),
    (LATE, "RETRY", "RETRY", "RETRY", "RAISE"),
    (server_error(500), "RETRY", "RETRY", "RETRY", "RAISE"),
    (server_error(599), "RETRY", "RETRY", "RETRY", "RAISE"),
    (StatusError("", status=408), "RETRY", "RETRY", "RETRY", "RAISE"),
    (server_error(501), "RAISE", "RAISE", "RAISE", "RAISE"),
    (server_error(505), "RAISE", "RAISE", "RAISE", "RAISE"),
    (GARBAGE, "RETRY_ONCE", "RAISE", "RAISE", "RAISE"),
    (NOT_FOUND, "RAISE", "RAISE", "RAISE", "RAISE"),
    (BadRequestError("", status=400), "RAISE", "RAISE", "RAISE", "RAISE"),
    (AuthenticationError("", status=401), "RAISE", "RAISE", "RAISE", "RAISE"),
    (PermissionDeniedError("", status=403), "RAISE", "RAISE", "RAISE", "RAISE"),
    (StatusError("", status=302), "RAISE", "RAISE", "RAISE", "RAISE"),
    (StatusError("", status=409), "RAISE", "RAISE", "RAISE", "RAISE"),
]


@pytest.mark.parametrize(
    ("error", "repeat", "expected"),
    [
        (row[0], repeat, expected)
        for row in TABLE
        for repeat, expected in zip(Repeat, row[1:], strict=True)
    ],
)
def test_the_table(error, repeat, expected):
    """Each call and failure is judged as the table says."""
    assert Verdict[expected] is verdict(error, repeat)


def test_a_first_success_is_returned_as_it_is():
    """A call that works costs no wait."""
    service = Service("value")
    assert "value" == simulated.run(service.run())
    assert [] == service.waits


def test_failures_are_retried_with_growing_full_jitter():
    """Each wait lies between 0 and the cap for its turn, and a success ends them."""
    service = Service(server_error(), LOST, NOT_SENT, LATE, server_error(500))
    assert "done" == simulated.run(service.run())
    assert 6 == len(service.sends)
    for turn, wait in enumerate(service.waits):
        assert 0 <= wait <= min(8.0, 0.25 * 2**turn)


def test_attempts_are_bounded():
    """After six attempts the last failure is raised, and says how many there were."""
    service = Service(*(server_error() for _ in range(9)))
    with pytest.raises(ServerError) as caught:
        simulated.run(service.run())
    assert 6 == caught.value.attempts == len(service.sends)


def test_what_does_not_decode_is_retried_once():
    """A second undecodable answer is the last."""
    service = Service(GARBAGE, GARBAGE, "never")
    with pytest.raises(ResponseShapeError):
        simulated.run(service.run())
    assert 2 == len(service.sends)


def test_a_429_is_no_attempt():
    """Only the deadline bounds refusals, and they take nothing from the budget."""
    service = Service(*(rate_limited(retry_after=1.0) for _ in range(30)))
    assert "done" == simulated.run(service.run(deadline=600))
    assert 31 == len(service.sends)
    assert 40.0 == service.retrier.budget.level


def test_the_pacer_decides_when_a_429_is_retried():
    """It holds the next attempt back itself, so nothing is waited before."""
    service = Service(rate_limited(), rate_limited(), paced=lambda: 5.0)
    assert "done" == simulated.run(service.run())
    assert [0.0, 0.0, 0.0] == service.sends


def test_the_pacer_knows_that_a_retry_would_be_too_late():
    """When the next token comes after the deadline, the refusal is raised at once."""
    service = Service(rate_limited(), paced=lambda: 61.0)
    with pytest.raises(RateLimitedError) as caught:
        simulated.run(service.run())
    assert (1, 61.0) == (caught.value.attempts, caught.value.retry_after)


def test_what_our_own_pacer_refuses_is_not_retried():
    """It would only refuse again."""
    service = Service()

    async def refuse():
        service.call.is_refused = True
        service.call.attempts = 0
        raise rate_limited(retry_after=0.1)

    service.ends.append(refuse)
    with pytest.raises(RateLimitedError) as caught:
        simulated.run(service.run())
    assert (1, 0) == (len(service.sends), caught.value.attempts)


@pytest.mark.parametrize("error", [server_error(retry_after=7.0), rate_limited(7.0)])
def test_nothing_is_sent_before_the_service_asks(error):
    """`Retry-After` is a floor of the wait."""
    service = Service(error)
    simulated.run(service.run())
    assert service.sends[1] >= 7.0


@pytest.mark.parametrize("status", [400, 403, 404])
def test_retry_after_revives_nothing_that_is_final(status):
    """A final status stays final, whatever its headers say."""
    service = Service(StatusError("no", status=status, retry_after=1.0))
    with pytest.raises(StatusError):
        simulated.run(service.run())
    assert 1 == len(service.sends)


def test_a_wait_that_cannot_pay_is_not_waited():
    """When the wait does not fit the deadline, the failure comes at once."""
    service = Service(server_error(retry_after=86_400.0))

    async def main():
        with pytest.raises(ServerError) as caught:
            await service.run(deadline=30.0)
        return caught.value, simulated.now()

    error, ended = simulated.run(main())
    assert (86_400.0, 0.0) == (error.retry_after, ended)


def test_a_deadline_that_moves_away_counts():
    """Somebody who joins later with more time makes more retries possible."""
    service = Service(server_error(retry_after=5.0))

    async def main():
        task = asyncio.create_task(service.run(deadline=1.0))
        await asyncio.sleep(0)
        return await task

    async def extended():
        async def fail_late():
            await asyncio.sleep(0.5)
            service.call.extend(60.0, simulated.now())
            return server_error(retry_after=5.0)

        service.ends[:] = [fail_late]
        return await service.run(deadline=1.0)

    with pytest.raises(ServerError):
        simulated.run(main())
    assert "done" == simulated.run(extended())


def test_cancellation_is_never_retried():
    """A cancelled attempt, or wait, ends the call at once."""
    in_flight = lambda: asyncio.sleep(10)  # noqa: E731
    for sends, ends in (
        (1, [in_flight]),
        (1, [server_error(retry_after=10.0)]),
        (2, [NOT_SENT, in_flight]),
    ):
        service = Service(*ends)

        async def main(service=service):
            task = asyncio.create_task(service.run())
            await asyncio.sleep(1)
            task.cancel()
            await asyncio.sleep(0)
            assert task.cancelled()
            await asyncio.sleep(30)

        simulated.run(main())
        assert sends == len(service.sends)


def test_a_bug_is_not_retried():
    """An exception that is none of ours passes through, in a retry too."""
    service = Service(server_error(), KeyError("bug"), "never")
    with pytest.raises(KeyError):
        simulated.run(service.run())
    assert 2 == len(service.sends)


def test_concurrent_calls_get_their_own_errors():
    """Ten calls that fail in ten ways at the same time each get their own failure."""

    async def main():
        retrier = Retrier(RetryPolicy(attempts=3), rng=random.Random(1))

        async def one(number):
            async def attempt(request, call):
                depart(call)
                await asyncio.sleep(0.01 * number)
                raise ServerError(f"number {number}", status=500 + 10 * number)

            call = Call(Priority.SINGLE, 600.0)
            return await carry_out(retrier, Request("GET", "/x"), call, attempt)

        return await asyncio.gather(*map(one, range(10)), return_exceptions=True)

    errors = simulated.run(main())
    assert [f"number {number}" for number in range(10)] == [e.message for e in errors]
    assert {3} == {error.attempts for error in errors}


class TestGivingUp:
    def test_a_call_may_decline_a_retry(self):
        """It is told of the error and of the time of the retry, and decides."""
        for declines, sends in ((True, 1), (False, 2)):
            service, asked = Service(LOST), []

            def gives_up(*facts, asked=asked, declines=declines):
                asked.append(facts)
                return declines

            async def main(service=service, gives_up=gives_up):
                call = Call(Priority.SINGLE, 60.0, gives_up=gives_up)
                retrier, request = service.retrier, service.request
                with contextlib.suppress(ConnectionLostError):
                    await carry_out(retrier, request, call, service.attempt)
                return call

            call = simulated.run(main())
            [(told, error, retry_at)] = asked
            assert (call, LOST) == (told, error)
            assert 0.0 < retry_at <= 0.25
            assert [0.0, retry_at][:sends] == service.sends


class TestWrites:
    def test_a_create_whose_answer_is_lost_is_not_sent_again(self):
        """The outcome is unknown, the cause is chained, and one request was sent."""
        for lost in (LOST, LATE, server_error(), GARBAGE):
            service = Service(lost, repeat=Repeat.ONCE)
            with pytest.raises(OutcomeUnknownError) as caught:
                simulated.run(service.run())
            assert lost is caught.value.__cause__
            assert 1 == caught.value.attempts == len(service.sends)
            facts = {"method": caught.value.method, "path": caught.value.path}
            assert FACTS == facts

    def test_a_create_that_was_not_sent_is_retried(self):
        """What surely never left, or was refused by the limiter, may be sent again."""
        service = Service(NOT_SENT, UNSENT_LATE, rate_limited(), repeat=Repeat.ONCE)
        assert "done" == simulated.run(service.run())

    def test_a_create_that_is_cut_off_before_it_was_sent_is_no_doubt(self):
        """Closed while it waits to be tried again, it surely had no effect."""

        async def answer(request, _):
            raise NotSentError("refused")

        async def main():
            client = client_of(answer, retry=RetryPolicy(base=4.0))
            create = asyncio.create_task(client.request("POST", "/v1/x"))
            await asyncio.sleep(0.1)
            await client.aclose()
            with pytest.raises(ClientClosedError):
                await create

        simulated.run(main())

    def test_a_definite_refusal_is_no_doubt(self):
        """A write that was refused for good is simply refused."""
        for status in (400, 404, 409, 501):
            kind = ServerError if status == 501 else StatusError
            service = Service(kind("no", status=status), repeat=Repeat.ONCE)
            with pytest.raises(kind):
                simulated.run(service.run())

    def test_an_earlier_doubt_outlives_a_later_refusal(self):
        """A write that may have worked and was refused afterwards stays in doubt."""
        for repeat in (Repeat.IDEMPOTENT, Repeat.SETTLE):
            service = Service(LOST, NOT_FOUND, repeat=repeat)
            with pytest.raises(OutcomeUnknownError) as caught:
                simulated.run(service.run())
            assert NOT_FOUND is caught.value.__cause__
            assert 2 == len(service.sends)

    def test_an_idempotent_write_is_repeated(self):
        """Sending it twice is like sending it once, so it is sent again."""
        for repeat in (Repeat.IDEMPOTENT, Repeat.SETTLE):
            service = Service(LOST, server_error(), repeat=repeat)
            assert "done" == simulated.run(service.run())


class TestBudget:
    def test_an_outage_is_no_storm(self):
        """While everything fails, the service sees at most 1.05 requests for a call."""

        async def main():
            service = Service()

            async def fail(request, call):
                depart(call)
                service.sends.append(0)
                raise server_error()

            async def one():
                call = Call(Priority.SINGLE, simulated.now() + 60)
                with pytest.raises(ServerError):
                    await carry_out(service.retrier, service.request, call, fail)

            for _ in range(20):
                await asyncio.gather(*(one() for _ in range(50)))
            return len(service.sends)

        assert simulated.run(main()) <= 1050

    def test_it_recovers_with_successes(self):
        """After enough calls that worked at once, retries are possible again."""
        budget = Budget(40.0)
        while budget.take(1.0):
            pass
        assert not budget.take(1.0)
        for _ in range(5):
            budget.give(0.2)
        assert budget.take(1.0)

    def test_what_was_not_sent_takes_half(self):
        """A budget of one pays for two retries of what never left, else for one."""
        for error, sends in ((NOT_SENT, 3), (LOST, 2)):
            service = Service(*[error] * 9, policy=RetryPolicy(budget=1.0))
            with pytest.raises(type(error)):
                simulated.run(service.run())
            assert sends == len(service.sends)

    def test_one_in_five_failing_costs_nobody_a_call(self):
        """With 20 % of all attempts failing, a hundred callers lose next to nothing."""

        async def main():
            rng = random.Random(5)
            retrier = Retrier(RetryPolicy(), rng=rng)
            failed = 0

            async def attempt(request, call):
                depart(call)
                await asyncio.sleep(0.02)
                if rng.random() < 0.2:
                    raise server_error()

            async def caller():
                nonlocal failed
                for _ in range(50):
                    call = Call(Priority.SINGLE, simulated.now() + 60)
                    try:
                        await carry_out(retrier, Request("GET", "/x"), call, attempt)
                    except ServerError:
                        failed += 1

            await asyncio.gather(*(caller() for _ in range(100)))
            return failed

        assert simulated.run(main()) <= 5  # of 5,000

    @pytest.mark.property
    @given(
        st.lists(st.sampled_from(["first", "retry", "refund"]), max_size=400),
        st.floats(0, 50),
    )
    def test_retries_never_exceed_what_was_earned(self, events, capacity):
        """Retries are at most the budget, a fifth of first successes, and refunds."""
        budget = Budget(capacity)
        retries = firsts = refunds = 0
        for event in events:
            if event == "first":
                budget.give(0.2)
                firsts += 1
            elif event == "refund":
                budget.give(1.0)
                refunds += 1
            else:
                retries += budget.take(1.0)
        assert retries <= capacity + 0.2 * firsts + refunds + 1e-6
        assert 0 <= budget.level <= capacity


def test_a_thousand_clients_spread_their_retries():
    """Full jitter: no 50 ms see more than three times the mean of retries."""
    waits = []
    for seed in range(1000):
        service = Service(server_error(), policy=RetryPolicy(base=2.0), seed=seed)
        simulated.run(service.run())
        waits += service.waits
    slots = [0] * 40
    for wait in waits:
        slots[int(wait / 0.05)] += 1
    assert max(slots) <= 3 * len(waits) / 40


ENDS = st.sampled_from(
    [NOT_SENT, UNSENT_LATE, LOST, LATE, GARBAGE, NOT_FOUND, "done"]
) | st.builds(
    lambda kind, after: kind(retry_after=after),
    st.sampled_from([server_error, rate_limited]),
    st.none() | st.floats(0, 100),
)


@pytest.mark.property
@given(
    ends=st.lists(ENDS, max_size=20),
    repeat=st.sampled_from(Repeat),
    deadline=st.floats(0.01, 120),
    seed=st.integers(0, 99),
)
def test_laws_of_retrying(ends, repeat, deadline, seed):
    """Attempts, waits and time are bounded; a create in doubt is never resent."""
    service = Service(*ends, repeat=repeat, seed=seed)

    async def main():
        try:
            result = await service.run(deadline)
        except EmoggError as error:
            result = error
        return result, simulated.now()

    _, ended = simulated.run(main())
    assert ended <= deadline
    ended_as = ends[: len(service.sends)]
    assert 6 >= sum(not isinstance(end, RateLimitedError) for end in ended_as)
    for end, sent, resent in zip(
        ended_as, service.sends, service.sends[1:], strict=False
    ):
        if isinstance(end, StatusError) and end.retry_after:
            assert resent - sent >= end.retry_after - 1e-9
        if repeat is Repeat.ONCE:
            assert end not in (LOST, LATE, GARBAGE)
    assert math.isfinite(sum(service.waits))


class TestPolicy:
    @pytest.mark.parametrize(
        "option",
        [
            {"attempts": 0},
            {"attempts": 2.5},
            {"attempts": True},
            {"base": 0},
            {"base": math.nan},
            {"cap": -1.0},
            {"cap": math.inf},
            {"budget": -1},
            {"budget": "40"},
        ],
    )
    def test_refuses_nonsense(self, option):
        """A policy out of its range is refused where it is made, by name."""
        with pytest.raises(InvalidArgumentError, match=next(iter(option))):
            RetryPolicy(**option)

    def test_backoff_has_a_ceiling(self):
        """The longest wait doubles up to the cap, and never overflows."""
        policy = RetryPolicy()
        assert [0.25, 0.5, 1.0] == [policy.backoff(n) for n in (1, 2, 3)]
        assert 8.0 == policy.backoff(100_000)
