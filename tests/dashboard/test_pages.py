"""The pages of the dashboard, asked for by HTTP."""

import asyncio
import csv
import io
import json
import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from itertools import chain

import pytest
from dashboard_process import serving
from dashboard_visits import visiting
from waiting import until

from emogg_async import (
    EmotionsTimeline,
    EmotionTotals,
    SentimentTimeline,
    from_dict,
)
from emogg_async.testing import EmoggEmulator

MISSING = "0" * 24
NAMES = (
    """<script>alert("1")</script>'&amp;{{ 7 * 7 }}""",
    "=cmd()|' /C calc'!A0",
    "\u202egnp.exe",
    256 * "\u4e16",
)


@pytest.fixture(scope="module")
def calm(shared_service):
    """Run one dashboard for tests that change nothing, and without complaints."""
    options = {
        "EMOGG_BASE_URL": shared_service.url,
        "EMOGG_API_TOKEN": shared_service.token,
    }
    with serving(**options) as running:
        yield running
        assert (0, "") == running.stop()


@pytest.fixture
async def reader(calm):
    """Visit the dashboard that is there for tests that change nothing."""
    async with visiting(calm.url) as one:
        yield one


@pytest.fixture
async def visitor(dashboard):
    """Visit that dashboard."""
    async with visiting(dashboard.url) as one:
        yield one


async def walk(visitor, path="/", between=lambda: None):
    """Return the ids on all pages of the list, page by page."""
    pages = []
    while path:
        seen = await visitor.get(path)
        assert 200 == seen.status
        pages.append(seen.ids)
        path = seen.more
        between()
    return pages


# -- the list --------------------------------------------------------------------------


async def test_list(visitor, service):
    """Sessions come newest first, and each filter and all of them leave out others."""
    known = service.sessions
    assert [each.id for each in known] == [*chain(*await walk(visitor))]
    old = service.add_session(
        name="Old", type="other", timestamp=datetime(2023, 5, 6, 23, 59, tzinfo=UTC)
    )
    days = "since=2023-05-06&until=2023-05-06"
    for query in (
        days,
        f"{days}&state=finished&type=other",
        "type=other",
        "until=2023-12-31",
    ):
        seen = await visitor.get(f"/?{query}")
        assert ["Old"] == seen.names
        assert [old.id] == seen.ids
    active = [*chain(*await walk(visitor, "/?state=active"))]
    assert active == [each.id for each in known if each.state == "active"]
    seen = await visitor.get("/?state=nothing&since=2024-01-01")
    assert [] == seen.names
    assert "No session matches" in seen.text
    assert 'value="nothing"' in seen.text
    assert 'value="2024-01-01"' in seen.text


async def test_sessions_of_one_moment(visitor, service):
    """Many sessions of one millisecond are shown once each, whatever comes and goes."""
    moment = datetime(2023, 1, 1, tzinfo=UTC)
    gone = [service.add_session(timestamp=moment) for _ in range(250)]
    gone += [
        service.add_session(timestamp=moment - timedelta(days=n)) for n in range(9)
    ]
    known = {each.id for each in service.sessions}
    deleted = set()

    def come_and_go():
        service.add_session()  # newer ones shift nothing
        deleted.update(each.id for each in (gone.pop(), gone.pop(0)))
        for each in deleted & {each.id for each in service.sessions}:
            service.remove_session(each)

    pages = await walk(visitor, between=come_and_go)
    shown = [*chain(*pages)]
    assert len({*shown}) == len(shown)
    assert known - deleted <= {*shown} <= known
    assert {40} == {len(page) for page in pages[:-1]}
    # A page costs no more the deeper it is, but for sessions of one moment.
    lists = [each for each in service.requests if each.path == "/v1/sessions"]
    assert all("offset" not in dict(each.query) for each in lists[:3])


async def test_no_sessions():
    """An account without sessions says how to make one."""
    with (
        EmoggEmulator() as empty,
        serving(EMOGG_BASE_URL=empty.url, EMOGG_API_TOKEN=empty.token) as running,
    ):
        async with visiting(running.url) as visitor:
            assert "emogg sessions create" in (await visitor.get()).text


# -- what is wrong ---------------------------------------------------------------------


