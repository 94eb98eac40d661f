"""A backend for `CachePolicy` in Redis or Valkey, from its URL.

aiocache and redis are imported when one is made, so that the package can export this
without the extra `redis`.

Source: https://www.iana.org/assignments/uri-schemes/prov/redis and
https://redis.readthedocs.io/en/stable/connections.html for `unix://`.
"""

import re
from ssl import SSLContext, create_default_context
from typing import Any, Final, Protocol, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import attrs

from emogg_async._caching.policy import CacheBackend
from emogg_async._calls.frames import frameless
from emogg_async._checks import whole_number
from emogg_async.errors import ConfigurationError, InvalidArgumentError

__all__ = ["Address", "ClosableBackend", "parse_url", "redis_cache"]

DEFAULT_PORT: Final = 6379

_DATABASE = re.compile(r"[0-9]{1,9}", re.ASCII)


class ClosableBackend(CacheBackend, Protocol):
    """A cache that its maker closes."""

    async def close(self) -> Any:
        """Close its connections; more than once is fine."""

    async def __aenter__(self) -> Self:
        """Return the cache itself."""

    async def __aexit__(self, *_: object) -> None:
        """Close it."""


@frameless
def redis_cache(
    url: str,
    *,
    max_connections: int = 10,
    namespace: str = "",
    ssl: SSLContext | str | None = None,
) -> ClosableBackend:
    """Make an aiocache cache in Redis or Valkey, to share sessions among processes.

    It needs the extra `redis`. Nothing is connected before the first use; each event
    loop then gets connections of its own. The cache is yours: a client never closes it.

    ::

        async with redis_cache("redis://localhost:6379/0") as backend:
            policy = CachePolicy(backend=backend)
            async with AsyncEmoggClient(cache=policy) as client:
                ...

    Processes share stored sessions, but not requests: if several miss the same session
    at the same time, each asks the service for it. Calls share a request only within a
    client.

    A server that is down, hangs or answers nonsense costs a miss, never an error. A
    single server works, or a proxy that looks like one; a Redis Cluster does not. It is
    sent MGET,
    SET and DEL, AUTH if *url* has a password, SELECT if it has a database other than 0,
    and for `clear()` SCAN and UNLINK.

    Args:
        url: `redis://user:password@host:port/database`, `rediss://…` for TLS, or
            `unix://user:password@/path/to.sock?db=database`. All but the host and the
            path can be left out; user and password are percent-encoded.
        max_connections: Connections for each event loop at most. One mostly suffices:
            questions at the same time travel together.
        namespace: The beginning of each key, before a colon; "" is none.
        ssl: For `rediss://`: an `ssl.SSLContext`, or the path of a PEM file with root
            certificates, to trust instead of this machine's authorities; None trusts
            these. Host names are always checked, unless the context says otherwise.

    Raises:
        InvalidArgumentError: An argument is out of its range; the message shows nothing
            of *url*.
        ConfigurationError: The extra `redis` is not installed.
    """
    address = parse_url(url)
    whole_number("max_connections", max_connections, at_least=1)
    if not isinstance(namespace, str):
        raise InvalidArgumentError("namespace: expected text")
    context = _trust(ssl) if address.tls else None
    if ssl is not None and not address.tls:
        raise InvalidArgumentError("ssl: expected None for a URL that is not rediss://")
    try:
        from emogg_async._caching.redis_backend import RedisBackend  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise ConfigurationError(
            "redis is not installed: pip install 'emogg-async[redis]'"
        ) from error
    backend: ClosableBackend = RedisBackend(
        address, tls=context, max_connections=max_connections, namespace=namespace
    )
    return backend


@attrs.frozen(kw_only=True)
class Address:
    """The address of a Redis and its user.

    Its text is a readable address, without user name and password.

    Attributes:
        host: The host; "" with a *path*.
        port: The port; without meaning with a *path*.
        path: The path of a unix socket; "" with a *host*.
        database: The number of the database.
        username: The user name, or None.
        password: The password, or None.
        tls: Whether to connect with TLS.
    """

    host: str = ""
    port: int = DEFAULT_PORT
    path: str = ""
    database: int = 0
    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)
    tls: bool = False

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' * self.tls}://{host}:{self.port}/{self.database}"


def parse_url(url: str) -> Address:
    """Read the URL of a Redis, and refuse anything else.

    redis-py itself takes a path that is no number for database 0, "/1/2" for 12, and
    any query for options of its own.

    Raises:
        InvalidArgumentError: It is no such URL; the message shows nothing of it.
    """
    if not isinstance(url, str):
        raise InvalidArgumentError(f"url: expected text, got {type(url).__name__}")
    try:
        parts = urlsplit(url)
        host, port = unquote(parts.hostname or ""), parts.port
        query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:  # its message quotes what may be the password
        parts = SplitResult("", "", "", "", "")
        host, port, query = "", None, {}
    unix = parts.scheme == "unix"
    if (
        parts.scheme not in {"redis", "rediss", "unix"}
        or parts.fragment
        or not url.isprintable()
        or " " in url
        or (unix and (host or port is not None or not parts.path.startswith("/")))
        or (not unix and (not host or port == 0))
    ):
        raise InvalidArgumentError(
            "url: expected redis://user:password@host:port/database, rediss://… or "
            "unix://user:password@/path?db=database, with user and password "
            "percent-encoded"
        )
    if query.keys() - {"db", "username", "password"}:
        raise InvalidArgumentError(
            "url: its query may have db, username and password, and nothing else"
        )
    return Address(
        host=host,
        port=port or DEFAULT_PORT,
        path=unquote(parts.path) if unix else "",
        database=_database(query.get("db"), "" if unix else parts.path),
        username=query.get("username") or unquote(parts.username or "") or None,
        password=query.get("password") or unquote(parts.password or "") or None,
        tls=parts.scheme == "rediss",
    )


def _database(in_query: str | None, path: str) -> int:
    in_path = path.removeprefix("/")
    if in_query is not None and in_path:
        raise InvalidArgumentError("url: it names a database twice")
    text = in_query or in_path or "0"
    if not _DATABASE.fullmatch(text):
        raise InvalidArgumentError("url: expected a whole number as the database")
    return int(text)


def _trust(ssl: SSLContext | str | None) -> SSLContext:
    if isinstance(ssl, SSLContext):
        return ssl
    if ssl is not None and not isinstance(ssl, str):
        raise InvalidArgumentError(
            "ssl: expected an ssl.SSLContext or the path of a PEM file"
        )
    try:
        return create_default_context(cafile=ssl)
    except OSError as error:  # ssl.SSLError too
        reason = error.strerror or type(error).__name__
    raise InvalidArgumentError(f"ssl: no certificates in {ssl}: {reason}")
