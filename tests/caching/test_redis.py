"""The shared cache, on a real server over real connections."""

import asyncio
import gc
import hashlib
import importlib
import importlib.util
import json
import logging
import random
import re
import ssl
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import SimpleNamespace

import psutil
import pytest
import redis.exceptions
import trustme
from aiocache.lock import OptimisticLock
from aiocache.serializers import StringSerializer
from redis_server import redis_serving
from waiting import until

from emogg_async import CachePolicy, ConfigurationError, redis_cache
from emogg_async._caching import redis_client

GUARD = importlib.import_module(
    next(
        name
        for name in ("emogg_async._caching.guard", "emogg_async._caching.policy")
        if importlib.util.find_spec(name)
    )
)
"""Where the patience with a backend is defined."""

TOKEN = "tok-5ecret-0123456789-abcdef"
PASSWORD = "p@ss w/rd:5ecret"
ENCODED = "p%40ss%20w%2Frd%3A5ecret"


def as_bytes(value):
    """Return *value*, in the place of a serializer."""
    return value


async def get_together(cache, key):
    """Get what is under *key*, perhaps together with what others ask for."""
    return await cache.get(key, loads_fn=as_bytes)


async def get_alone(cache, key):
    """Get what is under *key* over a connection of one's own."""
    return await cache.raw("get", key)


both_ways = pytest.mark.parametrize("get", [get_together, get_alone])


def policy(backend, **options):
    """Make a policy that keeps everything in *backend*."""
    return CachePolicy(backend=backend, **{"live_ttl": 300.0, **options})


def finished(emulator):
    """Return the id of a finished session."""
    return next(s.id for s in emulator.sessions if s.state == "finished")


@pytest.fixture(autouse=True)
def _patience(request, monkeypatch):
    """Let nothing but what measures time give a busy machine up after 0.1 s."""
    if request.node.get_closest_marker("timing") is None:
        monkeypatch.setattr(GUARD, "BACKEND_TIMEOUT", 10.0)


@pytest.fixture
async def backend(redis_server):
    """Give a cache in the shared server."""
    async with redis_cache(redis_server.url) as cache:
        yield cache


class TestSharing:
    async def test_two_clients_share(self, emulator, redis_server):
        """What one client fetched, another one has without a request."""
        session_id = finished(emulator)
        url = redis_server.url
        async with redis_cache(url) as here, redis_cache(url) as there:
            async with emulator.client(cache=policy(here)) as client:
                expected = await client.get_session(session_id)
            async with emulator.client(cache=policy(there)) as client:
                assert expected == await client.get_session(session_id)
                assert (0, 1) == (client.stats.requests, client.stats.cache_hits)

    async def test_two_processes_share(self, emulator, redis_server):
        """What another process fetched is a hit, and it ends without a warning."""
        ids = [each.id for each in emulator.sessions[:5]]
        script = f"""if True:
            import asyncio
            import {GUARD.__name__} as guard
            from emogg_async import AsyncEmoggClient, CachePolicy, redis_cache
            guard.BACKEND_TIMEOUT = 10
            async def main():
                async with redis_cache({redis_server.url!r}) as backend:
                    policy = CachePolicy(backend=backend, live_ttl=300)
                    async with AsyncEmoggClient(
                        {emulator.token!r}, base_url={emulator.url!r}, cache=policy
                    ) as client:
                        (await client.get_sessions({ids!r})).raise_for_errors()
                        print(client.stats.cache_misses, client.stats.cache_hits)
            asyncio.run(main())
        """
        command = [sys.executable, "-W", "error", "-c", script]
        for expected in (f"{len(ids)} 0\n", f"0 {len(ids)}\n"):
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, text=True, check=False
            )
            assert (expected, "") == (done.stdout, done.stderr)

    async def test_tenants_stay_apart(self, emulator, redis_server, backend, caplog):
        """Another token sees nothing; no key, value or log has a part of a token."""
        emulator.add_token(TOKEN)
        session = emulator.add_session(token=TOKEN)
        with caplog.at_level(logging.DEBUG):
            async with emulator.client(token=TOKEN, cache=policy(backend)) as client:
                await client.get_session(session.id)
                await client.get_session(session.id)
                assert 1 == client.stats.cache_hits
            async with emulator.client(cache=policy(backend)) as client:
                assert {session.id} == {
                    *(await client.get_sessions([session.id])).errors
                }
        (key,) = redis_server.keys()
        with redis_server.asked() as asked:
            value = asked.get(key).decode()
        assert session.id == json.loads(value)["body"]["_id"]
        for start in range(len(TOKEN) - 7):
            assert TOKEN[start : start + 8] not in key + value + caplog.text

    async def test_a_bulk_asks_in_chunks(self, emulator, redis_server, backend):
        """250 ids are three questions to the cache, not 250."""
        ids = [each.id for each in emulator.sessions]
        async with emulator.client(cache=policy(backend)) as client:
            (await client.get_sessions(ids)).raise_for_errors()
        async with emulator.client(cache=policy(backend)) as client:
            with redis_server.asked() as asked:
                before = asked.info("commandstats")["cmdstat_mget"]["calls"]
                batch = await client.get_sessions(ids)
                calls = asked.info("commandstats")["cmdstat_mget"]["calls"] - before
            assert (250, 0) == (client.stats.cache_hits, client.stats.requests)
        assert 3 == calls
        assert [*ids] == [*batch]

    async def test_a_namespace_separates(self, redis_server):
        """Keys begin with the namespace and a colon, as an ACL may demand."""
        url = redis_server.url
        async with redis_cache(url, namespace="app") as app, redis_cache(url) as plain:
            await app.set("k", 1)
            await plain.set("k", 2)
            assert [1, 2] == [await app.get("k"), await plain.get("k")]
            assert ["app:k", "k"] == redis_server.keys()