async def test_bad_addresses(reader, service):
    """Whatever is wrong with an address, a page says so, and shows nothing raw."""
    one = f"/sessions/{service.sessions[0].id}"
    queries = (
        *("until=9999-12-31", "since=0001-01-01", "since=x", "since=99999999999999"),
        *("before=9999-12-31T23:59:59.999999Z", "before=2024-01-01T00:00:00"),
        *(
            "before=0001-01-01T00:00:00Z",
            "before=inf",
            "state=%00",
            "state=" + 65 * "x",
        ),
    )
    bad = [
        *(f"/?{query}" for query in queries),
        *("/sessions/x", "/sessions/%3Cscript%3E", "/charts", "/charts?row=x"),
        *(f"{one}?every=4", f"{one}?every=x", f"{one}?measure=%3Cscript%3E"),
        *(f"{one}/timeline.pdf", f"{one}/other.csv", f"{one}/totals.svg?width=10"),
        "/charts?" + "&".join(101 * [f"row={service.sessions[0].id}.60"]),
    ]
    nowhere = [
        *("/nowhere", "/static/%2e%2e/app.py", "/static/../app.py", "/openapi.json"),
        *("/docs", f"/sessions/{MISSING}", f"/sessions/{MISSING}/timeline.csv"),
    ]
    for status, paths in ((400, bad), (404, nowhere)):
        for path in paths:
            seen = await reader.get(path)
            assert (status, "text/html", path) == (seen.status, seen.kind, path)
            assert seen.title
            assert "<script>" not in seen.text


async def test_other_sites_and_methods(reader):
    """Another site's name leads nowhere, and nothing can be written."""
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example"):
        for path in ("/", "/live"):
            seen = await reader.get(path, headers={"Host": host})
            assert (400, "Invalid host header") == (seen.status, seen.text)
    assert 200 == (await reader.get("/", headers={"Host": "localhost"})).status
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        for path in ("/", "/live", "/charts", f"/sessions/{MISSING}"):
            assert 405 == (await reader.get(path, method)).status


# -- hostile names ---------------------------------------------------------------------


def tell(service, session_id, names):
    """Let the service tell of emotions of these names in a session."""
    joy = {"people": 1, "quantity": 0.5, "intensity": 0.5}
    emotions = dict.fromkeys(names, joy)
    part = {"start": 0, "end": 60, "detectedFaces": 1, "emotions": emotions}
    body = {"session": session_id, "timeline": [part]}
    service.fail("GET", f"*/{session_id}/emotions/timeline", status=200, body=body)
    body = {"session": session_id, "emotions": dict.fromkeys(names, 3)}
    service.fail("GET", f"*/{session_id}/emotions", status=200, body=body)


async def test_hostile_names(visitor, service):
    """Names stay text in pages, pictures and files, and no spreadsheet runs them."""
    tags = (await visitor.get()).tags
    tags |= (await visitor.get(f"/sessions/{service.sessions[0].id}")).tags | {"svg"}
    added = {service.add_session(name=name).id: name for name in NAMES}
    for session_id in added:
        tell(service, session_id, NAMES)
    seen = await visitor.get()
    assert [*NAMES] == seen.names[: len(NAMES)][::-1]
    assert tags >= seen.tags
    for session_id, name in added.items():
        seen = await visitor.get(f"/sessions/{session_id}")
        assert f"<bdi>{name}</bdi>" == seen.title
        assert {*NAMES} <= {*seen.isolated}
        assert tags >= seen.tags
        assert ["<script type="] == re.findall(r"<script[^=]*.", seen.text)
    (chart,) = await visitor.charts([f"{session_id}.60"])
    pictures = [chart["html"]]
    for what in ("timeline", "totals"):
        path = f"/sessions/{session_id}/{what}"
        pictures.append((await visitor.get(f"{path}.svg")).text)
        seen = await visitor.get(f"{path}.csv")
        table = csv.DictReader(io.StringIO(seen.text))
        safe = ["'" + name if name[0] == "=" else name for name in NAMES]
        assert safe == [row["emotion"] for row in table]
        assert "\u202e" not in str(seen.headers)
        stored = json.loads((await visitor.get(f"{path}.json")).text)
        emotions = stored if what == "totals" else stored["timeline"][0]
        assert [*NAMES] == [*emotions["emotions"]]
    for picture in pictures:
        assert "svg" in ET.fromstring(picture).tag
        assert "<script" not in picture


