"""The dashboard in a real browser."""

import re

import pytest
from browser import browsing, read_axe
from dashboard_process import serving
from selenium.common.exceptions import NoAlertPresentException
from selenium.webdriver.common.keys import Keys

ROWS = "main > .rows > li"
SPARKS = f"{ROWS} .spark svg"
NAMES = [
    "<script>alert(1)</script>",
    "Ｗ" * 256,
    "W" * 256,
    "\u202efdp.exe",
    "a\u0301" * 99,
]

AXE = """
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const done = arguments[0];
for (const each of document.querySelectorAll("details")) each.open = true;
axe.run({ runOnly: tags, resultTypes: ["violations"] }).then(
  ({ violations }) => done(violations.map(
    ({ id, help, nodes }) => [id, help, ...nodes.map(node => node.html)].join("; "))),
  error => done([String(error)]));
"""

pytestmark = pytest.mark.once

LOADED = "return performance.getEntriesByType('resource').map(each => each.name)"
IS_DRAWN = """
return [...document.querySelectorAll("main > .rows .spark")].every(each => {
  const { top, bottom } = each.getBoundingClientRect();
  const isDrawn = each.querySelector(":scope > :not(noscript)");
  return isDrawn || bottom < 0 || top > innerHeight;
});
"""
SHIFTS = """
const done = arguments[0];
requestAnimationFrame(() => setTimeout(() => new PerformanceObserver(
  list => done(list.getEntries().map(each => each.value))
).observe({ type: "layout-shift", buffered: true })));
setTimeout(() => done([]), 1000);
"""
SEEN = "660a8caa0000000000000003"
"""The id of a session in which somebody is always in view, so that it moves."""

HURRY = """
const set = window.setInterval;
window.setInterval = (act, pause) => set(act, pause / 20);
"""
FOCUS = """
const { activeElement: { href, type } } = document;
const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
return [href ?? type, `${outlineWidth} ${outlineStyle}`];
"""


@pytest.fixture(scope="module")
def shared_browser():
    """Start one browser for this file."""
    with browsing() as running:
        yield running


@pytest.fixture(scope="module")
def shared_dashboard(shared_service):
    """Run one dashboard for the tests that need none of their own."""
    account = {"EMOGG_BASE_URL": shared_service.url}
    with serving(**account, EMOGG_API_TOKEN=shared_service.token) as running:
        yield running


@pytest.fixture
def browser(shared_browser, request):
    """Give a browser whose console must stay empty but for what a test expects.

    A test with a live session, or one that asks for it, has its own dashboard.
    """
    is_shared = {"live", "dashboard"}.isdisjoint(request.fixturenames)
    name = "shared_dashboard" if is_shared else "dashboard"
    dashboard = request.getfixturevalue(name)
    shared_browser.url = dashboard.url
    yield shared_browser
    complaints = shared_browser.complaints()
    shared_browser.forget()
    assert [] == complaints


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """Give the script that looks for barriers."""
    return read_axe(tmp_path_factory.mktemp("axe"))


@pytest.fixture
def live(service):
    """Give a session that goes on, and has gone on for two minutes."""
    now = service.now()
    session = service.add_session(
        id=SEEN, name="Pitch", state="active", timestamp=now, ends_after=3600
    )
    service.advance(120)
    return session


def asked(service):
    """Return the ids of the sessions whose charts the service was asked for."""
    paths = [each.path for each in service.requests]
    return {each.split("/")[3] for each in paths if each.endswith("/timeline")}


def charts(browser):
    """Return the addresses by which the page has asked for charts."""
    return [each for each in browser.run(LOADED) if "/charts" in each]


def end(service):
    """End the live session, and let the client look for it, which it does if unsure."""
    service.advance(3600)
    service.live.cut()


def test_live_sessions_move_on_the_list(service, browser, live):
    """The list shows rows at once, and cards of live sessions, which move and go."""
    browser.open()
    assert 40 == len(browser.each(ROWS))
    assert browser.text(ROWS).startswith("Pitch\n")
    card = f"#card-{live.id}"
    seen = browser.until(lambda: browser.each(f"{card} svg", "outerHTML"))
    browser.until(lambda: browser.each(f"{card} svg", "outerHTML") not in ([], seen))
    end(service)
    browser.until(lambda: not browser.each(card))


