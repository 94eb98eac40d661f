"""The emulator's live channels, seen from plain WebSocket clients.

Most tests run in simulated time, with both ends of each socket in one event loop.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import wraps
from itertools import pairwise
from typing import Any

import aiohttp
import attrs
import pytest
import simulated
from hypothesis import given
from hypothesis import strategies as st
from plainhttp import call
from simulated import emulated

from emogg_async.errors import BadRequestError, InvalidArgumentError
from emogg_async.testing import EmoggEmulator, LiveGuesses, LiveLimits
from emogg_async.testing._analysis import Analyst, counts, intensities
from emogg_async.testing._limits import Allowance
from emogg_async.testing._reading import Window

COUNTS = "session_emotions_counts"
INTENSITIES = "session_emotions_intensities"
WORKER = "session_worker_state"
FREQUENCIES = {
    "1s": 1,
    "3s": 3,
    "5s": 5,
    "10s": 10,
    "30s": 30,
    "1m": 60,
    "5m": 300,
    "10m": 600,
}
UNKNOWN = "65ea1530bb50af72b6e3dc1e"


def in_simulated_time(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run a test in a simulated loop of its own."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        simulated.run(test(*arguments, **named))

    return run


class Caller:
    """A client that keeps events apart from answers, in the order of their arrival.

    Its connection is read by a task, as a read that is given up would end it.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.events: list[Any] = []
        self.arrived: list[Any] = []
        self._number = 0
        self._frames: asyncio.Queue[Any] = asyncio.Queue()

    async def read(self) -> None:
        """Read to the end of the connection."""
        async for frame in self.socket:
            self._frames.put_nowait(json.loads(frame.data))
        self._frames.put_nowait(None)

    async def next(self, seconds: float = 30.0) -> Any:
        """Return what comes next, None at the end; fail if nothing does."""
        async with asyncio.timeout(seconds):
            value = await self._frames.get()
        if value is not None:
            self.arrived.append(value)
        if isinstance(value, list):
            self.events.append(value)
        return value

    async def tell(self, path: str, body: object = None, **fields: object) -> None:
        """Send a message."""
        message = {"path": path} | ({} if body is None else {"body": body}) | fields
        await self.socket.send_json(message)

    async def ask(self, path: str, body: object = None, **fields: object) -> Any:
        """Send a message and return its answer."""
        self._number += 1
        await self.tell(path, body, **({"id": self._number} | fields))
        while isinstance(answer := await self.next(), list):
            pass
        return answer

    async def subscribe(self, channel: str, key: str) -> str:
        """Subscribe and return the ID."""
        answer = await self.ask("channels:subscribe", {"channel": channel, "key": key})
        assert answer["status"] == 200, answer
        found: str = answer["body"]["subscriptionId"]
        return found

    async def refused(self, channel: str, key: str) -> int:
        """Subscribe in vain and return the status."""
        answer = await self.ask("channels:subscribe", {"channel": channel, "key": key})
        status: int = answer["status"]
        assert answer["error"] is True
        return status

    async def idle(self, seconds: float) -> list[Any]:
        """Read while *seconds* pass, with pings; return the events that came."""
        before, end = len(self.events), simulated.now() + seconds
        while (left := end - simulated.now()) > 0:
            await asyncio.sleep(min(left, 30))
            if left > 30:
                await self.tell("ping")
        while not self._frames.empty():
            await self.next()
        return self.events[before:]

    async def closed(self, seconds: float = 120.0) -> int | None:
        """Read to the end, and return the code of the close; None is without one."""
        while await self.next(seconds) is not None:
            pass
        code = self.socket.close_code
        return None if code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE else code


@asynccontextmanager
async def connected(emulator: EmoggEmulator) -> AsyncIterator[Caller]:
    """Connect without auth."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{emulator.url}/ws/v1") as socket,
    ):
        caller = Caller(socket)
        reader = asyncio.create_task(caller.read())
        try:
            yield caller
        finally:
            await socket.close()
            await reader


@asynccontextmanager
async def authenticated(
    emulator: EmoggEmulator, token: str | None = None
) -> AsyncIterator[Caller]:
    """Connect with auth."""
    async with connected(emulator) as caller:
        answer = await caller.ask("auth:token", {"token": token or emulator.token})
        assert answer["status"] == 200
        yield caller


def lived(event: Any, session: Any) -> float:
    """Return how many seconds after the session's start an event happened."""
    at = datetime.fromisoformat(event[1])
    return float((at - session.timestamp).total_seconds())


