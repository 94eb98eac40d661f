"""Any sequence of calls agrees with a model in plain Python, whatever goes wrong."""

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

import attrs
import pytest
import simulated
from aiocache import SimpleMemoryCache
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from live.chaos import Truth, Witness
from model import ACTIVE, FINISHED, GONE, Account, Known, Read, lasting, seen, window

from emogg_async import (
    BadRequestError,
    CachePolicy,
    ConnectionLostError,
    DeadlineError,
    EmotionCounts,
    EmotionIntensities,
    InvalidArgumentError,
    LivePolicy,
    NotFoundError,
    OutcomeUnknownError,
    ResponseShapeError,
    RetryPolicy,
    ServerError,
    to_dict,
)
from emogg_async._calls import pipeline
from emogg_async._core import assemble

SEED = 3
URI = "rtmp://example.com/stream"
TICK = 0.001
"""Seconds of simulated time between two steps."""

FAULTS = {
    "503": {"status": 503},
    "503 after": {"status": 503, "after": True},
    "429": {"status": 429},
    "reset": {"fault": "reset"},
    "reset after": {"fault": "reset", "after": True},
    "close": {"fault": "close"},
    "hang": {"fault": "hang"},
    "hang after": {"fault": "hang", "after": True},
    "cut": {"fault": "cut"},
    "garbage": {"fault": "garbage"},
    "late": {"delay": 1.0},
    "lag": {"lag": 1.0},
}
HARMLESS = {None, "429", "late", "lag"}
"""Faults that no call tells of, with or without retries."""

READ_FAILS = (ServerError, ConnectionLostError, ResponseShapeError, DeadlineError)

CACHES = {
    "none": lambda: None,
    "own": CachePolicy,
    "past": partial(CachePolicy, stale_if_error=60.0),
    "shared": lambda: CachePolicy(backend=SimpleMemoryCache(timeout=None)),
}
SORTS = ["timestamp", "id"]
KINDS = {"counts": EmotionCounts, "intensities": EmotionIntensities}