def test_filters_stand_in_the_address_and_in_the_form(service, browser):
    """A filter is kept in the address and shown in the form, and the list obeys it."""
    sessions = [each for each in service.sessions if each.is_finished]
    day = sessions[20].timestamp.date()
    browser.open()
    values = {
        "state": "finished",
        "type": sessions[20].type,
        "since": str(day),
        "until": str(day),
    }
    for name, value in values.items():  # how a date is typed depends on the country
        browser.run(
            "document.getElementsByName(arguments[0])[0].value = arguments[1]",
            name,
            value,
        )
    browser.click("form button")
    query = "&".join(f"{name}={value}" for name, value in values.items())
    browser.until(lambda: browser.driver.current_url.endswith(f"/?{query}"))
    assert [*values.values()] == browser.each("form input", "value")
    expected = [
        each.name
        for each in sessions
        if each.timestamp.date() == day and each.type == values["type"]
    ]
    assert expected == browser.each(f"{ROWS} a")
    browser.driver.find_element("link text", "Show all").click()
    browser.until(lambda: 40 == len(browser.each(ROWS)))


def test_more_rows_appear_as_one_scrolls(service, browser):
    """Scrolling brings all sessions and their charts, each once and in order."""
    browser.open()

    def is_at_end():
        if browser.run(IS_DRAWN):
            browser.run("scrollBy(0, 500)")
        return browser.each("main > .end")

    browser.until(is_at_end)
    expected = [f"{browser.url}sessions/{each.id}" for each in service.sessions]
    assert expected == browser.each(f"{ROWS} a", "href")
    browser.until(lambda: browser.run(IS_DRAWN))
    drawn = re.findall("row=(\\w+)", "\n".join(browser.run(LOADED)))
    assert len({*drawn}) == len(drawn) > 0


def test_charts_are_asked_for_in_view(service, dashboard, browser):
    """A chart is asked for when its row comes into view, and not before."""
    sessions = [each for each in service.sessions if each.is_finished]
    browser.resize(1280, 600)
    browser.open("/?state=finished")
    browser.until(lambda: browser.each(SPARKS))
    ids = [each.id for each in sessions]
    fit = 600 // 50
    browser.until(lambda: asked(service) >= {*ids[:3]})
    assert asked(service) <= {*ids[:fit]}
    browser.run(f"document.querySelectorAll('{ROWS}')[30].scrollIntoView()")
    browser.until(lambda: asked(service) >= {*ids[30:33]})
    assert ids[20] not in asked(service)


def test_charts_that_failed_are_drawn_later(service, dashboard, browser):
    """Of the charts that could not be read, one is tried again, and then all once."""
    outage = service.fail("GET", "*/timeline", status=503)
    browser.run_first(HURRY)
    browser.open("/?state=finished")
    browser.until(lambda: browser.run(IS_DRAWN))
    words = browser.each(f"{ROWS} .spark .problem")
    assert {"The service is out of order."} == {*words}
    browser.until(lambda: "&" not in charts(browser)[-1])
    outage.remove()
    browser.until(lambda: len(words) <= len(browser.each(SPARKS)))
    assert "&" in charts(browser)[-1]
    ids = [each.id for each in service.sessions if each.is_finished]
    browser.run(f"document.querySelectorAll('{ROWS}')[30].scrollIntoView()")
    browser.until(lambda: ids[30] in charts(browser)[-1])
    assert not any(each in charts(browser)[-1] for each in ids[: len(words)])


def test_charts_that_failed_out_of_view_are_left(service, dashboard, browser):
    """A chart that failed while its row left the view is not tried again there."""
    service.fail("GET", "*/timeline", status=503)
    browser.run_first(HURRY)
    browser.resize(1280, 600)
    browser.open("/?state=finished")
    browser.until(lambda: asked(service))
    browser.run(f"document.querySelectorAll('{ROWS}')[30].scrollIntoView()")
    again = browser.until(lambda: [e for e in charts(browser) if "&" not in e])
    first = [each.id for each in service.sessions if each.is_finished][:3]
    assert not any(each in again[0] for each in first)


def test_the_keyboard_alone_opens_a_session(service, browser):
    """Tab reaches the rows, shows where it is, and Enter opens a session."""
    session = next(each for each in service.sessions if each.is_finished)
    browser.open("/?state=finished")

    browser.press(Keys.TAB)
    assert "Skip to the content" == browser.text(":focus")
    places = [browser.run(FOCUS)]
    while not places[-1][0].endswith(session.id):
        assert len(places) < 30, places
        browser.press(Keys.TAB)
        places.append(browser.run(FOCUS))
    # The calendar's button in a date field has the browser's own outline.
    own = [each for each in places if each[1] != "3px solid"]
    assert ["date", "date"] == [place for place, _ in own]
    browser.press(Keys.ENTER)
    browser.until(lambda: session.name == browser.text("h1"))