async def soon(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - it is another thread's
            await asyncio.sleep(0.005)


class TestAuth:
    """The first message."""

    @in_simulated_time
    async def test_a_token_is_accepted(self) -> None:
        """The answer to the right token has the id, the path and the status only."""
        async with emulated() as emulator, connected(emulator) as caller:
            answer = await caller.ask("auth:token", {"token": emulator.token}, id=7)
            assert answer == {"id": 7, "path": "auth:token", "status": 200}

    @pytest.mark.parametrize("body", [{"token": "wrong"}, {"token": 5}, {}, None])
    @in_simulated_time
    async def test_a_wrong_token_is_refused_and_closed(self, body: object) -> None:
        """The refusal is the printed one, id null, and a close follows."""
        async with emulated() as emulator, connected(emulator) as caller:
            await caller.tell("auth:token", body, id=1)
            assert await caller.closed() == 1008
            assert caller.arrived == [
                {
                    "error": True,
                    "id": None,
                    "path": "auth:token",
                    "status": 401,
                    "data": {"message": "Invalid token"},
                }
            ]

    @in_simulated_time
    async def test_anything_else_first_closes(self) -> None:
        """A ping before auth is answered by a close alone."""
        async with emulated() as emulator, connected(emulator) as caller:
            await caller.tell("ping")
            assert await caller.closed() == 1008
            assert caller.arrived == []

    @in_simulated_time
    async def test_the_token_is_not_kept(self) -> None:
        """Messages are kept with their paths and bodies, tokens replaced."""
        async with emulated(token="s3cret") as emulator, connected(emulator) as caller:
            await caller.ask("auth:token", {"token": "s3cret"})
            await caller.ask("channels:subscribe", {"channel": "s3cret", "key": "k"})
            first, second = emulator.live.messages
            assert (first.path, first.id, first.body) == (
                *("auth:token", 1),
                {"token": "***"},
            )
            assert second.body == {"channel": "***", "key": "k"}
            assert second.connection == 1
            assert second.at == emulator.now()
            assert "s3cret" not in repr(emulator.live.messages)

    @in_simulated_time
    async def test_auth_again(self) -> None:
        """A second auth is refused, and the connection goes on."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            answer = await caller.ask("auth:token", {"token": emulator.token})
            assert answer["status"] == 400
            assert (await caller.ask("ping"))["status"] == 200


class TestMessages:
    """Requests and their answers."""

    @in_simulated_time
    async def test_ping(self) -> None:
        """A ping is answered with the emulator's time, and null where no id was."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            emulator.advance(90)
            await caller.tell("ping")
            assert await caller.next() == {
                "id": None,
                "path": "ping",
                "status": 200,
                "body": {"ts": "2024-04-01T10:31:30.000Z"},
            }

    @pytest.mark.parametrize(
        "text",
        [
            *("", "nonsense", "[]", '"ping"', "{}", '{"path": 5}', "[" * 9_000),
            '{"path": "ping", "body": []}',
            '{"path": "ping", "id": []}',
            '{"path": "ping", "body": {"x": NaN}}',
        ],
    )
    @in_simulated_time
    async def test_another_shape_closes(self, text: str) -> None:
        """A text that is no request closes the connection, and is not kept."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            await caller.socket.send_str(text)
            assert await caller.closed() == 1008
            kept = emulator.live.messages[-1]
            assert (kept.path, kept.body) == (None, None)

    @in_simulated_time
    async def test_binary_closes(self) -> None:
        """A message that is no text closes the connection."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            await caller.socket.send_bytes(b'{"path": "ping"}')
            assert await caller.closed() == 1008

    @in_simulated_time
    async def test_unknown_paths_are_not_found(self) -> None:
        """A request for an unknown path is refused, and the connection goes on."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            assert (await caller.ask("channels:list"))["status"] == 404
            assert (await caller.ask("ping"))["status"] == 200

    @in_simulated_time
    async def test_pings_of_the_protocol_are_answered(self) -> None:
        """A ping frame brings a pong frame."""
        async with (
            emulated() as emulator,
            aiohttp.ClientSession() as http,
            http.ws_connect(f"{emulator.url}/ws/v1", autoping=False) as socket,
        ):
            await socket.ping(b"hello")
            frame = await socket.receive(timeout=5)
            assert (frame.type, frame.data) == (aiohttp.WSMsgType.PONG, b"hello")

    @in_simulated_time
    async def test_a_client_may_close(self) -> None:
        """A close by the client is answered, and its subscriptions are gone."""
        async with emulated() as emulator:
            session = emulator.add_session(state="active", ends_after=60)
            async with authenticated(emulator) as caller:
                await caller.subscribe(COUNTS, f"{session.id}:1s")
                assert emulator.live.connections == 1
                await caller.socket.close()
                assert caller.socket.close_code == 1000
            await soon(lambda: not emulator.live.connections)
            assert emulator.live.subscriptions == ()


class TestSubscriptions:
    """Subscribing and unsubscribing."""

    @in_simulated_time
    async def test_subscribing(self) -> None:
        """The answer has an id, which the emulator shows with its connection."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=60)
            key = f"{session.id.upper()}:5s"
            subscription_id = await caller.subscribe(INTENSITIES, key)
            (found,) = emulator.live.subscriptions
            assert attrs.asdict(found) == {
                "connection": 1,
                "id": subscription_id,
                "channel": INTENSITIES,
                "key": key,
            }

    @pytest.mark.parametrize(
        ("channel", "key"),
        [
            (COUNTS, f"{UNKNOWN}:1s"),
            (COUNTS, "{id}:2s"),
            (COUNTS, "{id}"),
            (COUNTS, "{other}:1s"),
            (WORKER, "{id}:1s"),
            (WORKER, "{without}"),
            ("session_emotions", "{id}:1s"),
        ],
    )
    @in_simulated_time
    async def test_what_is_not_found(self, channel: str, key: str) -> None:
        """Unknown channels, sessions, frequencies, and sessions of others are a 404."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=60)
            other = emulator.add_session(
                state="active", ends_after=60, token=emulator.add_token()
            )
            names = {"id": session.id, "other": other.id}
            names["without"] = emulator.add_session(state="active").id
            assert await caller.refused(channel, key.format(**names)) == 404

    @pytest.mark.parametrize("body", [None, {"channel": COUNTS}, {"key": 5}])
    @in_simulated_time
    async def test_bodies_of_another_shape(self, body: object) -> None:
        """A subscription without channel or key is a 400."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            answer = await caller.ask("channels:subscribe", body)
            assert answer["status"] == 400
            assert answer["data"]["message"].endswith("must be a string")

    @in_simulated_time
    async def test_unsubscribing(self) -> None:
        """It is confirmed by an empty body, ends the events, and works once."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=60)
            await caller.subscribe(COUNTS, f"{session.id}:1s")
            assert await caller.idle(20)
            body = {"subscriptionId": emulator.live.subscriptions[0].id}
            answer = await caller.ask("channels:unsubscribe", body, id="u")
            assert answer == {
                "id": "u",
                "path": "channels:unsubscribe",
                "status": 200,
                "body": {},
            }
            assert await caller.idle(20) == []
            again = await caller.ask("channels:unsubscribe", body)
            assert again["status"] == 404
            assert emulator.live.subscriptions == ()

    @in_simulated_time
    async def test_subscriptions_belong_to_their_connection(self) -> None:
        """No other connection can unsubscribe them."""
        async with (
            emulated() as emulator,
            authenticated(emulator) as one,
            authenticated(emulator) as two,
        ):
            session = emulator.add_session(state="active", ends_after=60)
            body = {
                "subscriptionId": await one.subscribe(COUNTS, f"{session.id}:1s"),
            }
            assert (await two.ask("channels:unsubscribe", body))["status"] == 404


class TestLimits:
    """What a user, a connection and an address may do."""

    @in_simulated_time
    async def test_five_a_connection_and_ten_a_user(self) -> None:
        """The 6th of a connection and the 11th of a user are refused."""
        async with (
            emulated() as emulator,
            authenticated(emulator) as one,
            authenticated(emulator) as two,
            authenticated(emulator) as three,
        ):
            session = emulator.add_session(state="active", ends_after=60)
            key = f"{session.id}:1m"
            for caller in (one, two):
                for _ in range(5):
                    await caller.subscribe(COUNTS, key)
                assert await caller.refused(COUNTS, key) == 429
            assert await three.refused(COUNTS, key) == 429
            body = {"subscriptionId": emulator.live.subscriptions[0].id}
            await one.ask("channels:unsubscribe", body)
            await three.subscribe(COUNTS, key)

    @in_simulated_time
    async def test_a_user_does_not_use_up_that_of_others(self) -> None:
        """Each user has messages and subscriptions of their own."""
        async with emulated() as emulator:
            emulator.live.limits = LiveLimits(messages=2, per_user=1)
            other = emulator.add_token()
            session = emulator.add_session(state="active", ends_after=60)
            theirs = emulator.add_session(state="active", ends_after=60, token=other)
            async with (
                authenticated(emulator) as one,
                authenticated(emulator, other) as two,
            ):
                await one.subscribe(COUNTS, f"{session.id}:1s")
                assert (await one.ask("ping"))["status"] == 429
                await two.subscribe(COUNTS, f"{theirs.id}:1s")

    @in_simulated_time
    async def test_eighty_messages_over_all_connections(self) -> None:
        """The 81st message in 60 s is refused; after 60 s the next ones pass."""
        async with (
            emulated() as emulator,
            authenticated(emulator) as one,
            authenticated(emulator) as two,
        ):
            for caller in (one, two):
                for _ in range(39):
                    assert (await caller.ask("ping"))["status"] == 200
            refusal = await one.ask("ping")
            assert (refusal["status"], refusal["id"]) == (429, None)
            await asyncio.sleep(60 - simulated.now() - 0.01)
            assert (await two.ask("ping"))["status"] == 429
            await asyncio.sleep(0.01)
            assert (await two.ask("ping"))["status"] == 200

    @pytest.mark.parametrize(
        ("answer", "status"), [("refuse", 429), ("bad_request", 400), ("forbid", 403)]
    )
    @in_simulated_time
    async def test_answers_to_too_much(self, answer: Any, status: int) -> None:
        """A switch says what a subscription too many is answered."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            emulator.live.guesses = LiveGuesses(over_limit=answer)
            emulator.live.limits = LiveLimits(per_connection=1)
            session = emulator.add_session(state="active", ends_after=60)
            await caller.subscribe(COUNTS, f"{session.id}:1s")
            assert await caller.refused(COUNTS, f"{session.id}:1s") == status

    @in_simulated_time
    async def test_too_much_may_close(self) -> None:
        """A switch lets a message too many close the connection without an answer."""
        async with emulated() as emulator:
            emulator.live.guesses = LiveGuesses(over_limit="close")
            emulator.live.limits = LiveLimits(messages=2)
            async with authenticated(emulator) as caller:
                await caller.ask("ping")
                await caller.tell("ping")
                assert await caller.closed() == 1008
                assert len(caller.arrived) == 2

    @in_simulated_time
    async def test_pings_may_be_free(self) -> None:
        """A switch lets pings not count."""
        async with emulated() as emulator:
            emulator.live.guesses = LiveGuesses(pings_count=False)
            async with authenticated(emulator) as caller:
                for _ in range(100):
                    assert (await caller.ask("ping"))["status"] == 200

    @in_simulated_time
    async def test_ninety_connections_of_an_address(self) -> None:
        """The 91st handshake in 60 s is answered 429, and after 60 s they pass."""
        async with emulated() as emulator:
            for _ in range(90):
                async with connected(emulator):
                    pass
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with connected(emulator):
                    pass
            assert caught.value.status == 429
            assert emulator.live.handshakes == 91
            emulator.advance(60)
            async with connected(emulator):
                pass

    @pytest.mark.parametrize("talks", [True, False])
    @in_simulated_time
    async def test_silence_closes(self, talks: bool) -> None:
        """65 s without a message close the connection, events or not."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=600)
            await caller.subscribe(COUNTS, f"{session.id}:1s")
            if talks:
                await asyncio.sleep(40)
                await caller.tell("ping")
            assert await caller.closed() == 1001
            assert simulated.now() == pytest.approx(105 if talks else 65)

    @in_simulated_time
    async def test_moving_the_clock_is_no_silence(self) -> None:
        """A client is not closed for time that the clock was moved by."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            emulator.advance(600)
            await asyncio.sleep(64)
            assert (await caller.ask("ping"))["status"] == 200

    @given(
        st.lists(st.floats(0, 30), max_size=60),
        st.integers(1, 6),
        st.sampled_from([10.0, 60.0]),
    )
    def test_no_window_holds_more(
        self, waits: list[float], most: int, window: float
    ) -> None:
        """No window of the length, wherever it begins, holds more than allowed."""
        allowance, now, taken = Allowance(), 0.0, []
        for wait in waits:
            now += wait
            if allowance.take(now, most, window, rolling=True):
                taken.append(now)
            else:  # and nothing is refused that would fit
                assert sum(at > now - window + 1e-3 for at in taken) <= most
                assert sum(at > now - window - 1e-3 for at in taken) >= most
        for begun in taken:
            assert sum(begun <= at < begun + window - 1e-3 for at in taken) <= most

    def test_fixed_windows(self) -> None:
        """Fixed windows begin at multiples of their length."""
        allowance = Allowance()
        for now, passes in ((59, 1), (59.9, 1), (59.99, 0), (60, 1), (60, 1), (61, 0)):
            assert allowance.take(now, 2, 60.0, rolling=False) == bool(passes), now

    @in_simulated_time
    async def test_slots_of_the_vanished(self) -> None:
        """A switch keeps slots of a connection taken that was dropped, not closed."""
        async with emulated() as emulator:
            emulator.live.limits = LiveLimits(per_user=2)
            session = emulator.add_session(state="active", ends_after=600)
            key = f"{session.id}:1m"
            emulator.live.guesses = LiveGuesses(slots_kept=65)
            async with authenticated(emulator) as caller:
                await caller.subscribe(COUNTS, key)
                await caller.socket.close()
            async with authenticated(emulator) as caller:
                await caller.subscribe(COUNTS, key)
                emulator.live.cut()
                assert await caller.closed() is None
            async with authenticated(emulator) as caller:
                assert len(emulator.live.subscriptions) == 0
                await caller.subscribe(COUNTS, key)
                assert await caller.refused(COUNTS, key) == 429
                await asyncio.sleep(64)
                await caller.ask("ping")
                await asyncio.sleep(1)
                await caller.subscribe(COUNTS, key)


class TestEvents:
    """What an active session tells."""

    @in_simulated_time
    async def test_the_shape_of_events(self) -> None:
        """An event has the subscription, an ISO 8601 date, its type and one payload."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=60)
            first = await caller.subscribe(COUNTS, f"{session.id}:30s")
            second = await caller.subscribe(INTENSITIES, f"{session.id}:30s")
            await caller.idle(30.5)
            counted, measured = caller.events
            assert counted[:3] == [first, "2024-04-01T10:30:30.000Z", "sec"]
            assert measured[:3] == [second, "2024-04-01T10:30:30.000Z", "sei"]
            assert len(counted[3]) == len(measured[3]) == 1
            assert counted[3][0].keys() == measured[3][0].keys() != set()
            assert all(type(number) is int for number in counted[3][0].values())
            for measure in measured[3][0].values():
                assert measure.keys() == {"people", "quantity", "intensity"}

    @in_simulated_time
    async def test_unix_milliseconds(self) -> None:
        """A switch writes the dates of events as Unix milliseconds."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            emulator.live.guesses = LiveGuesses(timestamps="ms")
            session = emulator.add_session(state="active", ends_after=60)
            await caller.subscribe(COUNTS, f"{session.id}:1m")
            (event,) = await caller.idle(61)
            assert event[1] == session.timestamp.timestamp() * 1000 + 60_000

    @in_simulated_time
    async def test_events_come_at_multiples_since_the_start(self) -> None:
        """A subscription that begins later gets the same moments, none of the past."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(
                state="active",
                ends_after=600,
                timestamp=emulator.now() - timedelta(seconds=97.25),
            )
            await caller.subscribe(COUNTS, f"{session.id}:10s")
            for event in await caller.idle(60):
                assert lived(event, session) % 10 == 0
            assert lived(caller.events[0], session) >= 100
            assert simulated.now() == 60

    @in_simulated_time
    async def test_counts_add_up_to_the_totals(self) -> None:
        """Counts of a whole session, at two frequencies, are its emotions by REST."""
        async with (
            emulated() as emulator,
            authenticated(emulator) as caller,
            emulator.client() as client,
        ):
            session = emulator.add_session(state="active", ends_after=900)
            keys = [f"{session.id}:{every}" for every in ("1s", "30s")]
            ids = [await caller.subscribe(COUNTS, key) for key in keys]
            await caller.idle(901)
            totals = dict((await client.get_emotions(session.id)).emotions)
            for each in ids:
                added: dict[str, int] = {}
                for event in caller.events:
                    if event[0] == each:
                        for name, number in event[3][0].items():
                            added[name] = added.get(name, 0) + number
                assert added == totals

    @pytest.mark.parametrize("every", ["5s", "10s", "1m", "5m"])
    @in_simulated_time
    async def test_intensities_are_those_of_the_timeline(self, every: str) -> None:
        """Each interval of the timeline was told live, with its end and values."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=1_200)
            await caller.subscribe(INTENSITIES, f"{session.id}:{every}")
            emulator.advance(1_200)
            await caller.idle(1)
            async with emulator.client() as client:
                timeline = await client.get_emotions_timeline(
                    session.id, granularity=FREQUENCIES[every]
                )
            assert [lived(event, session) for event in caller.events] == [
                interval.end for interval in timeline.intervals
            ]
            for event, interval in zip(caller.events, timeline.intervals, strict=True):
                told = {
                    name: (m["people"], m["quantity"], m["intensity"])
                    for name, m in event[3][0].items()
                }
                assert told == {
                    name: (m.people, m.quantity, m.intensity)
                    for name, m in interval.emotions.items()
                }

    @given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([1, 3]))
    def test_short_intervals(self, number: int, steps: int, every: int) -> None:
        """Below five seconds, counts add up, and intensities are the running step's."""
        analyst, session_id, end = Analyst(0), f"{number:024x}", steps * 15
        moods = analyst.moods(session_id)
        added: dict[str, int] = {}
        timeline = json.loads(analyst.emotions(session_id, end, Window(5, 0, end)))
        by_end = {interval["end"]: interval for interval in timeline}
        for at in range(every, end + 1, every):
            for name, count in (counts(moods, at, every) or {}).items():
                added[name] = added.get(name, 0) + count
            running = by_end.get(-(-at // 5) * 5)
            expected = None if running is None else running["emotions"]
            assert intensities(moods, at, every) == expected
        assert added == analyst.totals(session_id, end)

    @in_simulated_time
    async def test_moving_the_clock_brings_events_in_order(self) -> None:
        """All that falls into the time comes at once, sorted by its dates."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=4_000)
            for every in ("1s", "10s", "1m"):
                await caller.subscribe(INTENSITIES, f"{session.id}:{every}")
            emulator.advance(3_600)
            events = await caller.idle(0.5)
            assert len(events) > 3_000
            assert simulated.now() == 0.5
            dates = [event[1] for event in events]
            assert dates == sorted(dates)

    @in_simulated_time
    async def test_moving_the_clock_by_years(self) -> None:
        """No more is told than the timeline has, a day, and it takes no time."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=1e9)
            await caller.subscribe(INTENSITIES, f"{session.id}:10m")
            emulator.advance(1e9)
            events = await caller.idle(1)
            assert max(lived(event, session) for event in events) <= 86_400
            (found,) = emulator.sessions
            assert (found.state, found.duration) == ("finished", 1e9)

    @in_simulated_time
    async def test_no_data_no_event(self) -> None:
        """Intervals in which no face is seen bring no event."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=3_600)
            await caller.subscribe(COUNTS, f"{session.id}:5s")
            emulator.advance(3_600)
            events = await caller.idle(1)
            assert 100 < len(events) < 720

    @in_simulated_time
    async def test_a_session_without_life_is_silent(self) -> None:
        """An active session whose duration stands still tells nothing by itself."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", duration=600)
            await caller.subscribe(COUNTS, f"{session.id}:1s")
            assert await caller.idle(120) == []

    @in_simulated_time
    async def test_created_sessions_tell_until_they_are_stopped(self) -> None:
        """A session made through the API tells until its stop, and then is silent."""
        async with (
            emulated() as emulator,
            authenticated(emulator) as caller,
            emulator.client() as client,
        ):
            session = await client.create_session("Live", stream_uri="rtmp://host/live")
            await caller.subscribe(INTENSITIES, f"{session.id}:1s")
            before = await caller.idle(60.5)
            await client.stop_session(session.id)
            assert 10 < len(before) <= 60
            assert await caller.idle(60) == []
            assert len(emulator.live.subscriptions) == 1

    @in_simulated_time
    async def test_deleted_sessions_are_silent(self) -> None:
        """A session that is removed tells nothing more, and cannot be subscribed to."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=600)
            await caller.subscribe(INTENSITIES, f"{session.id}:1s")
            assert await caller.idle(60.5)
            emulator.remove_session(session.id)
            assert await caller.idle(60) == []
            assert await caller.refused(INTENSITIES, f"{session.id}:1s") == 404

    @in_simulated_time
    async def test_unchanged_values(self) -> None:
        """A switch leaves out events whose values are those of the event before."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=600)
            await caller.subscribe(INTENSITIES, f"{session.id}:1s")
            repeated = [event[3] for event in await caller.idle(50)]
            emulator.live.guesses = LiveGuesses(repeats_unchanged=False)
            changed = [event[3] for event in await caller.idle(50)]
            assert any(a == b for a, b in pairwise(repeated))
            assert changed
            assert all(a != b for a, b in pairwise(changed))

    @pytest.mark.parametrize(("every", "first"), [("1s", "event"), ("10s", "ack")])
    @in_simulated_time
    async def test_an_event_may_precede_its_ack(self, every: str, first: str) -> None:
        """A switch confirms after the first event, or after 1.5 s without one."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            emulator.live.guesses = LiveGuesses(event_before_ack=True)
            session = emulator.add_session(state="active", ends_after=600)
            await asyncio.sleep(20)
            body = {"channel": COUNTS, "key": f"{session.id}:{every}"}
            await caller.tell("channels:subscribe", body, id=2)
            one, two = await caller.next(), await caller.next()
            event, ack = (one, two) if first == "event" else (two, one)
            assert event[0] == ack["body"]["subscriptionId"]
            assert simulated.now() == (21 if first == "event" else 30)


class TestWorkerState:
    """The channel of a worker's state."""

    @in_simulated_time
    async def test_the_last_state_comes_at_once(self) -> None:
        """Subscribing brings the known state, and each change follows."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=60)
            found = await caller.subscribe(WORKER, session.id)
            assert await caller.next(0) == [
                *(found, "2024-04-01T10:30:00.000Z"),
                *("sws", ["working"]),
            ]
            await asyncio.sleep(5)
            for state in ("working", "waiting", "waiting", "working"):
                emulator.update_session(session.id, meta={"workerState": state})
            changes = await caller.idle(1)
            assert [event[1:] for event in changes] == [
                ["2024-04-01T10:30:05.000Z", "sws", ["waiting"]],
                ["2024-04-01T10:30:05.000Z", "sws", ["working"]],
            ]

    @in_simulated_time
    async def test_a_finished_worker_is_silent(self) -> None:
        """A session that is over can be subscribed to, and its worker says nothing."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=10)
            await asyncio.sleep(11)
            await caller.subscribe(WORKER, session.id)
            assert await caller.idle(30) == []

    @in_simulated_time
    async def test_the_state_may_precede_the_ack(self) -> None:
        """A switch sends the state before the subscription is confirmed."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            emulator.live.guesses = LiveGuesses(event_before_ack=True)
            session = emulator.add_session(state="active", ends_after=10)
            found = await caller.subscribe(WORKER, session.id)
            assert caller.arrived[-2][0] == found


class TestLife:
    """Sessions that end by themselves."""

    @in_simulated_time
    async def test_a_session_ends_by_itself(self) -> None:
        """State, duration, meta, lists and deletes agree at every stage."""
        async with emulated(processing=5.0) as emulator, emulator.client() as client:
            session = emulator.add_session(state="active", ends_after=60)
            stages = {0: "active", 59.5: "active", 60: "processing", 64.9: "processing"}
            for at, state in (stages | {65: "finished", 1_000: "finished"}).items():
                emulator.advance(
                    at - (emulator.now() - session.timestamp).total_seconds()
                )
                got = await client.get_session(session.id, fresh=True)
                assert (got.state, got.duration) == (state, min(at, 60)), at
                working = got.meta.worker_state if got.meta else None
                assert working == ("working" if state == "active" else None)
                for wanted in ("active", "processing", "finished"):
                    listed = client.list_sessions(state=wanted)
                    assert [s.id async for s in listed] == [session.id] * (
                        wanted == state
                    )
                if state != "finished":
                    with pytest.raises(BadRequestError, match=state):
                        await client.delete_session(session.id)
                    if state == "processing":
                        with pytest.raises(BadRequestError, match="not active"):
                            await client.stop_session(session.id)
            await client.delete_session(session.id)

    @in_simulated_time
    async def test_a_stopped_session_is_processed(self) -> None:
        """A stop leads through `processing`, and fixes the duration at once."""
        async with emulated(processing=5.0) as emulator, emulator.client() as client:
            made = await client.create_session("Live", stream_uri="rtmp://host/live")
            still = emulator.add_session(state="active", duration=600)
            await asyncio.sleep(30)
            for session, duration in ((made, 30), (still, 600)):
                stopped = await client.stop_session(session.id)
                assert (stopped.state, stopped.duration) == ("processing", duration)
            emulator.update_session(made.id, name="Renamed")
            await asyncio.sleep(5)
            for session, duration in ((made, 30), (still, 600)):
                over = await client.get_session(session.id, fresh=True)
                assert (over.state, over.duration) == ("finished", duration)

    @in_simulated_time
    async def test_renaming_changes_no_life(self) -> None:
        """A session that is renamed ends when it was to end."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=60)
            await caller.subscribe(INTENSITIES, f"{session.id}:1s")
            await asyncio.sleep(30)
            assert emulator.update_session(session.id, name="New").duration == 30
            events = await caller.idle(60)
            assert lived(events[-1], session) == 60
            (found,) = emulator.sessions
            assert (found.state, found.duration, found.name) == ("finished", 60, "New")

    @in_simulated_time
    async def test_the_service_may_end_it_earlier(self) -> None:
        """An update of the state ends a life, with the duration it has then."""
        async with emulated() as emulator:
            session = emulator.add_session(state="active", ends_after=60)
            await asyncio.sleep(20)
            emulator.update_session(session.id, state="failed")
            await asyncio.sleep(60)
            (found,) = emulator.sessions
            assert (found.state, found.duration) == ("failed", 20)

    def test_a_life_needs_an_active_session(self) -> None:
        """An end is refused for other states, with a duration, or out of range."""
        emulator = EmoggEmulator()
        with pytest.raises(
            InvalidArgumentError, match=r"^ends_after: expected None unless"
        ):
            emulator.add_session(ends_after=5)
        with pytest.raises(InvalidArgumentError, match=r"^duration: expected None, as"):
            emulator.add_session(state="active", ends_after=5, duration=5)
        with pytest.raises(
            InvalidArgumentError, match=r"^ends_after: expected seconds"
        ):
            emulator.add_session(state="active", ends_after=-1)
        with pytest.raises(
            InvalidArgumentError, match=r"^processing: expected seconds"
        ):
            EmoggEmulator(processing=-1)
        assert emulator.sessions == ()


class TestControl:
    """What tests do to live channels."""

    @pytest.mark.parametrize("code", [None, 1000, 1001, 4000])
    @in_simulated_time
    async def test_cut(self, code: int | None) -> None:
        """All connections end, without a closing handshake or by its code."""
        async with emulated() as emulator:
            async with authenticated(emulator) as one, connected(emulator) as two:
                session = emulator.add_session(state="active", ends_after=60)
                await one.subscribe(COUNTS, f"{session.id}:1s")
                assert emulator.live.connections == 2
                emulator.live.cut(code)
                assert emulator.live.connections == 0
                assert emulator.live.subscriptions == ()
                assert [await one.closed(), await two.closed()] == [code, code]
            async with authenticated(emulator) as again:
                await again.ask("ping")
            assert emulator.live.handshakes == 3

    @in_simulated_time
    async def test_close_before_the_answer_to_auth(self) -> None:
        """A silent server can still be told to close, so that auth has no answer."""
        async with emulated() as emulator, connected(emulator) as caller:
            emulator.live.go_silent(5)
            await caller.tell("auth:token", {"token": emulator.token})
            await soon(lambda: emulator.live.messages)
            emulator.live.cut(1012)
            assert await caller.closed() == 1012
            assert caller.arrived == []

    @in_simulated_time
    async def test_reset_in_simulated_time(self) -> None:
        """A reset drops connections, rules and limits."""
        async with emulated() as emulator:
            async with authenticated(emulator) as caller:
                emulator.live.limits = LiveLimits(connections=1)
                emulator.live.refuse(status=500, path="ping")
                emulator.reset()
                assert await caller.closed() is None
            async with authenticated(emulator) as caller:
                assert (await caller.ask("ping"))["status"] == 200
            assert emulator.live.handshakes == 1

    @in_simulated_time
    async def test_silence_of_the_server(self) -> None:
        """No answer, event or close comes, and afterwards it goes on with new ones."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=600)
            await caller.subscribe(INTENSITIES, f"{session.id}:1s")
            await caller.idle(100.5)
            emulator.live.go_silent(70)
            await caller.tell("ping", id="lost")
            await caller.socket.send_str("nonsense")
            assert await caller.idle(69) == []
            assert emulator.live.connections == 1
            assert "lost" in [message.id for message in emulator.live.messages]
            events = await caller.idle(20)
            assert lived(events[0], session) == 171
            assert (await caller.ask("ping"))["status"] == 200

    @in_simulated_time
    async def test_moving_the_clock_past_a_silence(self) -> None:
        """Of the time that the clock is moved by, only that of the silence is lost."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", ends_after=600)
            await caller.subscribe(INTENSITIES, f"{session.id}:1s")
            emulator.live.go_silent(99.5)
            emulator.live.emit(session.id, {})
            emulator.live.send("[]")
            emulator.advance(120)
            events = await caller.idle(0.5)
            assert [lived(event, session) for event in events] == [*range(100, 121)]

    @in_simulated_time
    async def test_a_silent_server_answers_no_handshake_and_no_close(self) -> None:
        """A close of the client and a new handshake wait for the end of the silence."""
        async with emulated() as emulator, aiohttp.ClientSession() as http:
            url = f"{emulator.url}/ws/v1"
            socket = await http.ws_connect(url)
            emulator.live.go_silent(30)
            opening = asyncio.create_task(http.ws_connect(url))
            closing = asyncio.create_task(socket.close())
            await asyncio.sleep(9)
            assert not opening.done()
            assert not closing.done()
            await (await opening).close()
            await closing
            assert simulated.now() >= 30

    @in_simulated_time
    async def test_moving_the_clock_ends_a_silence(self) -> None:
        """Silence is measured by the emulator's clock."""
        async with emulated() as emulator:
            emulator.live.go_silent(1_000)
            opening = asyncio.create_task(emulator_connects(emulator))
            await asyncio.sleep(10)
            assert not opening.done()
            emulator.advance(990)
            await opening
            assert simulated.now() == 10

    @pytest.mark.parametrize(
        ("text_in", "has_id"), [("data", False), ("body", True), ("data", True)]
    )
    @in_simulated_time
    async def test_refusals(self, text_in: Any, has_id: bool) -> None:
        """Subscriptions are refused as often as asked, in the form of the switches."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            emulator.live.guesses = LiveGuesses(
                error_text_in=text_in, refusals_have_id=has_id
            )
            session = emulator.add_session(state="active", ends_after=600)
            body = {"channel": COUNTS, "key": f"{session.id}:1s"}
            emulator.live.refuse(status=503, times=2)
            for _ in range(2):
                answer = await caller.ask("channels:subscribe", body, id="s")
                assert answer == {
                    "error": True,
                    "id": "s" if has_id else None,
                    "path": "channels:subscribe",
                    "status": 503,
                    text_in: {"message": "Service Unavailable"},
                }
            await caller.subscribe(COUNTS, f"{session.id}:1s")

    @in_simulated_time
    async def test_refusals_of_other_paths(self) -> None:
        """Pings, auth and handshakes can be refused, too."""
        async with emulated() as emulator:
            emulator.live.refuse(status=500, times=1, path="ping")
            async with authenticated(emulator) as caller:
                assert (await caller.ask("ping"))["status"] == 500
                assert (await caller.ask("ping"))["status"] == 200
            emulator.live.refuse(status=503, times=1, path="auth:token")
            async with connected(emulator) as caller:
                await caller.tell("auth:token", {"token": emulator.token})
                assert await caller.closed() == 1008
                assert caller.arrived[0]["status"] == 503
            emulator.live.refuse(status=429, times=1, path="handshake")
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await emulator_connects(emulator)
            assert caught.value.status == 429
            await emulator_connects(emulator)
            assert emulator.live.handshakes == 4
            emulator.live.refuse(status=520, times=1, path="channels:unsubscribe")
            async with authenticated(emulator) as caller:
                answer = await caller.ask("channels:unsubscribe")
                assert answer["status"] == 520
                assert answer["data"]["message"] == "Error 520"

    @in_simulated_time
    async def test_emit(self) -> None:
        """Integers are counts, mappings intensities, a string a worker's state."""
        async with emulated() as emulator, authenticated(emulator) as caller:
            session = emulator.add_session(state="active", meta={"workerState": "on"})
            other = emulator.add_session(state="active")
            names = {
                await caller.subscribe(COUNTS, f"{session.id}:10m"): "counts",
                await caller.subscribe(INTENSITIES, f"{session.id}:1s"): "intensities",
                await caller.subscribe(WORKER, session.id): "worker",
                await caller.subscribe(COUNTS, f"{other.id}:1s"): "other",
            }
            await caller.idle(2)
            caller.events.clear()
            measure = {"people": 3, "quantity": 2.654, "intensity": 0.885}
            for emotions in ({"focus": 1}, {"focus": measure}, "off", {}):
                emulator.live.emit(session.id, emotions)
            told = [(names[e[0]], e[2], e[3]) for e in await caller.idle(1)]
            assert told == [
                ("counts", "sec", [{"focus": 1}]),
                ("intensities", "sei", [{"focus": measure}]),
                ("worker", "sws", ["off"]),
                ("counts", "sec", [{}]),
                ("intensities", "sei", [{}]),
            ]

    @in_simulated_time
    async def test_send(self) -> None:
        """A text goes to every connection as it is."""
        async with (
            emulated() as emulator,
            authenticated(emulator) as one,
            connected(emulator) as two,
        ):
            emulator.live.send('["x", 0, "new", []]')
            assert await one.next() == await two.next() == ["x", 0, "new", []]

    def test_arguments(self) -> None:
        """Arguments out of their rules are named."""
        live = EmoggEmulator().live
        wrong: list[tuple[str, Callable[[], object]]] = [
            ("code", lambda: live.cut(999)),
            ("seconds", lambda: live.go_silent(-1)),
            ("status", lambda: live.refuse(status=200)),
            ("times", lambda: live.refuse(status=429, times=0)),
            ("path", lambda: live.refuse(status=429, path="nowhere")),  # type: ignore[arg-type]
            ("emotions", lambda: live.emit(UNKNOWN, {"a": 1, "b": {}})),
            ("emotions", lambda: live.emit(UNKNOWN, [])),  # type: ignore[arg-type]
            ("text", lambda: live.send(b"x")),  # type: ignore[arg-type]
            ("guesses", lambda: setattr(live, "guesses", {})),
            ("limits", lambda: setattr(live, "limits", None)),
            ("window", lambda: LiveGuesses(window="sliding")),  # type: ignore[arg-type]
            ("pings_count", lambda: LiveGuesses(pings_count=1)),  # type: ignore[arg-type]
            ("slots_kept", lambda: LiveGuesses(slots_kept=66)),
            ("messages", lambda: LiveLimits(messages=0)),
            ("silence", lambda: LiveLimits(silence=0)),
        ]
        for name, call_it in wrong:
            with pytest.raises(InvalidArgumentError, match=f"^{name}: "):
                call_it()

    @pytest.mark.parametrize("rule", [{"status": 503}, {"fault": "html"}])
    @in_simulated_time
    async def test_faults_meet_handshakes(self, rule: dict[str, Any]) -> None:
        """`emulator.fail` refuses handshakes, and the log has them all."""
        async with emulated() as emulator:
            fault = emulator.fail("GET", "/ws/v1", times=1, **rule)
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await emulator_connects(emulator)
            assert caught.value.status == rule.get("status", 200)
            assert fault.hits == 1
            await emulator_connects(emulator)
            found = [(item.path, item.status) for item in emulator.requests]
            assert found == [("/ws/v1", caught.value.status), ("/ws/v1", 101)]
            assert emulator.in_flight == 0

    @in_simulated_time
    async def test_a_handshake_costs_no_token(self) -> None:
        """Live connections leave the bucket of requests as it is."""
        async with emulated(rate_limit=(2, 60.0)) as emulator:
            for _ in range(10):
                await emulator_connects(emulator)
            async with emulator.client() as client:
                assert [item async for item in client.list_sessions()] == []

    @in_simulated_time
    async def test_a_plain_request_is_no_handshake(self) -> None:
        """A GET without an upgrade is a 400, and any other method a 404."""
        async with emulated() as emulator, aiohttp.ClientSession() as http:
            async with http.get(f"{emulator.url}/ws/v1") as answer:
                assert answer.status == 400
            token = {"Authorization": f"Bearer {emulator.token}"}
            async with http.post(f"{emulator.url}/ws/v1", headers=token) as answer:
                assert answer.status == 404