class TestTimes:
    @pytest.mark.parametrize(
        ("ttl", "least", "most"),
        [(0.25, 150, 250), (7, 6_900, 7_000), (1e-9, -2, 1), (1e300, 3e11, 4e11)],
    )
    async def test_milliseconds(self, redis_server, backend, ttl, least, most):
        """Times to live are kept to the millisecond, the odd ones too."""
        await backend.set("k", 1, ttl=ttl)
        with redis_server.asked() as asked:
            assert least <= asked.pttl("k") <= most

    async def test_none_is_for_ever_and_0_is_not(self, redis_server, backend):
        """No time to live keeps; 0, less, and NaN keep nothing, not even the old."""
        for ttl in (0, -1, float("nan"), 0.0):
            await backend.set("k", "old", ttl=None)
            with redis_server.asked() as asked:
                assert asked.pttl("k") == -1
            await backend.set("k", "new", ttl=ttl)
            assert await backend.get("k") is None

    async def test_what_is_stored_together_expires_apart(
        self, emulator, redis_server, backend
    ):
        """Redis gets the jittered times, so that sessions do not expire at once."""
        ids = [each.id for each in emulator.sessions[:100]]
        times = policy(backend, ttl=10_000, live_ttl=10_000)
        async with emulator.client(cache=times) as client:
            (await client.get_sessions(ids)).raise_for_errors()
        keys = redis_server.keys()
        with redis_server.asked() as asked:
            times = [asked.pttl(key) for key in keys]
        assert 100 == len(times)
        assert len({*times}) > 90
        assert 8_900_000 <= min(times) < 9_500_000
        assert 10_500_000 < max(times) <= 11_000_000

    async def test_expires(self, emulator, redis_server, backend):
        """After its time a session is asked for anew; Redis keeps it for a second."""
        session_id = finished(emulator)
        async with emulator.client(cache=policy(backend, ttl=0.05)) as client:
            await client.get_session(session_id)
            await asyncio.sleep(0.08)
            with redis_server.asked() as asked:
                (key,) = redis_server.keys()
                assert asked.pttl(key) <= 1_000
            await client.get_session(session_id)
            assert 2 == client.stats.requests


