import itertools
import random
from collections.abc import AsyncIterable
from datetime import UTC, datetime, timedelta, timezone
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogg_async import (
    InvalidArgumentError,
    ResponseShapeError,
    SessionListing,
    SessionState,
)
from emogg_async._many.listing import Page, Walk, check_filters
from emogg_async._wire.converter import structure
from emogg_async.models import Session
from emogg_async.testing import EmoggEmulator

START = datetime(2024, 4, 1, 10, 30, tzinfo=UTC)
NO_FILTERS = check_filters(None, None, None, None)


def session(number, milliseconds):
    moment = START + timedelta(milliseconds=milliseconds)
    return structure(
        {
            "_id": f"{number:024x}",
            "name": "x",
            "type": "live_analysis",
            "state": "finished",
            "timestamp": moment.isoformat(timespec="milliseconds")[:-6] + "Z",
            "duration": 1,
            "product": "p",
            "user": "u",
            "version": 3,
        },
        Session,
    )


class Server:
    """A listing in the order of *key*, from the greatest on; it may change."""

    def __init__(self, sessions, key):
        self.sessions = list(sessions)
        self.key = key
        self.queries = []

    def answer(self, query):
        query = dict(query)
        self.queries.append(query)
        assert "to" not in query
        offset, limit = int(query.get("offset", 0)), int(query["limit"])
        assert 1 <= limit <= 100
        ordered = sorted(self.sessions, key=self.key, reverse=True)
        page = ordered[offset : offset + limit]
        return Page(has_more=offset + limit < len(ordered), data=tuple(page))


def by_timestamp(session):
    return session.timestamp, session.id


def by_id(session):
    return session.id


def by_chance(session):
    return crc32(session.id.encode())


ORDERS = [by_timestamp, by_id, by_chance]


def walk_through(server, page_size, between=lambda: None, limit=10_000):
    walk, found = Walk(NO_FILTERS), []
    while not walk.is_over:
        assert len(server.queries) < limit, "the walk does not end"
        found += walk.take(server.answer(walk.query(page_size)))
        between()
    return found


@pytest.mark.property
@given(
    moments=st.lists(st.integers(0, 40), max_size=60),
    order=st.sampled_from(ORDERS),
    page_size=st.sampled_from([1, 2, 3, 7, 100]),
    changes=st.lists(
        st.tuples(
            st.lists(st.integers(-50, 90), max_size=3),
            st.lists(st.integers(0, 200), max_size=30),
        ),
        max_size=30,
    ),
)
def test_nothing_twice_and_nothing_missing(moments, order, page_size, changes):
    """Creations and deletions repeat and hide no session, in any order of the list."""
    sessions = [session(10_000 + n, moment) for n, moment in enumerate(moments)]
    server = Server(sessions, order)
    throughout = set(sessions)
    numbers = itertools.count(20_001)
    pending = iter(changes)

    def mutate():
        created, deleted = next(pending, ((), ()))
        for moment in created:
            number = next(numbers) if moment % 3 else 30_000 - next(numbers)
            server.sessions.append(session(number, moment))
        for number in deleted[: len(server.sessions)]:
            gone = server.sessions.pop(number % len(server.sessions))
            throughout.discard(gone)

    bound = 10 + len(moments) + sum(len(c) + len(d) + 2 for c, d in changes)
    found = walk_through(server, page_size, mutate, limit=bound)
    assert len(found) == len({each.id for each in found})
    assert throughout <= set(found)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(("changes", "most"), [(0, 26), (5, 36), (30, 40)])
def test_requests_are_few(order, changes, most):
    """2,500 sessions cost little more than 25 pages, even if many come and go."""
    chance = random.Random(changes)
    server = Server([session(n, 10 * n) for n in range(1, 5_000, 2)], order)
    throughout = set(server.sessions)
    new = itertools.count(2, 2)

    def mutate():
        for _ in range(changes):
            number = next(new)
            server.sessions.append(session(number, 50_000 + number))
            gone = server.sessions.pop(chance.randrange(len(server.sessions)))
            throughout.discard(gone)

    found = walk_through(server, 100, mutate)
    assert throughout <= set(found)
    assert len(found) == len({each.id for each in found})
    assert len(server.queries) <= most


