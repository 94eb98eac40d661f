"""The two kinds of value in models: frozen JSON objects, and open enums."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

__all__ = ["EMPTY", "FrozenMapping", "OpenEnum", "member", "thaw"]


V_co = TypeVar("V_co", covariant=True)


_SCALARS: Final = frozenset({str, int, float, bool, NoneType})


def freeze(value: Any) -> Any:
    """Return *value*, a JSON value, with each object and array in it immutable."""
    if type(value) in _SCALARS:  # nearly all are, and what is below costs ten times it
        return value
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, Mapping):
        return value if isinstance(value, FrozenMapping) else FrozenMapping(value)
    return value


def thaw(value: Any) -> Any:
    """Undo `freeze`: return *value* with plain dicts and lists."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value


class FrozenMapping(Mapping[str, V_co]):
    """A JSON object that cannot change, at any depth; hashable and picklable.

    Objects inside are `FrozenMapping` too; arrays are tuples. It equals any mapping
    with the same content.
    """

    __slots__ = ("_content",)
    _content: dict[str, V_co]

    def __init__(self, content: Mapping[str, V_co]) -> None:
        frozen = {key: freeze(value) for key, value in content.items()}
        object.__setattr__(self, "_content", frozen)

    def __getitem__(self, key: str) -> V_co:
        return self._content[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FrozenMapping):
            return self._content == other._content
        if isinstance(other, Mapping):
            return self._content == FrozenMapping(other)._content
        return NotImplemented

    def __hash__(self) -> int:
        return hash(frozenset(self._content.items()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._content!r})"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._content,)


EMPTY: Final[FrozenMapping[Any]] = FrozenMapping({})
"""The mapping that every model without unknown fields shares."""


E = TypeVar("E")


def member(value: str) -> Any:
    """Return the *value* of a member, as what the type checker wants: anything."""
    return value


if TYPE_CHECKING:
    # A checker takes the members of an enum for all that there can be: it would call a
    # comparison with any other value an error, and what follows a `match` unreachable.
    class _OpenEnumType(type):
        """What can be asked of the class: the members that are known."""

        def __iter__(cls: type[E]) -> Iterator[E]: ...
        def __len__(cls) -> int: ...
        def __getitem__(cls: type[E], name: str) -> E: ...
        @property
        def __members__(cls: type[E]) -> Mapping[str, E]: ...

    class OpenEnum(str, metaclass=_OpenEnumType):
        """A string enum whose list of values is not closed."""

        __slots__ = ()

        @property
        def name(self) -> str:
            """Its name in this class, or its value where it has none."""

        @property
        def value(self) -> str:
            """The text that it is."""

        @property
        def known(self) -> bool:
            """Whether this value was declared when this release was made."""

else:

    class OpenEnum(StrEnum):
        """A string enum whose list of values is not closed.

        `State("paused")` works for a value that nobody declared: it compares with `==`,
        hashes and prints like any other member, and is kept nowhere. Compare with `==`,
        never with `is`.
        """

        @classmethod
        def _missing_(cls, value: object) -> Self | None:
            if not isinstance(value, str):
                return None
            member = str.__new__(cls, value)
            member._name_ = member._value_ = str(value)
            return member

        @property
        def known(self) -> bool:
            """Whether this value was declared when this release was made."""
            return self.value in type(self)._value2member_map_

        def __repr__(self) -> str:
            name = (
                f"{type(self).__name__}.{self.name}"
                if self.known
                else type(self).__name__
            )
            return f"<{name}: {self.value!r}>"

        def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
            return type(self), (self.value,)

        def __deepcopy__(self, memo: object) -> Self:
            return self

        def __copy__(self) -> Self:
            return self