class TestWhatOthersLeave:
    @pytest.mark.parametrize(
        "leave",
        [
            lambda asked, key: asked.set(key, b"\xff\xfe\x00"),
            lambda asked, key: asked.set(key, b""),
            lambda asked, key: asked.set(key, b"null"),
            lambda asked, key: asked.set(key, b"\x80\x04\x95."),
            lambda asked, key: asked.set(key, b'{"schema":"1"}'),
            lambda asked, key: asked.lpush(key, "a", "b"),
            lambda asked, key: asked.hset(key, "a", "b"),
        ],
        ids=["bytes", "empty", "null", "pickle", "half", "list", "hash"],
    )
    async def test_is_a_miss_and_is_replaced(
        self, emulator, redis_server, backend, leave, caplog
    ):
        """Foreign values of any type are misses, cost no failure, and make way."""
        session_id = finished(emulator)
        async with emulator.client(cache=policy(backend)) as client:
            await client.get_session(session_id)
            (key,) = redis_server.keys()
            with redis_server.asked() as asked:
                asked.delete(key)
                leave(asked, key)
            await client.get_session(session_id)
            await client.get_session(session_id)
            stats = client.stats
        assert (2, 1, []) == (stats.requests, stats.cache_hits, caplog.records)

    async def test_does_not_spoil_a_bulk(self, emulator, redis_server, backend):
        """One foreign value among a hundred is one miss."""
        ids = [each.id for each in emulator.sessions[:100]]
        async with emulator.client(cache=policy(backend)) as client:
            (await client.get_sessions(ids)).raise_for_errors()
            with redis_server.asked() as asked:
                asked.set(redis_server.keys()[7], b"\xff")
            (await client.get_sessions(ids)).raise_for_errors()
            assert 99 == client.stats.cache_hits

    async def test_clear_leaves_it_alone(self, emulator, redis_server):
        """`clear` takes what clients stored, and nothing of others."""
        async with (
            redis_cache(redis_server.url) as plain,
            redis_cache(redis_server.url, namespace="a*[b]") as app,
        ):
            for backend in (plain, app):
                async with emulator.client(cache=policy(backend)) as client:
                    await client.get_session(finished(emulator))
            with redis_server.asked() as asked:
                asked.mset({"other": 1, "axb:emogg:1": 1})
            assert 4 == len(redis_server.keys())
            await app.clear()
            assert {"a*[b]"}.isdisjoint(key[:5] for key in [*redis_server.keys()])
            await plain.clear()
            assert ["axb:emogg:1", "other"] == redis_server.keys()

    async def test_an_empty_question_is_not_asked(self, backend):
        """No keys give no values."""
        assert [] == await backend.multi_get([])
        await backend.set("a", 1)
        assert [1, None] == await backend.multi_get(["a", "b"])


NAMES = re.compile(rb"\*\d+\r\n\$\d+\r\n(\w+)\r\n")
"""The names of commands, as they are sent."""


@asynccontextmanager
async def relayed(server, *, context=None, gate=None, refuses=lambda _: False):
    """Stand before *server*, maybe with TLS; yield the port and who connected.

    Nothing is passed on before *gate* is set, if that is given. It hangs up on those
    who send a command that it *refuses*.
    """
    connected = []
    tasks = set()

    async def pump(reader, writer):
        try:
            while data := await reader.read(2**16):
                if any(map(refuses, NAMES.findall(data))):
                    break
                writer.write(data)
                await writer.drain()
        except (ConnectionError, ssl.SSLError):
            pass
        finally:
            writer.transport.abort()

    async def relay(reader, writer):
        tasks.add(asyncio.current_task())
        connected.append(writer)
        if gate is not None:
            await gate.wait()
        theirs, ours = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(pump(reader, ours), pump(theirs, writer))

    running = await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context)
    try:
        yield running.sockets[0].getsockname()[1], connected
    finally:
        running.close()
        await asyncio.gather(*tasks)
        await asyncio.sleep(0)


