"""The work of a bulk: one call for each id, or gets and pages together.

A worker asks for the next piece of work to be done, and gets its outcomes. It owns
nothing, so it can be cancelled at any time.
"""

import asyncio
from collections import deque
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Sequence,
)
from functools import partial
from itertools import islice
from math import inf
from operator import length_hint
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar, cast

from emogg_async._calls.call import Backlog
from emogg_async._many.outcomes import Failed, Fetched, Outcome
from emogg_async._many.plan import Plan, Thrift
from emogg_async._wire.requests import check_session_id, get_session
from emogg_async.errors import (
    AuthenticationError,
    ClientClosedError,
    EmoggError,
    InvalidArgumentError,
)
from emogg_async.models import Session

if TYPE_CHECKING:
    from emogg_async._core import Core

__all__ = ["WINDOW", "Calls", "Ids", "Jobs", "PagedGets", "chunks", "keyed"]

T = TypeVar("T")

Ids = Iterable[str] | AsyncIterable[str]
OneIdCall = Callable[[str], Awaitable[T]]

WINDOW: Final = 1_000
"""The ids of a stream among which duplicates are found and pages are planned.

In any bulk, the loop turns after that many ids.
"""

LOOKUP_IDS: Final = 100
"""The most ids that the cache is asked for at a time."""

# Errors after which no other id can succeed.
_FATAL = (AuthenticationError, ClientClosedError)


class Jobs(Protocol[T]):
    """The work of a bulk, shared by all of its workers.

    Attributes:
        backlog: The most calls that are still to come, for the pacer.
        is_stopped: True after the bulk was left: no other id may be taken.
    """

    backlog: Backlog
    is_stopped: bool

    async def do_next(self) -> Sequence[Outcome[T]] | None:
        """Do the next piece of work, and return its outcomes, or None at the end.

        Raises:
            AuthenticationError: The token was refused, so no other id can succeed.
            ClientClosedError: The client was closed meanwhile.
        """


class Asked(dict[str, tuple[object, InvalidArgumentError | None]]):
    """Distinct ids, each with the given value and the error of an invalid one.

    The keys are those of the outcomes: the id in lower case, or the given value if it
    is not a session id.
    """


def keyed(ids: Iterable[object]) -> Asked:
    """Check *ids*, and drop duplicates. No id is checked again later."""
    asked = Asked()
    for given in ids:
        try:
            asked[check_session_id(given)] = given, None
        except InvalidArgumentError as error:
            asked[_key_of_no_id(given)] = given, error.with_traceback(None)
    return asked


