"""aiocache's Redis cache, without its traps.

aiocache keeps a value for ever if its time to live is 0, and fails if it is below a
millisecond. It also fails on bytes that are no text and on lists that others left,
clears by emptying the whole database, knows no unix sockets, and closes in a deprecated
way.
"""

import asyncio
import re
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Final

from aiocache.backends.redis import RedisCache
from aiocache.base import BaseCache
from aiocache.serializers import JsonSerializer
from redis.asyncio import Connection, SSLConnection
from redis.asyncio.connection import UnixDomainSocketConnection
from redis.credentials import UsernamePasswordCredentialProvider

from emogg_async._caching.redis_client import Client

if TYPE_CHECKING:
    from emogg_async._caching.redis import Address

__all__ = ["RedisBackend"]

LONGEST_TTL: Final = 10 * 365 * 86_400.0
"""Seconds for which Redis is asked to keep something at most; its own limit is near."""

OURS: Final = "emogg:"
"""The beginning of all keys of clients."""


class RedisBackend(RedisCache):
    """A Redis as a cache of aiocache.

    Args:
        address: Where it is, and the user.
        tls: The certificates to trust; None is no TLS.
        max_connections: Connections for each event loop at most.
        namespace: The beginning of each key, before a colon.
    """

    def __init__(
        self,
        address: "Address",
        *,
        tls: SSLContext | None,
        max_connections: int,
        namespace: str,
    ) -> None:
        kind: type[Any] = Connection
        place: dict[str, Any] = {"host": address.host, "port": address.port}
        if address.path:
            kind, place = UnixDomainSocketConnection, {"path": address.path}
        elif tls is not None:
            kind, place["context"] = _TLSConnection, tls
        user = address.username, address.password
        if any(user):  # passed so, no `repr` of redis-py shows the password
            place["credential_provider"] = UsernamePasswordCredentialProvider(*user)
        self._options = {
            "connection_class": kind,
            "max_connections": max_connections,
            "db": address.database,
            **place,
        }
        self._clients: dict[asyncio.AbstractEventLoop, Client] = {}
        # Not aiocache's own `__init__`, which makes one client for all event loops.
        BaseCache.__init__(
            self,
            serializer=JsonSerializer(encoding=None),  # bytes may be no text
            namespace=namespace or None,
            timeout=None,  # aiocache's own loses cancellations
        )
        self._address = address

    def __repr__(self) -> str:
        return f"<redis_cache {self._address}>"

    @property
    def client(self) -> Client:
        """Return the client of the running event loop."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            for each in [*self._clients]:  # loops in other threads do so, too
                if each.is_closed():
                    self._clients.pop(each, None)
            client = self._clients[loop] = Client(self._options)
        return client

    async def _get(
        self, key: str, encoding: str | None = None, _conn: object = None
    ) -> Any:
        (value,) = await self._multi_get([key], encoding)
        return value

    async def _multi_get(
        self, keys: list[str], encoding: str | None = None, _conn: object = None
    ) -> list[Any]:
        # MGET for one key, too: GET fails on a list or a hash.
        if not keys:
            return []
        values: list[Any] = await self.client.execute_command("MGET", *keys)
        if encoding is None:
            return values
        return [each if each is None else each.decode(encoding) for each in values]

    async def _set(
        self,
        key: str,
        value: Any,
        ttl: float | None = None,
        _cas_token: object = None,
        _conn: object = None,
    ) -> Any:
        if _cas_token is not None:
            return await super()._set(key, value, ttl, _cas_token)
        if ttl is None:
            return bool(await self.client.execute_command("SET", key, value))
        if not ttl > 0:  # NaN too; aiocache: for ever, or an error
            return bool(await self._delete(key))
        milliseconds = max(1, round(min(ttl, LONGEST_TTL) * 1000))
        return bool(
            await self.client.execute_command("SET", key, value, "PX", milliseconds)
        )

    async def _multi_set(
        self,
        pairs: list[tuple[str, Any]],
        ttl: float | None = None,
        _conn: object = None,
    ) -> bool:
        # They travel together all the same; aiocache takes a connection for itself.
        await asyncio.gather(*(self._set(key, value, ttl) for key, value in pairs))
        return True

    async def _delete(self, key: str, _conn: object = None) -> Any:
        return await self.client.execute_command("DEL", key)

    async def _clear(self, namespace: str | None = None, _conn: object = None) -> bool:
        # aiocache: FLUSHDB, which empties the whole database, or KEYS, which blocks.
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
    """A connection with a TLS context of the caller's."""

    def __init__(self, *, context: SSLContext, **options: Any) -> None:
        super().__init__(**options)
        self.ssl_context.context = context
