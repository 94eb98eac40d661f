"""Connections to a Redis, for callers who leave at any moment, and come in crowds.

Each caller here may be cancelled, and is after a tenth of a second. redis-py's pool
then loses the connection that is being given back, or the wake-up of the next in line;
it gives up connecting with the caller who happened to begin it, and in 5.0 holds its
lock meanwhile. It lets newcomers overtake who waits, and lends what the server has
closed long ago. And a burst that is asked one by one takes longer than anyone has
patience.
"""

import asyncio
import copy
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from functools import partial
from itertools import islice
from typing import Any, Final

from redis.asyncio import BlockingConnectionPool
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from emogg_async.errors import ConfigurationError

__all__ = ["CONNECT", "Pool"]

CONNECT: Final = 5.0
"""Seconds for connecting: TCP, TLS and the log-in."""

EXCHANGE: Final = 1.0
"""Seconds for an exchange, and for waiting for a connection."""

TOGETHER: Final = 100
"""How many commands travel together at most."""

Connection = Any
"""A connection of redis-py, in whose releases its types differ, but not its use."""

Command = Sequence[bytes]


class Pool(BlockingConnectionPool):  # type: ignore[type-arg,unused-ignore]
    """The pool behind redis-py's client: each event loop has its own connections.

    Args:
        options: What redis-py's pool takes; `max_connections` counts for each loop.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(timeout=EXCHANGE, **options)
        encoder = self.get_encoder()  # type: ignore[no-untyped-call,unused-ignore]
        self._encode: Callable[[Any], bytes] = encoder.encode
        self._by_loop: dict[asyncio.AbstractEventLoop, _Questions] = {}

    def __repr__(self) -> str:
        # redis-py's own shows the password, in 6.4 for one.
        return f"<{type(self).__name__} of {self.max_connections} at most>"

    def _here(self) -> "_Questions":
        loop = asyncio.get_running_loop()
        questions = self._by_loop.get(loop)
        if questions is None:
            for each in [each for each in self._by_loop if each.is_closed()]:
                del self._by_loop[each]
            connections = _Connections(self.make_connection, self.max_connections)
            questions = _Questions(connections, self.max_connections)
            self._by_loop[loop] = questions
        return questions

    async def ask(self, *command: Any) -> Any:
        """Return the answer to *command*, which may travel together with others.

        Raises:
            redis.exceptions.RedisError: It failed.
            ConfigurationError: The pool is closed.
        """
        return await self._here().ask([self._encode(part) for part in command])

    async def get_connection(self, *_: Any, **__: Any) -> Connection:
        """Lend a connection that is ready, for commands of other kinds."""
        return await self._here().connections.take()

    async def release(self, connection: Connection) -> None:
        """Take a connection back; this never suspends, so nobody can cancel it."""
        await self._here().connections.give_back(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections of the running event loop, for good."""
        await self._here().close()


class _Questions:
    """Sends what is asked in one turn of the loop together.

    Whoever leaves disturbs no one else, since no caller ever holds a connection.

    Args:
        connections: Where it is sent.
        limit: How many may be used at once.
    """

    def __init__(self, connections: "_Connections", limit: int) -> None:
        self.connections = connections
        self._limit = limit
        self._asked: dict[asyncio.Future[Any], Command] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._one_begins = False

    async def ask(self, command: Command) -> Any:
        self.connections.check_open()
        answer = asyncio.get_running_loop().create_future()
        self._asked[answer] = command
        self._begin()
        try:
            return await answer
        finally:
            self._asked.pop(answer, None)
            _ignore(answer)

    def _begin(self) -> None:
        if self._asked and not self._one_begins and len(self._workers) < self._limit:
            self._one_begins = True
            _spawn(self._work, self._workers)

    async def _work(self) -> None:
        try:
            while self._asked:
                await self._work_on_one()
        except Exception as error:
            _fail(self._asked, error)
        finally:
            self._one_begins = False

    async def _work_on_one(self) -> None:
        """Ask all there is over one connection, as long as that works."""
        connection = await self.connections.take()
        self._one_begins = False
        try:
            await self._ask_all(connection)
        except (RedisError, OSError):
            # Those whom it concerns know; the others go on with a new one, since what
            # befell this one has probably befallen the idle ones too.
            await _drop(connection)
            await self.connections.drop_idle()
        finally:
            await self.connections.give_back(connection)

    async def _ask_all(self, connection: Connection) -> None:
        while self._asked:
            # Only now: what nobody waits for any more is not sent.
            asked = [*islice(self._asked.items(), TOGETHER)]
            for answer, _ in asked:
                del self._asked[answer]
            self._begin()
            await _exchange(connection, dict(asked))

    async def close(self) -> None:
        await self.connections.close()
        _fail(self._asked, _closed())
        await asyncio.gather(*self._workers, return_exceptions=True)


