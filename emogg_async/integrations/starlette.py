"""One client for a Starlette or FastAPI app, and HTTP answers to its errors.

::

    app = FastAPI(lifespan=emogg_lifespan(timeout=5.0))
    app.add_middleware(CancelOnDisconnect)
    add_error_handlers(app)

    Client = Annotated[AsyncEmoggClient, Depends(get_client)]

This module needs Starlette, which FastAPI brings.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final

from emogg_async import AsyncEmoggClient
from emogg_async.errors import ConfigurationError, EmoggError
from emogg_async.integrations._answers import answer_and_log
from emogg_async.integrations._disconnect import CancelOnDisconnect
from emogg_async.integrations._options import options_of

try:
    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection
    from starlette.responses import JSONResponse
    from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState
except ModuleNotFoundError as _missing:
    raise ImportError(
        "emogg_async.integrations.starlette needs Starlette: "
        "python -m pip install starlette (or fastapi, which brings it)"
    ) from _missing

__all__ = ["CancelOnDisconnect", "add_error_handlers", "emogg_lifespan", "get_client"]

_CLIENT: Final = "emogg_client"
_KINDS: Final = (EmoggError, ExceptionGroup)


@options_of(AsyncEmoggClient)
def emogg_lifespan(
    *args: Any, **options: Any
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, AsyncEmoggClient]]]:
    """Make a lifespan that keeps a client open while the app runs.

    It takes the arguments of `AsyncEmoggClient`. Your own lifespan can enter it, and
    yield its state along with more.
    """

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[dict[str, AsyncEmoggClient]]:
        del app
        async with AsyncEmoggClient(*args, **options) as client:
            yield {_CLIENT: client}

    return lifespan


async def get_client(connection: HTTPConnection) -> AsyncEmoggClient:
    """Return the client that the lifespan opened; also for FastAPI's `Depends`.

    It is async, or FastAPI would run it in a thread.

    Args:
        connection: A request or a WebSocket.

    Raises:
        ConfigurationError: The lifespan was not run, or yielded no client.
    """
    client = connection.scope.get("state", {}).get(_CLIENT)
    if isinstance(client, AsyncEmoggClient):
        return client
    raise ConfigurationError(
        "the app has no client: pass lifespan=emogg_lifespan() to the outermost app, "
        "and see that it is run, as by `with TestClient(app)`"
    )


def add_error_handlers(app: Starlette) -> None:
    """Answer an `EmoggError`, or a group of them, as `answer_to` does.

    Groups with other exceptions in them are raised again. A WebSocket is refused with
    that answer, or closed if it was accepted before. The handlers cover routes and
    dependencies, but not middlewares or mounted apps, like all handlers of Starlette.
    """
    for kind in _KINDS:
        app.add_exception_handler(kind, _answer)


async def _answer(connection: HTTPConnection, error: Exception) -> Any:
    assert isinstance(error, _KINDS)  # noqa: S101 - it is registered for no other
    status, headers, body = answer_and_log(error, _route(connection.scope))
    if isinstance(connection, WebSocket) and _is_accepted(connection):
        with suppress(WebSocketDisconnect, RuntimeError):  # it is closed already
            await connection.close(1011, body["error"])
        return None
    return JSONResponse(body, status, headers)


def _route(scope: Mapping[str, Any]) -> str:
    """Return method, path (in a mounted app the part below the mount) and endpoint."""
    path = getattr(scope.get("route"), "path", "")  # older Starlettes have no route
    endpoint = scope.get("endpoint")
    name = getattr(endpoint, "__qualname__", type(endpoint).__qualname__)
    module = getattr(endpoint, "__module__", "")
    words = [scope.get("method", "WebSocket"), path, f"({module}.{name})"]
    return " ".join(filter(None, words))


def _is_accepted(socket: WebSocket) -> bool:
    return socket.application_state is not WebSocketState.CONNECTING