class TestWaysToConnect:
    async def test_over_a_unix_socket(self, tmp_path, emulator):
        """`unix://` reaches a server by its socket, and any of its databases."""
        path = tmp_path / "a b.sock"
        with redis_serving(tmp_path, "--unixsocket", str(path)) as server:
            url = f"unix://{str(path).replace(' ', '%20')}?db=3"
            async with redis_cache(url) as backend:
                async with emulator.client(cache=policy(backend)) as client:
                    await client.get_session(finished(emulator))
                    await client.get_session(finished(emulator))
                    assert 1 == client.stats.cache_hits
            with server.asked(db=3) as asked:
                assert 1 == asked.dbsize()

    async def test_with_names_and_passwords(self, tmp_path, everything_logged):
        """ACL users get in by name and password, others do not, and no log shows it."""
        socket = tmp_path / "r.sock"
        options = [
            *("--unixsocket", str(socket)),
            *("--user", "me", "on", f"#{_sha256(PASSWORD)}"),
            *("~app:*", "+mget", "+set", "+del"),
            *("--user", "default", "on", f"#{_sha256('other')}", "~*", "+@all"),
        ]
        with redis_serving(tmp_path, *options) as server:
            for url in (
                f"redis://me:{ENCODED}@{server.address}",
                f"unix://me:{ENCODED}@{socket}",
                f"redis://:other@{server.address}/2",
            ):
                async with redis_cache(url, namespace="app") as cache:
                    await cache.set("k", [1], ttl=60)
                    assert [1] == await cache.get("k")
                    assert 1 == await cache.delete("k")
            for url in (
                f"redis://me:{ENCODED}x@{server.address}",
                f"redis://{ENCODED}@{server.address}",
                f"redis://:{ENCODED}@{server.address}",
                f"redis://{server.address}",
                "redis://127.0.0.1:1",
            ):
                async with redis_cache(url) as cache:
                    with pytest.raises(redis.exceptions.RedisError) as caught:
                        await cache.get("k")
                shown = "".join(traceback.format_exception(caught.value))
                assert "5ecret" not in shown + everything_logged.text

    async def test_over_tls(self, redis_server, tmp_path):
        """`rediss://` trusts who it is told to trust, for the host that it names."""
        authority = trustme.CA()
        pem = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(pem)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        async with relayed(redis_server, context=context) as (port, _):
            async with redis_cache(f"rediss://127.0.0.1:{port}", ssl=str(pem)) as cache:
                await cache.set("k", 1)
                assert [b"1"] * 50 == await asyncio.gather(
                    *(get_alone(cache, "k") for _ in range(50))
                )
            for url, trust in (
                (f"rediss://127.0.0.1:{port}", None),
                (f"rediss://localhost:{port}", str(pem)),
            ):
                async with redis_cache(url, ssl=trust) as cache:
                    with pytest.raises(redis.exceptions.ConnectionError):
                        await cache.get("k")

    @both_ways
    async def test_a_server_that_comes_later(self, tmp_path, get, other_tasks):
        """A socket that is missing at first is used as soon as it is there."""
        path = tmp_path / "r.sock"
        with other_tasks():
            async with redis_cache(f"unix://{path}") as cache:
                for _ in range(3):
                    with pytest.raises(redis.exceptions.ConnectionError):
                        await get(cache, "k")
                with redis_serving(tmp_path, "--unixsocket", str(path)):
                    assert await cache.set("k", 1)
                    assert [b"1"] * 50 == await asyncio.gather(
                        *(get(cache, "k") for _ in range(50))
                    )
            assert {asyncio.current_task()} == asyncio.all_tasks()

    @pytest.mark.parametrize("place", ["", f":{ENCODED}@", f"me:{ENCODED}@"])
    @pytest.mark.parametrize("database", ["", "/3"])
    async def test_sends_what_it_says_and_no_more(
        self, tmp_path, emulator, place, database
    ):
        """A proxy may hang up at anything but MGET, SET and DEL.

        A password adds AUTH, and a database SELECT.
        """
        session_id = finished(emulator)
        allowed = {b"MGET", b"SET", b"DEL"}
        allowed |= {b"AUTH"} if place else set()
        allowed |= {b"SELECT"} if database else set()
        options = [
            *("--user", "me", "on", f"#{_sha256(PASSWORD)}", "~*", "+@all"),
            *(("--requirepass", PASSWORD) if place else ()),
        ]
        with redis_serving(tmp_path, *options) as server:
            async with relayed(server, refuses=lambda name: name not in allowed) as (
                port,
                _,
            ):
                url = f"redis://{place}127.0.0.1:{port}{database}"
                async with redis_cache(url) as backend:
                    async with emulator.client(cache=policy(backend)) as client:
                        await client.get_session(session_id)
                        await client.update_session(session_id, name="new")
                        await client.get_session(session_id)
                        await client.get_emotions(session_id)
                        await client.get_emotions(session_id)
                        await client.get_sessions([session_id])
                        assert 2 == client.stats.cache_hits


def _sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def everything_logged(caplog):
    """Record what all loggers say."""
    with caplog.at_level(logging.DEBUG):
        yield caplog