async def _exchange(
    connection: Connection, asked: dict["asyncio.Future[Any]", Command]
) -> None:
    """Send commands over *connection* and settle their futures with the answers.

    Raises:
        redis.exceptions.RedisError: It is of no use any more; TimeoutError and other
            kinds of OSError say so, too.
    """
    demoted = None
    try:
        async with asyncio.timeout(EXCHANGE):
            packed = connection.pack_commands(asked.values())
            await connection.send_packed_command(packed)
            for answer in [*asked]:
                try:
                    reply = await connection.read_response()
                except ResponseError as error:  # of this command alone
                    reply = error
                    if isinstance(error, ReadOnlyError):
                        demoted = error
                del asked[answer]
                _settle(answer, reply)
    except BaseException as error:
        _fail(asked, error)
        raise
    if demoted:  # after a failover; its address may lead to the new primary by now
        raise demoted


class _Connections:
    """At most so many connections; who finds none waits in line.

    Args:
        make: Makes a connection that is not connected yet.
        limit: How many there may be, those that are being opened included.
    """

    def __init__(self, make: Callable[[], Connection], limit: int) -> None:
        self._make = make
        self._limit = limit
        self._idle: list[Connection] = []
        self._busy: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: dict[asyncio.Future[Connection], None] = {}
        self._closed = False

    def check_open(self) -> None:
        if self._closed:
            raise _closed()

    async def take(self) -> Connection:
        """Return a connection that works, as far as one can tell without asking."""
        self.check_open()
        while self._idle:
            connection = self._idle.pop()
            if _is_usable(connection):
                self._busy.add(connection)
                return connection
            await _drop(connection)
        waiter = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = None
        self._open_more()
        try:
            async with asyncio.timeout(EXCHANGE):
                return await waiter
        except BaseException:
            self._waiting.pop(waiter, None)
            # It may have got one in the very turn in which it was cancelled.
            if _ignore(waiter):
                await self.give_back(waiter.result())
            raise

    async def give_back(self, connection: Connection) -> None:
        """Hand *connection* to the next in line, or drop it if it is broken."""
        self._busy.remove(connection)
        if self._closed or not _is_usable(connection):
            await _drop(connection)
            self._open_more()
        else:
            self._hand_on(connection)

    async def drop_idle(self) -> None:
        """Drop all that nobody uses."""
        while self._idle:
            await _drop(self._idle.pop())

    def _hand_on(self, connection: Connection) -> None:
        while self._waiting:
            waiter = next(iter(self._waiting))
            del self._waiting[waiter]
            if not waiter.done():
                self._busy.add(connection)
                waiter.set_result(connection)
                return
        self._idle.append(connection)

    def _open_more(self) -> None:
        """Open a connection for each who waits, up to the limit."""
        there = len(self._idle) + len(self._busy) + len(self._opening)
        needed = len(self._waiting) - len(self._opening)
        for _ in range(min(needed, self._limit - there)):
            # In a task of its own, for whoever is first in line when it is done:
            # opening may take longer than anyone waits.
            _spawn(partial(self._open, self._make()), self._opening)

    async def _open(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(CONNECT):
                await connection.connect()
        except BaseException as error:
            await _drop(connection)
            if not isinstance(error, Exception):
                raise
            if not self._busy and len(self._opening) == 1:
                _fail(self._waiting, error)
        else:
            self._hand_on(connection)

    async def close(self) -> None:
        """Close all connections; what is under way fails."""
        self._closed = True
        _fail(self._waiting, _closed())
        opening, idle = [*self._opening], [*self._idle]
        self._idle.clear()
        for task in opening:
            task.cancel()
        for connection in (*idle, *self._busy):
            _abort(connection)
        await asyncio.gather(
            *opening,
            *(connection.disconnect() for connection in idle),
            return_exceptions=True,
        )


def _closed() -> ConfigurationError:
    return ConfigurationError("the Redis cache is closed; make a new one")


def _spawn(
    work: Callable[[], Coroutine[Any, Any, None]], tasks: set["asyncio.Task[None]"]
) -> None:
    """Do *work* in a task that is in *tasks* until its last turn is over."""

    async def accounted() -> None:
        try:
            await work()
        finally:
            tasks.discard(task)

    task = asyncio.create_task(accounted(), context=Context())
    tasks.add(task)


def _settle(future: "asyncio.Future[Any]", outcome: object) -> None:
    if future.done():
        return
    if not isinstance(outcome, BaseException):
        future.set_result(outcome)
    elif isinstance(outcome, Exception):
        future.set_exception(copy.copy(outcome))  # with a traceback for each
    else:
        future.cancel()


def _fail(futures: dict["asyncio.Future[Any]", Any], error: BaseException) -> None:
    for future in futures:
        _settle(future, error)
    futures.clear()


def _ignore(future: "asyncio.Future[Any]") -> bool:
    """Count a failure as seen; tell whether there is a result to take care of."""
    return future.done() and not future.cancelled() and future.exception() is None


def _is_usable(connection: Connection) -> bool:
    """Tell whether nobody has closed *connection* and it owes no answer.

    redis-py has no way to ask that takes no turn of the loop in all its releases.
    """
    reader = getattr(connection, "_reader", None)
    return bool(
        connection.is_connected
        and not (reader and (reader.at_eof() or reader.exception()))
        and not getattr(reader, "_buffer", None)
    )


def _abort(connection: Connection) -> None:
    writer = getattr(connection, "_writer", None)
    if writer is not None:
        writer.transport.abort()


async def _drop(connection: Connection) -> None:
    """Close *connection* without waiting for anything, its server least of all."""
    _abort(connection)
    await connection.disconnect(nowait=True)
