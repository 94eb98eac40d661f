"""What fits the client into the programs around it.

`emogg_async.integrations.aiohttp_web` is for aiohttp's server,
`emogg_async.integrations.starlette` for Starlette and FastAPI, and
`emogg_async.integrations.otel` for OpenTelemetry. `answer_to` is the map from errors to
HTTP answers that web backends use; it needs no framework.
"""

from emogg_async.integrations._answers import Answer, answer_to

__all__ = ["Answer", "answer_to"]
