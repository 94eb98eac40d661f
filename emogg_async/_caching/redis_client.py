"""A client of redis-py for many callers at once.

A caller can leave at any time, and is cancelled after a tenth of a second. Not every
release of redis-py survives that, so a task of its own sends the commands and goes on
when a caller leaves. Commands that come meanwhile travel together; one by one, those of
many callers would take longer than a caller waits.
"""

import asyncio
import copy
from collections.abc import Iterable, Mapping
from contextlib import suppress
from contextvars import Context
from inspect import signature
from typing import Any, Final

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import ReadOnlyError

from emogg_async.errors import ConfigurationError

__all__ = ["Client"]

CONNECT: Final = 5.0
"""Seconds for connecting: TCP and TLS."""

EXCHANGE: Final = 1.0
"""Seconds for each answer, those to AUTH and SELECT included."""

_QUIET: Final[Mapping[str, Any]] = {
    # 3, the default of redis-py 8, begins with HELLO, and brings what nobody asked for.
    "protocol": 2,
    # A driver without a name sends no CLIENT SETINFO; releases differ in the option.
    **(
        {"driver_info": None}
        if "driver_info" in signature(AbstractConnection).parameters
        else {"lib_name": None, "lib_version": None}
    ),
}
"""The options with which a connection sends nothing of its own but AUTH and SELECT."""

_Command = tuple[tuple[Any, ...], dict[str, Any]]


class Client(Redis):  # type: ignore[misc,type-arg,unused-ignore]
    """A client of one event loop.

    Args:
        options: Those of redis-py's pools and connections.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        # The blocking pool of redis-py 5.0 locks up when it cannot connect.
        pool = ConnectionPool(
            socket_connect_timeout=CONNECT,
            socket_timeout=EXCHANGE,
            **_QUIET,
            **options,
        )
        super().__init__(connection_pool=pool)
        self._encoder = pool.get_encoder()  # type: ignore[no-untyped-call,unused-ignore]
        self._asked: dict[asyncio.Future[Any], _Command] = {}
        self._sender: asyncio.Task[None] | None = None
        self._is_closed = False

    async def execute_command(self, *command: Any, **options: Any) -> Any:
        """Return the answer to *command*, which may travel together with others.

        Raises:
            redis.exceptions.RedisError: It failed.
            ConfigurationError: The client is closed.
        """
        if self._is_closed:
            raise _closed()
        name, *arguments = command
        # Encoded here, so that what cannot be sent fails alone.
        encoded = [self._encoder.encode(argument) for argument in arguments]
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        self._asked[answer] = (name, *encoded), options
        if self._sender is None or self._sender.done():
            # Run in a context: not every task factory knows the argument `context`.
            self._sender = Context().run(loop.create_task, self._send())
        try:
            return await answer
        finally:
            self._asked.pop(answer, None)  # not sent if nobody waits any more

    async def _send(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                async with asyncio.timeout(CONNECT + EXCHANGE):
                    try:
                        replies = await self._exchange(asked.values())
                    except LostError:  # perhaps lost while idle: try a new connection
                        replies = await self._exchange(asked.values())
            except asyncio.CancelledError:
                _settle(asked, [_closed()] * len(asked))
                raise
            except Exception as error:
                replies = [error] * len(asked)
            _settle(asked, replies)

    async def _exchange(self, commands: Iterable[_Command]) -> list[Any]:
        pipeline = self.pipeline(transaction=False)
        for command, options in commands:
            pipeline.execute_command(*command, **options)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except Exception:
            # The idle connections have probably failed, too.
            await self._disconnect(inuse_connections=False)
            raise
        if any(isinstance(each, ReadOnlyError) for each in replies):
            # After a failover the address may lead to the new primary by now.
            await self._disconnect(inuse_connections=False)
        return replies

    async def _disconnect(self, *, inuse_connections: bool) -> None:
        with suppress(TimeoutError):  # TLS waits for the server
            async with asyncio.timeout(EXCHANGE):
                await self.connection_pool.disconnect(inuse_connections)

    async def aclose(self, _: object = None) -> None:
        """Close all connections; commands under way fail with `ConfigurationError`.

        If it is cancelled, it closes them all the same.
        """
        self._is_closed = True
        asked, self._asked = self._asked, {}
        _settle(asked, [_closed()] * len(asked))
        try:
            if self._sender is not None:
                self._sender.cancel()
                await asyncio.wait([self._sender])
        finally:
            await self._disconnect(inuse_connections=True)


def _closed() -> ConfigurationError:
    return ConfigurationError("the Redis cache is closed; make a new one")


def _settle(asked: Iterable["asyncio.Future[Any]"], replies: list[Any]) -> None:
    for answer, reply in zip(asked, replies, strict=True):
        if answer.done():
            continue
        if isinstance(reply, Exception):
            answer.set_exception(copy.copy(reply))  # with a traceback for each
        else:
            answer.set_result(reply)
