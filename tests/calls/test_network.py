"""Corporate networks: proxies, certificates, and their environment variables."""

import asyncio
import logging
import os
import ssl
import time
import traceback
import warnings
from base64 import b64encode
from pathlib import Path

import aiohttp
import pytest
import trustme
from plainhttp import eventually
from rawserver import always, http, serving
from wayside import certified, proxying, tls_front

from emogg_async import (
    AsyncEmoggClient,
    ConfigurationError,
    ConnectionLostError,
    DeadlineError,
    EmoggError,
    InvalidArgumentError,
    NotFoundError,
    NotSentError,
    OutcomeUnknownError,
    RetryPolicy,
    StatusError,
)
from emogg_async._calls.failures import Proxy
from emogg_async._calls.retry import Verdict, verdict
from emogg_async._wire.protocol import Repeat

HOST = "api.example"
FAST = RetryPolicy(attempts=3, base=0.001)
USER, PASSWORD = "j.doe", "p@ss:w/rd 5ecret"
CREDENTIALS = "j.doe:p%40ss%3Aw%2Frd%205ecret"
VARIABLES = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC"]


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="module")
def authority():
    """Make an authority that no machine trusts."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    """Give a file with that authority's certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
async def front(emulator, authority):
    """Serve the emulator with TLS, as 127.0.0.1 and as api.example."""
    async with tls_front(emulator.url, certified(authority)) as url:
        yield url


@pytest.fixture
async def service(emulator, authority):
    """Serve the emulator with TLS by a name that only a proxy can resolve."""
    async with tls_front(emulator.url, certified(authority, HOST)) as url:
        yield url.replace("127.0.0.1", HOST)


@pytest.fixture
def client_of(emulator, ca_file):
    """Make clients that trust the authority."""

    def make(url, **options):
        options = {"ssl": ca_file, "retry": FAST, **options}
        return AsyncEmoggClient(emulator.token, base_url=url, **options)

    return make


def everything_in(error):
    """Show an error and its causes in all ways."""
    yield "".join(traceback.format_exception(error))
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)))
        error = error.__cause__ or error.__context__


def assert_no_credentials(*texts):
    """Fail if a text has a part of the password, plain, encoded or as it is sent."""
    sent = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    for text in texts:
        for secret in (USER, "p@ss", "p%40ss", "5ecret", sent[:8], sent[-8:]):
            assert secret not in text


async def ask(client, session):
    """Get a session, and say that it is the right one."""
    assert session == await client.get_session(session.id, fresh=True)