# -- downloads -------------------------------------------------------------------------


def cells(columns):
    """Return columns as a spreadsheet reads them."""
    return [
        [*columns],
        *([*map(str, row)] for row in zip(*columns.values(), strict=True)),
    ]


async def test_downloads(reader, service):
    """Files have what the client itself gets, at the granularity that was asked for."""
    session = next(each for each in service.sessions if each.is_finished)
    kinds = {
        "totals": (EmotionTotals, {}),
        "timeline": (EmotionsTimeline, {"granularity": 300}),
        "sentiment": (SentimentTimeline, {"granularity": 300}),
    }
    async with service.client() as client:
        calls = {
            "totals": client.get_emotions,
            "timeline": client.get_emotions_timeline,
            "sentiment": client.get_transcription_sentiment,
        }
        for what, (kind, options) in kinds.items():
            model = await calls[what](session.id, **options)
            path = f"/sessions/{session.id}/{what}"
            seen = await reader.get(f"{path}.csv?every=300")
            assert "text/csv" == seen.kind
            assert (
                f'filename="{what}-{session.id}.csv"'
                in seen.headers["Content-Disposition"]
            )
            assert cells(model.to_columns()) == [*csv.reader(io.StringIO(seen.text))]
            seen = await reader.get(f"{path}.json?every=300")
            assert "application/json" == seen.kind
            assert model == from_dict(kind, json.loads(seen.text))
            seen = await reader.get(f"{path}.svg?every=300&width=400")
            assert "image/svg+xml" == seen.kind
            assert model.to_svg(width=400) == seen.text
            assert "400" == ET.fromstring(seen.text).get("width")
        timeline = await client.get_emotions_timeline(session.id, granularity=60)
        seen = await reader.get(f"/sessions/{session.id}/timeline.svg?measure=people")
        assert timeline.to_svg(measure="people") == seen.text
        seen = await reader.get(f"/sessions/{session.id}/timeline.svg?width=160")
        assert timeline.to_sparkline(width=160) == seen.text  # for rows without script


# -- headers ---------------------------------------------------------------------------


async def test_headers(reader, service):
    """Each answer tells what a browser may do with it, and none has the token."""
    session = service.sessions[0].id
    one = f"/sessions/{session}"
    paths = (
        "/",
        one,
        f"/sessions/{MISSING}",
        "/nowhere",
        "/?since=x",
        f"{one}/totals.csv",
    )
    paths += (f"{one}/totals.json", f"{one}/totals.svg", f"/charts?row={session}.60")
    paths += ("/static/page.js", "/static/style.css", f"/live?session={MISSING}")
    for path in paths:
        seen = await reader.get(path)
        policy = dict(
            part.strip().split(" ", 1)
            for part in seen.headers["Content-Security-Policy"].split(";")
        )
        assert "'none'" == policy["default-src"]
        assert "'self'" == policy.get("script-src", "'self'")
        if not path.endswith(".svg"):
            assert "unsafe" not in str(policy)
            assert "'none'" == policy["frame-ancestors"]
        assert "nosniff" == seen.headers["X-Content-Type-Options"]
        assert "no-referrer" == seen.headers["Referrer-Policy"]
        assert service.token not in seen.text + str(seen.headers)
        if seen.kind == "text/html":
            assert ["<script type="] == re.findall(r"<script[^=]*.", seen.text)
            assert not re.search(r"""\s(style|on\w+)=["']|javascript:""", seen.text)


# -- faults ----------------------------------------------------------------------------


async def test_outage(visitor, service, dashboard):
    """In an outage a page is as it was, marked as such, and recovers by itself."""
    session = service.sessions[0].id
    first = await visitor.get()
    for number in range(19):
        assert 200 == (await visitor.get(f"/?type=t{number}")).status
    await visitor.get()  # of what is kept, the page that is oldest by its visit goes
    await visitor.get("/?type=last")
    assert [] == (await visitor.get(f"/sessions/{session}")).problems
    # The client tries no second time where it would have to wait longer than a visitor.
    out = {
        "status": 503,
        "body": {"message": "secret"},
        "headers": {"Retry-After": "60"},
    }
    rule = service.fail(**out)
    seen = await visitor.get()
    assert (200, first.names) == (seen.status, seen.names)
    assert "The list is as it was" in seen.problems[0]
    await visitor.fresh_until(lambda page: page.problems, f"/sessions/{session}")
    seen = await visitor.get(f"/sessions/{session}")
    assert "These are past values" in seen.problems[0]
    seen = await visitor.get("/?type=new")
    assert (502, "The service is out of order") == (seen.status, seen.title)
    assert "secret" not in seen.text
    assert 'data-retry="60"' in seen.text
    rule.remove()
    await visitor.fresh_until(lambda page: not page.problems, "/")
    code, log = dashboard.stop()
    assert 0 == code
    assert "answered 502: 503: secret" in log