def test_pages_overlap_by_one_item():
    """Each page begins with the last item of the page before."""
    server = Server([session(n, 10 * n) for n in range(250)], by_timestamp)
    assert server.sessions[::-1] == walk_through(server, 100)
    assert server.queries == [
        {"limit": "100"},
        {"limit": "100", "offset": "99"},
        {"limit": "100", "offset": "198"},
    ]


@pytest.mark.parametrize("page_size", [1, 100])
def test_a_creation_with_each_request_does_not_outrun_the_walk(page_size):
    """Pages grow after one without a new session, as creations push the list down."""
    sessions = [session(n, n) for n in range(300)]
    server = Server(sessions, by_timestamp)
    new = itertools.count(300)

    def create():
        number = next(new)
        server.sessions.append(session(number, number))

    assert set(sessions) <= set(walk_through(server, page_size, create, limit=20))


def test_pages_in_vain_count_in_a_row_only():
    """A walk goes on if each second page has no new session."""
    sessions = [session(n, n) for n in range(2_500)]
    server = Server(sessions, by_timestamp)
    new = itertools.count(2_500)

    def create():
        if len(server.queries) % 2:
            server.sessions += [session(n, n) for n in itertools.islice(new, 99)]

    assert set(sessions) <= set(walk_through(server, 100, create, limit=60))


@pytest.mark.parametrize("gone", [1, 99, 100, 500, 999])
def test_a_mass_deletion_hides_nothing(gone):
    """The walk steps back as far as a mass deletion takes it."""
    server = Server([session(n, 7) for n in range(2_000)], by_timestamp)
    walk, found = Walk(NO_FILTERS), []
    while len(found) < 1_000:
        found += walk.take(server.answer(walk.query(100)))
    ids = {each.id for each in found[:gone]}
    server.sessions = [each for each in server.sessions if each.id not in ids]
    while not walk.is_over:
        found += walk.take(server.answer(walk.query(100)))
    assert 2_000 == len({each.id for each in found}) == len(found)
    assert len(server.queries) <= 60


def test_a_burst_of_creations_is_passed():
    """A thousand sessions that come between two pages hide nothing, and end nothing."""
    sessions = [session(n, n) for n in range(2_000)]
    server = Server(sessions, by_timestamp)
    walk, found = Walk(NO_FILTERS), []
    while len(found) < 1_500:
        found += walk.take(server.answer(walk.query(100)))
    server.sessions += [session(n, n) for n in range(2_000, 3_000)]
    while not walk.is_over:
        found += walk.take(server.answer(walk.query(100)))
    assert set(sessions) <= set(found)
    assert len(found) == len({each.id for each in found})


def test_creations_do_not_hold_back_a_walk_that_stepped_back():
    """A walk that steps back over deletions still gets past many creations after it."""
    sessions = [session(n, n) for n in range(2_000)]
    server = Server(sessions, by_timestamp)
    walk, found = Walk(NO_FILTERS), []
    while len(found) < 1_000:
        found += walk.take(server.answer(walk.query(100)))
    gone = {each.id for each in found}
    server.sessions = [each for each in server.sessions if each.id not in gone]
    while len(found) < 1_500:
        found += walk.take(server.answer(walk.query(100)))
    new = itertools.count(2_000)
    while not walk.is_over:
        assert len(server.queries) < 100, "the walk does not end"
        server.sessions += [session(n, n) for n in itertools.islice(new, 80)]
        found += walk.take(server.answer(walk.query(100)))
    assert set(sessions) <= set(found)


def test_empty_pages_that_promise_more_are_tolerated():
    """Three empty pages with `hasMore` are passed; more of them are an error."""
    empty = Page(has_more=True, data=())
    full = Page(has_more=False, data=(session(1, 1),))
    walk = Walk(NO_FILTERS)
    for _ in range(3):
        walk.query(10)
        assert [] == walk.take(empty)
    assert 1 == len(walk.take(full))
    assert walk.is_over
    walk = Walk(NO_FILTERS)
    with pytest.raises(ResponseShapeError, match="nothing new"):
        for _ in range(4):
            walk.query(10)
            walk.take(empty)


