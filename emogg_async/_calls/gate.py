"""The gate that every request passes; it decides who may send, and when.

A request needs a slot of its client and a token of the user's bucket. It takes both at
once, so that it holds neither while it waits for the other, or sleeps between two
attempts. Single calls go first, and bulk work never has all slots. Where both wait for
a slot, a bulk call goes after seven single calls have passed it; for tokens, bulk
always yields.
"""

import asyncio
import math
import random
from collections import OrderedDict
from contextvars import Context
from typing import Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from emogg_async._calls.bucket import BucketModel
from emogg_async._calls.call import BULK, SINGLE, Call, Priority, bulk_share
from emogg_async._wire.protocol import RateLimit
from emogg_async.errors import (
    ConnectionLostError,
    DeadlineError,
    NotSentError,
    RateLimitedError,
    ResponseShapeError,
)

__all__ = ["Gate", "Pacer", "shared_pacer"]

SHORT_PAUSE_SECONDS: Final = 1.0
"""Seconds of a pause of the service that turn nobody away."""

MIN_TIMER_SECONDS: Final = 1e-4
"""Seconds for which a timer is set at least, or rounding could let it fire for ever."""

PASSES_BEFORE_BULK: Final = 7
"""Single calls that pass a waiting bulk call before it goes. Endless single calls would
otherwise starve bulk, and listings with it."""

Queue = OrderedDict[asyncio.Future[None], Call]


class Pacer:
    """Gives out the tokens of one bucket, to the gates of all clients that share it.

    There is one timer, for the first of those who wait.

    Args:
        loop: The loop of those gates.
        rng: The source of jitter.
        is_blind: Whether to ignore the bucket: there is always a token.

    Attributes:
        loop: The loop of those gates.
        model: What is known of the bucket.
        waiting_gates: The gates where calls wait, in the order of their next turns.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rng: random.Random,
        *,
        is_blind: bool = False,
    ) -> None:
        self.loop = loop
        self.model = BucketModel(rng, is_blind=is_blind)
        self.waiting_gates: OrderedDict[Gate, None] = OrderedDict()
        self._timer: asyncio.Handle | None = None
        self._rings_at = math.inf

    def waiting(self, priority: Priority) -> int:
        """Return how many wait for a token, in all gates."""
        return sum(gate.waiting(priority) for gate in self.waiting_gates)

    def forecast(self, now: float, gate: "Gate", priority: Priority, own: int) -> float:
        """Return the least seconds that one more of *priority* will have to wait.

        Args:
            now: The present time.
            gate: Its gate.
            priority: Its priority; bulk lets all single calls go first.
            own: How many of its priority go first in its gate. Gates take turns, so as
                many go first in each of the others, but at least one.
        """
        ahead = own + sum(
            min(each.waiting(priority), max(own, 1))
            for each in self.waiting_gates
            if each is not gate
        )
        if priority is BULK:
            ahead += self.waiting(SINGLE)
        return self.model.forecast(now, ahead + 1)

    def pump(self) -> None:
        """Let all calls go that may, and set the timer for the first that may not."""
        now = self.loop.time()
        for gate in self.waiting_gates:
            gate.admit_unpaced(now)
        for priority in Priority:
            wait = self._admit(priority, now)
            if wait is not None:
                self._set_timer(now + max(wait, MIN_TIMER_SECONDS))
                break

    def _admit(self, priority: Priority, now: float) -> float | None:
        """Return the seconds until the next call may go; None if no call waits."""
        for gate in list(self.waiting_gates):
            while (call := gate.first(priority)) is not None:
                wait = self._wait(call, now)
                if wait > 0.0:
                    return wait
                overdue = gate.overdue()
                if overdue and not self._wait(overdue, now):
                    call = overdue
                gate.admit(call.priority, now)
                self.waiting_gates.move_to_end(gate)
            if not (gate.unpaced or any(gate.queues)):
                del self.waiting_gates[gate]
        return None

    def _wait(self, call: Call, now: float) -> float:
        """Return the seconds until *call*, the first of those that wait, may go."""
        if call.priority is SINGLE:
            return self.model.wait(now)
        queued = sum(len(gate.queues[BULK]) for gate in self.waiting_gates)
        return self.model.wait(now, queued + call.backlog.left)

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            if self._rings_at <= when:
                return  # when it rings, it finds out that it is early
            self._timer.cancel()
        # Noted here, because uvloop returns a handle without a time if it is short.
        self._rings_at = when
        self._timer = self.loop.call_at(when, self._ring, context=Context())

    def _ring(self) -> None:
        self._timer = None
        self.pump()

    def turn_away(self, now: float) -> None:
        """Refuse the calls whose time is up before the service may be asked again."""
        if self.model.resumes > now + SHORT_PAUSE_SECONDS:
            for gate in self.waiting_gates:
                gate.turn_away(now, self.model.resumes)


_pacers: WeakKeyDictionary[
    asyncio.AbstractEventLoop, WeakValueDictionary[tuple[str, str], Pacer]
] = WeakKeyDictionary()


def shared_pacer(base_url: str, token: str, rng: random.Random) -> Pacer:
    """Return the running loop's pacer for one user of one service."""
    loop = asyncio.get_running_loop()
    pacers = _pacers.setdefault(loop, WeakValueDictionary())
    pacer = pacers.get((base_url, token))
    if pacer is None:
        pacer = pacers[base_url, token] = Pacer(loop, rng)
    return pacer


