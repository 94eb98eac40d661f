"""What comes of many ids: one outcome for each, and all of them together."""

from collections.abc import Iterator, Mapping
from typing import Any, Generic, NoReturn, TypeVar

import attrs

from emogg_async.errors import EmoggError

__all__ = ["Batch", "Failed", "Fetched", "Outcome"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class Fetched(Generic[T]):
    """An id whose call succeeded."""

    session_id: str
    """The id, in lower case."""

    value: T
    """What the call returned."""

    def unwrap(self) -> T:
        """Return the value."""
        return self.value


@attrs.frozen
class Failed:
    """An id whose call failed; a value, so that it cannot be lost."""

    session_id: str
    """The id in lower case, or as it was given when it is no id at all."""

    error: EmoggError
    """Why it failed."""

    def unwrap(self) -> NoReturn:
        """Raise the error.

        Raises:
            EmoggError: Always.
        """
        raise self.error.with_traceback(None)  # or each time would add its frames


Outcome = Fetched[T] | Failed
"""What came of one id; `match` tells which."""


class _ByID(Mapping[str, T_co]):
    """A mapping by session id that takes either letter case."""

    __slots__ = ("_items",)

    def __init__(self, items: dict[str, T_co]) -> None:
        self._items = items

    def __getitem__(self, session_id: str) -> T_co:
        try:
            return self._items[session_id]
        except KeyError:
            if not isinstance(session_id, str):
                raise
        return self._items[session_id.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self._items)


class Batch(_ByID[T_co]):
    """What many ids brought: a mapping from id to value, in the order asked.

    Ids that failed are not in it, but in `errors`. Both take an id in either letter
    case.
    """

    __slots__ = ("_errors",)

    def __init__(self, values: dict[str, T_co], errors: dict[str, EmoggError]) -> None:
        super().__init__(values)
        self._errors = _ByID(errors)

    @property
    def errors(self) -> Mapping[str, EmoggError]:
        """Why ids failed, in the order asked."""
        return self._errors

    def raise_for_errors(self) -> None:
        """Do nothing when every id was fetched.

        Raises:
            ExceptionGroup: At least one failed; the group holds each one's error.
        """
        if self._errors:
            total = len(self) + len(self._errors)
            raise ExceptionGroup(
                f"{len(self._errors)} of {total} ids failed",
                list(self._errors.values()),
            )

    def __getitem__(self, session_id: str) -> T_co:
        """Return the value of one id.

        Raises:
            KeyError: It was not asked for, or it failed; then the error is the cause.
        """
        try:
            return super().__getitem__(session_id)
        except KeyError:
            error: Any = self._errors.get(session_id)
            raise KeyError(session_id) from error

    def __repr__(self) -> str:
        return f"<Batch: {len(self)} fetched, {len(self._errors)} failed>"

    def _repr_html_(self) -> str:
        """Write the first values and errors as a small table, for notebooks."""
        from emogg_async._notebook import views  # noqa: PLC0415 - only notebooks need it

        return views.batch_table(self, self._errors)