def test_a_live_session_moves_and_finishes(service, browser, live):
    """A live page moves, tells of a lost connection, and becomes its results."""
    browser.open(f"/sessions/{live.id}")
    browser.run("window.isTheSame = true")
    browser.until(lambda: "Live" == browser.text(".feed-state"))
    seen = browser.each("#live .wide svg", "outerHTML")
    browser.until(lambda: browser.each("#live .wide svg", "outerHTML") != seen)
    service.live.cut()
    browser.until(lambda: "A gap until" in browser.text(".gaps"))
    end(service)
    browser.until(lambda: not browser.each("#live"))
    assert "finished" in browser.text(".facts")
    assert "60 min" in browser.text(".facts")
    browser.until(lambda: all(browser.each("main img", "naturalWidth")))
    assert "The session has ended" in browser.text("#note")
    assert browser.run("return window.isTheSame")
    browser.until(lambda: not service.live.subscriptions)


def test_names_are_shown_as_they_are(service, dashboard, browser):
    """No name runs, is read as HTML, or makes a page wider than the window."""
    source = {"id": "1", "type": "camera", "device": "webcam", "name": NAMES[0]}
    sessions = [
        service.add_session(name=name, state=state, sources=[source])
        for state in ("finished", "active")
        for name in NAMES
    ][::-1]
    for width in (360, 2560):
        browser.resize(width)
        browser.open()
        names = [each.name for each in sessions]
        assert names == browser.each(f"{ROWS} bdi", "textContent")[: len(names)]
        browser.until(lambda: len(NAMES) < len(browser.each("#live a")))
        wide = "return document.documentElement.scrollWidth - innerWidth"
        assert browser.run(wide) <= 0
        for session in sessions[3:8]:
            browser.open(f"/sessions/{session.id}")
            assert session.name == browser.each("h1 bdi", "textContent")[0]
            assert f"{session.name} · Emogg" == browser.run("return document.title")
            assert browser.run(wide) <= 0
    browser.open(f"/sessions/{sessions[0].id}")
    browser.until(lambda: browser.each(".feed-state"))
    name = "<img src=/no onerror=alert(1)>"
    values = {"intensity": 0.99, "quantity": 1, "people": 1}
    service.live.emit(sessions[0].id, {name: values})
    browser.until(lambda: name in browser.text("#live bdi"))
    with pytest.raises(NoAlertPresentException):
        _ = browser.driver.switch_to.alert.text


def test_an_outage_shows_past_values(service, browser, live):
    """While the service is out, pages show what they showed, and say so."""
    pages = {
        "/?state=finished": "The list is as it was",
        f"/sessions/{live.id}": "These are past values",
    }
    for path in pages:
        browser.open(path)
        assert "" == browser.text(".problem")
    browser.expected = ["status of 502"]
    outage = service.fail(status=503, headers={"Retry-After": "60"})
    browser.open("/?type=audio")
    assert "The service is out of order" == browser.text("h1")

    def tells(path, words):
        browser.open(path)
        return words in browser.text(".problem")

    for path, words in pages.items():  # some seconds later; until then, they are new
        browser.until(lambda path=path, words=words: tells(path, words))
    assert "Pitch" == browser.text("h1")
    outage.remove()
    browser.open("/?type=audio")
    assert "Sessions" == browser.text("h1")


def test_a_refused_token_and_a_lost_session_tell_what_to_do(service, browser, live):
    """A page says what to do about a refused token, or a session that is gone."""
    path = f"/sessions/{live.id}"
    browser.open(path)
    browser.until(lambda: browser.each("#live svg"))
    browser.expected = ["status of (404|500)"]
    service.remove_session(live.id)
    service.live.cut()
    read = "return performance.getEntriesByName(location.href).length"
    browser.until(lambda: browser.run(read) == 2)  # it has looked for results
    browser.until(lambda: "There is no such session" in browser.text())
    assert "" == browser.text("#note")
    browser.open(f"/sessions/{'0' * 24}")
    assert "There is no such session" == browser.text("h1")
    service.fail(status=401)
    browser.open()
    assert "The service refuses the token" == browser.text("h1")
    assert "Set EMOGG_API_TOKEN" in browser.text()