class TestCertificates:
    async def test_a_file_or_a_context_makes_it_trusted(
        self, emulator, front, client_of, authority, ca_file
    ):
        """`ssl=` takes the path of a file, as text or not, or a context."""
        context = ssl.create_default_context()
        authority.configure_trust(context)
        for trust in (ca_file, str(ca_file), context):
            async with client_of(front, ssl=trust) as client:
                await ask(client, emulator.sessions[0])

    @pytest.mark.parametrize("trust", ["none", "another"])
    async def test_an_untrusted_one_is_told_as_such_at_once(
        self, emulator, front, client_of, trust, tmp_path
    ):
        """The error names the host, the reason and `ssl=`, and there is no retry."""
        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(other)
        options = {"ssl": None if trust == "none" else other}
        async with client_of(front, **options) as client:
            for call in (
                client.get_session(emulator.sessions[0].id),
                client.request("POST", "/v1/sessions", json={}),
            ):
                with pytest.raises(NotSentError) as caught:
                    await call
                text = str(caught.value)
                assert "the certificate of 127.0.0.1 is refused: " in text
                assert "ssl=" in text
                assert "SSL_CERT_FILE" in text
                assert ("certificate", True, 1) == (
                    caught.value.stopped_by,
                    caught.value.final,
                    caught.value.attempts,
                )
        assert () == emulator.requests

    async def test_the_wrong_name_is_refused(self, emulator, client_of, authority):
        """A trusted certificate for another host is refused."""
        context = certified(authority, "somebody-else.example")
        async with tls_front(emulator.url, context) as url, client_of(url) as client:
            with pytest.raises(NotSentError, match=r"certificate of 127\.0\.0\.1"):
                await client.get_session(emulator.sessions[0].id)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "No such file"),
            (b"", "no certificate"),
            (b"garbage", "no certificate"),
            (b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", "no cert"),
        ],
    )
    def test_a_file_without_certificates_is_refused(self, tmp_path, content, reason):
        """An unreadable file is a ConfigurationError when the client is made."""
        path = tmp_path / "ca.pem"
        if content is not None:
            path.write_bytes(content)
        for trust in (path, str(path)):
            with pytest.raises(ConfigurationError, match=rf"ssl: .*{reason}"):
                AsyncEmoggClient("t", ssl=trust)

    @pytest.mark.parametrize("path", ["", "\0", Path("/")])
    def test_what_is_no_file_is_refused(self, path):
        """An empty path, a directory and an impossible path are refused."""
        with pytest.raises(ConfigurationError, match="ssl: cannot use"):
            AsyncEmoggClient("t", ssl=path)

    @pytest.mark.parametrize("value", [False, True, 1, b"ca.pem", object()])
    def test_other_values_are_refused(self, value):
        """Other values are refused; a bool does not switch verification off."""
        with pytest.raises(InvalidArgumentError, match=r"ssl: expected an ssl\."):
            AsyncEmoggClient("t", ssl=value)

    def test_a_context_for_servers_is_refused(self):
        """A context for servers is refused: it would fail at the first call."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        with pytest.raises(ConfigurationError, match="for servers"):
            AsyncEmoggClient("t", ssl=context)


class TestTunnels:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    async def test_calls_go_through_one(
        self, emulator, front, client_of, authority, scheme
    ):
        """One tunnel serves many calls; the proxy learns the host and no more."""
        context = certified(authority) if scheme == "https" else None
        async with proxying(context) as proxy:
            async with client_of(front, proxy=proxy.url) as client:
                for session in emulator.sessions[:3]:
                    await ask(client, session)
                assert proxy.url == client.proxy
        (head,) = proxy.heads
        assert head.startswith(f"CONNECT {front[8:]} HTTP/1.1\r\n".encode())
        assert emulator.token.encode() not in head
        assert b"uthorization" not in head
        assert 1 == proxy.tunnels

    async def test_credentials_reach_the_proxy_and_nobody_else(
        self, emulator, front, client_of, caplog
    ):
        """Credentials are decoded, sent as Basic, and shown nowhere."""
        async with proxying(user=f"{USER}:{PASSWORD}") as proxy:
            user = CREDENTIALS.replace("%3A", ":")
            for credentials in (CREDENTIALS, user):
                url = proxy.with_user(credentials)
                with caplog.at_level(logging.DEBUG):
                    async with client_of(front, proxy=url) as client:
                        await ask(client, emulator.sessions[0])
                        assert proxy.url == client.proxy
                assert_no_credentials(caplog.text, repr(client), str(vars(client)))
        assert all(emulator.token.encode() not in head for head in proxy.heads)

    @pytest.mark.parametrize("scheme", ["https", "HTTPS", "Https"])
    async def test_the_service_does_not_get_them(self, authority, client_of, scheme):
        """The service never gets the proxy's credentials, in any case of the scheme."""
        async with (
            serving(always(http("404 No")), certified(authority)) as server,
            proxying(user=f"{USER}:{PASSWORD}") as proxy,
        ):
            url = server.url.replace("https", scheme)
            async with client_of(url, proxy=proxy.with_user(CREDENTIALS)) as client:
                with pytest.raises(NotFoundError):
                    await client.get_session("0" * 24)
        assert b"Proxy-Authorization" in proxy.heads[0]
        assert b"Proxy-Authorization" not in server.heads[0]

    async def test_two_passwords_share_no_tunnel(self, emulator, front, client_of):
        """A wrong password is refused, in spite of another client's open tunnel."""
        async with proxying(user=f"{USER}:{PASSWORD}") as proxy:
            right, wrong = proxy.with_user(CREDENTIALS), proxy.with_user("j.doe:no")
            async with client_of(front, proxy=right) as client:
                await ask(client, emulator.sessions[0])
                async with client_of(front, proxy=wrong) as other:
                    with pytest.raises(NotSentError, match="407"):
                        await other.get_session(emulator.sessions[0].id)

    async def test_many_calls_at_once(self, emulator, front, client_of):
        """Each connection is a tunnel; all answers are right."""
        async with proxying() as proxy, client_of(front, proxy=proxy.url) as client:
            ids = [session.id for session in emulator.sessions[:100]]
            batch = await client.get_sessions(ids, via="get")
            assert emulator.sessions[:100] == tuple(batch.values())
        assert 1 <= proxy.tunnels <= 24