async def emulator_connects(emulator: EmoggEmulator) -> None:
    """Connect and close."""
    async with connected(emulator):
        pass


class TestThreads:
    """An emulator in its own thread, with real time and real sockets."""

    async def test_moving_the_clock_wakes_it(self) -> None:
        """Events come at once, whichever thread moves the clock."""
        with EmoggEmulator() as emulator:
            async with authenticated(emulator) as caller:
                session = emulator.add_session(state="active", ends_after=3_600)
                await caller.subscribe(INTENSITIES, f"{session.id}:5m")
                await asyncio.to_thread(emulator.advance, 3_600)
                seen = [lived(await caller.next(), session) for _ in range(12)]
                assert seen == [300 * number for number in range(1, 13)]
            (found,) = emulator.sessions
            assert (found.state, found.duration) == ("finished", 3_600)

    async def test_events_come_by_themselves(self) -> None:
        """Without anyone moving the clock, an event comes in real time."""
        with EmoggEmulator() as emulator:
            async with authenticated(emulator) as caller:
                session = emulator.add_session(state="active", ends_after=3_600)
                emulator.advance(100)
                await caller.subscribe(INTENSITIES, f"{session.id}:1s")
                assert lived(await caller.next(), session) > 100

    @pytest.mark.parametrize("end", ["reset", "stop", "cut"])
    async def test_all_connections_end(self, end: str) -> None:
        """`reset`, `stop` and `cut` drop every connection."""
        with EmoggEmulator() as emulator:
            async with authenticated(emulator) as one, connected(emulator) as two:
                emulator.live.guesses = LiveGuesses(timestamps="ms")
                emulator.live.refuse(status=429)
                drop = emulator.live.cut if end == "cut" else getattr(emulator, end)
                await asyncio.to_thread(drop)
                assert [await one.closed(), await two.closed()] == [None, None]
                assert emulator.live.connections == 0
                if end == "reset":
                    assert emulator.live.guesses == LiveGuesses()
                    assert emulator.live.messages == ()

    async def test_threads_emit(self) -> None:
        """Events of several threads all arrive, those of each in their order."""
        with EmoggEmulator() as emulator:
            async with authenticated(emulator) as caller:
                session = emulator.add_session(state="active")
                await caller.subscribe(COUNTS, f"{session.id}:1s")

                def emit(name: str) -> None:
                    for number in range(500):
                        emulator.live.emit(session.id, {name: number})

                names = "abcd"
                await asyncio.gather(*(asyncio.to_thread(emit, name) for name in names))
                told = [(await caller.next())[3][0] for _ in range(2_000)]
                for name in names:
                    numbers = [each[name] for each in told if name in each]
                    assert numbers == [*range(500)]

    async def test_it_starts_again(self) -> None:
        """An emulator that was stopped and started serves live channels again."""
        emulator = EmoggEmulator()
        for _ in range(2):
            with emulator:
                async with authenticated(emulator) as caller:
                    emulator.live.go_silent(0)
                    assert (await caller.ask("ping"))["status"] == 200

    async def test_who_does_not_read_is_cut_all_the_same(self) -> None:
        """A client whose buffers are full does not keep the emulator from a cut."""
        with EmoggEmulator() as emulator:
            async with aiohttp.ClientSession() as http:
                socket = await http.ws_connect(f"{emulator.url}/ws/v1")
                for _ in range(400):
                    emulator.live.send(f'"{"x" * 50_000}"')
                emulator.live.cut()
                assert emulator.live.connections == 0
                while (await socket.receive()).type is aiohttp.WSMsgType.TEXT:
                    pass
                assert socket.close_code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE

    async def test_a_thousand_handshakes(self) -> None:
        """A thousand connections, one after the other and at once, leave nothing."""
        with EmoggEmulator() as emulator:
            emulator.live.limits = LiveLimits(connections=10_000, messages=10_000)
            async with aiohttp.ClientSession() as http:
                for _ in range(10):
                    sockets = await asyncio.gather(
                        *(http.ws_connect(f"{emulator.url}/ws/v1") for _ in range(100))
                    )
                    assert emulator.live.connections == 100
                    await asyncio.gather(*(socket.close() for socket in sockets))
                    await soon(lambda: not emulator.live.connections)
            assert emulator.live.handshakes == 1_000
            assert call(emulator, "/v1/sessions").status == 200