def test_a_dashboard_that_stops(service, dashboard, browser, live):
    """A page whose dashboard has stopped says so, instead of standing still as live."""
    browser.expected = ["ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING"]
    browser.open(f"/sessions/{live.id}")
    browser.until(lambda: "Live" == browser.text(".feed-state"))
    assert "" == browser.text("#note")
    dashboard.stop()
    browser.until(lambda: "Is it still running?" in browser.text("#note"))


def test_what_moves_has_its_place(service, browser, live):
    """What moves pushes nothing aside when it appears."""
    paths = {"/": f"#card-{live.id} svg", f"/sessions/{live.id}": "#live .wide svg"}
    for path, css in paths.items():
        for width in (360, 1280):
            browser.resize(width)
            browser.open(path)
            browser.until(lambda css=css: browser.each(css))
            shifts = browser.driver.execute_async_script(SHIFTS)
            assert sum(shifts) < 0.1, (path, width, shifts)


def test_a_hidden_page_gives_up_its_stream(service, browser, live):
    """A page that nobody sees costs nothing, and moves again when it is seen."""
    browser.open(f"/sessions/{live.id}")
    browser.until(lambda: service.live.subscriptions)
    browser.driver.minimize_window()
    browser.until(lambda: browser.run("return document.hidden"))
    browser.until(lambda: not service.live.subscriptions, within=10.0)
    seen = browser.each("#live .wide", "innerHTML")
    browser.driver.set_window_rect(0, 0, 1280, 900)
    browser.until(lambda: browser.each("#live .wide", "innerHTML") not in ([], seen))


def test_all_works_without_scripts(service, browser):
    """Where no script may run, the list, its filters and a session can be read."""
    browser.let_run(scripts=False)
    browser.open()
    assert "The page moves where scripts are allowed" in browser.text("#live")
    browser.driver.find_element("name", "state").send_keys("finished")
    browser.click("form button")
    names = [each.name for each in service.sessions if each.is_finished]
    browser.until(lambda: names[:40] == browser.each(f"{ROWS} a"))
    browser.until(lambda: 160 == browser.each(f"{ROWS} img", "naturalWidth")[0])
    browser.click(".more a")
    browser.until(lambda: names[40:80] == browser.each(f"{ROWS} a"))
    browser.click(f"{ROWS} a")
    browser.until(lambda: names[40] == browser.text("h1"))
    assert 3 == len(browser.each("main img"))
    browser.driver.find_element("name", "measure").send_keys("people")
    browser.click("form button")
    browser.until(lambda: "measure=people" in browser.driver.current_url)
    assert "people" in browser.each("main img", "src")[0]


def test_reduced_motion_moves_every_five_seconds(browser, live):
    """A visitor who prefers less motion sees a first picture at once, then few."""
    browser.prefer(reduced_motion="reduce")
    browser.open(f"/sessions/{live.id}")
    browser.run(
        "window.moves = []; new MutationObserver(() => moves.push(performance.now()))"
        ".observe(document.querySelector('#live'), { childList: true })"
    )
    browser.until(lambda: browser.each("#live svg"), within=4.0)
    times = browser.until(lambda: browser.run("return moves.length > 1 && moves"))
    assert times[1] - times[0] > 4900


@pytest.mark.parametrize("look", [("light", 1280), ("dark", 360)])
def test_axe_finds_no_barrier(service, browser, live, axe, look):
    """The pages hold to WCAG 2.2 AA, as far as a program can tell."""
    scheme, width = look
    finished = next(each for each in service.sessions if each.is_finished)
    browser.expected = ["status of 404"]
    browser.prefer(color_scheme=scheme)
    browser.resize(width, 2000)
    ready = {
        "/": f"{SPARKS}, #card-{live.id} svg",
        f"/sessions/{finished.id}": "img",
        f"/sessions/{live.id}": "#live svg",
        f"/sessions/{'0' * 24}": "h1",
    }
    found = {}
    for path, css in ready.items():
        browser.open(path)
        for each in css.split(", "):
            browser.until(lambda css=each: browser.each(css))
        browser.run(axe)
        if violations := browser.driver.execute_async_script(AXE):
            found[path] = violations
    assert {} == found
    paper = browser.run("return getComputedStyle(document.body).backgroundColor")
    assert ("rgb(255, 255, 255)" == paper) is (scheme == "light")
