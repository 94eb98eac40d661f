import importlib
import ssl
import subprocess
import sys
from urllib.parse import quote

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from emogg_async import ConfigurationError, InvalidArgumentError, redis_cache
from emogg_async._caching.redis import Address, parse_url

SECRET = "p@ss:w/rd#?%&[ü"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://a.example", Address(host="a.example")),
        ("redis://a.example/", Address(host="a.example")),
        ("redis://a.example:7000/3", Address(host="a.example", port=7000, database=3)),
        ("redis://a.example?db=3", Address(host="a.example", database=3)),
        ("redis://[::1]:7000", Address(host="::1", port=7000)),
        ("rediss://10.0.0.1/1", Address(host="10.0.0.1", database=1, tls=True)),
        ("REDISS://A.example", Address(host="a.example", tls=True)),
        ("redis://:pw@h", Address(host="h", password="pw")),
        ("redis://me@h", Address(host="h", username="me")),
        (
            "redis://m%40e:p%3Aw+%2F@h",
            Address(host="h", username="m@e", password="p:w+/"),
        ),
        ("unix:///run/r.sock", Address(path="/run/r.sock")),
        ("unix:/run/a%20b.sock", Address(path="/run/a b.sock")),
        (
            "unix://me:pw@/run/r.sock?db=2",
            Address(path="/run/r.sock", database=2, username="me", password="pw"),
        ),
        (
            "unix:///r?username=me&password=p%26w&db=0",
            Address(path="/r", username="me", password="p&w"),
        ),
    ],
)
def test_reads(url, expected):
    """Host, port, path, user, password, database and TLS are read from the URL."""
    assert expected == parse_url(url)


@given(st.text(min_size=1), st.text(min_size=1))
def test_any_name_and_password_can_be_percent_encoded(name, password):
    """Whatever a name or a password consists of comes out as it was."""
    try:
        encoded = f"{quote(name, safe='')}:{quote(password, safe='')}"
    except UnicodeEncodeError:  # half of a surrogate pair
        return
    address = parse_url(f"redis://{encoded}@h")
    assert (name, password) == (address.username, address.password)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        (None, "expected text, got NoneType"),
        (b"redis://h", "expected text, got bytes"),
        ("", "expected redis://"),
        ("h:6379", "expected redis://"),
        ("http://h", "expected redis://"),
        ("redis:h", "expected redis://"),
        ("redis://", "expected redis://"),
        (f"redis://:{quote(SECRET)}@/0", "expected redis://"),
        ("redis://h:port", "expected redis://"),
        ("redis://h:0", "expected redis://"),
        ("redis://h:70000", "expected redis://"),
        ("redis://[::1", "expected redis://"),
        ("redis://h/0#x", "expected redis://"),
        ("redis://h/0\n", "expected redis://"),
        ("redis://h h/0", "expected redis://"),
        (f"redis://:{SECRET}@h/0", "expected redis://"),
        ("unix://run/r.sock", "expected redis://"),
        ("unix://", "expected redis://"),
        ("redis://h/zero", "whole number as the database"),
        ("redis://h/1/2", "whole number as the database"),
        ("redis://h/-1", "whole number as the database"),
        ("redis://h/٣", "whole number as the database"),
        ("redis://h/1?db=1", "names a database twice"),
        ("redis://h?ssl_cert_reqs=none", "nothing else"),
        ("redis://h?socket_timeout=5", "nothing else"),
        ("redis://h?db", "expected redis://"),
    ],
)
def test_refuses(url, rule):
    """What is not understood is refused, with the rule and nothing of the URL."""
    with pytest.raises(InvalidArgumentError, match=rule) as caught:
        redis_cache(url)
    assert str(caught.value).startswith("url: ")
    assert "p@ss" not in str(caught.value)
    assert caught.value.__context__ is None  # whose message may quote it


@pytest.mark.parametrize(
    "options",
    [
        {"max_connections": 0},
        {"max_connections": 2.5},
        {"max_connections": "10"},
        {"namespace": None},
        {"namespace": 5},
        {"ssl": "/no/such/file.pem"},
        {"ssl": True},
        {"ssl": __file__},
    ],
)
def test_refuses_other_arguments(options):
    """An option out of its range is refused by name."""
    with pytest.raises(InvalidArgumentError, match=f"^{next(iter(options))}: "):
        redis_cache("rediss://h", **options)


def test_trust_without_tls_is_refused():
    """Certificates make no sense where nothing is encrypted."""
    with pytest.raises(InvalidArgumentError, match="not rediss://"):
        redis_cache("redis://h", ssl=ssl.create_default_context())


@pytest.mark.parametrize("scheme", ["redis", "rediss"])
async def test_no_representation_shows_the_password(scheme):
    """Neither the cache nor what is below it prints name or password."""
    cache = redis_cache(f"{scheme}://me-myself:s3cret-word@a.example:7000/3")
    assert f"<redis_cache {scheme}://a.example:7000/3>" == repr(cache)
    shown = repr([cache, cache.client, cache.client.connection_pool])
    connection = cache.client.connection_pool.make_connection()
    address = parse_url("redis://me-myself:s3cret-word@h")
    for text in (shown, repr(connection), repr(address), str(address)):
        assert "s3cret" not in text


async def test_trusts_what_it_is_told(tmp_path):
    """`ssl` is a context or a PEM file; without it, hosts are checked all the same."""
    authority = trustme.CA()
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    context = ssl.create_default_context()

    def used(**options):
        cache = redis_cache("rediss://h", **options)
        connection = cache.client.connection_pool.make_connection()
        return connection.ssl_context.get()

    assert context is used(ssl=context)
    assert 1 == used(ssl=str(path)).cert_store_stats()["x509_ca"]
    for options in ({}, {"ssl": str(path)}):
        assert used(**options).check_hostname
        assert ssl.CERT_REQUIRED == used(**options).verify_mode


def test_says_how_to_install_what_is_missing(monkeypatch):
    """Without the extra, the root exports the name, and a call says what to do."""
    monkeypatch.setitem(sys.modules, "redis", None)
    home = "emogg_async._caching.redis_backend"
    monkeypatch.delitem(sys.modules, home, raising=False)
    for name in [name for name in sys.modules if name.startswith("aiocache")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigurationError, match=r"pip install 'emogg-async\[redis\]'"):
        redis_cache("redis://h")


def test_star_import_works_without_the_extra():
    """`from emogg_async import *` does not need what only an extra brings."""
    script = "import sys; sys.modules['redis'] = None; from emogg_async import *"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_module_needs_no_library():
    """The module itself can be imported without aiocache and redis."""
    assert callable(importlib.import_module("emogg_async._caching.redis").redis_cache)
