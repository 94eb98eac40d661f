"""What models are made of: their base, frozen JSON objects, and open enums."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from types import NoneType
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

__all__ = ["EMPTY", "FrozenMapping", "Model", "OpenEnum", "member", "thaw"]


class Model:
    """A base of all models, which adds nothing to an instance."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form, a dict like the service's JSON.

        It equals `emogg_async.to_dict(model)`.
        """
        wire: dict[str, Any] = _forms().to_dict(self)
        return wire

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """Tell pydantic how to read and write the model."""
        return _forms().core_schema(cls, handler)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> Any:
        """Tell pydantic how to describe the model, as in the OpenAPI of FastAPI."""
        return _forms().json_schema(cls, schema, handler)


def _forms() -> Any:
    from emogg_async._wire import forms  # noqa: PLC0415 - cattrs is slow to import

    return forms


V_co = TypeVar("V_co", covariant=True)


_SCALARS: Final = frozenset({str, int, float, bool, NoneType})


def freeze(value: Any) -> Any:
    """Return *value*, a JSON value, with each object and array in it immutable."""
    if type(value) in _SCALARS:  # nearly all are; the checks below cost ten times more
        return value
    if isinstance(value, list | tuple):
        return tuple(freeze(item) for item in value)
    if isinstance(value, Mapping):
        return value if isinstance(value, FrozenMapping) else FrozenMapping(value)
    return value


def thaw(value: Any) -> Any:
    """Return *value* with plain dicts and lists, as it was before `freeze`."""
    if isinstance(value, Mapping):
        return {key: thaw(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [thaw(item) for item in value]
    return value


class FrozenMapping(Mapping[str, V_co]):
    """A JSON object that is immutable at any depth; hashable and picklable.

    Objects inside are `FrozenMapping` as well; arrays are tuples. It equals any mapping
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
"""The mapping that all models without unknown fields share."""


E = TypeVar("E")


def member(value: str) -> Any:
    """Return *value*, typed so that a checker accepts it as a member of an enum."""
    return value


if TYPE_CHECKING:
    # A checker takes the declared members of an enum for all possible ones. It would
    # reject comparisons with other values, and call code after a `match` unreachable.
    class _OpenEnumType(type):
        """The class's own members: those that are known."""

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
            """Its name in this class; its value if it is unknown."""

        @property
        def value(self) -> str:
            """Its text."""

        @property
        def known(self) -> bool:
            """Whether this release declares the value."""

else:

    class OpenEnum(StrEnum):
        """A string enum whose list of values is not closed.

        `State("paused")` works for an undeclared value: it compares with `==`, hashes
        and prints like other members, and is stored nowhere. Compare with `==`, never
        with `is`.
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
            """Whether this release declares the value."""
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
