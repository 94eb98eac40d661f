"""Integrations of the client into web frameworks and OpenTelemetry.

`emogg_async.integrations.aiohttp_web` is for aiohttp's server,
`emogg_async.integrations.starlette` for Starlette and FastAPI, and
`emogg_async.integrations.otel` for OpenTelemetry. `answer_to` maps errors to HTTP
answers, and needs no framework.
"""

from emogg_async.integrations._answers import Answer, answer_to

__all__ = ["Answer", "answer_to"]