class Gate:
    """Hands out slots and tokens, first come, first served, single calls before bulk.

    Args:
        slots: How many requests may be in flight at once; bulk gets three quarters.
        pacer: Gives out the tokens; None asks for none.

    Attributes:
        queues: The calls that wait, for each priority.
        unpaced: The calls that wait for a slot alone. They go first.
    """

    def __init__(self, slots: int, pacer: Pacer | None = None) -> None:
        self.queues: tuple[Queue, ...] = (OrderedDict(), OrderedDict())
        self.unpaced: Queue = OrderedDict()
        self._slots = slots
        self._slots_for_bulk = bulk_share(slots)
        self._taken = [0, 0]  # slots, for each priority
        self._passed = 0  # turns of single calls while bulk waited
        self._pacer = pacer or Pacer(
            asyncio.get_running_loop(),
            random.Random(),  # noqa: S311 - jitter, not cryptography
            is_blind=True,
        )
        self._model, self._now = self._pacer.model, self._pacer.loop.time

    def enter_nowait(self, call: Call, now: float) -> bool:
        """Take a slot and a token, if both are there and nobody waits for them."""
        priority, pacer = call.priority, self._pacer
        if not self._has_room(priority):
            return False
        is_bulk = priority is BULK
        if call.is_paced:
            queued = pacer.waiting_gates
            if queued and (pacer.waiting(SINGLE) or pacer.waiting(priority)):
                return False
            demand = 1 + call.backlog.left if is_bulk else None
            if self._model.wait(now, demand) > 0.0:
                return False
        self._model.send(now, bulk=is_bulk)
        self._taken[priority] += 1
        return True

    async def enter(self, call: Call) -> None:
        """Wait for a slot and a token, and take them.

        `answered`, `failed` or `leave` gives the slot back.

        Raises:
            RateLimitedError: The call's deadline is too near to wait for a token.
        """
        if not call.is_paced:
            await self._wait_in(self.unpaced, call)
            return
        pacer, priority = self._pacer, call.priority
        now = self._now()
        queue, is_bulk = self.queues[priority], priority is BULK
        again = call.attempts > 0 and is_bulk
        wait = pacer.forecast(now, self, priority, 0 if again else len(queue))
        if self._model.resumes > _patience(call, now):
            if self._has_room(priority) and self._model.probe(now, bulk=is_bulk):
                self._taken[priority] += 1
                return
            raise too_long(wait)
        if wait and now + wait > call.deadline:
            raise too_long(wait)
        # Its time runs already, unlike that of unsent bulk calls.
        await self._wait_in(queue, call, first=again)

    async def _wait_in(self, queue: Queue, call: Call, *, first: bool = False) -> None:
        turn: asyncio.Future[None] = self._pacer.loop.create_future()
        queue[turn] = call
        if first:
            queue.move_to_end(turn, last=False)
        self._pacer.waiting_gates[self] = None
        self._pacer.pump()
        try:
            await turn
        except asyncio.CancelledError:
            queue.pop(turn, None)
            if turn.done() and not turn.cancelled() and not turn.exception():
                self.leave(call)  # it was its turn, and the call is gone
            raise

    def after_refusal(self) -> float | None:
        """Return the least seconds until another try; None when nobody knows."""
        if not self._model.is_cause:
            return None
        return self._pacer.forecast(self._now(), self, SINGLE, self.waiting(SINGLE))

    def waiting(self, priority: Priority) -> int:
        """Return how many wait for a token, and not for a slot."""
        return len(self.queues[priority]) if self._has_room(priority) else 0

    def leave(self, call: Call) -> None:
        """Give back the slot and the token of a request that was not sent after all."""
        self._model.take_back(self._now(), bulk=call.priority is BULK)
        self._release(call)

    def failed(self, call: Call, error: BaseException | None) -> None:
        """Give the slot back: the request of *call* ended in *error*, unanswered."""
        now, model, is_bulk = self._now(), self._model, call.priority is BULK
        if not isinstance(error, asyncio.CancelledError):
            model.is_cold = False
        if isinstance(error, NotSentError) or (
            isinstance(error, DeadlineError) and not error.sent
        ):
            model.take_back(now, bulk=is_bulk)
        else:
            lingers = not isinstance(error, ConnectionLostError | ResponseShapeError)
            model.lose(now, bulk=is_bulk, lingers=lingers)
        self._release(call)

    def answered(
        self,
        call: Call,
        sent: float,
        limit: RateLimit | None = None,
        refusal: RateLimitedError | None = None,
    ) -> None:
        """Give the slot back: there is an answer.

        Args:
            call: The call that it answers.
            sent: When its request was sent.
            limit: What its headers say of the bucket; None when they say nothing.
            refusal: The answer, if it is a 429.
        """
        now, is_bulk = self._now(), call.priority is BULK
        if refusal is None:
            self._model.answer(sent, now, limit, bulk=is_bulk)
        else:
            after = refusal.retry_after
            self._model.refuse(sent, now, limit, after, bulk=is_bulk)
            self._pacer.turn_away(now)
        self._release(call)

    def first(self, priority: Priority) -> Call | None:
        """Return the first call that waits, if there is a slot for it."""
        queue = self.queues[priority]
        while queue and self._has_room(priority):
            turn = next(iter(queue))
            if not turn.done():
                return queue[turn]
            del queue[turn]  # it was cancelled
        return None

    def overdue(self) -> Call | None:
        """Return the first bulk call, if enough single calls have passed it."""
        return self.first(BULK) if self._passed >= PASSES_BEFORE_BULK else None

    def admit(self, priority: Priority, now: float) -> None:
        """Let the first call that waits go, with a slot and a token."""
        turn, _ = self.queues[priority].popitem(last=False)
        is_passing = priority is SINGLE and self.queues[BULK]
        self._passed = self._passed + 1 if is_passing else 0
        self._let_go(turn, priority, now)

    def admit_unpaced(self, now: float) -> None:
        """Let the calls go that need no token, as far as there are slots.

        Bulk calls without a slot hold up no single call behind them.
        """
        while self.unpaced and self._has_room(SINGLE):
            ready = (
                turn
                for turn, call in self.unpaced.items()
                if turn.done() or self._has_room(call.priority)
            )
            if (turn := next(ready, None)) is None:
                break
            call = self.unpaced.pop(turn)
            if not turn.done():  # else it was cancelled
                self._let_go(turn, call.priority, now)

    def _let_go(
        self, turn: asyncio.Future[None], priority: Priority, now: float
    ) -> None:
        self._model.send(now, bulk=priority is BULK)
        self._taken[priority] += 1
        turn.set_result(None)

    def turn_away(self, now: float, until: float) -> None:
        """Refuse all calls that wait and whose time is up before *until*."""
        for queue in self.queues:
            for turn, call in list(queue.items()):
                if _patience(call, now) < until and not turn.done():
                    del queue[turn]
                    turn.set_exception(too_long(until - now))

    def _has_room(self, priority: Priority) -> bool:
        taken = self._taken
        return taken[SINGLE] + taken[BULK] < self._slots and (
            priority is SINGLE or taken[BULK] < self._slots_for_bulk
        )

    def _release(self, call: Call) -> None:
        self._taken[call.priority] -= 1
        if self._pacer.waiting_gates:
            self._pacer.pump()


def _patience(call: Call, now: float) -> float:
    """Return how long *call* can wait while the service lets nobody send.

    A bulk's item may wait for tokens for ever, because its time begins with its first
    send. But it does not wait for a service that is closed for longer than that time.
    """
    return min(call.deadline, now + call.allowance)


def too_long(wait: float) -> RateLimitedError:
    """Make the error of a call that cannot wait so many seconds for a token."""
    return RateLimitedError(
        "not sent: no token of the rate limit in time", status=429, retry_after=wait
    )
