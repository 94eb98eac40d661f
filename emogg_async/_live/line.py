"""One connection of a client, through all its reconnects: the part that does I/O."""

import asyncio
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import aiohttp

from emogg_async._live.backoff import Backoff
from emogg_async._live.dialogue import Dialogue, Lost, Request
from emogg_async._live.topics import Topic, TopicState
from emogg_async._wire.live import Answer, Happening, read
from emogg_async.errors import AuthenticationError, ConnectionLostError, EmoggError

if TYPE_CHECKING:
    from emogg_async._live.hub import Hub

__all__ = ["Line"]

LEAVE_SECONDS: Final = 1.0
DROP_SECONDS: Final = 0.1
"""Seconds for a closing handshake, and for a service that does not answer anyway."""

MAX_EARLY: Final = 64
"""Events kept that come before the answer which names their subscription."""

_DROPPED: Final = frozenset({200, 404})
"""The answers to an unsubscribe after which there is no such subscription."""

TOO_BIG: Final = 1009
"""The code of WebSocket for a frame that is too big (RFC 6455, section 7.4.1)."""


class Line:
    """A connection that is made again until nobody needs it.

    Args:
        hub: The client's connections, of which this is one.

    Attributes:
        topics: Its topics, in the order in which they came.
        failure: Why there is no connection; None while there is one.
        down_since: Since when there is no connection; infinite while there is one.
    """

    def __init__(self, hub: "Hub") -> None:
        self.topics: dict[Topic, None] = {}
        self.failure: EmoggError | None = None
        self.down_since = hub.loop.time()
        self._hub = hub
        self._ids: dict[str, Topic] = {}
        self._early: list[Happening] = []
        self._settled_at = math.inf
        self._wake = asyncio.Event()
        self._backoff = Backoff(hub.policy.base, hub.policy.cap, hub.rng)

    def wake(self) -> None:
        """Look again at what there is to do."""
        self._wake.set()

    def add(self, topic: Topic) -> None:
        """Subscribe to *topic* on this connection."""
        topic.state, topic.line = TopicState.PLACED, self
        self.topics[topic] = None
        self.wake()

    def remove(self, topic: Topic) -> None:
        """Let *topic* go, whose subscription is over."""
        self.forget(topic)
        self.topics.pop(topic, None)
        topic.line = None
        self.wake()

    def forget(self, topic: Topic) -> None:
        """Forget the subscription of *topic*."""
        if self._ids.pop(topic.id, None) is not None:
            self._hub.forgotten()
        topic.id = ""

    async def run(self) -> None:
        """Connect, and connect again, until nobody needs the connection."""
        wait = 0.0
        while await self._pause(wait):
            try:
                lost = await self._live()
            except asyncio.CancelledError:
                self._hub.disconnected("the client was closed", None)
                raise
            now = self._hub.loop.time()
            self._backoff.lived(now - self._settled_at)
            self.down_since = min(self.down_since, now)
            self._settled_at = math.inf
            self._interrupt()
            wait = max(self._backoff.wait(), self._hub.connect_at(now) - now)
            self._hub.disconnected(lost.reason, wait if self.topics else None)
            if lost.is_clean:
                break

    async def _pause(self, seconds: float) -> bool:
        """Wait before the next connection; tell whether there shall be one."""
        loop, outage = self._hub.loop, self._hub.policy.outage
        until = loop.time() + seconds
        ends = math.inf if outage is None else self.down_since + outage
        while self.topics and (now := loop.time()) < (
            until := max(until, self._hub.connect_at(now))
        ):
            if now >= ends:
                error = ConnectionLostError(
                    f"no live connection for {outage:g} s: {_reason(self.failure)}"
                )
                error.__cause__ = self.failure
                self._hub.fail([*self.topics], error)
                break
            await self._sleep(min(until, ends))
        return bool(self.topics)

    async def _sleep(self, until: float) -> None:
        """Wait until a time on the loop's clock, or until there is something to do."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until if until < math.inf else None):
                await self._wake.wait()
        self._wake.clear()

    async def _live(self) -> Lost:
        """Make the connection, and use it to its end."""
        try:
            socket = await self._hub.dial()
        except EmoggError as error:
            self.failure = error
            if self._hub.is_final(error):
                self._hub.fail_all(error)
            return Lost(error.headline)
        now = self._hub.loop.time()
        dialogue = self._hub.dialogue(self.topics, now)
        reader = asyncio.create_task(self._read(socket, dialogue))
        lost = Lost("the client was closed", is_clean=True)
        try:
            lost = await self._write(socket, dialogue)
        finally:
            seconds = LEAVE_SECONDS if lost.is_clean else DROP_SECONDS
            try:
                await _close(socket, reader, seconds)
            finally:
                self._hub.closed(was_connected=dialogue.is_authenticated)
        if not isinstance(self.failure, AuthenticationError):
            self.failure = ConnectionLostError(f"the connection ended: {lost.reason}")
        return lost

    # -- writing -------------------------------------------------------------------

    async def _write(
        self, socket: aiohttp.ClientWebSocketResponse, dialogue: Dialogue
    ) -> Lost:
        while True:
            match dialogue.next(self._hub.loop.time()):
                case Lost() as lost:
                    return lost
                case str() as text:
                    try:
                        async with asyncio.timeout(self._hub.policy.pong):
                            await socket.send_str(text)
                    except TimeoutError:
                        return Lost("the service does not read")
                    except (aiohttp.ClientError, ConnectionError, RuntimeError):
                        return dialogue.lost or Lost("the connection was lost")
                case until:
                    await self._sleep(until)

    # -- reading -------------------------------------------------------------------

    async def _read(
        self, socket: aiohttp.ClientWebSocketResponse, dialogue: Dialogue
    ) -> None:
        """Read to the end of the connection; this is cancelled only after a close."""
        while True:
            message = await socket.receive()
            if message.type is aiohttp.WSMsgType.TEXT:
                self._hear(message.data, dialogue)
            elif message.type is aiohttp.WSMsgType.BINARY:
                self._hub.unreadable(None)
            else:
                break
        lost = Lost(_end_of(socket, message))
        dialogue.lost = dialogue.lost or lost
        self.wake()

    def _hear(self, text: str, dialogue: Dialogue) -> None:
        heard = read(text)
        if isinstance(heard, Happening):
            topic = self._ids.get(heard.subscription)
            if topic is not None:
                self._hub.happened(topic, heard)
            elif dialogue.under_way is not None and len(self._early) < MAX_EARLY:
                self._early.append(heard)
            else:
                self._hub.unreadable(None)
        elif isinstance(heard, Answer):
            request = dialogue.settle(heard)
            if request is not None:
                self._settle(request, heard, dialogue)
            self.wake()
        else:
            self._hub.unreadable(None)

    def _settle(self, request: Request, answer: Answer, dialogue: Dialogue) -> None:
        topic = request.topic
        if topic is None:
            self._authenticated(answer, dialogue)
        elif request.path == "channels:unsubscribe":
            if answer.status in _DROPPED:
                self._hub.interrupted(topic)  # a feed may have come meanwhile
            else:
                self._hub.kept(topic)
                dialogue.rest(self._hub.loop.time())
        elif answer.status != 200:
            self._hub.refused(topic, answer)
        elif answer.subscription and answer.subscription not in self._ids:
            self._confirm(topic, answer.subscription)
        else:
            dialogue.lost = Lost("the service confirmed no new subscription")
        self._early.clear()

    def _authenticated(self, answer: Answer, dialogue: Dialogue) -> None:
        if answer.status == 200:
            dialogue.is_authenticated = True
            self.failure, self.down_since = None, math.inf
            self._hub.connected()
            return
        error = self._hub.error_of(answer)
        self.failure = error
        dialogue.lost = Lost(f"the token was refused: {error.headline}")
        if isinstance(error, AuthenticationError):
            self._hub.fail_all(error)

    def _confirm(self, topic: Topic, subscription: str) -> None:
        self._ids[subscription] = topic
        self._hub.confirmed(topic, subscription)
        if not any(each.state is TopicState.PLACED for each in self.topics):
            self._settled_at = min(self._settled_at, self._hub.loop.time())
        for happening in self._early:
            if happening.subscription == subscription:
                self._hub.happened(topic, happening)

    def _interrupt(self) -> None:
        """Note the end of the connection: its subscriptions are gone with it."""
        self._early.clear()
        for topic in [*self.topics]:
            topic.is_unsure = topic.was_live
            self._hub.interrupted(topic)


def _reason(failure: EmoggError | None) -> str:
    return failure.headline if failure else "the service did not answer"


async def _close(
    socket: aiohttp.ClientWebSocketResponse,
    reader: "asyncio.Task[None]",
    seconds: float,
) -> None:
    """Close *socket*, and wait for the service so many seconds at the most.

    The reader may be the one that waits, and aiohttp would let it do so for as long as
    a service goes on to send; its cancellation drops the connection.
    """
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await socket.close()
                await reader
    finally:
        reader.cancel()
        await asyncio.wait([reader])
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await socket.close()  # in case the time was up before aiohttp began


def _end_of(socket: aiohttp.ClientWebSocketResponse, message: aiohttp.WSMessage) -> str:
    """Say why a connection has ended."""
    if message.type is aiohttp.WSMsgType.CLOSE:
        return f"the service closed it with code {socket.close_code}"
    if message.type is aiohttp.WSMsgType.ERROR:
        code = getattr(message.data, "code", None)
        if code == TOO_BIG:
            return "a message of the service is longer than 1 MiB"
        return "the service sent a frame that is not valid"
    return "the connection was lost"