def test_a_server_that_turns_in_circles_is_left():
    """The same page again and again, always promising more, ends in an error."""
    page = Page(has_more=True, data=tuple(session(n, -n) for n in range(50)))
    walk = Walk(NO_FILTERS)
    with pytest.raises(ResponseShapeError, match="nothing new"):
        for _ in range(50):
            walk.query(50)
            walk.take(page)


@pytest.mark.parametrize("at", [0, 120])
def test_a_whim_loses_nothing(at):
    """A page that is empty once, and promises more, is asked for again."""
    server = Server([session(n, n) for n in range(250)], by_id)
    walk, found = Walk(NO_FILTERS), []
    empty = [Page(has_more=True, data=())] * 3
    while not walk.is_over:
        query = walk.query(100)
        whim = len(found) >= at and empty
        found += walk.take(empty.pop() if whim else server.answer(query))
    assert 250 == len({each.id for each in found})


class TestFilters:
    def test_are_sent_in_the_services_terms(self):
        """Dates are widened to the millisecond, so that no session is lost."""
        offset = timezone(timedelta(hours=2))
        filters = check_filters(
            SessionState.ACTIVE,
            "live_analysis",
            datetime(2024, 4, 1, 12, 30, 0, 500, tzinfo=offset),
            datetime(2024, 4, 1, 12, 30, 0, 1500, tzinfo=offset),
        )
        assert [
            ("state", "active"),
            ("type", "live_analysis"),
            ("from", "2024-04-01T10:30:00.000Z"),
            ("to", "2024-04-01T10:30:00.002Z"),
            ("limit", "10"),
        ] == Walk(filters).query(10)

    @pytest.mark.parametrize(
        ("name", "arguments"),
        [
            ("started_after", (None, None, datetime(2024, 4, 1), None)),  # noqa: DTZ001
            ("started_before", (None, None, None, "2024-04-01")),
            ("state", (42, None, None, None)),
            ("type", (None, "", None, None)),
            ("state", ("\ud800", None, None, None)),
            ("started_before", (None, None, None, datetime.max.replace(tzinfo=UTC))),
            ("started_after", (None, None, datetime.min.replace(tzinfo=UTC), None)),
        ],
    )
    def test_nonsense_is_refused(self, name, arguments):
        """A naive date or a wrong type is refused by name."""
        with pytest.raises(InvalidArgumentError, match=name):
            check_filters(*arguments)


async def longest(sessions: AsyncIterable[Session]) -> float:
    """Iterate whatever is given, as a function of a user would."""
    return max([session.duration async for session in sessions])


