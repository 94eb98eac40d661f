"""The values in models: frozen JSON objects, open enums, and documented fields."""

import copy
import gc
import inspect
import json
import pickle
import re
import weakref
from collections import OrderedDict
from types import MappingProxyType

import attrs
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st

from emogg_async import events, models, testing
from emogg_async._values import EMPTY, FrozenMapping, freeze, thaw
from emogg_async.models import SessionState, SessionType

CONTENT = {"a": 1, "b": [1, {"c": None}], "d": {"e": {"f": [[]]}}}

duplicates = pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))],
    ids=["copy", "deepcopy", "pickle"],
)


def is_plain(value):
    """Tell whether *value* is made of what `json.loads` makes, and of nothing else."""
    if type(value) is dict:
        return all(map(is_plain, value.values()))
    if type(value) is list:
        return all(map(is_plain, value))
    return value is None or type(value) in {str, int, float, bool}


class TestFrozenMapping:
    def test_reads_like_a_dict(self):
        """It is a mapping like any other, in the order of its content."""
        mapping = FrozenMapping(CONTENT)
        assert list(mapping) == ["a", "b", "d"]
        assert len(mapping) == 3
        assert mapping["a"] == 1
        assert "z" not in mapping
        assert mapping.get("z") is None

    def test_is_frozen_at_every_depth(self):
        """Objects inside are frozen mappings, and arrays are tuples."""
        mapping = FrozenMapping(CONTENT)
        assert (1, FrozenMapping({"c": None})) == mapping["b"]
        assert isinstance(mapping["b"][1], FrozenMapping)
        assert isinstance(mapping["d"]["e"], FrozenMapping)
        assert mapping["d"]["e"]["f"] == ((),)

    @pytest.mark.parametrize("name", ["a", "_content", "new"])
    def test_attributes_cannot_be_set_or_deleted(self, name):
        """Neither its own attributes nor new ones can be written."""
        mapping = FrozenMapping(CONTENT)
        with pytest.raises(AttributeError, match="FrozenMapping is immutable"):
            setattr(mapping, name, {})
        with pytest.raises(AttributeError, match="FrozenMapping is immutable"):
            delattr(mapping, name)
        assert mapping == CONTENT

    def test_items_cannot_be_set_or_deleted(self):
        """It has no method that changes it."""
        mapping = FrozenMapping(CONTENT)
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["a"] = 2
        with pytest.raises(TypeError, match="does not support item deletion"):
            del mapping["a"]

    def test_does_not_change_with_what_it_was_made_of(self):
        """It keeps a copy: the original may change."""
        inner = {"b": [1]}
        mapping = FrozenMapping(original := {"a": inner})
        inner["b"].append(2)
        inner["c"] = 3
        original["z"] = 4
        assert mapping == {"a": {"b": [1]}}

    @pytest.mark.parametrize("kind", [dict, OrderedDict, MappingProxyType])
    def test_equals_any_mapping_of_the_same_content(self, kind):
        """It equals a plain dict, with lists and dicts inside, from both sides."""
        mapping = FrozenMapping(CONTENT)
        assert kind(CONTENT) == mapping
        assert mapping == kind(CONTENT)
        assert kind({}) != mapping

    @pytest.mark.parametrize("other", [None, 1, "a", [("a", 1)], ()])
    def test_equals_nothing_that_is_no_mapping(self, other):
        """Compared with anything else it is simply not equal."""
        assert FrozenMapping(CONTENT) != other

    def test_equal_ones_hash_equal(self):
        """The order of the fields does not count, so sets and dicts work."""
        there = FrozenMapping(CONTENT)
        back = FrozenMapping(dict(reversed(CONTENT.items())))
        assert hash(there) == hash(back)
        assert len({there, back}) == 1

    @duplicates
    def test_survives_copies(self, duplicate):
        """A copy equals the original and is as frozen."""
        mapping = FrozenMapping(CONTENT)
        restored = duplicate(mapping)
        assert mapping == restored
        assert hash(mapping) == hash(restored)
        assert isinstance(restored["d"]["e"], FrozenMapping)
        with pytest.raises(AttributeError, match="immutable"):
            restored.new = 1

    def test_shows_its_content(self):
        """Its repr is readable and can be evaluated."""
        mapping = FrozenMapping({"a": [1], "b": {}})
        assert repr(mapping) == "FrozenMapping({'a': (1,), 'b': FrozenMapping({})})"
        assert mapping == eval(repr(mapping))

    def test_is_falsy_when_empty(self):
        """`if session.extra` asks whether there is anything unknown."""
        assert not EMPTY
        assert FrozenMapping({"a": None})

    @pytest.mark.property
    @given(strategies.json_objects)
    def test_law_any_content_survives(self, content):
        """It equals the JSON object that it holds, hashes, and can be pickled."""
        mapping = FrozenMapping(content)
        assert content == mapping
        restored = pickle.loads(pickle.dumps(mapping))
        assert mapping == restored
        assert hash(mapping) == hash(restored)