async def test_refused_token(service):
    """A refused token is told of wherever it matters, with what to do, and no token."""
    told = "The service refuses the token"
    options = {"EMOGG_BASE_URL": service.url, "EMOGG_API_TOKEN": "not-the-one"}
    with serving(**options) as running:
        async with visiting(running.url) as visitor:
            seen = await visitor.get()
            assert (500, told) == (seen.status, seen.title)
            assert "Set EMOGG_API_TOKEN" in seen.text
            rows = [f"{each.id}.60" for each in service.sessions[:3]]
            lines = await visitor.charts(rows)
            assert {row.partition(".")[0] for row in rows} == {
                each["id"] for each in lines
            }
            assert all(told in line["html"] for line in lines)
            for path in ("/live", f"/live?session={service.sessions[0].id}"):
                async with visitor.stream(path) as stream:
                    await stream.until(told)
                    if "session" in path:
                        assert ("end", {}) == await stream.event()
        code, log = running.stop()
    assert 0 == code
    assert "answered 500: 401: " in log
    assert "Traceback" not in log
    assert "not-the-one" not in log


async def test_rate_limit():
    """Charts never meet the rate limit; they say that they wait for it."""
    with (
        EmoggEmulator(sessions=40, rate_limit=(20, 20.0)) as service,
        serving(EMOGG_BASE_URL=service.url, EMOGG_API_TOKEN=service.token) as running,
    ):
        async with visiting(running.url) as visitor:
            rows = (await visitor.get()).rows
            lines = await visitor.charts(rows[:20])
            assert {"note": "Charts wait for the rate limit."} == lines[0]
            assert {*(row.partition(".")[0] for row in rows[:20])} == {
                line["id"] for line in lines[1:]
            }
            assert all("<svg" in line["html"] for line in lines[1:])
            assert 200 == (await visitor.get()).status
        assert 429 not in {each.status for each in service.requests}


async def test_charts_that_wait_at_the_end():
    """Charts that wait for the rate limit do not hold up the end, which is silent."""
    with (
        EmoggEmulator(sessions=20, rate_limit=(5, 600.0)) as service,
        serving(EMOGG_BASE_URL=service.url, EMOGG_API_TOKEN=service.token) as running,
    ):
        async with visiting(running.url) as visitor:
            rows = (await visitor.get()).rows
            charts = asyncio.create_task(visitor.charts(rows))
            await until(lambda: len(service.requests) > 1)
            assert (0, "") == await asyncio.to_thread(running.stop)
            assert len(await charts) < len(rows)


async def test_charts_that_are_tried_again(visitor, service):
    """A page tries a chart again that may come yet, and no other."""
    passing, lasting = (each.id for each in service.sessions[:2])
    service.fail("GET", f"*/{passing}/*/timeline", status=503)
    service.fail("GET", f"*/{lasting}/*/timeline", status=403)
    for session, is_passing in ((passing, True), (lasting, False)):
        seen = await visitor.get(f"/charts?row={session}.60")
        assert "problem" in seen.text
        assert is_passing == ("data-passing" in seen.text)


async def test_a_visitor_who_leaves(visitor, service):
    """Leaving cancels what was asked for the visitor alone."""
    await visitor.get()  # the pacer's first sends go one by one
    session, other = (each.id for each in service.sessions[:2])
    service.fail("GET", f"*/{session}", fault="hang")
    service.fail("GET", "*/timeline", fault="hang")
    paths = (f"/sessions/{session}", f"/charts?row={other}.60&row={session}.60")
    visits = [asyncio.create_task(visitor.get(path)) for path in paths]
    await until(lambda: service.in_flight == 3)
    for visit in visits:
        visit.cancel()
    await until(lambda: service.in_flight == 0)
    assert 200 == (await visitor.get()).status
