"""aiocache's Redis cache, made fit for callers who leave at any moment.

Each caller here may be cancelled, and is after a tenth of a second. redis-py's pool
then loses the connection that is being given back, or the wake-up of the next in line;
it gives up connecting with the caller who happened to begin it, and in 5.0 holds its
lock meanwhile. It also lets newcomers overtake who waits, and lends what the server
has closed long ago. And aiocache takes a time to live of 0 for eternity, fails on bytes
that are no text, and clears by emptying the whole database.
"""

import asyncio
import copy
import re
from collections.abc import Callable, Mapping
from contextvars import Context
from ssl import SSLContext
from typing import Any, Final, cast

from aiocache.backends.redis import RedisCache
from aiocache.serializers import JsonSerializer
from redis.asyncio import BlockingConnectionPool, SSLConnection
from redis.asyncio import Connection as TCPConnection
from redis.asyncio.connection import UnixDomainSocketConnection

from emogg_async.errors import ConfigurationError

__all__ = ["RedisBackend"]

CONNECT: Final = 5.0
"""Seconds for connecting: TCP, TLS and the log-in."""

QUEUE: Final = 1.0
"""Seconds for which one may wait for a connection."""

LONGEST: Final = 10 * 365 * 86_400.0
"""Seconds: the most that Redis is asked to keep something; its own limit is near."""

OURS: Final = "emogg:"
"""What all keys of clients begin with."""

Connection = Any
"""A connection of redis-py, in whose releases its types differ, but not its use."""


class RedisBackend(RedisCache):
    """A Redis as a cache of aiocache.

    Args:
        options: Where it is and who asks, as redis-py's connections take it.
        name: The same for people, without a password.
        tls: What to trust; None is no TLS.
        max_connections: Connections for each event loop at most.
        namespace: What each key begins with, before a colon.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        name: str,
        tls: SSLContext | None,
        max_connections: int,
        namespace: str,
    ) -> None:
        kind: type[Any] = TCPConnection
        extra: dict[str, Any] = {}
        if "path" in options:
            kind = UnixDomainSocketConnection
        elif tls is not None:
            kind, extra = _TLSConnection, {"context": tls}
        pool = _Pool(
            connection_class=kind,
            max_connections=max_connections,
            # 3, the default of redis-py 8, brings answers that nobody asked for.
            protocol=2,
            # Who asks bounds the time; redis-py's way costs a task for each command,
            # and on Python 3.11 swallows cancellations.
            socket_timeout=None,
            socket_connect_timeout=CONNECT,
            **options,
            **extra,
        )
        super().__init__(
            serializer=JsonSerializer(encoding=None),  # bytes may be no text
            namespace=namespace or None,
            timeout=None,  # aiocache's own loses cancellations
            # aiocache has no way to give it a pool, nor one for unix sockets.
            connection_pool_class=lambda **_: pool,
        )
        self._name = name

    def __repr__(self) -> str:
        return f"<redis_cache {self._name}>"

    async def _get(
        self, key: str, encoding: str | None = None, _conn: object = None
    ) -> Any:
        (value,) = await self._multi_get([key], encoding)
        return value

    async def _multi_get(
        self, keys: list[str], encoding: str | None = None, _conn: object = None
    ) -> list[Any]:
        # MGET for one key, too: GET fails where somebody keeps a list or a hash.
        values: list[Any] = await self.client.mget(keys) if keys else []
        if encoding is None:
            return values
        return [each if each is None else each.decode(encoding) for each in values]

    async def _set(
        self,
        key: str,
        value: object,
        ttl: float | None = None,
        _cas_token: object = None,
        _conn: object = None,
    ) -> Any:
        if _cas_token is not None:
            return await super()._set(key, value, ttl, _cas_token)
        if ttl is None:
            return await self.client.set(key, value)
        if not ttl > 0:  # NaN too; aiocache: for ever, or an error
            return await self.client.delete(key)
        milliseconds = max(1, round(min(ttl, LONGEST) * 1000))
        return await self.client.set(key, value, px=milliseconds)

    async def _clear(self, namespace: str | None = None, _conn: object = None) -> bool:
        # aiocache: FLUSHDB, which takes what is not ours, or KEYS, which stops all.
        namespace = namespace or self.namespace
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", f"{namespace}:" if namespace else "")
        async for key in self.client.scan_iter(
            match=f"{pattern}*" if namespace else f"{OURS}*", count=1000
        ):
            await self.client.unlink(key)
        return True

    async def _close(self, *_: object, _conn: object = None) -> None:
        await self.client.aclose()


class _TLSConnection(SSLConnection):
    """A connection with a TLS context that is given whole."""

    def __init__(self, *, context: SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = context


class _Pool(BlockingConnectionPool):  # type: ignore[type-arg,unused-ignore]
    """The pool behind redis-py's client, with connections for each event loop."""

    def __init__(self, **options: Any) -> None:
        super().__init__(timeout=QUEUE, **options)
        self._by_loop: dict[asyncio.AbstractEventLoop, _Connections] = {}

    def _here(self) -> "_Connections":
        loop = asyncio.get_running_loop()
        connections = self._by_loop.get(loop)
        if connections is None:
            for each in [each for each in self._by_loop if each.is_closed()]:
                del self._by_loop[each]
            connections = _Connections(self.make_connection, self.max_connections)
            self._by_loop[loop] = connections
        return connections

    async def get_connection(self, *_: Any, **__: Any) -> Connection:
        """Lend a connection that is ready."""
        return await self._here().take()

    async def release(self, connection: Connection) -> None:
        """Take a connection back; it never suspends, so nobody can cancel it."""
        await self._here().give_back(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections of the running event loop, for good."""
        await self._here().close()


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

    async def take(self) -> Connection:
        """Return a connection that works, as far as one can tell without asking."""
        if self._closed:
            raise ConfigurationError("the Redis cache is closed; make a new one")
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
            async with asyncio.timeout(QUEUE):
                return await waiter
        except BaseException:
            self._waiting.pop(waiter, None)
            # It may have got one in the very turn in which it was cancelled.
            if waiter.done() and not waiter.cancelled() and not waiter.exception():
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
            # A task of its own, for whoever is first in line when it is done: opening
            # may take longer than anyone waits.
            opening = self._open(self._make())
            task = asyncio.create_task(opening, context=Context())
            self._opening.add(task)

    async def _open(self, connection: Connection) -> None:
        failure: Exception | None = None
        try:
            async with asyncio.timeout(CONNECT):
                await connection.connect()
        except BaseException as error:
            await _drop(connection)
            if not isinstance(error, Exception):
                raise
            failure = error
        finally:
            self._opening.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        if failure is None:
            self._hand_on(connection)
        elif not (self._busy or self._opening):
            self._turn_away(failure)

    def _turn_away(self, error: Exception) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(copy.copy(error))
        self._waiting.clear()

    async def close(self) -> None:
        """Close all connections; operations under way fail."""
        self._closed = True
        self._turn_away(ConfigurationError("the Redis cache is closed; make a new one"))
        opening, idle = [*self._opening], [*self._idle]
        self._opening.clear()
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


def _is_usable(connection: Connection) -> bool:
    """Tell whether nobody has closed it and it owes no answer.

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
