"""Answers as the service sends them, and their JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NoReturn, Protocol

import attrs

from emogg_async.errors import ResponseShapeError

__all__ = ["GARBAGE", "RawResponse", "ResponseHeaders", "has_many_parts", "parse"]

MAX_JSON_PARTS: Final = 1_950_000
"""The most commas (counted twice), colons and opening brackets that are parsed.

Each of them takes some 60 bytes once it is parsed, if all strings differ. A day in
steps of 5 s with seven emotions has 1,537,920.
"""

_BYTE_ORDER_MARK = "\ufeff"

GARBAGE: Final = object()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# `json.loads` takes NaN and Infinity, and looks at its options at each call.
_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


def parse(body: bytes) -> Any:
    """Parse *body* as JSON; return `GARBAGE` if it is not JSON.

    An error of `json` would quote the whole body.
    """
    try:
        return _decode(body.decode().removeprefix(_BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        return GARBAGE


def has_many_parts(body: bytes) -> bool:
    """Tell whether *body* has more parts than are parsed."""
    return sum(map(body.count, b",,:[{")) > MAX_JSON_PARTS


class Fields(Protocol):
    """Names and values; a name may come several times."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return each name with each of its values."""


class ResponseHeaders(Mapping[str, str]):
    """The headers of an answer: read-only, and found in any letter case.

    The values of a header that comes several times are joined by commas. It is hashable
    and picklable.
    """

    __slots__ = ("_fields",)
    _fields: dict[str, tuple[str, str]]

    def __init__(self, fields: "Fields") -> None:
        self._fields = {}
        for name, value in fields.items():  # aiohttp's mappings repeat a name
            key = name.lower()
            spelt, before = self._fields.get(key, (name, None))
            joined = value if before is None else f"{before}, {value}"
            self._fields[key] = spelt, joined

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()][1]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return (spelt for spelt, _ in self._fields.values())

    def __len__(self) -> int:
        return len(self._fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mapping):
            return NotImplemented
        return self._plain() == {str(key).lower(): other[key] for key in other}

    def __hash__(self) -> int:
        return hash(frozenset(self._plain().items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({dict(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def _plain(self) -> dict[str, str]:
        return {key: value for key, (_, value) in self._fields.items()}


@attrs.frozen(kw_only=True)
class RawResponse:
    """An answer as the service sent it: `client.request(…, raw=True)`.

    Attributes:
        status: The HTTP status, from 200 to 299.
        headers: The headers of the answer, found in any letter case. The token is
            removed from their values.
        content: The body, unpacked.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    content: bytes = attrs.field(repr=False)

    def json(self) -> Any:
        """Parse the body; return None if there is none.

        Raises:
            ResponseShapeError: The body is not JSON, or of too many parts.
        """
        if not self.content:
            return None
        problem = "of more parts than are read"
        if not has_many_parts(self.content):
            payload = parse(self.content)
            if payload is not GARBAGE:
                return payload
            problem = "no valid JSON"
        raise ResponseShapeError(
            f"the answer ({self.status}) is {problem}", problems=(problem,)
        )
