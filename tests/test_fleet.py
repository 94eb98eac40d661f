"""The fleet run in figures: real processes, one bucket, one Redis.

Each row runs on a fast bucket here, and on one of 100 per 10 s by `nox -s soak`.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from emogg_async import to_dict
from emogg_async.testing import EmoggEmulator

FLEET = Path(__file__).parent.parent / "examples" / "fleet.py"

CAPACITY = 100
PROCESSES = 4
DISTINCT = 300
GETS = 2_000

SCALED = pytest.param(1.0, id="scaled")
FULL = pytest.param(10.0, id="full", marks=[pytest.mark.soak, pytest.mark.timeout(600)])
both_sizes = pytest.mark.parametrize("window", [SCALED, FULL])


@contextmanager
def emulating(window):
    """Serve 300 sessions, from a bucket of 100 that fills in *window* seconds."""
    rate_limit = (CAPACITY, window)
    with EmoggEmulator(sessions=DISTINCT, rate_limit=rate_limit) as emulator:
        yield emulator


def gets_of(emulator):
    """Return 2,000 ids, each of the 300 equally often but for one, in any order."""
    ids = [session.id for session in emulator.sessions]
    gets = (ids * (GETS // DISTINCT + 1))[:GETS]
    random.Random(5).shuffle(gets)
    return gets


@contextmanager
def fleet(emulator, *options):
    """Run the example over these ids."""
    environment = {
        "EMOGG_API_TOKEN": emulator.token,
        "EMOGG_BASE_URL": emulator.url,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    with subprocess.Popen(
        [sys.executable, "-W", "error", FLEET, "-", *options],
        env=os.environ | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def result_of(process, emulator):
    """Wait for its end, check each session that it printed, and return its summary."""
    gets = gets_of(emulator)
    output, errors = process.communicate("\n".join(gets))
    expected = {session.id: session for session in emulator.sessions}
    printed = [json.loads(line) for line in output.splitlines()]
    assert sorted(gets) == sorted(session["_id"] for session in printed)
    for session in printed:
        right = to_dict(expected[session["_id"]])
        if right["state"] != "finished":  # it grows
            session["duration"] = right["duration"]
        assert right == session
    summary = json.loads(errors)  # and so nothing else was said
    assert (0, GETS, 0) == (process.returncode, summary["fetched"], summary["failed"])
    assert len(emulator.requests) == summary["requests"]
    print(summary)
    return summary


@pytest.mark.timing
@both_sizes
def test_one_bucket_and_one_redis(redis_server, window):
    """2,000 gets of 300 sessions take 360 requests at most, and 1 % refusals."""
    with emulating(window) as emulator:
        options = ("--processes", str(PROCESSES), "--redis", redis_server.url)
        with fleet(emulator, *options) as process:
            summary = result_of(process, emulator)
    assert DISTINCT <= summary["requests"] <= 360
    assert summary["refused"] <= summary["requests"] / 100
    served = summary["requests"] + summary["hits"] + summary["coalesced"]
    assert GETS == served - summary["refused"]
    least = (summary["requests"] - CAPACITY) * window / CAPACITY
    assert summary["seconds"] < 1.25 * least + 3


@pytest.mark.parametrize("window", [FULL])
def test_redis_killed_at_half_time(own_redis, window):
    """Without it each get is a request; none fails, and each is right."""

    def kill():
        while len(emulator.requests) < 220 and time.monotonic() < give_up:
            time.sleep(0.01)
        own_redis.kill()

    give_up = time.monotonic() + 30
    with emulating(window) as emulator:
        killer = threading.Thread(target=kill)
        killer.start()
        with fleet(emulator, "--redis", own_redis.url) as process:
            summary = result_of(process, emulator)
        killer.join()
    assert summary["refused"] <= summary["requests"] / 100
    assert summary["requests"] > 400


@pytest.mark.soak
def test_without_redis():
    """Each process then has a cache of its own, and asks for what it needs itself."""
    with emulating(0.4) as emulator, fleet(emulator) as process:
        summary = result_of(process, emulator)
    assert DISTINCT < summary["requests"] <= PROCESSES * DISTINCT
    assert summary["hits"] > GETS / 3


def test_more_processes_than_ids(redis_server):
    """Some then have nothing to do, and that is no failure."""
    with emulating(1.0) as emulator:
        options = ("--processes", "3", "--redis", redis_server.url)
        with fleet(emulator, *options) as process:
            id_ = emulator.sessions[0].id
            output, errors = process.communicate(f"{id_}\n{id_.upper()}\n")
    assert [id_, id_] == [json.loads(line)["_id"] for line in output.splitlines()]
    assert (3, 2) == tuple(
        json.loads(errors)[name] for name in ("processes", "fetched")
    )