class TestOutages:
    """A server that dies or hangs hurts no call."""

    async def test_killed_and_restarted(self, emulator, own_redis, monkeypatch):
        """No call fails, and the cache is used again after its pause."""
        monkeypatch.setattr(GUARD, "PAUSE", 0.5)
        await self.kill_and_restart(emulator, own_redis, pause=0.5)

    @pytest.mark.soak
    async def test_killed_and_restarted_with_the_real_pause(self, emulator, own_redis):
        """The same with five seconds."""
        await self.kill_and_restart(emulator, own_redis, pause=GUARD.PAUSE)

    async def kill_and_restart(self, emulator, server, *, pause):
        ids = [each.id for each in emulator.sessions[:20]]
        stop = asyncio.Event()
        async with redis_cache(server.url, max_connections=20) as backend:
            async with emulator.client(cache=policy(backend)) as client:

                async def work():
                    for session_id in _endlessly(ids):
                        if stop.is_set():
                            break
                        got = await client.get_session(session_id)
                        assert session_id == got.id
                        await asyncio.sleep(0.001)

                workers = [asyncio.create_task(work()) for _ in range(8)]
                await asyncio.gather(*(get_alone(backend, "k") for _ in range(20)))
                while client.stats.cache_hits <= 20:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(0.01)
                server.kill()
                await asyncio.sleep(0.2)
                server.start()
                await asyncio.sleep(pause + 0.3)
                before = client.stats
                while client.stats.cache_hits <= before.cache_hits + 20:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                after = client.stats
                stop.set()
                await asyncio.gather(*workers)
        assert 20 >= after.requests - before.requests

    @both_ways
    async def test_a_restart_that_nobody_saw_costs_nothing(self, own_redis, get):
        """What the server closed meanwhile is noticed before it is used."""
        async with redis_cache(own_redis.url) as cache:
            await asyncio.gather(*(cache.raw("get", "k") for n in range(10)))
            own_redis.kill()
            own_redis.start()
            await asyncio.sleep(0.05)
            assert [None] * 10 == await asyncio.gather(
                *(get(cache, f"k{n}") for n in range(10))
            )

    @pytest.mark.timing
    @pytest.mark.parametrize("call", ["get", "fresh", "rename", "emotions"])
    @pytest.mark.parametrize("together", [True, False])
    async def test_a_hanging_server_costs_little_and_once(
        self, emulator, own_redis, call, together
    ):
        """All calls in all take at most 0.2 s more, until it goes on."""
        added = []
        for _ in range(3):  # what else happens on the machine can only add
            async with redis_cache(own_redis.url) as backend:
                async with emulator.client(cache=policy(backend)) as client:
                    added.append(
                        await self.added_by_a_hang(
                            own_redis, client, emulator.sessions, call, together
                        )
                    )
        assert 0.1 < max(added)
        assert min(added) < 0.2

    async def added_by_a_hang(self, server, client, sessions, call, together):
        ids = [each.id for each in sessions[: 32 if together else 8]]
        calls = {
            "get": client.get_session,
            "fresh": lambda each: client.get_session(each, fresh=True),
            "rename": lambda each: client.update_session(each, name="new"),
            "emotions": client.get_emotions,
        }

        async def measure(call):
            started = time.monotonic()
            if together:
                await asyncio.gather(*map(call, ids))
            else:
                for each in ids:
                    await call(each)
            return time.monotonic() - started

        await measure(client.get_session)
        await measure(calls[call])  # the emulator's first answers are slow
        server.hang()
        took = [await measure(calls[call]) for _ in range(3)]
        server.go_on()
        alike = calls["fresh" if call == "get" else call]
        return sum(took) - 3 * min([await measure(alike) for _ in range(3)])

    @pytest.mark.timing
    @pytest.mark.parametrize("callers", [1, 32])
    async def test_a_hiccup_of_the_server_is_soon_forgotten(
        self, emulator, own_redis, callers
    ):
        """A server that stands still for 0.13 s is used again right after that."""
        ids = [each.id for each in emulator.sessions[:callers]]
        async with redis_cache(own_redis.url) as backend:
            async with emulator.client(cache=policy(backend)) as client:
                await asyncio.gather(*map(client.get_session, ids))
                own_redis.hang()
                asyncio.get_running_loop().call_later(0.13, own_redis.go_on)
                await asyncio.gather(*map(client.get_session, ids))
                before = client.stats.cache_hits
                await asyncio.gather(*map(client.get_session, ids))
                assert callers == client.stats.cache_hits - before

    async def test_lost_connections_are_replaced_together(self, redis_server):
        """When one goes dumb, as behind a firewall, the idle ones are not used."""
        async with (
            relayed(redis_server) as (port, connected),
            redis_cache(f"redis://127.0.0.1:{port}") as cache,
        ):
            await asyncio.gather(*(get_alone(cache, "k") for _ in range(10)))
            for writer in connected:
                writer.transport.pause_reading()
            try:
                async with asyncio.timeout(5):
                    with pytest.raises(redis.exceptions.TimeoutError):
                        await cache.get("k")
                    assert await cache.get("k") is None
            finally:
                for writer in connected:
                    writer.transport.resume_reading()

    async def test_a_failover_is_followed(self, tmp_path):
        """Where a write meets a replica, the next one asks who is the primary now."""
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        with (
            redis_serving(tmp_path / "a") as primary,
            redis_serving(tmp_path / "b") as replica,
        ):
            place = SimpleNamespace(port=primary.port)
            async with (
                relayed(place) as (port, _),
                redis_cache(f"redis://127.0.0.1:{port}") as cache,
            ):
                await asyncio.gather(*(get_alone(cache, "k") for _ in range(10)))
                with primary.asked() as asked:
                    asked.replicaof("127.0.0.1", replica.port)
                place.port = replica.port
                with pytest.raises(redis.exceptions.ReadOnlyError):
                    await cache.set("k", 1)
                assert await cache.set("k", 1)
            assert ["k"] == replica.keys()

    async def test_slow_connecting_does_not_begin_anew(self, redis_server):
        """A connection that takes longer than anyone waits is there for the next."""
        gate = asyncio.Event()
        async with (
            relayed(redis_server, gate=gate) as (port, connected),
            redis_cache(f"redis://127.0.0.1:{port}", max_connections=2) as cache,
        ):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await cache.get("k")
            await until(lambda: connected)
            gate.set()
            assert await cache.get("k") is None
        assert 1 == len(connected)

    @both_ways
    async def test_no_server_fails_at_once(self, own_redis, get):
        """A refused connection is an error for all who wait, not a wait."""
        own_redis.kill()
        async with redis_cache(own_redis.url, max_connections=2) as cache:
            async with asyncio.timeout(1):
                results = await asyncio.gather(
                    *(get(cache, "k") for _ in range(50)), return_exceptions=True
                )
        assert {redis.exceptions.ConnectionError} == {*map(type, results)}

    @both_ways
    async def test_a_full_server_is_used_as_far_as_it_goes(self, own_redis, get):
        """Where the server lets in two, ten do with two."""
        with own_redis.asked() as asked:
            asked.config_set("maxclients", 3)  # one of them is ours
            async with redis_cache(own_redis.url) as cache:
                await cache.set("k", 1)
                for _ in range(5):
                    assert [b"1"] * 30 == await asyncio.gather(
                        *(get(cache, "k") for _ in range(30))
                    )