class TestProxyFailures:
    async def failing(self, client_of, front, proxy, **options):
        """Return what a GET and a POST raise."""
        errors = []
        async with client_of(front, proxy=proxy, **options) as client:
            for call in (
                client.get_session("0" * 24),
                client.request("POST", "/v1/sessions", json={"name": "x"}),
            ):
                with pytest.raises(EmoggError) as caught:
                    await call
                errors.append(caught.value)
        return errors

    @pytest.mark.parametrize(
        ("fault", "said", "final"),
        [
            ("407 Nope", "answered 407 Proxy Authentication Required", True),
            ("403 Nope", "answered 403 Forbidden", True),
            ("502 Nope", "answered 502 Bad Gateway", False),
            ("429 Nope", "answered 429 Too Many Requests", False),
            ("599 Nope", "answered 599", False),
            ("302 Nope", "answered 302 Found", False),
            ("close", ": it closed the connection", False),
            ("nonsense", ": it closed the connection, or did not", False),
            ("cut", ": the connection was closed before TLS", False),
        ],
    )
    async def test_what_it_refuses_was_not_sent(
        self, *, emulator, front, client_of, fault, said, final
    ):
        """Each failure is a NotSentError that names the proxy, for writes, too."""
        async with proxying(fault=fault) as proxy:
            for error in await self.failing(client_of, front, proxy.url):
                assert NotSentError is type(error)
                assert ("proxy", final) == (error.stopped_by, error.final)
                assert f"the proxy {proxy.url}{said if said[0] == ':' else ''}" in str(
                    error
                )
                assert said in str(error)
                assert "HTTPS_PROXY" in str(error)
                assert (1 if final else 3) == error.attempts
        assert (2 if final else 6) == len(proxy.heads)
        assert () == emulator.requests

    async def test_nobody_listens(self, client_of, front):
        """A proxy that is not there is named, and was tried again."""
        for error in await self.failing(client_of, front, "http://127.0.0.1:1"):
            assert NotSentError is type(error)
            assert "the proxy http://127.0.0.1:1: Connection refused" in str(error)
            assert 3 == error.attempts

    async def test_no_such_name(self, client_of, front):
        """A proxy whose name does not resolve is named, too."""
        url = "http://proxy.invalid:3128"
        for error in await self.failing(client_of, front, url):
            assert "the proxy http://proxy.invalid:3128: " in str(error)
            assert "proxy" == error.stopped_by

    @pytest.mark.timing
    async def test_one_that_hangs(self, client_of, front, monkeypatch):
        """A call to a proxy that hangs ends in time and was not sent."""
        monkeypatch.setattr("emogg_async._calls.transport.CONNECT_SECONDS", 0.2)
        async with proxying(fault="hang") as proxy:
            began = time.monotonic()
            retry = RetryPolicy(attempts=1)
            errors = await self.failing(client_of, front, proxy.url, retry=retry)
            assert time.monotonic() - began < 2
        for error in errors:
            assert DeadlineError is type(error)
            assert not error.sent
            assert f"no connection through the proxy {proxy.url} in time" in str(error)

    @pytest.mark.timing
    @pytest.mark.parametrize("limit", ["attempt_timeout", "timeout", "deadline"])
    async def test_one_that_hangs_until_the_time_is_up(self, client_of, front, limit):
        """A write without a tunnel was not sent, no matter which time is up first."""
        options = {"attempt_timeout": 9.0, "timeout": 9.0, "deadline": 9.0, limit: 0.3}
        deadline = options.pop("deadline")
        options["retry"] = RetryPolicy(attempts=1)
        async with (
            proxying(fault="hang") as proxy,
            client_of(front, proxy=proxy.url, **options) as client,
        ):
            for _ in range(4):
                with client.deadline(deadline):
                    with pytest.raises(DeadlineError, match="no connection") as caught:
                        await client.request("POST", "/v1/sessions", json={})
                assert not caught.value.sent

    @pytest.mark.timing
    async def test_a_view_has_its_own_time_to_reach_it(self, client_of, front):
        """A patient view of a hasty client waits longer for the proxy, reads too."""
        once = RetryPolicy(attempts=1)
        async with (
            proxying(fault="hang") as proxy,
            client_of(front, proxy=proxy.url, attempt_timeout=0.1) as client,
        ):
            began = time.monotonic()
            with pytest.raises(DeadlineError, match="no connection"):
                patient = client.with_options(attempt_timeout=0.5, retry=once)
                await patient.get_session("a" * 24)
            assert time.monotonic() - began > 0.4

    @pytest.mark.parametrize("fault", ["close", "cut", "nonsense", "502 Busy", "hang"])
    async def test_it_gets_better(self, emulator, front, client_of, fault, monkeypatch):
        """A write comes through, and once, when the proxy is well again."""
        if fault == "hang":
            monkeypatch.setattr("emogg_async._calls.transport.CONNECT_SECONDS", 0.5)
        body = {"name": "x", "streamUri": "rtmp://x/y"}
        async with proxying(fault=fault, times=2) as proxy:
            async with client_of(front, proxy=proxy.url) as client:
                await client.request("POST", "/v1/sessions", json=body)
        assert (3, 1) == (len(proxy.heads), proxy.tunnels)
        assert 1 == len(emulator.requests)

    async def test_a_tunnel_that_is_cut_later(self, emulator, front, client_of):
        """The outcome of a write is unknown if its tunnel is cut after the send."""
        async with proxying() as proxy, client_of(front, proxy=proxy.url) as client:
            emulator.fail(fault="reset", times=1)
            await ask(client, emulator.sessions[0])
            emulator.fail(fault="reset")
            with pytest.raises(ConnectionLostError):
                await client.get_session(emulator.sessions[1].id)
            with pytest.raises(OutcomeUnknownError):
                await client.request("POST", "/v1/sessions", json={})

    @pytest.mark.parametrize(
        "fault", ["", "407 J.doe", "close", "nonsense", "echo", "cut", "hang"]
    )
    async def test_no_error_shows_the_credentials(
        self, front, client_of, fault, caplog, monkeypatch
    ):
        """No error, cause or log has the credentials, even if the proxy echoes them."""
        monkeypatch.setattr("emogg_async._calls.transport.CONNECT_SECONDS", 0.1)
        async with proxying(fault=fault, user="somebody:else") as proxy:
            url = proxy.with_user(CREDENTIALS)
            with caplog.at_level(logging.DEBUG):
                for error in await self.failing(client_of, front, url):
                    assert_no_credentials(*everything_in(error), caplog.text)
        assert b64encode(USER.encode())[:6] in proxy.heads[0]

    async def test_nor_where_nobody_listens(self, front, client_of, caplog):
        """The error of a refused connection has no credentials."""
        url = f"http://{CREDENTIALS}@127.0.0.1:1"
        with caplog.at_level(logging.DEBUG):
            for error in await self.failing(client_of, front, url):
                assert_no_credentials(*everything_in(error), caplog.text)

    async def test_the_certificate_of_an_https_proxy(
        self, emulator, front, client_of, authority
    ):
        """The error of an untrusted certificate names the proxy."""
        async with proxying(certified(authority, "elsewhere.example")) as proxy:
            for error in await self.failing(client_of, front, proxy.url):
                assert "certificate" == error.stopped_by
                assert "the certificate of 127.0.0.1 is refused" in str(error)
        assert [] == proxy.heads

    def test_what_is_final_is_not_retried(self):
        """A final refusal is not retried: retries could lock the account."""
        error = NotSentError("-", stopped_by="proxy", final=True)
        for repeat in Repeat:
            assert Verdict.RAISE is verdict(error, repeat)

    async def test_a_session_of_the_callers(self, emulator, authority, front):
        """A refusal by the proxy of the caller's session means not sent, too."""
        async with proxying(fault="407 No") as proxy:
            async with aiohttp.ClientSession(proxy=proxy.url) as http:
                options = {"http": http, "retry": FAST, "base_url": front}
                async with AsyncEmoggClient("t", **options) as client:
                    with pytest.raises(NotSentError, match="the proxy answered 407"):
                        await client.get_session("0" * 24)
                    assert client.proxy is None


