"""One connection's messages: pure, told the time."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene import busiest

from emogg_async import LivePolicy
from emogg_async._live.dialogue import IDLE_SECONDS, Dialogue, Lost
from emogg_async._live.topics import Topic, TopicState, Wish
from emogg_async._live.windows import Messages
from emogg_async._wire.live import COUNTS, Answer, read

TOKEN = "tok"


def dialogue_of(*topics, policy=None, messages=None, connections=1):
    policy = policy or LivePolicy()
    return Dialogue(
        policy,
        TOKEN,
        topics,
        messages=messages or Messages(policy.window),
        connections=lambda: connections,
        now=0.0,
    )


def topic(letter="a", state=TopicState.PLACED):
    made = Topic(Wish(COUNTS, letter * 24, "1s", 1.0))
    made.state = state
    if state is TopicState.LIVE:
        made.confirm("id", 0.0)
    return made


def said(step):
    assert isinstance(step, str), step
    return json.loads(step)


def answer(number, path, status=200, subscription=""):
    return Answer(number, path, status, subscription, "")


def authenticated(*topics, **options):
    dialogue = dialogue_of(*topics, **options)
    said(dialogue.next(0.0))
    dialogue.settle(answer(1, "auth:token"))
    dialogue.is_authenticated = True
    return dialogue


def test_auth_comes_first_and_alone():
    """Nothing but the token is sent before the service has accepted it."""
    dialogue = dialogue_of(topic())
    first = said(dialogue.next(0.0))
    assert first == {"id": 1, "path": "auth:token", "body": {"token": TOKEN}}
    assert dialogue.next(0.0) == 10.0
    assert dialogue.next(9.9) == 10.0
    assert dialogue.next(10.0) == Lost("no answer to auth:token within 10 s")
    assert dialogue.next(11.0) == dialogue.lost


def test_one_request_at_a_time():
    """One subscribe or unsubscribe is under way at a time, and ends go last."""
    one, two, old = topic("a"), topic("b"), topic("c", TopicState.LIVE)
    old.state = TopicState.LEAVING
    dialogue = authenticated(one, old, two)
    first = said(dialogue.next(1.0))
    assert first["body"] == {
        "channel": "session_emotions_counts",
        "key": f"{'a' * 24}:1s",
    }
    assert (one.state, two.state) == (TopicState.ASKED, TopicState.PLACED)
    assert dialogue.next(1.0) == 11.0
    assert dialogue.settle(answer(2, "channels:subscribe")).topic is one
    assert said(dialogue.next(2.0))["path"] == "channels:subscribe"
    assert dialogue.settle(answer(3, "channels:subscribe")).topic is two
    assert said(dialogue.next(3.0)) == {
        "id": 4,
        "path": "channels:unsubscribe",
        "body": {"subscriptionId": "id"},
    }
    assert old.state is TopicState.DROPPING
    assert dialogue.next(13.0) == Lost("no answer to channels:unsubscribe within 10 s")


def test_regular_pings():
    """A timer that is due exactly now fires once under a simulated clock: a ping."""
    one = topic(state=TopicState.LIVE)
    dialogue = authenticated(one)
    for number, second in enumerate((20.0, 40.0, 60.0), start=2):
        one.heard_at = second
        assert dialogue.next(second - 0.001) == second
        assert said(dialogue.next(second)) == {"id": number, "path": "ping"}
        assert dialogue.next(second) == second + 10
        assert dialogue.settle(answer(number, "ping")) is None
    assert isinstance(dialogue.next(60.0), float)


def test_a_ping_that_is_not_answered():
    """A ping without an answer is the end, at the moment when it is due."""
    dialogue = authenticated(topic(state=TopicState.LIVE))
    said(dialogue.next(20.0))
    assert dialogue.next(29.999) == 30.0
    assert dialogue.next(30.0) == Lost("no answer to ping within 10 s")


@pytest.mark.parametrize("text", ['{"path": "ping", "body": {"ts": "2024"}}', None])
def test_a_pong_without_an_id(text):
    """A pong that does not say its id answers the oldest ping."""
    dialogue = authenticated(topic(state=TopicState.LIVE))
    said(dialogue.next(20.0))
    dialogue.settle(read(text) if text else answer(None, "ping"))
    assert dialogue.next(30.0) != Lost("no answer to ping within 10 s")


def test_a_silence_is_asked_about_once():
    """A silent topic makes us ping at once, one ping for all, once in each silence."""
    topics = [topic(letter, TopicState.LIVE) for letter in "abc"]
    dialogue = authenticated(*topics)
    assert dialogue.next(14.9) == 15.0
    assert said(dialogue.next(15.0))["path"] == "ping"
    dialogue.settle(answer(2, "ping"))
    assert dialogue.next(15.0) == 35.0  # the next regular one
    for each in topics:
        each.heard_at = 16.0
    assert dialogue.next(30.9) == 31.0
    assert said(dialogue.next(31.0))["path"] == "ping"


REFUSALS = [
    (Answer(None, "channels:subscribe", 429, "", ""), True),
    (Answer(None, "", 400, "", ""), True),
    (Answer(2, "channels:subscribe", 404, "", ""), True),
    (Answer(None, "ping", 429, "", ""), False),
    (Answer(99, "channels:subscribe", 404, "", ""), False),
    (Answer(99, "channels:subscribe", 200, "id", ""), False),
    (Answer(1, "auth:token", 200, "", ""), False),
]


@pytest.mark.parametrize(("refusal", "is_ours"), REFUSALS)
def test_what_an_answer_belongs_to(refusal, is_ours):
    """A refusal without an id belongs to what is under way; old answers to nothing."""
    one = topic()
    dialogue = authenticated(one)
    said(dialogue.next(1.0))
    settled = dialogue.settle(refusal)
    assert (settled is not None) == is_ours
    assert (dialogue.under_way is None) == is_ours
    if is_ours:
        assert settled.topic is one
        assert dialogue.settle(refusal) is None


def test_an_idle_connection():
    """A connection without topics ends cleanly after 30 s, and not before."""
    topics = []
    dialogue = Dialogue(
        LivePolicy(ping=100.0),
        TOKEN,
        topics,
        messages=Messages(60.0),
        connections=lambda: 1,
        now=0.0,
    )
    said(dialogue.next(0.0))
    dialogue.settle(answer(1, "auth:token"))
    dialogue.is_authenticated = True
    assert dialogue.next(0.0) == IDLE_SECONDS
    topics.append(topic(state=TopicState.LIVE))
    topics[0].heard_at = 50.0
    assert isinstance(dialogue.next(29.0), float)
    topics.clear()
    assert dialogue.next(50.0) == 80.0
    assert dialogue.next(80.0) == Lost("idle", is_clean=True)


def test_requests_keep_a_reserve():
    """With no message left for requests, pings still go."""
    policy = LivePolicy(messages=12, subscriptions=2)
    messages = Messages(60.0)
    one = topic()
    dialogue = authenticated(one, policy=policy, messages=messages)
    for _ in range(7):
        messages.note(0.0)  # with auth that is 8: 12 but the reserve of 4
    assert dialogue.next(1.0) == 20.0
    assert one.state is TopicState.PLACED
    for second in (20.0, 40.0, 60.0):
        message = said(dialogue.next(second))
        assert message["path"] == "ping"
        dialogue.settle(answer(message["id"], "ping"))
    assert said(dialogue.next(61.0))["path"] == "channels:subscribe"


class Service:
    """A service that answers requests in their order, as it is told."""

    def __init__(self, dialogue):
        self.dialogue = dialogue
        self.open = []
        self.ids = 0

    def answer(self, status, now):
        """Answer the oldest request."""
        message = self.open.pop(0)
        request = self.dialogue.settle(answer(message["id"], message["path"], status))
        if request is None:
            return
        if request.path == "channels:subscribe" and status == 200:
            self.ids += 1
            request.topic.confirm(str(self.ids), now)
        else:
            request.topic.state = TopicState.PLACED

    def hear(self, now):
        """Return when there is more to hear, after all that goes out now."""
        sent = []
        while isinstance(step := self.dialogue.next(now), str):
            assert len(sent) < 20
            sent.append(now)
            self.open.append(said(step))
        return step, sent


@pytest.mark.property
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["wait", "answer", "refuse", "event", "leave", "join"]),
            st.floats(0, 12),
            st.integers(0, 4),
        ),
        max_size=60,
    ),
    st.integers(8, 20),
)
def test_what_goes_out(steps, limit):
    """Whatever happens: within the limit, one request at a time, and to an end."""
    topics = [topic(letter) for letter in "abcde"]
    policy = LivePolicy(messages=limit, subscriptions=5)
    service = Service(authenticated(*topics, policy=policy))
    now, sent = 0.0, [0.0]
    for kind, seconds, index in steps:
        now += seconds
        each = topics[index]
        if service.open and kind in {"answer", "refuse"}:
            service.answer(200 if kind == "answer" else 500, now)
        elif kind == "join" and each.state is TopicState.LEAVING:
            each.state = TopicState.LIVE
        elif kind == "leave" and each.state is TopicState.LIVE:
            each.state = TopicState.LEAVING
        elif kind == "event" and each.state is TopicState.LIVE:
            each.heard_at = now
        step, more = service.hear(now)
        sent += more
        if isinstance(step, Lost):
            break
        assert step > now
        assert sum(message["path"] != "ping" for message in service.open) <= 1
    assert busiest(sent, 60) <= limit
