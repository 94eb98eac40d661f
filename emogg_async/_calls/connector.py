"""Connections: checked before they are used again, and free of a load's context."""

import asyncio
from contextvars import Context
from typing import Any, Final

import aiohttp

__all__ = ["Connector", "UnaskedError", "close_spoilt"]

MAX_SPOILT: Final = 100
"""Connections with unasked answers that are closed before a request gives up."""


class UnaskedError(aiohttp.ClientConnectorError):
    """Every connection received an answer before a request was sent."""


class Connector(aiohttp.TCPConnector):
    """A connector that closes connections with unasked answers.

    aiohttp would take such an answer for the one to the next request.

    Connections, and the timer that closes them, are made in an empty context, because
    they outlive the load that makes them and would keep its context alive.
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
                task.result().close()  # connected, but the request is gone
            raise

    def _release(self, *args: Any, **options: Any) -> None:
        if getattr(self, "_cleanup_handle", None) is None:  # the call starts the timer
            Context().run(super()._release, *args, **options)
        else:
            super()._release(*args, **options)


def close_spoilt(http: aiohttp.ClientSession, host: str | None) -> None:
    """Close the idle connections to *host* that have received an unasked answer.

    The session is the caller's, so its connector is not a `Connector`. `_conns` is
    private to aiohttp; without it, this does nothing.
    """
    for key, idle in getattr(http.connector, "_conns", {}).items():
        if key.host == host:
            for protocol, *_ in idle:
                if protocol.should_close:
                    protocol.close()
