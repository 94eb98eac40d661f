"""Whole answers, the service's ids of requests, and what programs add to requests."""

import copy
import logging
import pickle

import aiohttp
import pytest
from rawserver import always, http, serving

from emogg_async import (
    AsyncEmoggClient,
    BadRequestError,
    EmoggError,
    InvalidArgumentError,
    NotFoundError,
    OutcomeUnknownError,
    RawResponse,
    ResponseShapeError,
    RetryPolicy,
    ServerError,
)
from emogg_async._version import __version__
from emogg_async._wire.fields import ResponseHeaders

TOKEN = "s3cret-token"
ID = "65ea1530bb50af72b6e3dc1e"
ONCE = RetryPolicy(attempts=1)
NAMED = {"user_agent": "my-app/1.2", "headers": {"X-Team": "red team"}}
OK = http("200 OK", b"{}", "Content-Type: application/json")


def client_of(server, **options):
    return AsyncEmoggClient(TOKEN, base_url=server.url, **options)


class TestRaw:
    async def test_an_answer_is_shown_as_it_is(self, emulator, client):
        """Status, headers in any letter case, body, and its JSON."""
        answer = await client.request(
            "GET", "/v1/sessions", query={"limit": 1}, raw=True
        )
        assert isinstance(answer, RawResponse)
        assert 200 == answer.status
        assert answer.headers["content-TYPE"].startswith("application/json")
        assert answer.headers["RATELIMIT-LIMIT"] == "1000000"
        assert answer.content.startswith(b"{")
        plain = await client.request("GET", "/v1/sessions", query={"limit": 1})
        assert plain == answer.json()
        assert emulator.token not in repr(answer)

    async def test_a_body_may_be_anything(self, emulator, client):
        """What is no JSON is content, and an error only when it is parsed."""
        emulator.fail(status=200, body=b"\xff\x00plain", times=1)
        answer = await client.request("GET", "/v1/sessions", raw=True)
        assert b"\xff\x00plain" == answer.content
        with pytest.raises(ResponseShapeError, match=r"200.*no valid JSON"):
            answer.json()
        emulator.fail(status=204, body=b"", times=1)
        empty = await client.request("GET", "/v1/sessions", raw=True)
        assert (204, b"", None) == (empty.status, empty.content, empty.json())

    async def test_other_statuses_are_raised(self, client):
        """A 404 is a `NotFoundError` with its facts, as without `raw`."""
        with pytest.raises(NotFoundError) as caught:
            await client.request("GET", f"/v1/sessions/{ID}", raw=True)
        assert (404, 1) == (caught.value.status, caught.value.attempts)

    async def test_a_delete_in_doubt_has_no_answer_to_show(self, emulator, client):
        """It is unknown, while the parsed one is settled by the 404."""
        for raw in (False, True):
            path = f"/v1/sessions/{emulator.add_session(state='finished').id}"
            emulator.fail("DELETE", fault="close", after=True, times=1)
            if raw:
                with pytest.raises(OutcomeUnknownError):
                    await client.request("DELETE", path, raw=True)
            else:
                assert await client.request("DELETE", path) is None

    async def test_headers_are_a_read_only_mapping(self):
        """Repeated ones are joined, and it survives `pickle` and `hash`."""
        one = http(
            "200 OK", b"1", "X-Link: <a>", "X-A: b", "x-link: <b>", f"X-T: {TOKEN}"
        )
        async with serving(always(one)) as server, client_of(server) as client:
            answer = await client.request("GET", "/v1/x", raw=True)
        assert "<a>, <b>" == answer.headers["X-LINK"]
        assert "***" == answer.headers["x-t"]
        assert "X-Link" in {*answer.headers}
        assert "x-link" not in {*answer.headers}
        assert 7 not in answer.headers
        assert answer.headers.get("X-B") is None
        with pytest.raises(TypeError):
            answer.headers["X-A"] = "c"  # type: ignore[index]
        for twin in (pickle.loads(pickle.dumps(answer)), copy.deepcopy(answer)):
            assert (twin, hash(twin)) == (answer, hash(answer))
        shouted = {k.upper(): v for k, v in answer.headers.items()}
        assert answer.headers == shouted
        assert hash(answer.headers) == hash(ResponseHeaders(shouted))
        assert answer.headers != {} != 7

    async def test_refuses_what_is_no_boolean(self, client):
        """`raw="no"` would be true."""
        with pytest.raises(InvalidArgumentError, match=r"^raw: "):
            await client.request("GET", "/v1/x", raw="no")


