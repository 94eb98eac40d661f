"""The plan of a bulk by pages, against lists of all kinds, without a socket."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emogg_async._many.listing import Page
from emogg_async._many.plan import EAGER, THRIFTY, Plan
from emogg_async._wire.converter import structure
from emogg_async.models import Session

START = 1_711_967_400
"""2024-04-01T10:30:00Z, the second from which tests count."""

HOUR = 3600.0


def object_id(second, number):
    return f"{START + second:08x}{number:016x}"


def session(session_id, offset):
    moment = datetime.fromtimestamp(START, UTC) + timedelta(seconds=offset)
    return structure(
        {
            "_id": session_id,
            "name": "x",
            "type": "live_analysis",
            "state": "finished",
            "timestamp": moment.isoformat(timespec="microseconds")[:-6] + "Z",
            "duration": 1,
            "product": "p",
            "user": "u",
            "version": 3,
        },
        Session,
    )


def account(count, *, apart=60.0, skew=0.0):
    """Make sessions at even distances, oldest first; ids are older by *skew*."""
    return [
        session(object_id(int(number * apart - skew), number), number * apart)
        for number in range(count)
    ]


def by_timestamp(session):
    return session.timestamp, session.id


def by_id(session):
    return session.id


class Service:
    """A list and gets that answer as the service does; it counts both."""

    def __init__(self, sessions, *, key=by_timestamp, hidden=(), most=100):
        self.sessions = {each.id: each for each in sessions}
        listed = (each for each in sessions if each.id not in hidden)
        self.listed = sorted(listed, key=key, reverse=True)
        self.most = most
        self.pages = 0
        self.gets = []

    def page(self, query):
        self.pages += 1
        query = dict(query)
        to = datetime.fromisoformat(query["to"])
        matching = [each for each in self.listed if each.timestamp < to]
        limit = min(int(query["limit"]), self.most)
        return Page(has_more=limit < len(matching), data=tuple(matching[:limit]))

    def get(self, session_id):
        self.gets.append(session_id)
        return self.sessions.get(session_id)

    @property
    def requests(self):
        return self.pages + len(self.gets)


def carry_out(service, ids, thrift=THRIFTY):
    """Carry out the plan, and return the verdicts on each id, None for a 404."""
    verdicts = {each: [] for each in ids}
    plan = Plan(ids, thrift)
    while (query := plan.query) is not None:
        for each in plan.take(service.page(query)):
            verdicts[each.id].append(each)
        for each in plan.spared():
            verdicts[each].append(service.get(each))
    for each in plan.spared():
        verdicts[each].append(service.get(each))
    assert [] == plan.spared()
    return verdicts


@pytest.mark.property
@given(data=st.data())
def test_every_id_gets_one_verdict_for_few_requests(data):
    """No verdict is missing, repeated, wrong or dear, for any list."""
    seconds = st.integers(0, data.draw(st.sampled_from([3, 500, 100_000])))
    skews = data.draw(
        st.sampled_from(
            [
                st.just(0.0),
                st.floats(0, 0.999),
                st.floats(-90, 90),
                st.floats(-2 * HOUR, 2 * HOUR),
                st.sampled_from([0.0, 0.5, 25 * 86_400.0]),
            ]
        )
    )
    made = data.draw(st.lists(st.tuples(seconds, skews), max_size=300))
    sessions = [
        session(object_id(second, number), second + skew)
        for number, (second, skew) in enumerate(made)
    ]
    some = st.sets(st.sampled_from(sessions)) if sessions else st.just(set())
    hidden = {each.id for each in data.draw(some)}
    asked = {each.id for each in data.draw(some | st.just(set(sessions)))}
    unknown = data.draw(st.sets(seconds, max_size=20))
    ids = [*asked, *(object_id(second, 10**6) for second in unknown)]
    service = Service(
        sessions,
        key=data.draw(st.sampled_from([by_timestamp, by_id])),
        hidden=hidden,
        most=data.draw(st.sampled_from([1, 2, 10, 100])),
    )
    verdicts = carry_out(service, ids, data.draw(st.sampled_from([THRIFTY, EAGER])))
    assert {each: [service.sessions.get(each)] for each in ids} == verdicts
    assert service.requests <= len(ids) + 3
    missing = {each for each, (verdict,) in verdicts.items() if verdict is None}
    assert missing <= set(service.gets)
    assert len(service.gets) == len(set(service.gets))


@pytest.mark.property
@given(data=st.data(), thrift=st.sampled_from([THRIFTY, EAGER]))
def test_a_service_that_answers_nonsense_costs_no_more(data, thrift):
    """Pages that have nothing to do with what was asked end soon, and lose no id."""
    sessions = account(200, apart=1.0)
    ids = [each.id for each in sessions]
    pages = st.builds(
        Page,
        has_more=st.booleans(),
        data=st.lists(
            st.sampled_from(sessions)
            | st.builds(session, st.sampled_from(["", "zz", "Ö" * 24]), st.just(0)),
            max_size=5,
        ).map(tuple),
    )
    plan, answered, requests = Plan(ids, thrift), [], 0
    while plan.query is not None:
        requests += 1
        answered += [each.id for each in plan.take(data.draw(pages))]
    spared = plan.spared()
    assert sorted(ids) == sorted(answered + spared)
    assert requests + len(spared) <= len(ids) + 3


class TestCosts:
    def test_recent_ones_take_a_page_a_hundred(self):
        """300 ids in a row take three pages, and no get."""
        sessions = account(3_000)
        service = Service(sessions)
        carry_out(service, [each.id for each in sessions[-300:]])
        assert (3, []) == (service.pages, service.gets)

    def test_gaps_are_jumped_over(self):
        """Each of ten clusters takes one page, however much lies between them."""
        sessions = account(30_000)
        clusters = [sessions[n : n + 29] for n in range(0, 30_000, 3_000)]
        ids = [each.id for cluster in clusters for each in cluster]
        service = Service(sessions)
        carry_out(service, ids)
        assert (10, []) == (service.pages, service.gets)

    def test_lonely_ones_are_asked_for_by_themselves(self):
        """Only the first page is tried if no page can answer two ids."""
        sessions = account(30_000)
        service = Service(sessions)
        carry_out(service, [each.id for each in sessions[::1000]])
        assert (1, 29) == (service.pages, len(service.gets))

    @pytest.mark.parametrize(("count", "most"), [(3_000, 45), (30_000, 240)])
    def test_random_ones_take_fewer_requests_than_gets(self, count, most):
        """Dense places are taken by pages, sparse ones by gets."""
        chance = random.Random(count)
        sessions = account(count)
        service = Service(sessions)
        carry_out(service, [each.id for each in chance.sample(sessions, 300)])
        assert service.requests <= most

    def test_few_ids_take_no_page(self):
        """Up to four ids are not worth a first page, unless it is asked for."""
        sessions = account(100)
        ids = [each.id for each in sessions[-4:]]
        service = Service(sessions)
        carry_out(service, ids)
        assert (0, 4) == (service.pages, len(service.gets))
        service = Service(sessions)
        carry_out(service, ids, EAGER)
        assert (1, 0) == (service.pages, len(service.gets))

    @pytest.mark.parametrize("offset", [0.0, 0.25])
    def test_many_in_one_millisecond_take_pages(self, offset):
        """A page that ends amid sessions of one millisecond leaves none for gets."""
        sessions = [
            session(object_id(minute * 60, number), minute * 60 + offset)
            for minute in range(5)
            for number in range(60)
        ]
        service = Service(sessions)
        carry_out(service, [each.id for each in sessions])
        assert (5, []) == (service.pages, service.gets)

    def test_the_end_of_the_list_is_the_end_of_the_pages(self):
        """Each id older than the last page takes one get, which says it is gone."""
        sessions = account(50)
        ids = [object_id(-1000 - n, n) for n in range(50)]
        service = Service(sessions)
        carry_out(service, [*ids, *(each.id for each in sessions)])
        assert (1, 50) == (service.pages, len(service.gets))


class TestSkew:
    def test_windows_are_widened_by_it(self):
        """Ids minutes older than their timestamps are still answered by pages."""
        sessions = account(3_000, skew=600)
        service = Service(sessions)
        carry_out(service, [each.id for each in sessions[-500:-200]])
        assert service.requests <= 20

    def test_more_than_an_hour_of_it_ends_the_pages(self):
        """One page finds out that ids tell nothing of the list."""
        sessions = account(3_000, skew=25 * 86_400)
        service = Service(sessions)
        ids = [each.id for each in sessions[-300:]]
        carry_out(service, ids)
        assert (1, 300) == (service.pages, len(service.gets))

    def test_a_list_of_one_millisecond_ends_the_pages(self):
        """The plan does not go in circles after a page that leads nowhere."""
        sessions = [session(object_id(0, n), 0.5) for n in range(350)]
        service = Service(sessions)
        carry_out(service, [each.id for each in sessions])
        assert (2, 250) == (service.pages, len(service.gets))


def test_hidden_ones_cost_three_pages():
    """Three pages are enough to see that no id is listed."""
    sessions = account(3_000)
    ids = [each.id for each in sessions]
    service = Service(sessions, hidden=set(ids[::2]))
    carry_out(service, ids[::2])
    assert (3, 1_500) == (service.pages, len(service.gets))


@pytest.mark.parametrize(("debt", "pages"), [(-9, 3), (0, 3), (1, 2), (3, 0), (9, 0)])
def test_a_debt_from_before_leaves_fewer_pages(debt, pages):
    """A debt of earlier pages counts, and their savings do not."""
    sessions = account(3_000)
    ids = [each.id for each in sessions]
    service = Service(sessions, hidden=set(ids[::2]))
    plan = Plan(ids[::2], debt=debt)
    while (query := plan.query) is not None:
        plan.take(service.page(query))
    assert pages == service.pages
    assert 1_500 == len(plan.spared())


def test_a_plan_can_be_made_bit_by_bit():
    """Many lonely ids can be spared a few at a time, with the same result."""
    sessions = account(300)
    lonely = [object_id(-100_000 * n, n) for n in range(1, 2_000)]
    ids = [*(each.id for each in sessions[-5:]), *lonely]
    page = Service(sessions).page(Plan(ids).query)
    at_once, by_bits = Plan(ids), Plan(ids)
    assert at_once.take(page) == by_bits.take(page)
    spared = []
    while by_bits.choose(100):
        few = by_bits.spared()
        assert len(few) <= 100
        spared += few
    assert at_once.query == by_bits.query
    spared += by_bits.spared()
    assert spared == at_once.spared() == lonely


def test_giving_up_spares_what_is_pending():
    """Each id that is left after a failed page is got by itself."""
    sessions = account(300)
    ids = [each.id for each in sessions]
    plan = Plan(ids)
    answered = [each.id for each in plan.take(Service(sessions).page(plan.query))]
    plan.give_up()
    assert plan.query is None
    assert sorted(ids) == sorted(answered + plan.spared())


def test_sessions_of_one_millisecond_may_lie_on_two_pages():
    """Where the end of a page parts what began at once, the next page brings the rest.

    They are answered by pages, as all others are, and not by a get each.
    """
    alone = [session(object_id(n, n), n) for n in range(100, 190)]
    at_once = [session(object_id(50, n), 50.5) for n in range(30)]
    service = Service([*alone, *at_once])
    carry_out(service, [each.id for each in [*alone, *at_once]])
    assert (2, []) == (service.pages, service.gets)