@pytest.mark.property
@given(strategies.json_values)
def test_law_thaw_undoes_freeze(value):
    """Frozen and thawed again, a value is what it was, in plain dicts and lists."""
    frozen = freeze(value)
    assert value == thaw(frozen)
    assert is_plain(thaw(frozen))
    assert frozen == freeze(thaw(frozen))
    assert hash(frozen) == hash(freeze(value))


def test_freezing_twice_changes_nothing():
    """A frozen value is returned as it is."""
    mapping = FrozenMapping(CONTENT)
    assert freeze(mapping) is mapping


class TestOpenEnum:
    def test_known_values_are_the_declared_members(self):
        """A value that was declared is the one member that stands for it."""
        assert SessionState("finished") is SessionState.FINISHED
        assert SessionState.FINISHED.known

    def test_unknown_values_pass(self):
        """A value that nobody declared compares, hashes and prints as itself."""
        paused = SessionState("paused")
        assert isinstance(paused, SessionState)
        assert not paused.known
        assert paused == "paused"
        assert SessionState("paused") == paused
        assert paused != SessionState.ACTIVE
        assert hash("paused") == hash(paused)
        assert "paused" == paused.value == paused.name

    def test_name_of_a_member_is_not_its_value(self):
        """`ACTIVE` is not what the service writes, so it is unknown."""
        assert not SessionState("ACTIVE").known
        assert SessionState("ACTIVE") != SessionState.ACTIVE

    @pytest.mark.parametrize("value", ["active", "paused"])
    def test_prints_as_its_value(self, value):
        """In text, with a format or in JSON, a state is what the service wrote."""
        state = SessionState(value)
        assert value == str(state)
        assert type(str(state)) is str
        assert value == f"{state}"
        assert f"{value:>12}|" == f"{state:>12}|"
        assert value == "%s" % state  # noqa: UP031 - one more way to print
        assert f'"{value}"' == json.dumps(state)

    @pytest.mark.parametrize(
        ("expected", "state"),
        [
            ("<SessionState.ACTIVE: 'active'>", SessionState.ACTIVE),
            ("<SessionState: 'paused'>", SessionState("paused")),
            ("<SessionType: ''>", SessionType("")),
        ],
    )
    def test_repr_tells_whether_it_is_declared(self, expected, state):
        """A declared one shows its name, any other only its value."""
        assert expected == repr(state)

    @duplicates
    @pytest.mark.parametrize("value", ["active", "paused", ""])
    def test_survives_copies(self, duplicate, value):
        """A copy has the same class and value, and is known if it was."""
        state = SessionState(value)
        restored = duplicate(state)
        assert SessionState is type(restored)
        assert state == restored
        assert state.known is restored.known
        assert state.name == restored.name

    def test_declared_ones_stay_themselves_in_copies(self):
        """A member that was pickled is the same member again."""
        restored = pickle.loads(pickle.dumps(SessionState.ACTIVE))
        assert restored is SessionState.ACTIVE

    def test_nothing_grows_when_unknown_values_are_many(self):
        """Unknown values are kept nowhere: a client lives for months."""
        before = len(vars(SessionState)), len(SessionState._value2member_map_)
        for number in range(10_000):
            SessionState(f"unknown {number}")
        assert before == (len(vars(SessionState)), len(SessionState._value2member_map_))
        assert list(SessionState) == ["active", "processing", "finished"]
        gone = weakref.ref(SessionState("gone"))
        gc.collect()
        assert gone() is None

    @pytest.mark.parametrize("value", [None, 1, True, b"active", [], {}, 1.5])
    def test_only_text_is_a_value(self, value):
        """Open means open to other texts, not to other types."""
        with pytest.raises(ValueError, match="is not a valid SessionState"):
            SessionState(value)

    def test_can_be_matched(self):
        """`match` compares by value, for known and unknown values."""
        match SessionState("finished"):
            case SessionState.ACTIVE | "paused":
                pytest.fail("it is neither")
            case SessionState.FINISHED:
                pass

    @pytest.mark.property
    @given(st.text())
    def test_law_any_text_is_a_value(self, text):
        """Any text from the service is a member that equals it."""
        state = SessionState(text)
        assert text == state == SessionState(state)
        assert hash(text) == hash(state)
        assert text == str(state) == state.value
        restored = pickle.loads(pickle.dumps(state))
        assert state == restored
        assert repr(state) == repr(restored)


DOCUMENTED = [
    kind
    for module in (models, events, testing)
    for kind in (getattr(module, name) for name in module.__all__)
    if attrs.has(kind)
]


@pytest.mark.parametrize("kind", DOCUMENTED, ids=lambda kind: kind.__name__)
def test_help_explains_every_field(kind: type) -> None:
    """Each field of a public class has a line under `Attributes:`, so help shows it."""
    told = "".join(
        inspect.getdoc(each).partition("Attributes:")[2] for each in kind.__mro__[:-1]
    )
    for field in attrs.fields(kind):
        if not field.name.startswith("_"):
            assert re.search(rf"^    {field.name}: \S", told, re.MULTILINE), field.name
