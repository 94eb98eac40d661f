"""One client for an aiohttp app, and HTTP answers to its errors.

::

    app.cleanup_ctx.append(emogg_client(timeout=5.0))
    app.middlewares.append(error_middleware)

Handlers get the client by `get_client(request)`. Run the app with
`web.run_app(app, handler_cancellation=True)`, or a call goes on to its end after its
visitor has left.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from aiohttp import web

from emogg_async import AsyncEmoggClient
from emogg_async.errors import ConfigurationError, EmoggError
from emogg_async.integrations._answers import answer_and_log
from emogg_async.integrations._options import options_of

__all__ = ["emogg_client", "error_middleware", "get_client"]

_CLIENT: Final = web.AppKey("emogg_client", AsyncEmoggClient)


@options_of(AsyncEmoggClient)
def emogg_client(
    *args: Any, **options: Any
) -> Callable[[web.Application], AsyncIterator[None]]:
    """Make a cleanup context that keeps a client open while the app runs.

    It takes the arguments of `AsyncEmoggClient`.
    """

    async def context(app: web.Application) -> AsyncIterator[None]:
        async with AsyncEmoggClient(*args, **options) as client:
            app[_CLIENT] = client
            yield

    return context


def get_client(request: web.Request) -> AsyncEmoggClient:
    """Return the client of the request's app, or of an app around it.

    Raises:
        ConfigurationError: None of these apps has a client.
    """
    try:
        return request.config_dict[_CLIENT]
    except KeyError:
        message = "the app has no client: append emogg_client() to its cleanup_ctx"
        raise ConfigurationError(message) from None


@web.middleware
async def error_middleware(
    request: web.Request,
    # Not aiohttp's `Handler`: it is defined for type checkers only.
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> web.StreamResponse:
    """Answer an `EmoggError`, or a group of them, as `answer_to` does.

    Groups with other exceptions in them are raised again.
    """
    try:
        return await handler(request)
    except (EmoggError, ExceptionGroup) as error:
        if request.writer.output_size:  # an answer that has begun can only be cut off
            raise
        status, headers, body = answer_and_log(error, _route(request))
        return web.json_response(body, status=status, headers=headers)


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    path = resource.canonical if resource else "(no route)"
    return f"{request.method} {path}"
