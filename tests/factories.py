"""Ways in which an event loop makes its tasks."""

import asyncio

import pytest


def _plain(loop, coroutine):
    """Make a task as the simplest factories do, which know no context."""
    return asyncio.Task(coroutine, loop=loop)


FACTORIES = [
    pytest.param(factory, id=factory.__name__)
    for factory in (_plain, getattr(asyncio, "eager_task_factory", None))  # 3.12
    if factory
]
