"""The emulator, as tests use it."""

import asyncio
import threading
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, Self

from emogg_async import AsyncEmoggClient
from emogg_async._wire.converter import structure
from emogg_async.errors import ConfigurationError, InvalidArgumentError
from emogg_async.models import CustomEvent, Session, Source
from emogg_async.testing._bucket import Rounding
from emogg_async.testing._checks import SECONDS, is_seconds, is_token, require
from emogg_async.testing._control import LiveControl
from emogg_async.testing._faults import Fault, FaultRule
from emogg_async.testing._journal import RecordedRequest
from emogg_async.testing._server import make_application
from emogg_async.testing._state import Settings, State
from emogg_async.testing._stored import User
from emogg_async.testing._thread import HOST, ServerThread

__all__ = ["EmoggEmulator"]


class EmoggEmulator:
    """A server on loopback that answers as the reference of the Emogg API says.

    It runs in a thread of its own, so it serves sync and async tests alike::

        with EmoggEmulator(sessions=25) as emulator:
            emulator.fail("GET", "/v1/sessions/*", status=503, times=2)
            async with emulator.client() as client:
                session = await client.get_session(emulator.sessions[0].id)

    Its clock begins at 2024-04-01T10:30:00Z, runs on, and moves with `advance`; the
    `Date` of each answer follows it. Sessions created through the API are active, grow
    with that clock until they are stopped, and have emotions up to now. The same seed
    gives the same data. WebSockets at `/ws/v1` tell live what timelines tell later, see
    `live` and `add_session`. All members may be used from any thread. The docstring of
    `emogg_async.testing._guesses` lists the guesses where the reference is silent.

    Args:
        sessions: Number of made-up sessions at the start.
        sort: Order of lists, newest first: by "timestamp" or by "id". They differ only
            for sessions whose ids disagree with their timestamps.
        seed: Seed of the sessions, and of faults with a probability.
        token: Token of the first user, who owns those sessions.
        rate_limit: Capacity of each user's token bucket, and the seconds in which an
            empty one becomes full; None means no limit and no rate headers.
        rate_headers: Whether answers have rate headers; a mapping replaces some of
            their values, e.g. `{"RateLimit-Policy": "9;w=1"}`.
        reset_rounding: Rounding of `RateLimit-Reset` to whole seconds: `up`, `down` or
            `nearest`.
        latency: Seconds to wait before each answer.
        processing: Seconds for which a session is `processing` between `active` and
            `finished`.
        port: Port on 127.0.0.1; 0 means any free one.

    Raises:
        InvalidArgumentError: An argument breaks its rule; the message names both.
    """

    __test__ = False  # or pytest could take it for a class of tests

    _time = staticmethod(time.monotonic)

    def __init__(
        self,
        *,
        sessions: int = 0,
        sort: Literal["timestamp", "id"] = "timestamp",
        seed: int = 0,
        token: str = "emogg-emulator-token",  # noqa: S107 - of no use elsewhere
        rate_limit: tuple[int, float] | None = (10_000, 60.0),
        rate_headers: bool | Mapping[str, str] = True,
        reset_rounding: Rounding = "up",
        latency: float = 0.0,
        processing: float = 0.0,
        port: int = 0,
    ) -> None:
        self._settings = Settings(
            sessions=sessions,
            sort=sort,
            seed=seed,
            token=token,
            rate_limit=rate_limit,
            rate_headers=rate_headers,
            reset_rounding=reset_rounding,
            latency=latency,
            processing=processing,
            port=port,
        )
        self._state = State(self._settings, self._time)
        self._live = LiveControl(lambda: self._state)
        self._lifecycle = threading.RLock()
        self._server: ServerThread | None = None
        self._port = port
        self._url: str | None = None

    def __repr__(self) -> str:
        """Show its address, but not the token."""
        where = self._url if self._server else "not running"
        return f"<{type(self).__name__} {where}>"

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop it."""
        self.stop()

    async def __aenter__(self) -> Self:
        """Start it, without blocking the event loop."""
        is_left = threading.Event()

        def start() -> None:
            with self._lifecycle:
                if not is_left.is_set():
                    self.start()

        try:
            await asyncio.to_thread(start)
        except asyncio.CancelledError:
            is_left.set()  # the thread may begin later
            self.stop()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        """Stop it, without blocking the event loop."""
        try:
            await asyncio.to_thread(self.stop)
        finally:
            self.stop()  # the thread may never begin

    def start(self) -> None:
        """Start to serve; do nothing if it serves already.

        After a stop it has the address that it had before.

        Raises:
            ConfigurationError: It cannot listen on the port.
        """
        with self._lifecycle:
            if self._server is not None:
                return
            app = make_application(lambda: self._state)
            port = self._port
            try:
                self._server = ServerThread(app, port)
            except OSError as error:
                reason = str(error.strerror).lower()
                message = f"cannot listen on {HOST}, port {port}: {reason}"
                raise ConfigurationError(message) from error
            self._port = self._server.port
            self._url = f"http://{HOST}:{self._port}"

    def stop(self) -> None:
        """Drop all connections and stop to serve; do nothing if it does not serve.

        Sessions and requests stay and can still be read.
        """
        with self._lifecycle:
            server, self._server = self._server, None
            if server is not None:
                server.stop()

    def reset(self) -> None:
        """Go back to the state right after the start, and drop requests under way.

        Sessions are those of the seed again; added tokens, faults, the log, buckets,
        latency, clock and live channels start over. The address stays.
        """
        with self._lifecycle:
            if self._server is not None:
                # Requests sent so far belong to the old state, even if still unread.
                self._server.catch_up()
            old, self._state = self._state, State(self._settings, self._time)
            if self._server is not None:
                self._server.call_soon(_drop_requests, old)

    @property
    def url(self) -> str:
        """Its base URL, `http://127.0.0.1:…`; after `stop`, the last one.

        Raises:
            ConfigurationError: It was never started.
        """
        if self._url is None:
            message = "the emulator is not running: start it using `with`, or start()"
            raise ConfigurationError(message)
        return self._url

    @property
    def token(self) -> str:
        """Token of the first user, the one with the seeded sessions."""
        return self._settings.token

    @property
    def latency(self) -> float:
        """Seconds to wait before each answer; can be set."""
        return self._state.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        require(is_seconds(seconds), "latency", SECONDS)
        self._state.latency = seconds

    @property
    def sessions(self) -> tuple[Session, ...]:
        """The sessions of all users, newest first."""
        state = self._state
        now = state.clock.now()
        return tuple(stored.session(now) for stored in state.world.all_sessions())

    @property
    def requests(self) -> tuple[RecordedRequest, ...]:
        """The newest 10,000 requests, oldest first."""
        return self._state.journal.requests

    @property
    def in_flight(self) -> int:
        """Number of requests being handled."""
        return self._state.journal.in_flight

    @property
    def max_in_flight(self) -> int:
        """Largest number of requests handled at once so far."""
        return self._state.journal.max_in_flight

    @property
    def live(self) -> LiveControl:
        """The live channels: what arrived there, and what shall go wrong."""
        return self._live

    def now(self) -> datetime:
        """Return the present instant by the emulator's clock (aware, UTC)."""
        return self._state.clock.now()

    def advance(self, seconds: float) -> None:
        """Move the emulator's clock on by *seconds*.

        Buckets refill, sessions created through the API grow, live sessions tell what
        falls into these seconds, and sessions added later have later dates. Delays and
        latency are not shortened: they pass in real time, as do the 65 s in which a
        client must send something on a live connection.
        """
        require(is_seconds(seconds), "seconds", SECONDS)
        state = self._state
        state.live.channels.skip(seconds)
        state.clock.advance(seconds)
        state.live.wake()

    def add_token(self, token: str | None = None) -> str:
        """Add a user with a bucket and sessions of their own.

        Args:
            token: Token of the user; None makes one up.

        Returns:
            The token.
        """
        require(token is None or is_token(token), "token", "visible ASCII characters")
        return self._state.world.add_user(token).token

    def add_session(
        self,
        *,
        token: str | None = None,
        id: str | None = None,  # noqa: A002 - as the field is called
        name: str | None = None,
        state: str = "finished",
        type: str = "live_analysis",  # noqa: A002 - as the field is called
        timestamp: datetime | None = None,
        duration: float | None = None,
        sources: Iterable[Source | Mapping[str, Any]] | None = None,
        ends_after: float | None = None,
        hidden: bool = False,
        **extra_wire_fields: Any,
    ) -> Session:
        """Add a session.

        Args:
            token: Token of its owner; None means the first user.
            id: 24 hex digits, which may disagree with *timestamp*; None makes an
                ObjectId of the second of *timestamp*.
            name: 1 to 256 characters; None makes one up.
            state: Progress. Without *ends_after*, the emulator changes neither the
                state nor the duration by itself.
            type: Kind of session.
            timestamp: When it was created (aware; cut to the millisecond); None means
                the second of *id* if that is given, else now.
            duration: Length in seconds; None makes one up.
            sources: Sources, as models or in their wire form; None leaves them out.
            ends_after: Seconds from now after which an active session ends by itself,
                through `processing` if the emulator is told so. It grows until then and
                tells live what its timeline tells, as one created through the API
                does. None leaves it as it is, silent but for `emulator.live.emit`.
            hidden: Whether lists leave it out; a get by its id shows it.
            **extra_wire_fields: Other fields by their names on the wire, e.g.
                `meta={…}`.

        Raises:
            InvalidArgumentError: An argument breaks its rule; the message names both.
        """
        fields = {
            "name": name,
            "state": state,
            "type": type,
            "timestamp": timestamp,
            "duration": duration,
            "sources": sources,
        }
        owner = self._user(self.token if token is None else token)
        fields |= extra_wire_fields
        stored = self._state.world.add(
            owner, id, fields, ends_after=ends_after, hidden=hidden
        )
        return stored.session(self.now())

    def update_session(self, session_id: str, **changes: Any) -> Session:
        """Change a session, as the service itself would, e.g. `state="finished"`.

        Args:
            session_id: ID of a session of any user.
            **changes: New values by their names on the wire; None removes a field.

        Raises:
            InvalidArgumentError: There is no such session, or a change breaks its rule.
        """
        state = self._state
        stored = state.world.update(session_id, changes)
        state.live.channels.tell_states(stored.id, state.clock.elapsed())
        return stored.session(state.clock.now())

    def remove_session(self, session_id: str) -> None:
        """Remove a session of any user.

        Raises:
            InvalidArgumentError: There is no such session.
        """
        self._state.world.remove(session_id)

    def events(self, session_id: str) -> tuple[CustomEvent, ...]:
        """Return the newest 10,000 events reported to a session, oldest first.

        Sources registered for the session are among its `sources`.

        Raises:
            InvalidArgumentError: There is no such session.
        """
        reported = self._state.world.events(session_id)
        return tuple(structure(event, CustomEvent) for event in reported)

    def fail(
        self,
        method: str = "*",
        path: str = "*",
        *,
        status: int | None = None,
        fault: Fault | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        delay: float = 0.0,
        lag: float = 0.0,
        after: bool = False,
        times: int | None = None,
        probability: float = 1.0,
    ) -> FaultRule:
        """Make requests fail, or take longer, from now on.

        A request meets the newest rule that matches. It counts as a hit even if the
        rate limit then refuses it. An answer with a *status* costs a token like any
        other, except a 401. A handshake of a live connection, a GET of `/ws/v1`, costs
        none, and *lag* and *after* do not change it.

        Args:
            method: Glob for the method.
            path: Glob for the path, without the query; `*` also matches slashes.
            status: Status of the answer, in place of handling the request. The body is
                the usual one unless *body* is given.
            fault: Kind of damage. Three come after the request was read and before it
                is handled (see *after*): `reset` (drop the connection by RST), `close`
                (drop it without RST), `hang` (no answer until the client leaves or the
                emulator stops). The others damage the answer: `cut` (half of the
                promised body, then closed), `cut_chunked` (no last chunk), `garbage`
                (truncated JSON), `html` (a page), `huge` (40 MB of JSON), `bomb` (300
                kB of gzip that inflate to 300 MB). The last four have status 200 unless
                *status* is given.
            body: Body of the answer: text, bytes or a JSON value; needs *status*.
            headers: Headers to add to the answer, e.g. `{"Retry-After": "2"}`.
            delay: Seconds to wait first. Without *status* and *fault*, the real answer
                follows.
            lag: Seconds to wait after the request was handled and has paid its token,
                so that answers to later requests overtake this one.
            after: Whether the request is handled first, so that only its answer is
                lost: it takes effect and pays its token, and then meets `reset`,
                `close`, `hang` or the *status*.
            times: Number of requests after which the rule is used up; None is no limit.
            probability: Chance, 0 to 1, that a matching request meets the fault.

        Returns:
            The rule, which counts its hits and can be removed.

        Raises:
            InvalidArgumentError: An argument breaks its rule; the message names both.
        """
        rules = self._state.faults
        rule = FaultRule(
            rules=rules,
            method=method,
            path=path,
            status=status,
            fault=fault,
            body=body,
            headers={} if headers is None else headers,
            delay=delay,
            lag=lag,
            after=after,
            times=times,
            probability=probability,
        )
        rules.add(rule)
        return rule

    def client(self, **options: Any) -> AsyncEmoggClient:
        """Make a client of this emulator.

        Args:
            **options: Arguments of `AsyncEmoggClient`; they override the emulator's
                token and URL.
        """
        return AsyncEmoggClient(**{"token": self.token, "base_url": self.url} | options)

    def _user(self, token: str) -> User:
        user = self._state.world.user(token)
        if user is None:  # the message leaves out the value, as it may be a secret
            raise InvalidArgumentError("token: expected one that add_token returned")
        return user


def _drop_requests(state: State) -> None:
    """Drop the connections of all requests of *state*; their handlers end with them."""
    for transport in tuple(state.transports):
        transport.abort()