which = st.sampled_from([0, 0, 0, 1, 1, 2, 3])
faults = st.sampled_from([None] * (len(FAULTS) // 2) + [*FAULTS])
views = st.sampled_from(["client", "client", "once", "uncached", "unpaced"])


def named(name):
    """Return whether a version has that name, as a function of it."""
    return lambda version: version.name == name


class Calls(RuleBasedStateMachine):
    """A client, an emulator and a model, in one loop of simulated time."""

    @initialize(
        cache=st.sampled_from([*CACHES]), sort=st.sampled_from(["timestamp", "id"])
    )
    def open(self, cache, sort):
        self.patch = pytest.MonkeyPatch()
        self.runner = asyncio.Runner(loop_factory=simulated.SimulatedLoop)
        self.loop = self.runner.get_loop()
        wall, ticks = time.time(), time.monotonic()
        self.patch.setattr(time, "time", lambda: wall + self.loop.time())
        self.patch.setattr(time, "monotonic", lambda: ticks + self.loop.time())
        self.patch.setattr(
            pipeline, "_utc_now", lambda: datetime.fromtimestamp(time.time(), UTC)
        )
        self.stack = AsyncExitStack()
        self.feeds, self.problems, self.calls, self.reads = [], [], 0, 0
        self.numbers, self.topics = itertools.count(1), set()
        self.is_exact, self.lost, self.cancelled = True, 0, 0
        self.loop.set_exception_handler(lambda _, told: self.problems.append(told))
        self.run(self._open(CACHES[cache](), sort))

    async def _open(self, cache, sort):
        self.emulator = await self.stack.enter_async_context(
            simulated.emulated(sessions=2, seed=SEED, sort=sort, rate_limit=(60, 30.0))
        )
        self.client = self.emulator.client(cache=cache, live=LivePolicy(cap=5.0))
        self.client._core = assemble(
            self.client._settings, self.client._counters, rng=random.Random(0)
        )
        self.views = {
            "client": self.client,
            "once": self.client.with_options(retry=RetryPolicy(attempts=1)),
            "uncached": self.client.with_options(cache=None),
            "unpaced": self.client.with_options(pace=False),
        }
        self.has_cache = cache is not None
        self.account = Account(SEED, cache, self.loop.time())
        self.account.sessions = [
            Known(each, self.loop.time()) for each in self.emulator.sessions
        ]
        self.truth = Truth(self.emulator)
        self.found = Counter()

    def run(self, step):
        """Carry out a step; time passes before it, and after it."""

        async def main():
            await asyncio.sleep(TICK)
            return await step

        return self.runner.run(main())

    def new_name(self):
        """Return a name that no session has had."""
        return f"Name {next(self.numbers)}"

    # -- what a call may do ------------------------------------------------------------

    async def fails(self, method, fault, call):
        """Let a request of this call meet a fault; return its result and its error."""
        armed = fault and self.emulator.fail(method, "/v1/*", times=1, **FAULTS[fault])
        try:
            return await call(), None
        except (*READ_FAILS, NotFoundError, BadRequestError, OutcomeUnknownError) as e:
            return None, e
        finally:
            if armed:
                armed.remove()
                self.lost += armed.hits
            await asyncio.sleep(TICK)

    async def read(self, view, fault, call, known, *, fresh, whole=True):
        """Carry out a read; return what it shows, or None if it may show nothing."""
        began = self.loop.time()
        cached = not fresh and view != "uncached"
        self.calls += 1
        self.reads += cached and self.has_cache
        value, error = await self.fails("GET", fault, call)
        read = Read(began=began, ended=self.loop.time(), cached=cached, whole=whole)
        if isinstance(error, NotFoundError):
            self.account.check_gone(known, read)
        elif error is not None:
            self.check_failure(error, fault, view)
        elif fresh and whole and view != "uncached":  # which stores nothing
            known.got = began
        return value, read

    def check_failure(self, error, fault, view):
        """Fail if this fault may not be told in this view."""
        assert isinstance(error, READ_FAILS), error
        assert view == "once", f"{fault}: {error}"
        assert fault not in HARMLESS, error

    async def write(self, view, fault, what, call, known, *, to, refused=None):
        """Carry out a write of a session, and check what it has done.

        Args:
            view: The view of the client that carries it out.
            fault: What its first request meets.
            what: Its method, and how it may be repeated.
            call: Carries it out.
            known: The session.
            to: What it changes.
            refused: The error with which the service has to refuse it.
        """
        began, before = self.loop.time(), known.now
        self.calls += 1
        method, repeat = what.split()
        value, error = await self.fails(method, fault, call)
        if before.state == GONE:
            refused = NotFoundError
        ended, now = self.loop.time(), self.observed(known, began)
        in_doubt = fault not in HARMLESS
        if isinstance(error, OutcomeUnknownError):
            assert in_doubt, f"{fault}: {error}"
            # What can be settled is, and a repeat may not be refused for its own sake.
            unreadable = fault == "garbage"
            assert (
                refused
                or {
                    "once": True,
                    "idempotent": view == "once" or unreadable,
                    "settle": view == "once" and not unreadable,
                }[repeat]
            ), f"{fault}: {error}"
        elif error is not None:
            assert refused, f"{fault}: {error}"
            assert isinstance(error, refused), error
        elif refused:  # only what an earlier send of the same call would explain
            assert in_doubt, f"{fault}: not refused"
            assert repeat == "settle"
        if refused:
            assert now == before
        elif error is None or now != before:
            assert to(now), f"{fault}: it became {now}"
        known.change(now, ended)
        known.floor = ended
        return value, error

    def observed(self, known, since):
        """Return what the service knows of a session."""
        for each in self.emulator.sessions:
            if each.id == known.id:
                grows = known.history[0].length is None and each.state == ACTIVE
                return seen(each, since, grows=grows)
        return attrs.evolve(known.now, state=GONE, since=since)

    # -- reads -------------------------------------------------------------------------

    @rule(which=which, fresh=st.booleans(), view=views, fault=faults)
    def get_session(self, which, fresh, view, fault):
        known = self.account.of(which)
        call = partial(self.views[view].get_session, known.id.upper(), fresh=fresh)

        async def step():
            session, read = await self.read(view, fault, call, known, fresh=fresh)
            if session is not None:
                self.account.check_session(session, known, read)

        self.run(step())

    @rule(which=which, fault=faults)
    def get_expanded(self, which, fault):
        known = self.account.of(which)
        call = partial(self.client.get_session, known.id, expand=["user"])

        async def step():
            self.reads -= self.has_cache
            session, read = await self.read("client", fault, call, known, fresh=False)
            if session is not None:
                assert session.expanded["user"]["_id"] == session.user
                read = attrs.evolve(read, cached=False)
                self.account.check_session(session, known, read)

        self.run(step())

    @rule(
        which=which,
        what=st.sampled_from(["totals", "emotions", "sentiments"]),
        size=st.sampled_from([5, 60]),
        fresh=st.booleans(),
        view=views,
        fault=faults,
    )
    def get_derived(self, *, which, what, size, fresh, view, fault):
        known, client = self.account.of(which), self.views[view]
        call, rest = {
            "totals": (client.get_emotions, ()),
            "emotions": (client.get_emotions_timeline, (size,)),
            "sentiments": (client.get_transcription_sentiment, (size,)),
        }[what]
        options = {"granularity": size} if rest else {}
        call = partial(call, known.id, fresh=fresh, **options)

        async def step():
            answer, read = await self.read(
                view, fault, call, known, fresh=fresh, whole=False
            )
            if answer is not None:
                shown = to_dict(answer)["timeline" if rest else "emotions"]
                shown = lasting(shown) if rest else shown
                self.account.check_derived(
                    answer, shown, what, known, read, *map(window, rest)
                )

        self.run(step())

    @rule(
        chosen=st.lists(which, max_size=8),
        fresh=st.booleans(),
        via=st.sampled_from(["auto", "get", "pages"]),
        fault=faults,
    )
    def get_sessions(self, chosen, fresh, via, fault):
        known = {each.id: each for each in map(self.account.of, chosen)}
        call = partial(self.client.get_sessions, known, fresh=fresh, via=via)

        async def step():
            began = self.loop.time()
            batch, error = await self.fails("GET", fault, call)
            assert error is None
            read = Read(began=began, ended=self.loop.time(), cached=not fresh)
            self.calls += len(known)
            self.reads += 0 if fresh or not self.has_cache else len(known)
            assert [*batch] == [each for each in known if each in batch]
            assert {*known} == {*batch, *batch.errors}
            for session_id, session in batch.items():
                self.account.check_session(session, known[session_id], read)
            for session_id, error in batch.errors.items():
                assert isinstance(error, NotFoundError)
                self.account.check_gone(known[session_id], read)

        self.run(step())

    @rule(
        state=st.sampled_from([None, ACTIVE, FINISHED]),
        after=st.none() | which,
        before=st.none() | which,
        size=st.sampled_from([1, 2, 100]),
        fault=faults,
    )
    def list_sessions(self, state, after, before, size, fault):
        begin = after if after is None else self.account.of(after).timestamp
        end = before if before is None else self.account.of(before).timestamp
        listing = self.client.list_sessions(
            state=state, started_after=begin, started_before=end, page_size=size
        )

        async def step():
            began, pages = self.loop.time(), self.client.stats.calls
            found, error = await self.fails("GET", fault, listing.collect)
            assert error is None
            read = Read(began=began, ended=self.loop.time(), cached=False)
            wanted = {
                each.id: each
                for each in self.account.sessions
                if each.now.state != GONE
                and state in {None, each.now.state}
                and (begin is None or each.timestamp > begin)
                and (end is None or each.timestamp < end)
            }
            assert len(found) == len({each.id for each in found})
            assert {*wanted} == {each.id for each in found}
            for session in found:
                self.account.check_session(session, wanted[session.id], read)
            if self.is_exact:
                pages = self.client.stats.calls - pages
                assert len(found) / size <= pages <= len(found) / size + 2
                self.calls += pages

        self.run(step())

    @rule(
        which=which,
        rename=st.booleans(),
        fault=st.sampled_from(["lag", "late", None]),
    )
    def get_at_once(self, which, rename, fault):
        """Reads that join each other, and a write that overtakes them."""
        known, name = self.account.of(which), self.new_name()

        async def step():
            began = self.loop.time()
            get = self.client.get_session
            slow = fault and self.emulator.fail("GET", times=2, **FAULTS[fault])
            reads = [get(known.id, fresh=n == 2) for n in range(4)]
            reads = [asyncio.ensure_future(each) for each in reads]
            if rename:
                await asyncio.sleep(TICK)
                call = partial(self.client.update_session, known.id, name=name)
                floor, got = known.floor, known.got
                await self.write(
                    "client",
                    None,
                    "PATCH idempotent",
                    call,
                    known,
                    to=lambda v: v.name == name,
                )
                ended, known.floor, known.got = known.floor, floor, got
            await asyncio.wait(reads)
            if slow:
                slow.remove()
            read = Read(began=began, ended=self.loop.time(), cached=True)
            self.calls += len(reads)
            self.reads += 3 * self.has_cache
            for each in reads:
                if isinstance(each.exception(), NotFoundError):
                    self.account.check_gone(known, read)
                else:
                    self.account.check_session(each.result(), known, read)
            if rename:
                known.floor = ended
            await asyncio.sleep(TICK)

        self.run(step())

    # -- writes ------------------------------------------------------------------------

    @precondition(lambda self: len(self.account.sessions) < 6)
    @rule(fault=faults, view=views)
    def create_session(self, fault, view):
        name = self.new_name()
        call = partial(self.views[view].create_session, name, URI)

        async def step():
            began = self.loop.time()
            self.calls += 1
            session, error = await self.fails("POST", fault, call)
            made = [each for each in self.emulator.sessions if each.name == name]
            assert len(made) <= 1
            if error is None:
                assert session.id == made[0].id
            else:
                assert isinstance(error, OutcomeUnknownError), error
                assert fault not in HARMLESS, error
                pages = self.client.stats.calls
                found = await self.client.find_created_sessions(name, since=error.since)
                self.calls += self.client.stats.calls - pages
                assert [each.id for each in found] == [each.id for each in made]
            for each in made:
                self.account.sessions.append(Known(each, began, grows=True))
                self.truth._begun[each.id] = each.timestamp

        self.run(step())

    @rule(which=which, fault=faults, view=views)
    def update_session(self, which, fault, view):
        known, name = self.account.of(which), self.new_name()
        call = partial(self.views[view].update_session, known.id, name=name)

        async def step():
            session, _ = await self.write(
                view,
                fault,
                "PATCH idempotent",
                call,
                known,
                to=lambda v: v.name == name,
            )
            assert session is None or session.name == name

        self.run(step())

    @rule(which=which, fault=faults, view=views)
    def stop_session(self, which, fault, view):
        known = self.account.of(which)
        call = partial(self.views[view].stop_session, known.id)
        refused = None if known.now.state == ACTIVE else BadRequestError

        async def step():
            await self.write(
                view,
                fault,
                "POST settle",
                call,
                known,
                to=lambda v: v.state == FINISHED,
                refused=refused,
            )

        self.run(step())

    @rule(which=which, fault=faults, view=views)
    def delete_session(self, which, fault, view):
        known = self.account.of(which)
        call = partial(self.views[view].delete_session, known.id)
        refused = BadRequestError if known.now.state == ACTIVE else None

        async def step():
            await self.write(
                view,
                fault,
                "DELETE settle",
                call,
                known,
                to=lambda v: v.state == GONE,
                refused=refused,
            )

        self.run(step())

    @rule(which=which, form=st.sampled_from(["text", "scalar"]), fault=faults)
    def register_source(self, which, form, fault):
        known = self.account.of(which)
        call = partial(
            self.client.register_source, known.id, name="sensor", format=form
        )

        async def step():
            before = known.now.sources
            source, _ = await self.write(
                "client",
                fault,
                "POST once",
                call,
                known,
                to=lambda v: v.sources[:-1] == before,
            )
            if source is not None:
                assert known.now.sources[-1] == source.id
                known.formats[source.id] = form

        self.run(step())

    @precondition(lambda self: any(each.formats for each in self.account.sessions))
    @rule(which=which, data=st.sampled_from(["words", 2.5]), fault=faults)
    def send_event(self, which, data, fault):
        able = [each for each in self.account.sessions if each.formats]
        known = able[which % len(able)]
        source, form = [*known.formats.items()][-1]
        event = (float(len(known.events)), data, source)
        call = partial(
            self.client.send_event, known.id, source, time=event[0], data=data
        )

        async def step():
            if (form == "text") != isinstance(data, str):
                with pytest.raises(InvalidArgumentError):
                    await call()
                return
            _, error = await self.write(
                "client", fault, "POST once", call, known, to=lambda v: v == known.now
            )
            if known.now.state == GONE:
                return
            told = self.told(known)
            assert told in (known.events, [*known.events, event])
            assert error or told != known.events
            known.events = told

        self.run(step())

    def told(self, known):
        """Return the events of a session that the service has kept."""
        events = self.emulator.events(known.id)
        return [(each.time, each.data, each.source) for each in events]

    @rule(which=which, turns=st.integers(0, 40))
    def cancel_write(self, which, turns):
        """Whether a write that is cancelled took effect, no later read is older."""
        known, name = self.account.of(which), self.new_name()

        async def call():
            task = asyncio.ensure_future(
                self.client.update_session(known.id, name=name)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await asyncio.sleep(TICK)
            if task.cancelled():
                self.cancelled += 1
                raise OutcomeUnknownError("cancelled", since=datetime.now(UTC))
            return task.result()

        async def step():
            began, before = self.loop.time(), known.now
            _, error = await self.fails("PATCH", None, call)
            now = self.observed(known, began)
            assert now == before or now.name == name
            assert error or now.name == name
            known.change(now, self.loop.time())
            known.floor = self.loop.time()
            self.is_exact = False  # a call that is cancelled at once is none

        self.run(step())

    # -- what others do, and time ------------------------------------------------------

    @rule(which=which)
    def others_rename(self, which):
        self.others(which, name=self.new_name())

    @rule(which=which)
    def others_stop(self, which):
        self.others(which, state=FINISHED)

    def others(self, which, **changes):
        known = self.account.of(which)

        async def step():
            if known.now.state != GONE:
                self.emulator.update_session(known.id, **changes)
                now = self.loop.time()
                known.change(self.observed(known, now), now)

        self.run(step())

    @rule(which=which)
    def others_delete(self, which):
        known = self.account.of(which)

        async def step():
            if known.now.state != GONE:
                self.emulator.remove_session(known.id)
                now = self.loop.time()
                known.change(self.observed(known, now), now)

        self.run(step())

    @rule(seconds=st.sampled_from([0.5, 2.5, 2.5, 30.0, 400.0]))
    def time_passes(self, seconds):
        self.run(asyncio.sleep(seconds))

    @rule(seconds=st.sampled_from([1.0, 7.5, 600.0]))
    def service_is_ahead(self, seconds):
        async def step():
            self.emulator.advance(seconds)
            self.account.jump(self.loop.time(), seconds)

        self.run(step())

    @rule(
        which=which,
        meanwhile=st.sampled_from(["rename", "stop", "delete", "others", "time"]),
        view=views,
        fault=faults,
    )
    def get_again(self, which, meanwhile, view, fault):
        """A read, what outdates it, and the read again."""

        def read():
            self.get_session(which=which, fresh=False, view="client", fault=None)
            for what in ("totals", "sentiments"):
                options = {"size": 60, "fresh": False, "view": "client", "fault": None}
                self.get_derived(which=which, what=what, **options)

        read()
        options = {"which": which, "view": view, "fault": fault}
        match meanwhile:
            case "rename":
                self.update_session(**options)
            case "stop":
                self.stop_session(**options)
            case "delete":
                self.delete_session(**options)
            case "others":
                self.others_rename(which=which)
                self.get_session(which=which, fresh=True, view="client", fault=None)
            case "time":
                self.others_rename(which=which)
                self.time_passes(seconds=2.5)
        read()

    # -- live channels -----------------------------------------------------------------

    @precondition(lambda self: len(self.feeds) < 3)
    @rule(
        which=which,
        kind=st.sampled_from([*KINDS]),
        every=st.sampled_from(["1s", "5s"]),
        size=st.sampled_from([1, 256]),
    )
    def enter(self, which, kind, every, size):
        known = self.account.of(which)
        feed = getattr(self.client.live, kind)(known.id, every=every, buffer=size)

        async def step():
            self.is_exact = False  # the client looks for the end of what is silent
            try:
                await feed.__aenter__()
            except NotFoundError:
                assert known.now.state == GONE
                return
            # A feed may join one whose session is gone, before the client notices.
            topic = known.id, kind, every
            assert known.now.state != GONE or topic in self.topics
            self.topics.add(topic)
            lanes = {(known.id, KINDS[kind]): int(every[:-1])}
            witness = Witness(self.truth, lanes, self.found)
            self.feeds.append((known, feed, witness))

        self.run(step())

    @precondition(lambda self: self.feeds)
    @rule(which=which, seconds=st.sampled_from([0.0, 3.0, 20.0]))
    def listen(self, which, seconds):
        known, feed, witness = self.feeds[which % len(self.feeds)]

        async def step():
            await asyncio.sleep(seconds)
            if await self.hear(feed, witness):
                assert known.now.state != ACTIVE
                self.feeds.remove((known, feed, witness))
                await feed.__aexit__(None, None, None)

        self.run(step())

    async def hear(self, feed, witness):
        """Read what has come; return whether that was all."""
        while True:
            try:
                witness.see(await feed.next(TICK))
            except DeadlineError:
                return False
            except (StopAsyncIteration, NotFoundError):
                return True

    @precondition(lambda self: self.feeds)
    @rule(which=which)
    def leave(self, which):
        _, feed, _ = self.feeds.pop(which % len(self.feeds))
        self.run(feed.__aexit__(None, None, None))

    @precondition(lambda self: self.feeds)
    @rule(code=st.sampled_from([None, 1000, 1011]))
    def cut(self, code):
        async def step():
            self.emulator.live.cut(code)

        self.run(step())

    # -- what always holds -------------------------------------------------------------

    @invariant()
    def agrees(self):
        """The service has what the model has, and the statistics add up."""
        there = {each.id: each for each in self.emulator.sessions}
        assert there.keys() == {
            each.id for each in self.account.sessions if each.now.state != GONE
        }
        for known in self.account.sessions:
            if known.now.state != GONE:
                assert self.observed(known, 0.0) == known.now
                assert self.told(known) == known.events
        stats = self.client.stats
        log = [each for each in self.emulator.requests if each.path != "/ws/v1"]
        # aiohttp repeats a GET itself if a connection that was kept is found dead.
        # A call that is cancelled may have counted what it did not send any more.
        assert stats.requests - self.cancelled - stats.in_flight <= len(log)
        assert len(log) <= stats.requests + self.lost
        assert stats.rate_limited == sum(each.status == 429 for each in log)
        if self.is_exact:
            assert 0 == stats.in_flight == self.emulator.in_flight
            assert self.calls == stats.calls
            if self.has_cache:
                asked = stats.cache_hits + stats.cache_misses
                assert self.reads == asked + stats.coalesced
        assert [] == self.problems

    def teardown(self):
        if not hasattr(self, "stack"):
            return
        try:
            self.run(self.close())
            assert [] == self.problems
            assert simulated.OWN == len(self.loop.clock.get_map())
        finally:
            self.runner.close()
            self.patch.undo()

    async def close(self):
        """Check that feeds end with their sessions, and that nothing is left."""
        await asyncio.sleep(120)
        for known, feed, witness in self.feeds:
            is_over = await self.hear(feed, witness)
            assert is_over == (known.now.state != ACTIVE)
            await feed.__aexit__(None, None, None)
        await self.client.aclose()
        stats = self.client.stats
        assert 0 == stats.in_flight == stats.live_connections
        assert 0 == stats.live_subscriptions
        await asyncio.sleep(5)
        assert 0 == self.emulator.live.connections == self.emulator.in_flight
        assert {asyncio.current_task()} == asyncio.all_tasks()
        await self.stack.aclose()


Calls.TestCase.settings = settings(
    max_examples=min(420, settings().max_examples // 2), stateful_step_count=30
)
TestCalls = pytest.mark.property(Calls.TestCase)
