"""The parser of answers: with orjson and without it, the results are the same."""

import json
import subprocess
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from emogg_async._wire import protocol
from emogg_async._wire.protocol import _GARBAGE as GARBAGE
from emogg_async._wire.protocol import _parse as parse

numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(str),
    st.from_regex(
        r"-?[0-9]{1,24}(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
    ),
)
texts = st.text().map(json.dumps) | st.text().map(lambda text: f'"{text}"')
values = st.recursive(
    numbers | texts | st.sampled_from(["true", "false", "null", "NaN", '"\\ud800"']),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda each: f"[{' , '.join(each)}]"),
        st.lists(st.tuples(texts, inner), max_size=4).map(
            lambda each: "{" + ",".join(f"{key}: {value}" for key, value in each) + "}"
        ),
    ),
    max_leaves=12,
)


@st.composite
def bodies(draw):
    """Draw the body of an answer, mostly JSON, at times damaged."""
    body = draw(values).encode(errors="surrogatepass")
    cut = draw(st.integers(0, len(body)) | st.none())
    if cut is None:
        return body
    return body[:cut] + draw(st.binary(max_size=3)) + body[cut:]


@pytest.mark.property
@given(bodies() | st.binary(max_size=40))
@example(b"18446744073709551616")
@example(b"[-0, -0.0, 1e400, 0.1234567890123456789012]")
@example(b"\xef\xbb\xbf{}")
@example(b'{"a": 1, "a": 2}')
@example(b'"\\ud800"')
@example(b'"\xed\xa0\x80"')
@example(b"")
def test_both_parsers_agree(body):
    """No text is read otherwise, nor refused otherwise, because orjson is there."""
    assert protocol._quick() is not None
    quick = parse(body)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "_quick", lambda: None)
        exact = parse(body)
    assert repr(quick) == repr(exact)


def test_orjson_is_used():
    """What orjson reads, it reads: that is what the extra is for."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "_quick", lambda: seen.append)
        assert parse(b'{"duration": 1}') is None
        parse(b'{"duration": 1234567890123456789}')
    assert seen == [b'{"duration": 1}']


def test_what_is_no_json():
    """Neither parser takes what is not JSON."""
    assert parse(b"NaN") is GARBAGE is parse(b"{") is parse(b"\xff")


@pytest.mark.parametrize("error", ["ModuleNotFoundError", "ImportError"])
def test_it_works_without_orjson(error, tmp_path):
    """Where orjson is missing, or made for another system, `json` reads everything."""
    (tmp_path / "orjson.py").write_text(f"raise {error}('no orjson here')")
    script = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from emogg_async._wire.protocol import _parse as parse\n"
        "assert parse(b'[1, 2.5]') == [1, 2.5]"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
