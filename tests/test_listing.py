import random
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogg_async import InvalidArgumentError, ResponseShapeError, SessionState
from emogg_async._converter import structure
from emogg_async._listing import Page, Walk, check_filters
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
    """A listing that answers as the service does, in the order of *key*."""

    def __init__(self, sessions, key):
        self.sessions = list(sessions)
        self.key = key
        self.queries = []
        self.first_page = None

    def answer(self, query):
        query = dict(query)
        self.queries.append(query)
        to = datetime.fromisoformat(query["to"]) if "to" in query else None
        matching = sorted(
            (s for s in self.sessions if to is None or s.timestamp < to),
            key=self.key,
            reverse=True,
        )
        offset, limit = int(query.get("offset", 0)), int(query.get("limit", 10))
        assert 1 <= limit <= 100
        page = matching[offset : offset + limit]
        self.first_page = page if self.first_page is None else self.first_page
        return Page(has_more=offset + limit < len(matching), data=tuple(page))


def by_timestamp(session):
    return session.timestamp, session.id


def by_id(session):
    return session.id


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
    order=st.sampled_from([by_timestamp, by_id]),
    page_size=st.sampled_from([1, 2, 3, 7, 100]),
    changes=st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=30),
)
def test_nothing_twice_and_nothing_missing(moments, order, page_size, changes):
    """Whatever is created and deleted meanwhile, in whatever order the list is."""
    sessions = [session(number, moment) for number, moment in enumerate(moments)]
    server = Server(sessions, order)
    throughout = set(sessions)
    pending = iter(changes)

    def mutate():
        created, number = next(pending, (None, 0))
        if created:
            new = session(1000 + len(server.queries), 50 + number)
            server.sessions.append(new)
        elif created is False and server.sessions:
            gone = server.sessions.pop(number % len(server.sessions))
            throughout.discard(gone)

    found = walk_through(server, page_size, mutate)
    assert len(found) == len({each.id for each in found})
    if order is by_timestamp:
        assert throughout <= set(found)
    else:
        # A server that sorts by id betrays itself only by a rise that can be seen.
        first = server.first_page
        rises = any(a.timestamp < b.timestamp for a, b in pairwise(first))
        assert not rises or throughout <= set(found)


@pytest.mark.property
@given(
    moments=st.lists(st.integers(0, 5_000), min_size=1, max_size=400),
    order=st.sampled_from([by_timestamp, by_id]),
)
def test_requests_are_few(moments, order):
    """Pages overlap by little: the walk takes hardly more pages than there are."""
    sessions = [session(number, moment) for number, moment in enumerate(moments)]
    server = Server(sessions, order)
    walk_through(server, 100)
    assert len(server.queries) <= 2 * (len(moments) // 80 + 1) + 1


def test_a_sorted_list_is_walked_by_key():
    """Each page asks for what is older than the last item, with no offset."""
    server = Server([session(n, 10 * n) for n in range(250)], by_timestamp)
    assert 250 == len(walk_through(server, 100))
    assert [{"limit": "100"}] == server.queries[:1]
    assert {("to", "limit")} == {tuple(query) for query in server.queries[1:]}
    assert 3 == len(server.queries)


def test_hundreds_in_one_millisecond_are_walked_by_offset():
    """Where a key cannot tell items apart, an offset inside their millisecond does."""
    sessions = [session(n, 7) for n in range(350)] + [session(900, 1), session(901, 9)]
    server = Server(sessions, by_timestamp)
    assert set(sessions) == set(walk_through(server, 100))
    assert len(server.queries) <= 7


def test_a_list_sorted_by_id_is_walked_by_offset(caplog):
    """At the first rise of a timestamp the walk goes on without a key, and says so."""
    sessions = [session(n, 10 * n + 3000 * (n % 20 == 0)) for n in range(3000)]
    server = Server(sessions, by_id)
    with caplog.at_level("INFO", logger="emogg_async"):
        assert set(sessions) == set(walk_through(server, 100))
    assert 1 == len(caplog.records)
    assert len(server.queries) <= 33


def test_a_late_rise_starts_over():
    """A rise after the first page may have hidden items: all pages are seen again."""
    sessions = [session(n, 10 * n) for n in range(300)]
    server = Server(sessions, by_id)
    early = session(150, 4000)  # far down by id, and newest by timestamp
    walk, found = Walk(NO_FILTERS), []
    found += walk.take(server.answer(walk.query(100)))
    found += walk.take(server.answer(walk.query(100)))
    server.sessions[150] = early
    server.sessions[100] = session(100, 1010)
    while not walk.is_over:
        found += walk.take(server.answer(walk.query(100)))
    assert {each.id for each in server.sessions} == {each.id for each in found}


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


def test_a_rise_at_the_edge_of_a_page_is_seen():
    """The last item of a page decides nothing alone: what it would hide is found."""
    for odd in range(90, 100):
        sessions = [session(n, 10 * n) for n in range(250)]
        sessions[249 - odd] = session(249 - odd, -9_000)  # far older than its id says
        found = walk_through(Server(sessions, by_id), 100)
        assert {each.id for each in sessions} == {each.id for each in found}


def test_deletions_hide_nothing_even_where_a_page_comes_back_empty():
    """When all that a window showed is gone, the walk looks further up."""
    server = Server([session(n, 7) for n in range(300)], by_timestamp)
    walk, found = Walk(NO_FILTERS), []
    for _ in range(2):
        found += walk.take(server.answer(walk.query(100)))
    gone = {each.id for each in found[:150]}
    server.sessions = [each for each in server.sessions if each.id not in gone]
    while not walk.is_over:
        found += walk.take(server.answer(walk.query(100)))
    assert 300 == len({each.id for each in found})


def test_the_end_of_time_is_no_end():
    """A session dated in the last millisecond that there is does no harm."""
    last = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC) - START
    sessions = [session(n, 10 * n) for n in range(150)]
    sessions.append(session(900, last // timedelta(milliseconds=1)))
    server = Server(sessions, by_timestamp)
    assert 151 == len(walk_through(server, 100))


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


class TestSessionListing:
    """Against the emulator, over HTTP."""

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
        assert "52" == dict(emulator.requests[-1].query)["limit"]
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
        """A listing asks each time; a session that it brought is asked for again."""
        first = await client.list_sessions().first()
        await client.list_sessions().first()
        await client.get_session(first.id)
        assert 3 == len(emulator.requests)
        assert 0 == client.stats.cache_hits

    async def test_an_error_in_mid_walk_is_raised(self, emulator, client):
        """What was walked so far is there; the failure is not an end."""
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

    @pytest.mark.parametrize("order", ["timestamp", "id"])
    async def test_a_long_walk_through_an_account_that_changes(self, order):
        """Of 3,000, one in 20 older by id: nothing twice, nothing kept is missing."""
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