class TestRequestId:
    async def test_errors_tell_it(self, emulator, client):
        """The service's id is an attribute, and in the printed line."""
        emulator.fail(status=503, headers={"X-Request-Id": "1f3c-9"})
        once = client.with_options(retry=ONCE)
        with pytest.raises(ServerError) as caught:
            await once.get_session(ID)
        assert "1f3c-9" == caught.value.request_id
        assert ", 1 attempt, request 1f3c-9)" in str(caught.value)
        again = pickle.loads(pickle.dumps(caught.value))
        assert (again.request_id, str(again)) == ("1f3c-9", str(caught.value))

    async def test_it_is_that_of_the_last_answer(self, emulator, client):
        """Of several attempts the last one counts, and a lost answer has none."""
        rules = [
            {"status": 503, "headers": {"X-Request-Id": "first"}},
            {"fault": "close"},
        ]
        for rule in reversed(rules):
            emulator.fail(times=1, **rule)
        twice = client.with_options(retry=RetryPolicy(attempts=2, base=0.001))
        with pytest.raises(EmoggError) as caught:
            await twice.get_session(ID)
        assert (2, None) == (caught.value.attempts, caught.value.request_id)

    @pytest.mark.parametrize("body", [{}, b"no JSON"], ids=["no session", "no JSON"])
    async def test_answers_that_do_not_fit_tell_it(self, emulator, client, body):
        """A `ResponseShapeError` has it, whatever is wrong."""
        emulator.fail(status=200, body=body, headers={"X-Request-Id": "1f3c"})
        with pytest.raises(ResponseShapeError) as caught:
            await client.get_session(ID)
        assert "1f3c" == caught.value.request_id

    async def test_writes_in_doubt_tell_it(self, emulator, client):
        """An `OutcomeUnknownError` has that of the failure behind it."""
        emulator.fail("POST", status=500, headers={"X-Request-Id": "1f3c"})
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.create_session("n", "rtmps://live.example/app/key")
        assert "1f3c" == caught.value.request_id
        assert "request 1f3c" in str(caught.value)

    async def test_without_the_header_there_is_none(self, client):
        """The printed line does not mention it then."""
        with pytest.raises(NotFoundError) as caught:
            await client.get_session(ID)
        assert caught.value.request_id is None
        assert ", request" not in str(caught.value)

    async def test_it_is_bounded_printable_and_without_the_token(self):
        """A hostile id neither floods a log nor shows the token."""
        told = f"X-Request-Id: a\x9b31m{TOKEN}{'z' * 900}"
        answer = http("404 Not Found", b"{}", told)
        async with serving(always(answer)) as server, client_of(server) as client:
            with pytest.raises(EmoggError) as caught:
                await client.get_session(ID)
        error = caught.value
        assert 128 == len(error.request_id)
        assert "***" in error.request_id
        assert error.request_id.isprintable()
        assert TOKEN not in str(error) + error.request_id
        assert str(error).isprintable()
        assert len(str(error)) < 250

    async def test_a_long_one_is_cut_in_the_line_alone(self, emulator, client):
        """The attribute has 128 characters, the line 36."""
        emulator.fail(status=400, headers={"X-Request-Id": "x" * 200})
        with pytest.raises(EmoggError) as caught:
            await client.get_session(ID)
        assert "x" * 127 + "…" == caught.value.request_id
        assert "request " + "x" * 35 + "…)" in str(caught.value)


