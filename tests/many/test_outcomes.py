import copy
import pickle
import traceback
from collections.abc import Mapping

import attrs
import pytest

from emogg_async._many.outcomes import Batch, Failed, Fetched, Outcome
from emogg_async.errors import (
    EmoggError,
    InvalidArgumentError,
    NotFoundError,
    ServerError,
)

A, B, C, D = ("a" * 24, "b" * 24, "c" * 24, "d" * 24)
GONE = NotFoundError("no such session", status=404)
DOWN = ServerError("down", status=503)
NO_ID = InvalidArgumentError("session_id: expected 24 hex digits")


@pytest.fixture
def batch():
    """Give a batch of two values and three errors, in no alphabetical order."""
    return Batch({C: 3, A: 1}, {D: GONE, B: DOWN, "../Users": NO_ID})


def test_batch_is_a_mapping_in_the_order_asked(batch):
    """A batch reads like a dict of what was fetched, in the order of the ids."""
    assert isinstance(batch, Mapping)
    assert [C, A] == list(batch) == list(batch.keys())
    assert list(batch.values()) == [3, 1]
    assert list(batch.items()) == [(C, 3), (A, 1)]
    assert len(batch) == 2


def test_batch_equals_a_dict_of_its_values(batch):
    """Two batches, or a batch and a dict, are equal if their values are."""
    assert batch == {A: 1, C: 3}
    assert batch == Batch({A: 1, C: 3}, {})
    assert batch != {A: 1}
    assert batch != [C, A]


def test_batch_takes_either_letter_case(batch):
    """An id is found as it was given, not only as it is kept."""
    assert batch[A.upper()] == batch[A] == 1
    assert A.upper() in batch
    assert batch.get(A.title()) == 1
    assert batch.errors[D.upper()] is GONE
    assert D.upper() in batch.errors


def test_errors_are_a_mapping_in_the_order_asked(batch):
    """Ids that failed are in `errors`; an invalid one is there as it was given."""
    assert isinstance(batch.errors, Mapping)
    assert batch.errors == {D: GONE, B: DOWN, "../Users": NO_ID}
    assert list(batch.errors) == [D, B, "../Users"]
    assert batch.errors["../Users"] is NO_ID
    assert "../users" not in batch.errors
    assert A not in batch.errors


def test_an_id_that_failed_is_a_key_error_with_its_cause(batch):
    """An id that failed is a KeyError whose cause is the id's own error."""
    with pytest.raises(KeyError, match=D) as caught:
        batch[D]
    assert caught.value.__cause__ is GONE
    with pytest.raises(KeyError, match=D.upper()) as caught:
        batch[D.upper()]
    assert caught.value.__cause__ is GONE
    assert D not in batch
    assert batch.get(D) is None


@pytest.mark.parametrize("key", ["f" * 24, "", "../Users ", 3, None, (A,)])
def test_an_id_nobody_asked_for_is_a_plain_key_error(batch, key):
    """Any other key, of whatever type, is simply not there."""
    with pytest.raises(KeyError) as caught:
        batch[key]
    assert (key,) == caught.value.args
    assert caught.value.__cause__ is None
    assert key not in batch
    assert key not in batch.errors
    assert batch.get(key, "none") == "none"


def test_raise_for_errors_raises_them_all(batch):
    """One exception group holds every error, in the order asked."""
    with pytest.raises(ExceptionGroup, match="3 of 5 ids failed") as caught:
        batch.raise_for_errors()
    assert caught.value.exceptions == (GONE, DOWN, NO_ID)


def test_raise_for_errors_can_be_caught_by_kind(batch):
    """`except*` picks out errors by their class."""
    caught = []
    try:
        batch.raise_for_errors()
    except* NotFoundError as group:
        caught += group.exceptions
    except* EmoggError as group:
        caught += group.exceptions
    assert caught == [GONE, DOWN, NO_ID]


def test_raise_for_errors_is_silent_when_all_is_well():
    """Nothing is raised if every id was fetched, or none was asked for."""
    assert Batch({A: 1}, {}).raise_for_errors() is None
    assert Batch({}, {}).raise_for_errors() is None