class TestWithoutTLS:
    async def test_is_refused_unless_allowed(self, emulator):
        """An http:// base URL is refused with a proxy, which would read the token."""
        for base_url in (emulator.url, "http://localhost", "HTTP://localhost"):
            with pytest.raises(ConfigurationError, match="show the token to the proxy"):
                AsyncEmoggClient("t", base_url=base_url, proxy="http://proxy:3128")

    async def test_each_request_is_passed_on(self, emulator, client_of):
        """With allow_http, the proxy gets whole URLs, and its own credentials."""
        async with proxying(user=f"{USER}:{PASSWORD}") as proxy:
            url = proxy.with_user(CREDENTIALS)
            options = {"proxy": url, "allow_http": True}
            async with client_of(emulator.url, **options) as client:
                await ask(client, emulator.sessions[0])
        assert proxy.heads[0].startswith(f"GET {emulator.url}/v1/".encode())
        assert f"Bearer {emulator.token}".encode() in proxy.heads[0]

    async def test_its_407_is_not_the_services(self, emulator, client_of):
        """A request answered 407 by the proxy was not sent, and is not retried."""
        async with proxying(user=f"{USER}:{PASSWORD}") as proxy:
            options = {"proxy": proxy.with_user("j.doe:5ecret"), "allow_http": True}
            async with client_of(emulator.url, **options) as client:
                with pytest.raises(NotSentError, match="answered 407") as caught:
                    await client.request("POST", "/v1/sessions", json={})
        assert 1 == len(proxy.heads)
        assert_no_credentials(*everything_in(caught.value))

    async def test_a_407_in_a_tunnel_is_the_services(self, emulator, front, client_of):
        """A 407 through a tunnel is an answer of the service."""
        emulator.fail(status=407)
        async with proxying() as proxy, client_of(front, proxy=proxy.url) as client:
            with pytest.raises(StatusError) as caught:
                await client.get_session("0" * 24)
        assert 407 == caught.value.status


