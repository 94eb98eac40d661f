"""Connections: which of them are used again, and what they keep."""

import asyncio
from contextvars import Context
from typing import Any, Final

import aiohttp

__all__ = ["Connector", "UnaskedError", "close_spoilt"]

MAX_SPOILT: Final = 100
"""Connections in a row that are closed because something came that nobody asked for."""


class UnaskedError(aiohttp.ClientConnectorError):
    """Each connection brought something before anything was sent."""


class Connector(aiohttp.TCPConnector):
    """Uses no connection on which something came that nobody has asked for.

    aiohttp would take it for the answer to the next request. And what outlives a load,
    a connection and the timer that closes it, does not keep the context of that load.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's
    ) -> Any:
        for _ in range(MAX_SPOILT):
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            if protocol is None or not protocol.should_close:
                return connection
            connection.close()
        raise UnaskedError(req.connection_key, OSError())

    async def _create_connection(self, *args: Any) -> Any:
        task: asyncio.Task[Any] = Context().run(
            self._loop.create_task, super()._create_connection(*args)
        )
        try:
            return await task
        except asyncio.CancelledError:
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result().close()  # it was there, and nobody will use it
            raise

    def _release(self, *args: Any, **options: Any) -> None:
        if getattr(self, "_cleanup_handle", None) is None:  # it sets the timer
            Context().run(super()._release, *args, **options)
        else:
            super()._release(*args, **options)


def close_spoilt(http: aiohttp.ClientSession, host: str | None) -> None:
    """Close those idle connections to *host* that `Connector` would not use.

    The connector of a session that was passed in is not ours, and where it keeps them
    is private: should that change, they are used as aiohttp uses them.
    """
    for key, idle in getattr(http.connector, "_conns", {}).items():
        if key.host == host:
            for protocol, *_ in idle:
                if protocol.should_close:
                    protocol.close()