def _endlessly(items):
    while True:
        yield from items


class TestConcurrency:
    async def test_many_gets_over_few_connections(
        self, emulator, redis_server, backend
    ):
        """5,000 gets, 200 at a time, over ten connections: all right, and all hits."""
        assert 0 == await self.count_misses(emulator, redis_server, backend)

    @pytest.mark.timing
    async def test_many_gets_in_time(self, emulator, redis_server, backend):
        """At that rate hardly any waits as long as a client has patience."""
        assert 50 >= await self.count_misses(emulator, redis_server, backend)

    async def count_misses(self, emulator, server, backend):
        ids = [each.id for each in emulator.sessions]
        async with emulator.client(cache=policy(backend)) as client:
            (await client.get_sessions(ids)).raise_for_errors()
            before = client.stats
            todo = [ids[n % 250] for n in range(5_000)]
            random.Random(1).shuffle(todo)
            source = iter(todo)

            async def work():
                for session_id in source:
                    assert session_id == (await client.get_session(session_id)).id

            with server.asked() as asked:
                await asyncio.gather(*(work() for _ in range(200)))
                assert len(asked.client_list()) <= 11
            return client.stats.requests - before.requests

    @both_ways
    async def test_who_came_first_is_served_first(self, redis_server, get):
        """Nobody overtakes: over one connection, answers come in the order asked."""
        order = []
        async with redis_cache(redis_server.url, max_connections=1) as cache:

            async def ask(number):
                await get(cache, "k")
                order.append(number)
                if number < 50:
                    asked.append(asyncio.create_task(ask(number + 50)))

            asked = [asyncio.create_task(ask(number)) for number in range(50)]
            for task in asked:  # grows meanwhile
                await task
        assert [*range(100)] == order


@pytest.fixture
def values(redis_server):
    """Give what is stored under each of some keys."""
    values = {f"k{n}": f"value of {n}".encode() for n in range(40)}
    with redis_server.asked() as asked:
        asked.mset(values)
    return values


@pytest.fixture
def patient(monkeypatch):
    """Let who waits for an answer wait longer than any machine is busy."""
    monkeypatch.setattr(redis_client, "EXCHANGE", 60.0)