class TestEnvironment:
    @pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
    @pytest.mark.parametrize("prefix", ["http://", "", f"http://{CREDENTIALS}@"])
    async def test_its_proxy_is_used(
        self, *, emulator, service, client_of, monkeypatch, name, prefix
    ):
        """`trust_env` reads the variable in either case, with or without a scheme."""
        async with proxying() as proxy:
            monkeypatch.setenv(name, f"{prefix}127.0.0.1:{proxy.port}")
            async with client_of(service, trust_env=True) as client:
                await ask(client, emulator.sessions[0])
                assert proxy.url == client.proxy
                monkeypatch.delenv(name)  # it was read when the client was made
                await ask(client, emulator.sessions[1])
        assert 1 == proxy.tunnels

    async def test_it_is_not_asked_without_being_told(
        self, emulator, front, client_of, monkeypatch
    ):
        """By default connections are direct, and the environment is ignored."""
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        async with client_of(front) as client:
            await ask(client, emulator.sessions[0])

    async def test_this_machine_is_reached_directly(
        self, emulator, front, client_of, monkeypatch
    ):
        """An emulator on loopback is never looked for behind a proxy."""
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        for url in (front, emulator.url):
            async with client_of(url, trust_env=True) as client:
                await ask(client, emulator.sessions[0])
                assert client.proxy is None

    @pytest.mark.parametrize(
        ("no_proxy", "direct"),
        [
            ("api.example", True),
            ("example", True),
            (".example", True),
            ("other.test, api.example", True),
            ("api.example:8443", True),
            ("API.EXAMPLE", True),
            ("*", True),
            ("api.example:443", False),
            ("i.example", False),
            ("other.test", False),
            ("", False),
        ],
    )
    def test_no_proxy(self, monkeypatch, no_proxy, direct):
        """NO_PROXY excepts names, what is below them, and ports."""
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:3128")
        monkeypatch.setenv("NO_PROXY", no_proxy)
        url = "https://api.example:8443"
        client = AsyncEmoggClient("t", base_url=url, trust_env=True)
        assert direct is (client.proxy is None)
        given = AsyncEmoggClient("t", base_url=url, proxy="http://given.test")
        assert "http://given.test:80" == given.proxy

    @pytest.mark.parametrize(
        ("base_url", "proxy"),
        [
            ("https://api.example", "http://secure.test:1"),
            ("http://api.example", "http://plain.test:2"),
        ],
    )
    def test_each_scheme_has_its_own(self, monkeypatch, base_url, proxy):
        """HTTPS_PROXY is for https:// and HTTP_PROXY for http://; ALL_PROXY is none."""
        monkeypatch.setenv("HTTPS_PROXY", "http://secure.test:1")
        monkeypatch.setenv("HTTP_PROXY", "http://plain.test:2")
        options = {"base_url": base_url, "trust_env": True, "allow_http": True}
        assert proxy == AsyncEmoggClient("t", **options).proxy
        monkeypatch.setenv("ALL_PROXY", "http://all.test")
        monkeypatch.delenv("HTTPS_PROXY")
        monkeypatch.delenv("HTTP_PROXY")
        assert AsyncEmoggClient("t", **options).proxy is None

    @pytest.mark.parametrize("host", [HOST, "127.0.0.1", "default"])
    async def test_netrc_changes_nothing(
        self, *, emulator, service, client_of, monkeypatch, tmp_path, host
    ):
        """Neither the token nor the proxy's credentials come from a netrc file."""
        file = tmp_path / "netrc"
        machine = "default" if host == "default" else f"machine {host}"
        file.write_text(f"{machine} login {USER} password hunter2\n")
        file.chmod(0o600)
        monkeypatch.setenv("NETRC", os.fspath(file))
        async with proxying() as proxy:
            monkeypatch.setenv("HTTPS_PROXY", proxy.url)
            async with client_of(service, trust_env=True) as client:
                await ask(client, emulator.sessions[0])
        assert b"uthorization" not in proxy.heads[0]

    def test_a_proxy_of_an_unknown_kind_is_refused(self, monkeypatch):
        """An unknown kind of proxy is refused: direct connections may be forbidden."""
        monkeypatch.setenv("HTTPS_PROXY", f"socks5://{CREDENTIALS}@proxy.test")
        with pytest.raises(ConfigurationError, match=r"^HTTPS_PROXY: ") as caught:
            AsyncEmoggClient("t", trust_env=True)
        assert_no_credentials(*everything_in(caught.value))
        AsyncEmoggClient("t")


