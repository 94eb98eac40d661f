"""The gate that every request passes: who may send, and when.

A request needs a slot of its client and a token of the user's bucket. It takes both at
once, so that it holds neither while it waits for the other, or sleeps between two
attempts. Single calls go first, and bulk work never has all slots. Where both wait for
a slot, every eighth turn is bulk's; for tokens, bulk always yields.
"""

import asyncio
import math
import random
from collections import OrderedDict
from contextvars import Context
from functools import partial
from typing import Final, Self
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

__all__ = ["Gate", "Pacer", "Turn", "shared_pacer"]

MAX_PROBE_SECONDS: Final = 1.0
"""A first request without an answer holds back all others no longer than this."""

MIN_TIMER_SECONDS: Final = 1e-4
"""No timer is set for less, or rounding could let it fire for ever."""

TURNS_PER_BULK_TURN: Final = 8
"""Of so many turns for which single calls and bulk wait, one is bulk's. Endless single
calls would otherwise starve bulk, and listings with it."""

Queue = OrderedDict[asyncio.Future[None], Call]


class Pacer:
    """Gives out the tokens of one bucket, to the gates of all clients that share it.

    While nothing is known, one request goes ahead to find out. If its answer says
    nothing of a bucket, requests go unpaced until one does.

    There is one timer, for the first of those who wait.

    Args:
        loop: The loop of those gates.
        rng: The source of jitter.

    Attributes:
        model: What is known of the bucket.
        crowded: The gates where somebody waits, in the order of their next turns.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        self.model = BucketModel(rng)
        self._loop = loop
        self.crowded: OrderedDict[Gate, None] = OrderedDict()
        self._cold = True
        self._probed = -math.inf
        self._timer: asyncio.Handle | None = None
        self._rings_at = math.inf
        self._plausible = True

    def waiting(self, priority: Priority) -> int:
        """Return how many wait for a token, in all gates."""
        return sum(gate.thirst(priority) for gate in self.crowded)

    def demand(self, call: Call) -> float:
        """Return how many requests, as far as is known, the bulk of *call* needs."""
        queued = sum(len(gate.queues[call.priority]) for gate in self.crowded)
        return queued + call.backlog.left

    def wait(self, now: float, priority: Priority, demand: float) -> float:
        """Return the seconds until the next request of *priority* may leave."""
        model = self.model
        if model.limit is not None:
            if priority is SINGLE:
                return model.wait(now)
            return model.bulk_wait(now, demand)
        if self._cold and model.in_flight:
            return max(0.0, self._probed + MAX_PROBE_SECONDS - now)
        return 0.0

    def forecast(self, now: float, gate: "Gate", priority: Priority, own: int) -> float:
        """Return the least seconds that one more of *priority* will have to wait.

        Args:
            now: The present time.
            gate: Its gate.
            priority: Its priority; bulk lets all single calls go first.
            own: How many of its priority go first in its gate. Gates take turns, so
                each of the others lets as many go first, but at least one.
        """
        if self.model.limit is None:
            return 0.0
        ahead = own + sum(
            min(each.thirst(priority), max(own, 1))
            for each in self.crowded
            if each is not gate
        )
        if priority is BULK:
            ahead += self.waiting(SINGLE)
        return self.model.forecast(now, ahead + 1)

    def look(self, call: Call, now: float) -> bool:
        """Take a token for a look whether a long pause is over, if it is time for one.

        Only a call that would be refused looks; a call that has the time waits.
        """
        return self.model.look(now, bulk=call.priority is BULK)

    def is_cause(self) -> bool:
        """Return whether the last refusal came from an empty bucket.

        Nobody knows that without headers, those of the refusal included. When they tell
        of tokens left, the refusal has another reason.
        """
        return self.model.limit is not None and self._plausible

    def send_nowait(self, call: Call, now: float) -> bool:
        """Take a token, if one is there and nobody waits for it."""
        priority = call.priority
        if self.crowded and (self.waiting(SINGLE) or self.waiting(priority)):
            return False
        if priority is SINGLE and self.model.limit is not None:
            return self.model.send_nowait(now)
        if self.wait(now, priority, 1 + call.backlog.left) > 0.0:
            return False
        self.send(now, priority)
        return True

    def send(self, now: float, priority: Priority) -> None:
        """Take a token."""
        if self._cold:
            self._probed = now
        self.model.send(now, bulk=priority is BULK)

    def take_back(self, priority: Priority) -> None:
        """Put a token back, whose request was not sent."""
        self.model.take_back(self._loop.time(), bulk=priority is BULK)

    def answer(
        self,
        call: Call,
        sent: float,
        limit: RateLimit | None,
        refusal: RateLimitedError | None,
    ) -> None:
        """Take in the answer to the request of *call* that was *sent* at that time."""
        self._cold = False
        now, bulk = self._loop.time(), call.priority is BULK
        if refusal is None:
            self.model.answer(sent, now, limit, bulk=bulk)
            return
        self._plausible = limit is not None and limit.remaining < 1
        self.model.refuse(sent, now, limit, refusal.retry_after, bulk=bulk)
        self._turn_away(now)

    def fail(self, call: Call, error: BaseException | None) -> None:
        """Take in that the request of *call* has ended in *error*, with no answer."""
        if isinstance(error, asyncio.CancelledError):
            self._probed = -math.inf  # nothing is known yet, so the next may try
        else:
            self._cold = False
        if isinstance(error, NotSentError) or (
            isinstance(error, DeadlineError) and not error.sent
        ):
            self.take_back(call.priority)
            return
        lingers = not isinstance(error, ConnectionLostError | ResponseShapeError)
        bulk = call.priority is BULK
        self.model.lose(self._loop.time(), bulk=bulk, lingers=lingers)

    def pump(self) -> None:
        """Let all go that may, and set the timer for the first that may not."""
        now = self._loop.time()
        for priority in Priority:
            wait = self._admit(priority, now)
            if wait is not None:
                self._set_timer(now + max(wait, MIN_TIMER_SECONDS))
                break

    def _admit(self, priority: Priority, now: float) -> float | None:
        """Return the seconds until the next may go; None if nobody waits for that."""
        for gate in list(self.crowded):
            while (call := gate.first(priority)) is not None:
                wait = self.wait(now, priority, self.demand(call))
                if wait > 0.0:
                    return wait
                owed = gate.owed()
                if owed and not self.wait(now, BULK, self.demand(owed)):
                    call = owed
                self.send(now, call.priority)
                gate.admit(call.priority)
                self.crowded.move_to_end(gate)
            if not any(gate.queues):
                del self.crowded[gate]
        return None

    def _set_timer(self, when: float) -> None:
        if self._timer is not None:
            if self._rings_at <= when:
                return  # when it rings, it finds out that it is early
            self._timer.cancel()
        # Noted here, because uvloop returns a handle without a time if it is short.
        self._rings_at = when
        self._timer = self._loop.call_at(when, self._ring, context=Context())

    def _ring(self) -> None:
        self._timer = None
        self.pump()

    def _turn_away(self, now: float) -> None:
        """Refuse the calls whose time is up before the service may be asked again."""
        if self.model.resumes > now + MAX_PROBE_SECONDS:
            for gate in self.crowded:
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
        turn: Holds what a call has entered with until the end of a `with`. It takes the
            call and the time when its request leaves.
    """

    def __init__(self, slots: int, pacer: Pacer | None = None) -> None:
        self.queues: tuple[Queue, ...] = (OrderedDict(), OrderedDict())
        self.turn = partial(Turn, self)
        self._free = slots
        self._free_for_bulk = bulk_share(slots)
        self._passed = 0  # turns of single calls while bulk waited
        self._pacer = pacer

    def enter_nowait(self, call: Call, now: float) -> bool:
        """Take a slot and a token, if both are there and nobody waits for them."""
        priority, pacer = call.priority, self._pacer
        if self.queues[priority] or not self._has_room(priority):
            return False
        if pacer is not None and not pacer.send_nowait(call, now):
            return False
        self._take(priority)
        return True

    async def enter(self, call: Call) -> None:
        """Wait for a slot and a token, and take them.

        The end of its `turn` gives the slot back.

        Raises:
            RateLimitedError: The call's deadline is too near to wait for a token.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self.enter_nowait(call, now):
            return
        again = call.attempts > 0 and call.priority is BULK
        if self._pacer is not None:
            own = 0 if again else len(self.queues[call.priority])
            wait = self._pacer.forecast(now, self, call.priority, own)
            closed = self._pacer.model.resumes > _patience(call, now)
            if closed and self._has_room(call.priority) and self._pacer.look(call, now):
                self._take(call.priority)
                return
            if closed or now + wait > call.deadline:
                raise too_long(wait)
        turn: asyncio.Future[None] = loop.create_future()
        queue = self.queues[call.priority]
        queue[turn] = call
        if again:  # its time runs already, and that of unsent bulk calls does not
            queue.move_to_end(turn, last=False)
        if self._pacer is not None:
            self._pacer.crowded[self] = None
        self._pump()
        try:
            await turn
        except asyncio.CancelledError:
            self.queues[call.priority].pop(turn, None)
            if turn.done() and not turn.cancelled() and not turn.exception():
                self.leave(call)  # it was our turn, and nobody is left to take it
            raise

    def after_refusal(self) -> float | None:
        """Return the least seconds until another try; None when nobody knows."""
        pacer = self._pacer
        if pacer is None or not pacer.is_cause():
            return None
        now = asyncio.get_running_loop().time()
        return pacer.forecast(now, self, SINGLE, self.thirst(SINGLE))

    def thirst(self, priority: Priority) -> int:
        """Return how many wait for a token, and not for a slot."""
        return len(self.queues[priority]) if self._has_room(priority) else 0

    def leave(self, call: Call) -> None:
        """Give back the slot and the token of a request that was not sent after all."""
        if self._pacer is not None:
            self._pacer.take_back(call.priority)
        self._release(call.priority)

    def failed(self, call: Call, error: BaseException | None) -> None:
        """Give the slot back: the request of *call* ended in *error*, unanswered."""
        if self._pacer is not None:
            self._pacer.fail(call, error)
        self._release(call.priority)

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
        if self._pacer is not None:
            self._pacer.answer(call, sent, limit, refusal)
        self._release(call.priority)

    def first(self, priority: Priority) -> Call | None:
        """Return the first call that waits, if there is a slot for it."""
        queue = self.queues[priority]
        while queue and self._has_room(priority):
            turn = next(iter(queue))
            if not turn.done():
                return queue[turn]
            del queue[turn]  # it was cancelled
        return None

    def owed(self) -> Call | None:
        """Return the first bulk call, if enough single calls have passed it."""
        return self.first(BULK) if self._passed >= TURNS_PER_BULK_TURN - 1 else None

    def admit(self, priority: Priority) -> None:
        """Let the first call that waits go."""
        turn, _ = self.queues[priority].popitem(last=False)
        self._passed = (
            self._passed + 1 if priority is SINGLE and self.queues[BULK] else 0
        )
        self._take(priority)
        turn.set_result(None)

    def turn_away(self, now: float, until: float) -> None:
        """Refuse all calls that wait and whose time is up before *until*."""
        for queue in self.queues:
            for turn, call in list(queue.items()):
                if _patience(call, now) < until and not turn.done():
                    del queue[turn]
                    turn.set_exception(too_long(until - now))

    def _release(self, priority: Priority) -> None:
        self._free += 1
        if priority is BULK:
            self._free_for_bulk += 1
        if self._pacer is None or self._pacer.crowded:
            self._pump()

    def _pump(self) -> None:
        if self._pacer is not None:
            self._pacer.pump()
            return
        for priority in Priority:
            while self.first(priority) is not None:
                self.admit(BULK if self.owed() else priority)

    def _has_room(self, priority: Priority) -> bool:
        return self._free > 0 and (priority is SINGLE or self._free_for_bulk > 0)

    def _take(self, priority: Priority) -> None:
        self._free -= 1
        if priority is BULK:
            self._free_for_bulk -= 1


class Turn:
    """A slot and a token, while their request is out.

    Args:
        gate: The gate that gave them.
        call: The call that has them.
        began: When its request leaves: now.

    Attributes:
        is_answered: Whether there is an answer.
        limit: What its headers say of the bucket; None when they say nothing.
    """

    __slots__ = ("_began", "_call", "_gate", "is_answered", "limit")

    def __init__(self, gate: Gate, call: Call, began: float) -> None:
        self._gate, self._call, self._began = gate, call, began
        self.is_answered = False
        self.limit: RateLimit | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if self.is_answered:
            refusal = error if isinstance(error, RateLimitedError) else None
            self._gate.answered(self._call, self._began, self.limit, refusal)
        else:
            self._gate.failed(self._call, error)


def _patience(call: Call, now: float) -> float:
    """Return until when *call* can wait while the service lets nobody send.

    A bulk's item may wait for tokens for ever, because its time begins with its first
    send. But it does not wait for a service that is closed for longer than that time.
    """
    return min(call.deadline, now + call.allowance)


def too_long(wait: float) -> RateLimitedError:
    """Make the error of a call that cannot wait so many seconds for a token."""
    return RateLimitedError(
        "not sent: no token of the rate limit in time", status=429, retry_after=wait
    )
