import asyncio
import gc
import logging
import os
import signal
from contextlib import contextmanager

import pytest
from factories import FACTORIES
from hypothesis import HealthCheck, settings
from redis_server import redis_serving
from waiting import Clocks

from emogg_async.testing import EmoggEmulator

settings.register_profile(
    "default",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile(
    "soak", parent=settings.get_profile("default"), max_examples=10_000
)
settings.register_profile(
    "mutants",
    parent=settings.get_profile("default"),
    max_examples=10,
    derandomize=True,
    database=None,
    suppress_health_check=[*HealthCheck],  # mutmut runs a test more than once
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

collect_ignore = ["contract"]  # `nox -s contract` runs it

# A shell has what it runs in the background ignore Ctrl-C, as nohup does a hang-up, and
# so do all children.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_finish() -> None:
    """Keep what was collected out of the sight of the garbage collector.

    To visit all of it takes tenths of a second, which tests that measure time notice.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def unchanged_log():
    """Fail a test that sets up the log of the whole process, and undo it."""
    levels = {name: logging.getLogger(name).level for name in (None, "emogg_async")}
    yield
    changed = [each for each in levels if logging.getLogger(each).level != levels[each]]
    for each in changed:
        logging.getLogger(each).setLevel(levels[each])
    assert not changed


@pytest.fixture(scope="session")
def shared_emulator():
    """Start one emulator for the whole run."""
    with EmoggEmulator(sessions=250, rate_limit=(1_000_000, 60.0)) as running:
        yield running


@pytest.fixture
def emulator(shared_emulator):
    """Give an emulator with 250 sessions and a limit that nobody meets."""
    yield shared_emulator
    shared_emulator.reset()


@pytest.fixture
async def client(emulator):
    """Give a client of that emulator."""
    async with emulator.client() as opened:
        yield opened


@pytest.fixture
def clocks(monkeypatch):
    """Give the clocks of this process, which can be put forward."""
    return Clocks(monkeypatch)


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory):
    """Start one Redis or Valkey for the whole run."""
    with redis_serving(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis_server(shared_redis):
    """Give a Redis or Valkey that is empty, and that no test may stop."""
    yield shared_redis
    with shared_redis.asked() as client:
        client.flushall()


@pytest.fixture
def own_redis(tmp_path):
    """Give a Redis or Valkey that the test may kill."""
    with redis_serving(tmp_path) as running:
        yield running


@pytest.fixture(params=FACTORIES)
def other_tasks(request):
    """Give a context in which the event loop makes its tasks in another way."""

    @contextmanager
    def made():
        loop = asyncio.get_running_loop()
        loop.set_task_factory(request.param)
        try:
            yield
        finally:
            loop.set_task_factory(None)

    return made