def _key_of_no_id(given: object) -> str:
    try:
        hash(given)
    except TypeError:
        return repr(given)
    return cast("str", given)


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Split *items* into lists of up to `WINDOW`, for turns of the loop."""
    source = iter(items)
    while chunk := list(islice(source, WINDOW)):
        yield chunk


def _distinct(ids: Iterable[object]) -> Iterator[tuple[str, object]]:
    """Yield the key of the outcome and the given value of each id, once in a window."""
    for window in [ids] if isinstance(ids, Asked) else map(keyed, chunks(ids)):
        for key, (given, _) in window.items():
            yield key, given


async def _outcome(key: str, call: Callable[[], Awaitable[T]]) -> Outcome[T]:
    try:
        return Fetched(key, await call())
    except _FATAL:
        raise
    except EmoggError as error:
        return _failed(key, error)


def _failed(key: str, error: EmoggError) -> Failed:
    """Make the outcome of *error*, without the frames that led to it.

    The frames of a whole bulk would fill the memory. Causes and contexts stay, also
    without their frames.
    """
    chain: list[BaseException] = [error]
    for each in chain:
        each.__traceback__ = None
        members = each.exceptions if isinstance(each, BaseExceptionGroup) else ()
        links = (each.__cause__, each.__context__, *members)
        chain += (link for link in links if link is not None and link not in chain)
    return Failed(key, error)


def _backlog_of(ids: object) -> Backlog:
    """Return the backlog of a bulk over *ids*: infinite if their length is unknown."""
    return Backlog(length_hint(ids, 0) or inf)


class Calls(Generic[T]):
    """Make one call for each id.

    Args:
        call: The function to call.
        ids: The ids, which are pulled as they are needed.
    """

    def __init__(self, call: OneIdCall[T], ids: Ids) -> None:
        self.backlog = _backlog_of(ids)
        self.is_stopped = False
        self._call = call
        self._lock = asyncio.Lock()
        self._items: Iterator[tuple[str, object]] | None = None
        if isinstance(ids, AsyncIterable):
            self._async_ids = aiter(ids)
        else:
            self._items = _distinct(ids)

    async def do_next(self) -> Sequence[Outcome[T]] | None:
        """Make the next call."""
        item = await self._next()
        if item is None or self.is_stopped:  # a feed may ignore its cancellation
            return None
        self.backlog.left -= 1
        key, given = item
        return (await _outcome(key, partial(self._call, cast("str", given))),)

    async def _next(self) -> tuple[str, object] | None:
        if self._items is not None:
            return next(self._items, None)
        async with self._lock:  # an async generator takes one caller at a time
            try:
                given = await anext(self._async_ids)
            except StopAsyncIteration:
                return None
        return next(iter(keyed([given]))), given


class PagedGets:
    """Get sessions from the cache, from pages, and the others one by one.

    One worker at a time looks into the cache or gets a page, as each page depends on
    the one before. Meanwhile the others get the sessions that pages will not answer. A
    window of ids is opened when all ids of the last one are under way.

    Args:
        parts: Returns the open parts of the client.
        ids: The ids, which are pulled window by window.
        thrift: The number of ids for which a page is worth its request.
        window: The number of ids among which pages are planned; None for all of them.
        fresh: Whether to pass by the cache.
    """

    def __init__(
        self,
        parts: "Callable[[], Core]",
        ids: Iterable[object],
        thrift: Thrift,
        window: int | None = WINDOW,
        *,
        fresh: bool = False,
    ) -> None:
        self.backlog = _backlog_of(ids)
        self.is_stopped = False
        self._parts = parts
        self._fresh = fresh
        self._ids = iter(ids.items() if isinstance(ids, Asked) else ids)
        self._is_checked = isinstance(ids, Asked)
        self._thrift = thrift
        self._window = window
        self._to_look_up: deque[str] = deque()
        self._missing: list[str] = []
        self._plan: Plan | None = None
        self._is_choosing = False
        self._debt = 0
        self._to_get: deque[str] = deque()
        self._is_over = False
        self._is_led = False
        self._idle: deque[asyncio.Future[None]] = deque()

    async def do_next(self) -> Sequence[Outcome[Session]] | None:
        """Take one step ahead of the gets, or get one session."""
        while not self.is_stopped:
            may_lead = not self._is_led and not self._is_over
            # Gets come after the cache and the plan have decided on the whole window.
            if may_lead and (self._plan or self._to_look_up or not self._to_get):
                if outcomes := await self._lead():
                    self.backlog.left -= len(outcomes)
                    return outcomes
            elif self._to_get:
                key = self._to_get.popleft()
                self.backlog.left -= 1
                read = self._parts().sessions.read
                get = partial(read, get_session(key), Session, fresh=self._fresh)
                return (await _outcome(key, get),)
            elif self._is_over:
                return None
            else:
                turn = asyncio.get_running_loop().create_future()
                self._idle.append(turn)
                await turn
                return ()  # the worker checks again for room for outcomes
        return None

    def _wake(self) -> None:
        """Wake as many idle workers as there is work for, and one more to lead.

        To wake all of them after each page would cost a quarter of its time.
        """
        count = len(self._idle) if self._is_over else len(self._to_get) + 1
        while self._idle and count:
            turn = self._idle.popleft()
            if not turn.done():
                turn.set_result(None)
                count -= 1

    async def _lead(self) -> Sequence[Outcome[Session]]:
        """Take one step that decides how ids are got, and return its outcomes."""
        self._is_led = True
        try:
            if self._is_choosing and self._plan is not None:
                await asyncio.sleep(0)
                self._follow(self._plan)
                return ()
            if self._plan is not None:
                return await self._use_page(self._plan)
            if self._to_look_up:
                return await self._use_cache()
            return await self._open_window()
        finally:
            self._is_led = False
            self._wake()

    async def _open_window(self) -> Sequence[Outcome[Session]]:
        """Pull some ids, and return the outcomes of the invalid ones.

        If pages are planned among all ids, the plan begins after the last one.
        """
        outcomes: list[Outcome[Session]] = []
        some = islice(self._ids, self._window or WINDOW)
        pulled = Asked(cast("Any", some)) if self._is_checked else keyed(some)
        for key, (_, problem) in pulled.items():
            if problem is None:
                self._to_look_up.append(key)
            else:
                outcomes.append(Failed(key, problem))
        if not pulled and self._missing:
            self._begin_plan()
        else:
            self._is_over = not pulled
        if len(pulled) == WINDOW:  # fewer ids need no turn of the loop
            await asyncio.sleep(0)
        return outcomes

    async def _use_cache(self) -> Sequence[Outcome[Session]]:
        """Look up some ids in the cache; after the last of a window, begin its plan."""
        chunk = [
            self._to_look_up.popleft()
            for _ in range(min(LOOKUP_IDS, len(self._to_look_up)))
        ]
        cached = await self._parts().sessions.cached(chunk, fresh=self._fresh)
        # The plan sorts all ids, which is quick if they are sorted in part.
        self._missing += sorted(each for each in chunk if each not in cached)
        if self._window is not None and not self._to_look_up:
            self._begin_plan()
        return [Fetched(key, session) for key, session in cached.items()]

    def _begin_plan(self) -> None:
        missing, self._missing = self._missing, []
        self._follow(Plan(missing, self._thrift, self._debt))

    async def _use_page(self, plan: Plan) -> Sequence[Outcome[Session]]:
        """Get the next page of the plan; if that fails, the plan gives up pages."""
        sessions: list[Session] = []
        try:
            page = self._parts().sessions.page
            sessions = await page(plan.query or [], plan.take, fresh=self._fresh)
        except _FATAL:
            raise
        except EmoggError:
            plan.give_up()
        self._debt += 1 - len(sessions)
        self._follow(plan)
        return [Fetched(session.id.lower(), session) for session in sessions]

    def _follow(self, plan: Plan) -> None:
        self._is_choosing = plan.choose(WINDOW)
        self._to_get += plan.spared()
        goes_on = self._is_choosing or plan.query is not None
        self._plan = plan if goes_on else None