class TestCancellation:
    """A caller who leaves takes nothing along and leaves nothing behind."""

    @both_ways
    @pytest.mark.usefixtures("patient")
    @pytest.mark.parametrize("warm", [False, True])
    @pytest.mark.parametrize("connections", [1, 2])
    async def test_at_any_turn_of_the_loop(
        self, redis_server, values, get, warm, connections
    ):
        """Whenever one leaves, the next ones get their own answers, and soon."""
        outcomes = set()
        for turns in range(40):
            async with redis_cache(
                redis_server.url, max_connections=connections
            ) as cache:
                if warm:
                    await get(cache, "k0")
                leaving = [
                    asyncio.create_task(get(cache, key)) for key in ("k1", "k2", "k3")
                ]
                for _ in range(turns):
                    await asyncio.sleep(0)
                for task in leaving:
                    task.cancel()
                async with asyncio.timeout(20):
                    for key in ("k4", "k5", "k6"):
                        assert values[key] == await get(cache, key)
                for task, key in zip(leaving, ("k1", "k2", "k3"), strict=True):
                    (left,) = await asyncio.gather(task, return_exceptions=True)
                    if not isinstance(left, asyncio.CancelledError):
                        assert values[key] == left
                    outcomes.add(type(left))
        assert asyncio.CancelledError in outcomes

    @both_ways
    @pytest.mark.parametrize("connections", [1, 4])
    async def test_no_answer_goes_to_somebody_else(
        self, redis_server, values, get, connections
    ):
        """4,000 operations, a third cancelled at random: each answer is one's own."""
        rng = random.Random(connections)
        kept = 0

        async def ask(cache, number):
            keys = [f"k{(number + n) % 40}" for n in range(rng.choice([1, 1, 3]))]
            if number % 7 == 0:
                await cache.set(f"set{number}", "x" * 2_000, ttl=60.0)
            if len(keys) == 1:
                answers = [await get(cache, keys[0])]
            else:
                answers = await cache.multi_get(keys, loads_fn=as_bytes)
            assert [values[key] for key in keys] == answers
            return 1

        async with redis_cache(redis_server.url, max_connections=connections) as cache:
            for start in range(0, 4_000, 50):
                tasks = [asyncio.create_task(ask(cache, start + n)) for n in range(50)]
                for task in rng.sample(tasks, 17):
                    delay = rng.uniform(0, 0.006)
                    asyncio.get_running_loop().call_later(delay, task.cancel)
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(result, asyncio.CancelledError):
                        continue
                    assert 1 == result
                    kept += 1
            with redis_server.asked() as asked:
                open_connections = len(asked.client_list()) - 1
            assert open_connections <= connections
        assert 2_600 < kept < 4_000

    async def test_callers_of_a_client(self, emulator, redis_server):
        """Cancelled callers of a client leave the cache as good as it was."""
        ids = [each.id for each in emulator.sessions[:50]]
        rng = random.Random(5)
        async with redis_cache(redis_server.url, max_connections=2) as backend:
            async with emulator.client(cache=policy(backend)) as client:
                (await client.get_sessions(ids)).raise_for_errors()

                async def ask(session_id):
                    assert session_id == (await client.get_session(session_id)).id

                for _ in range(20):
                    tasks = [asyncio.create_task(ask(each)) for each in ids]
                    for task in rng.sample(tasks, 25):
                        delay = rng.uniform(0, 0.01)
                        asyncio.get_running_loop().call_later(delay, task.cancel)
                    for result in await asyncio.gather(*tasks, return_exceptions=True):
                        assert result is None or isinstance(
                            result, asyncio.CancelledError
                        )
                before = client.stats.cache_hits
                (await client.get_sessions(ids)).raise_for_errors()
                assert 50 == client.stats.cache_hits - before