class TestArguments:
    @pytest.mark.parametrize(
        "url",
        [
            "proxy.test:3128",
            "socks5://proxy.test",
            "http://",
            "http://:3128",
            "http://proxy test",
            "http://proxy.test:0",
            "http://proxy.test:99999",
            "http://proxy.test:x",
            "http://proxy.test/path",
            "http://proxy.test?query",
            "http://proxy.test#fragment",
            "http://[::1",
            "http://proxy.test\n",
            "http://j.doe:5ecret#1@proxy.test",
            "http://j.doe%3Ax:5ecret@proxy.test",
            "http://j.doe:5ecret%0A@proxy.test",
            "",
            7,
            b"http://proxy.test",
        ],
    )
    def test_what_is_no_proxy_is_refused(self, url):
        """The error shows no part of the URL, since any may be the password."""
        with pytest.raises(ConfigurationError, match=r"^proxy: ") as caught:
            AsyncEmoggClient("t", proxy=url)
        assert_no_credentials(*everything_in(caught.value))
        assert "proxy.test" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "expected", "authorization"),
        [
            ("http://proxy.test", "http://proxy.test:80", None),
            ("https://proxy.test/", "https://proxy.test:443", None),
            ("http://[::1]:3128", "http://[::1]:3128", None),
            ("HTTP://PROXY.test", "http://proxy.test:80", None),
            ("http://joe@proxy.test", "http://proxy.test:80", "am9lOg=="),
            ("http://j%C3%B6:@proxy.test", "http://proxy.test:80", "asO2Og=="),
            ("http://j:p%E4ss@proxy.test", "http://proxy.test:80", "ajpw5HNz"),
        ],
    )
    def test_what_is_one_is_understood(self, url, expected, authorization):
        """Host, port and credentials are taken apart."""
        basic = authorization and f"Basic {authorization}"
        route = AsyncEmoggClient("t", proxy=url)._settings.route
        assert Proxy(url=expected, authorization=basic) == route.proxy
        assert authorization is None or authorization not in repr(route)

    @pytest.mark.parametrize(
        "option",
        [{"proxy": "http://proxy.test"}, {"ssl": "ca.pem"}, {"trust_env": True}],
    )
    async def test_an_own_session_has_its_own_way(self, option):
        """Options that have no effect with `http=` are refused."""
        async with aiohttp.ClientSession() as http:
            with pytest.raises(InvalidArgumentError, match="its own proxy"):
                AsyncEmoggClient("t", http=http, **option)

    @pytest.mark.parametrize("value", [1, None, "yes"])
    def test_trust_env_is_a_bool(self, value):
        """Only a bool is accepted."""
        with pytest.raises(InvalidArgumentError, match="trust_env: expected a bool"):
            AsyncEmoggClient("t", trust_env=value)


async def test_nothing_is_left_behind(emulator, front, client_of):
    """No tunnel stays open, failed or not, and there is no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with proxying(fault="cut", times=3) as proxy:
            async with client_of(front, proxy=proxy.url) as client:
                with pytest.raises(NotSentError):
                    await client.get_session("0" * 24)
                await ask(client, emulator.sessions[0])
                assert 1 == proxy.open
            assert await asyncio.to_thread(eventually, lambda: not proxy.open)