class TestSessionListing:
    """Against the emulator, over HTTP."""

    async def test_is_an_async_iterable_with_a_public_name(self, emulator, client):
        """A function that asks for any async iterable of sessions takes a listing."""
        listing = client.list_sessions()
        assert isinstance(listing, SessionListing)
        assert isinstance(listing, AsyncIterable)
        assert await longest(listing) == max(it.duration for it in emulator.sessions)

    async def test_brings_all_in_order(self, emulator, client):
        """Every session, newest first, in pages that do not overlap."""
        listed = await client.list_sessions().collect()
        assert list(emulator.sessions) == listed
        pages = [page async for page in client.list_sessions().pages()]
        assert listed == [each for page in pages for each in page]
        assert listed == [each async for each in client.list_sessions(page_size=99)]

    async def test_fetches_no_more_than_is_asked_for(self, emulator, client):
        """A limit is passed on, and nothing is fetched ahead."""
        listing = client.list_sessions()
        assert emulator.sessions[0] == await listing.first()
        assert [("limit", "1")] == list(emulator.requests[-1].query)
        assert list(emulator.sessions[:150]) == await listing.collect(150)
        assert "51" == dict(emulator.requests[-1].query)["limit"]
        assert [] == await listing.collect(0)
        async for _ in listing:
            break
        assert 4 == len(emulator.requests)

    async def test_filters(self, emulator, client):
        """All filters together bring what a look at all sessions would."""
        middle = emulator.sessions[125].timestamp
        listing = client.list_sessions(
            state="finished", type="live_analysis", started_before=middle, page_size=10
        )
        expected = [
            each
            for each in emulator.sessions
            if each.state == "finished"
            and each.type == "live_analysis"
            and each.timestamp < middle
        ]
        assert expected == await listing.collect()
        newer = await client.list_sessions(started_after=middle).collect()
        assert list(emulator.sessions[:125]) == newer
        assert await client.list_sessions(state="paused").first() is None

    async def test_is_not_cached_and_fills_no_cache(self, emulator, client):
        """A listing always asks the service, and a get after it asks again."""
        first = await client.list_sessions().first()
        await client.list_sessions().first()
        await client.get_session(first.id)
        assert 3 == len(emulator.requests)
        assert 0 == client.stats.cache_hits

    async def test_an_error_in_mid_walk_is_raised(self, emulator, client):
        """A failure is raised after the sessions that came before it."""
        listing = client.list_sessions()
        seen = []
        with pytest.raises(ResponseShapeError, match="data"):
            async for each in listing:
                if not seen:
                    emulator.fail(status=200, body={"hasMore": False, "data": None})
                seen.append(each)
        assert 100 == len(seen)

    @pytest.mark.parametrize("page_size", [0, 101, 2.5, "10", None])
    async def test_page_size_is_checked(self, client, page_size):
        """A page size that the service would refuse is refused at once."""
        with pytest.raises(InvalidArgumentError, match="page_size"):
            client.list_sessions(page_size=page_size)

    async def test_limit_is_checked(self, client):
        """A negative limit is refused at once."""
        with pytest.raises(InvalidArgumentError, match="limit"):
            await client.list_sessions().collect(-1)

    @pytest.mark.parametrize("place", [0, 98, 99, 100, 199, 250])
    @pytest.mark.parametrize("page_size", [1, 100])
    async def test_an_id_older_than_its_timestamp_is_listed(self, place, page_size):
        """A session 25 days newer than its id is listed at any place of 251."""
        with EmoggEmulator(sort="id", rate_limit=None) as emulator:
            for number in range(251):
                moment = emulator.now() - timedelta(days=30, minutes=number)
                made = f"{int(moment.timestamp()):08x}{number:016x}"
                newer = timedelta(days=25) if number == place else timedelta()
                emulator.add_session(id=made, timestamp=moment + newer)
            listed = []
            async with emulator.client() as client:
                async for page in client.list_sessions(page_size=page_size).pages():
                    assert len(page) <= page_size
                    listed += page
            assert set(emulator.sessions) == set(listed)
            assert 251 == len(listed)
            assert len(emulator.requests) <= (3 if page_size == 100 else 251)

    async def test_no_page_is_larger_than_was_asked_for(self, emulator, client):
        """A page has no more sessions than asked for, though requests overlap."""
        sizes = []
        async for page in client.list_sessions(page_size=7).pages():
            sizes.append(len(page))
            for each in emulator.sessions[:3]:  # behind the walk: it has to step back
                if each.state not in {"active", "processing"}:
                    emulator.remove_session(each.id)
        assert max(sizes) == 7

    @pytest.mark.parametrize("order", ["timestamp", "id"])
    async def test_a_long_walk_through_an_account_that_changes(self, order):
        """A walk repeats and hides no session, though one id in 20 is 25 days older."""
        with EmoggEmulator(sort=order, rate_limit=None) as emulator:
            throughout = set()
            for number in range(3_000):
                moment = emulator.now() - timedelta(minutes=3_000 - number)
                age = 25 * 86_400 if number % 20 == 7 else 0
                made = f"{int(moment.timestamp()) - age:08x}{number:016x}"
                throughout.add(emulator.add_session(id=made, timestamp=moment).id)
            chance, seen = random.Random(order), []
            async with emulator.client() as client:
                async for page in client.list_sessions().pages():
                    seen += [each.id for each in page]
                    emulator.add_session()
                    for gone in chance.sample(emulator.sessions, 5):
                        emulator.remove_session(gone.id)
                        throughout.discard(gone.id)
        assert len(seen) == len(set(seen))
        assert throughout <= set(seen)
