"""The outcomes of a bulk: one for each id, and a batch of all."""

from collections.abc import Iterator, Mapping
from typing import Any, Generic, NoReturn, TypeVar

import attrs

from emogg_async._many.tables import M, to_columns
from emogg_async.errors import EmoggError

__all__ = ["Batch", "Failed", "Fetched", "Outcome"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


@attrs.frozen
class Fetched(Generic[T]):
    """The outcome of an id whose call succeeded.

    Attributes:
        session_id: The id in lower case.
        value: The value that the call returned.
    """

    session_id: str
    value: T

    def unwrap(self) -> T:
        """Return the value."""
        return self.value


@attrs.frozen
class Failed:
    """The outcome of an id whose call failed.

    Attributes:
        session_id: The id in lower case, or as it was given if it is not a session id.
        error: The error of the call.
    """

    session_id: str
    error: EmoggError

    def unwrap(self) -> NoReturn:
        """Raise the error.

        Raises:
            EmoggError: Always.
        """
        raise self.error.with_traceback(None)  # each raise would add frames


Outcome = Fetched[T] | Failed
"""The outcome of one id: `Fetched` or `Failed`. `match` tells them apart."""


class _ByID(Mapping[str, T_co]):
    """A mapping whose keys are session ids in either letter case."""

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
    """The outcome of many ids: a mapping from id to value, in the order asked.

    Ids that failed are in `errors`, and not in the mapping itself. Both take an id in
    either letter case.
    """

    __slots__ = ("_errors",)

    def __init__(self, values: dict[str, T_co], errors: dict[str, EmoggError]) -> None:
        super().__init__(values)
        self._errors = _ByID(errors)

    @property
    def errors(self) -> Mapping[str, EmoggError]:
        """The errors of the ids that failed, by id and in the order asked."""
        return self._errors

    def raise_for_errors(self) -> None:
        """Raise the errors of all ids that failed; do nothing if none failed.

        Raises:
            ExceptionGroup: At least one id failed. The group holds all errors.
        """
        if self._errors:
            total = len(self) + len(self._errors)
            raise ExceptionGroup(
                f"{len(self._errors)} of {total} ids failed",
                list(self._errors.values()),
            )

    def to_columns(
        self: "Batch[M]", *, of: type[M] | None = None
    ) -> dict[str, list[Any]]:
        """Put all values into one table, for pandas, polars or pyarrow.

        Ids that failed are no rows: they are in `errors`. The columns are those of
        `Session.to_columns`, or of the values' own class.

        Args:
            of: Class of the values, which names the columns where every id failed. None
                takes the class of the first value, or `Session` where there is none.

        Returns:
            Lists of equal length, by the names of the columns; see
            `emogg_async.to_columns`.

        Raises:
            InvalidArgumentError: A value is neither a session, nor totals, nor a
                timeline, or it is of another class than the first one.
        """
        return to_columns(self.values(), of=of)

    def __getitem__(self, session_id: str) -> T_co:
        """Return the value of one id.

        Raises:
            KeyError: The id was not asked for, or it failed. The error of a failed id
                is the cause.
        """
        try:
            return super().__getitem__(session_id)
        except KeyError:
            error: Any = self._errors.get(session_id)
            raise KeyError(session_id) from error

    def __repr__(self) -> str:
        return f"<Batch: {len(self)} fetched, {len(self._errors)} failed>"

    def _repr_html_(self) -> str:
        """Write the first values and errors as a small table for notebooks."""
        from emogg_async._notebook import views  # noqa: PLC0415 - only notebooks need it

        return views.batch_table(self, self._errors)
