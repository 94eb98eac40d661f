"""What web backends need: one client for each app, and answers for what fails.

`emogg_async.integrations.aiohttp_web` is for aiohttp's server, and
`emogg_async.integrations.starlette` for Starlette and FastAPI. `answer_to` is the map
from errors to HTTP answers that both use; it needs no framework.
"""

from emogg_async.integrations._answers import Answer, answer_to

__all__ = ["Answer", "answer_to"]