class TestClosing:
    async def test_closes_all_and_for_good(self, redis_server):
        """After `close` no connection is left, no use opens another; twice is fine."""
        cache = redis_cache(redis_server.url)
        await asyncio.gather(*(get_alone(cache, "k") for _ in range(20)))
        with redis_server.asked() as asked:
            assert 1 < len(asked.client_list()) <= 11
            await cache.close()
            await cache.close()
            await until(lambda: 1 == len(asked.client_list()))
            with pytest.raises(ConfigurationError, match="the Redis cache is closed"):
                await cache.get("k")
            assert 1 == len(asked.client_list())

    async def test_a_cancelled_close_closes_all_the_same(self, redis_server):
        """Who is cancelled while it closes the cache leaves no connection behind."""
        cache = redis_cache(redis_server.url)
        await cache.get("k")
        closing = asyncio.create_task(cache.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with redis_server.asked() as asked:
            await until(lambda: 1 == len(asked.client_list()), within=5.0)

    @pytest.mark.usefixtures("patient")
    async def test_during_operations(self, own_redis):
        """All who wait for an answer get an error, and none hangs."""
        cache = redis_cache(own_redis.url, max_connections=2)
        await cache.get("k")
        own_redis.hang()
        tasks = [
            asyncio.create_task(get(cache, "k"))
            for get in (get_together, get_alone)
            for _ in range(5)
        ]
        await asyncio.sleep(0.05)
        async with asyncio.timeout(20):
            await cache.close()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {ConfigurationError} == {*map(type, results)}

    async def test_before_the_client(self, emulator, redis_server):
        """A client whose backend is closed goes on without it."""
        backend = redis_cache(redis_server.url)
        async with emulator.client(cache=policy(backend)) as client:
            await client.get_session(finished(emulator))
            await backend.close()
            await client.get_session(finished(emulator))
            assert 2 == client.stats.requests

    async def test_never_opened(self):
        """What was never used is closed at once, whatever its URL is good for."""
        async with redis_cache("redis://127.0.0.1:1"):
            pass
        await redis_cache("rediss://nowhere.invalid:1").close()

    def test_each_event_loop_has_its_own(self, redis_server):
        """One cache serves loop after loop, and each closes what is its own."""
        cache = redis_cache(redis_server.url)

        async def use(value):
            async with cache:
                await cache.set("k", value)
                await asyncio.gather(*(get_alone(cache, "k") for _ in range(20)))
                return await cache.get("k")

        for value in range(3):
            assert value == asyncio.run(use(value))
        with redis_server.asked() as asked:
            assert 1 == len(asked.client_list())

    def test_event_loops_in_threads(self, redis_server):
        """Loops that run at the same time share a cache without a quarrel."""
        cache = redis_cache(redis_server.url)

        async def use(name):
            await cache.set(name, name)
            return [await cache.get(name) for _ in range(100)]

        async def closing(name):
            try:
                return await use(name)
            finally:
                await cache.close()

        with ThreadPoolExecutor(4) as threads:
            for name, found in zip(
                "abcd",
                threads.map(lambda n: asyncio.run(closing(n)), "abcd"),
                strict=True,
            ):
                assert [name] * 100 == found

    def test_loops_that_begin_at_the_same_time(self, redis_server):
        """Two threads may forget what is left of an earlier loop at the same time."""
        cache = redis_cache(redis_server.url)

        async def use():
            try:
                return await cache.get("k")
            finally:
                await cache.close()

        class Earlier(asyncio.SelectorEventLoop):
            another = None

            def is_closed(self):
                if self.another is not None:
                    another, self.another = self.another, None
                    another.start()
                    another.join()
                return super().is_closed()

        with asyncio.Runner(loop_factory=Earlier) as runner:
            loop = runner.get_loop()
            runner.run(use())
        loop.another = threading.Thread(target=lambda: asyncio.run(use()))
        assert asyncio.run(use()) is None

    async def test_nothing_is_left_behind(self, redis_server):
        """A hundred caches, opened, used, cancelled and closed, leave no socket."""
        process = psutil.Process()
        async with redis_cache(redis_server.url) as cache:
            await cache.get("k")
        before = process.num_fds()
        for number in range(100):
            async with redis_cache(redis_server.url, max_connections=3) as cache:
                get = (get_together, get_alone)[number % 2]
                tasks = [asyncio.create_task(get(cache, "k")) for _ in range(5)]
                for _ in range(number // 2 % 20):
                    await asyncio.sleep(0)
                for task in tasks[::2]:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        gc.collect()
        await asyncio.sleep(0.01)
        assert before >= process.num_fds()
        assert {asyncio.current_task()} == asyncio.all_tasks()


async def test_one_wrong_value_fails_alone(redis_server):
    """What cannot be sent is an error of its asker only."""
    async with redis_cache(redis_server.url) as cache:
        results = await asyncio.gather(
            cache.set("a", 1),
            cache.set("b", {}, dumps_fn=as_bytes),
            cache.set("c\ud800", 1),
            cache.set("d", 4),
            return_exceptions=True,
        )
        assert [True, redis.exceptions.DataError, UnicodeEncodeError, True] == [
            each if each is True else type(each) for each in results
        ]
        assert [1, None, 4] == await cache.multi_get(["a", "b", "d"])


@pytest.mark.filterwarnings("error")
async def test_nothing_is_deprecated(redis_server):
    """Every method of aiocache's interface works without a warning."""
    async with redis_cache(redis_server.url) as cache:
        assert await cache.set("a", 1, ttl=5)
        assert await cache.set("a", 1, ttl=0.5)
        assert await cache.add("b", {"x": [1]}, ttl=5)
        assert await cache.add("c", 1, ttl=0.5)
        with pytest.raises(ValueError, match="already exists"):
            await cache.add("b", 2)
        assert [1, {"x": [1]}] == await cache.multi_get(["a", "b"])
        assert await cache.multi_set([("d", 1), ("e", "ü")], ttl=5)
        assert "ü" == await cache.get("e")
        assert await cache.exists("d")
        assert await cache.expire("d", 5)
        assert 6 == await cache.increment("n", 6)
        assert 1 == await cache.delete("d")
        assert b"6" == await cache.raw("get", "n")
        assert await cache.clear(namespace="nobody")
        async with OptimisticLock(cache, "n") as lock:
            assert await lock.cas("7", ttl=5)
        cache.serializer = StringSerializer()
        assert '"7"' == await cache.get("n")