class TestUserAgentAndHeaders:
    @pytest.mark.parametrize("own", [False, True], ids=["our session", "their session"])
    async def test_every_request_has_them(self, own):
        """Gets, bodies and the handshake of a live connection."""
        refused = http("404 Not Found", b"{}")
        async with serving(always(OK, OK, refused, keep=False)) as server:
            async with aiohttp.ClientSession() as http_session:
                http_ = http_session if own else None
                async with client_of(server, http=http_, **NAMED) as client:
                    await client.request("GET", "/v1/x")
                    await client.request("POST", "/v1/x", json={})
                    with pytest.raises(NotFoundError):
                        async with client.live.counts(ID):
                            pass
        heads = [head.decode() for head in server.heads]
        assert [head.split()[0] for head in heads] == ["GET", "POST", "GET"]
        for head in heads:
            assert f"User-Agent: emogg-async/{__version__} my-app/1.2\r\n" in head
            assert "X-Team: red team\r\n" in head
        assert all(f"Authorization: Bearer {TOKEN}\r\n" in head for head in heads[:2])
        assert TOKEN not in heads[2]

    async def test_nothing_shows_their_values(self, caplog, emulator):
        """A header may be a key of a gateway."""
        caplog.set_level(logging.DEBUG)
        headers = {"X-Api-Key": "hush-hush"}
        async with emulator.client(headers=headers) as client:
            headers["X-Api-Key"] = "changed\r\nlater"  # a copy was taken
            with pytest.raises(NotFoundError) as caught:
                await client.get_session(ID)
            shown = [repr(client), repr(client._settings), str(caught.value)]
        assert "hush" not in "".join(shown) + caplog.text

    async def test_nothing_shows_them_if_the_service_quotes_them(self, emulator):
        """Neither its words nor its id of a request bring a key into an error."""
        emulator.fail(
            status=400,
            body={"message": "no key: hush-hsh"},
            headers={"X-Request-Id": "for-hush-hsh"},
        )
        headers = {"X-Api-Key": "hush-hsh"}
        async with emulator.client(headers=headers) as client:
            with pytest.raises(BadRequestError) as caught:
                await client.get_session(ID)
        assert "no key: ***" in str(caught.value)
        assert "for-***" == caught.value.request_id

    async def test_nothing_of_a_key_is_shown_because_another_is_a_part_of_it(
        self, emulator
    ):
        """The rest of the longer one is as secret as the whole."""
        emulator.fail(status=400, body={"message": "no key: hush-hush-rest"})
        headers = {"X-Group": "hush-hush", "X-Api-Key": "hush-hush-rest"}
        async with emulator.client(headers=headers) as client:
            with pytest.raises(BadRequestError) as caught:
                await client.get_session(ID)
        assert "no key: ***" == caught.value.message

    @pytest.mark.parametrize(
        "user_agent",
        ["", " ", "a\r\nX: y", "a\tb", "café/1", "a/1/2", "(x)", "a  b", "x" * 257, 7],
    )
    def test_refuses_what_is_no_user_agent(self, user_agent):
        """It consists of products, and nothing else gets into a header."""
        with pytest.raises(InvalidArgumentError, match=r"^user_agent: "):
            AsyncEmoggClient(TOKEN, user_agent=user_agent)

    @pytest.mark.parametrize(
        "name",
        [
            *("Authorization", "host", "User-Agent", "ACCEPT", "Accept-Encoding"),
            *("Content-Type", "content-length", "Connection", "Transfer-Encoding"),
            *("Proxy-Authorization", "Upgrade", "Sec-WebSocket-Key", "If-None-Match"),
            *("Range", "Expect", "TE"),
        ],
    )
    def test_refuses_to_replace_ours(self, name):
        """The error names the header, and not its value."""
        with pytest.raises(InvalidArgumentError, match=name) as caught:
            AsyncEmoggClient(TOKEN, headers={name: "hush-hush"})
        assert "hush" not in str(caught.value)

    def test_takes_the_longest_that_it_promises(self):
        """A name of 256 characters is no error, nor a value of 4,096."""
        AsyncEmoggClient(TOKEN, user_agent="x" * 256, headers={"X-A": "y" * 4_096})

    @pytest.mark.parametrize(
        "headers",
        [
            {"X-A": "b\r\nX-B: c"},
            {"X-A": "b\nc"},
            {"X-A": ""},
            {"X-A": " b"},
            {"X-A": "é"},
            {"X-A": 7},
            {"X-A": "y" * 4097},
            {"X A": "b"},
            {"X-A\r\n": "b"},
            {"": "b"},
            {7: "b"},
            {"X-A": "b", "x-a": "c"},
            [("X-A", "b")],
        ],
        ids=range(13),
    )
    def test_refuses_what_cannot_be_sent(self, headers):
        """Names are names, values are one line of ASCII, and each comes once."""
        with pytest.raises(InvalidArgumentError, match=r"^headers: "):
            AsyncEmoggClient(TOKEN, headers=headers)
