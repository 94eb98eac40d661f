"""The fields of an answer's head, as users see them."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

__all__ = ["Fields", "ResponseHeaders"]


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