def test_empty_batch():
    """An empty batch is empty in every respect."""
    empty = Batch({}, {})
    assert not empty
    assert not empty.errors
    assert empty == {}
    assert repr(empty) == "<Batch: 0 fetched, 0 failed>"


def test_repr_counts(batch):
    """A batch shows how many there are, not thousands of sessions."""
    assert repr(batch) == "<Batch: 2 fetched, 3 failed>"


def test_repr_of_errors_shows_them(batch):
    """Errors are shown with their ids: that is what one prints them for."""
    assert f"'{B}': ServerError('down')" in repr(batch.errors)


def test_batch_cannot_be_changed(batch):
    """Neither values nor errors can be replaced."""
    with pytest.raises(TypeError, match="does not support item assignment"):
        batch[A] = 2
    with pytest.raises(TypeError, match="does not support item assignment"):
        batch.errors[A] = GONE
    with pytest.raises(AttributeError, match="errors"):
        batch.errors = {}


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda b: pickle.loads(pickle.dumps(b))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_batch_survives_copies(batch, duplicate):
    """A batch can be sent to another process, its errors included."""
    restored = duplicate(batch)
    assert batch == restored
    assert list(batch) == list(restored)
    assert list(map(str, batch.errors.values())) == list(
        map(str, restored.errors.values())
    )


def test_unwrap_returns_the_value_or_raises_the_error():
    """`unwrap` turns an outcome back into what the call itself would have done."""
    assert Fetched(A, 1).unwrap() == 1
    with pytest.raises(NotFoundError, match="no such session") as caught:
        Failed(A, GONE).unwrap()
    assert caught.value is GONE


def depth_of(error):
    """Return how many frames an error holds."""
    return len(list(traceback.walk_tb(error.__traceback__)))


def test_unwrapping_again_adds_no_frames():
    """An error that is raised many times holds the frames of the last time only."""
    outcome = Failed(A, NotFoundError("no such session", status=404))
    depths = []
    for _ in range(3):
        with pytest.raises(NotFoundError) as caught:
            outcome.unwrap()
        depths.append(depth_of(caught.value))
    assert depths == [depths[0]] * 3


def test_raising_for_errors_leaves_no_frames():
    """The errors of a batch hold no frames, however often they are raised."""
    batch = Batch({A: 1}, {B: copy.copy(DOWN), D: copy.copy(GONE)})
    for _ in range(3):
        with pytest.raises(ExceptionGroup):
            batch.raise_for_errors()
        with pytest.raises(KeyError):
            batch[B]
    assert [0, 0] == [depth_of(error) for error in batch.errors.values()]


def described(outcome: Outcome[int]) -> str:
    """Say what came of one id, as users do."""
    match outcome:
        case Fetched(session_id=session_id, value=value):
            return f"{session_id[0]}={value}"
        case Failed(session_id, NotFoundError()):
            return f"{session_id[0]} is gone"
        case Failed(session_id, error):
            return f"{session_id[0]}: {error.message}"


@pytest.mark.parametrize(
    ("expected", "outcome"),
    [
        ("a=1", Fetched(A, 1)),
        ("a=None", Fetched(A, None)),
        ("b is gone", Failed(B, GONE)),
        ("c: down", Failed(C, DOWN)),
    ],
)
def test_match_tells_outcomes_apart(expected, outcome):
    """`match` takes outcomes apart, by name and by position."""
    assert expected == described(outcome)


@pytest.mark.parametrize("outcome", [Fetched(A, 1), Failed(A, GONE)])
def test_outcomes_are_frozen_values(outcome):
    """An outcome cannot be changed; equal ones are equal."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        outcome.session_id = B
    assert outcome == attrs.evolve(outcome)
    assert outcome != attrs.evolve(outcome, session_id=B)
    assert not hasattr(outcome, "__dict__")


def test_fetched_and_failed_never_equal():
    """An error that was fetched as a value does not equal a failure."""
    assert Fetched(A, GONE) != Failed(A, GONE)
