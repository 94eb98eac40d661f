"""The cattrs converter between the service's JSON and the models.

It coerces nothing: `"120"` is not a duration, and `"false"` is not a boolean. Unknown
fields are kept in `extra` and written back from it. A null in an optional field counts
as an absent field. An ID that the service has expanded keeps its object in `expanded`,
which is written back, too.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from operator import attrgetter
from types import NoneType
from typing import Any, Final, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter, transform_error
from cattrs.errors import (
    AttributeValidationNote,
    ClassValidationError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from emogg_async import models
from emogg_async._values import FrozenMapping, Model, OpenEnum, thaw
from emogg_async._wire.protocol import format_datetime
from emogg_async.errors import InvalidArgumentError, ResponseShapeError

__all__ = ["EXPANDABLE", "is_model", "structure", "to_dict", "told", "wire_fields"]

T = TypeVar("T")

MAX_PROBLEMS: Final = 100
"""The most problems that are found in one array, or in one object with open keys."""

_JSON_NAMES = {
    dict: "an object",
    list: "an array",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    NoneType: "null",
}


class _MismatchError(ValueError):
    """A value has another JSON type or another form than the model's field."""

    def __init__(self, expected: str, value: object) -> None:
        got = _JSON_NAMES.get(type(value), "something else")
        super().__init__(
            f"expected {expected}" + ("" if got == expected else f", got {got}")
        )


_WRONG = (ClassValidationError, IterableValidationError, _MismatchError)


def structure(payload: object, model: type[T]) -> T:
    """Make a *model* of *payload*, a parsed JSON value.

    Raises:
        ResponseShapeError: A field is missing or wrong; `problems` has each one's path.
    """
    try:
        return _converter.structure(payload, model)
    except _WRONG as error:
        problems = tuple(_problems(error))
    except RecursionError:
        problems = ("nested too deeply",)
    origin = get_origin(model)
    name = model.__name__ if origin is None else _sort_of_list(model)
    what = f"an {name}" if name[0] in "AEIOU" else f"a {name}"
    raise ResponseShapeError(
        f"the answer is not {what}: {told(problems)}", problems=problems
    ) from None


def told(problems: tuple[str, ...]) -> str:
    """Write the first of *problems* in one line."""
    return "; ".join(problems[:3]) + ("; …" if len(problems) > 3 else "")


def _sort_of_list(kind: Any) -> str:
    return f"list of {get_args(kind)[0].__name__}"


def is_model(kind: type) -> bool:
    """Tell whether *kind* is one of the classes of `emogg_async.models`."""
    return kind.__module__ == models.__name__ and attrs.has(kind)


def to_dict(model: Model) -> dict[str, Any]:
    """Return the wire form of *model*: a dict like the service's JSON.

    Fields that are None are left out, and unknown fields are put back in their place.
    So the dict equals the JSON that the service sent.

    Args:
        model: Any model of `emogg_async.models`.

    Raises:
        InvalidArgumentError: *model* is not a model of this package.
    """
    if not is_model(type(model)):
        raise InvalidArgumentError(
            f"model: expected a model of {models.__name__}, got {type(model).__name__}"
        )
    wire: dict[str, Any] = _converter.unstructure(model)
    return wire


def _problems(error: BaseException) -> Iterator[str]:
    for line in transform_error(error, path="", format_exception=_describe):
        what, _, path = line.rpartition(" @ ")
        yield f"{path.lstrip('.')}: {what}" if path else what


def _describe(error: BaseException, _: type | None) -> str:
    return "required, and missing" if isinstance(error, KeyError) else str(error)


def _string(value: Any, _: Any) -> str:
    if type(value) is not str:
        raise _MismatchError("a string", value)
    return value


def _boolean(value: Any, _: Any) -> bool:
    if type(value) is not bool:
        raise _MismatchError("a boolean", value)
    return value


def _number(value: Any, _: Any) -> int | float:
    if type(value) is int or (type(value) is float and math.isfinite(value)):
        return value
    raise _MismatchError(
        "a finite number" if type(value) is float else "a number", value
    )


def _count(value: Any, _: Any) -> int:
    """Return *value* if it is a whole number of 64 bits, as columns of tables hold.

    JSON has one kind of number, so 3.0 is the whole number 3.
    """
    figure = _number(value, int)
    if figure != int(figure):
        raise _MismatchError("a whole number", value)
    if not -(2**63) <= figure < 2**63:
        raise _MismatchError("a whole number of 64 bits", value)
    return int(figure)


def _text_or_float(value: Any, _: Any) -> str | float:
    if type(value) is str:
        return value
    if type(value) in {int, float}:
        return _float(value, float)
    raise _MismatchError("a string or a number", value)


def _float(value: Any, _: Any) -> float:
    try:
        return float(_number(value, float))
    except OverflowError:
        raise _MismatchError("a number that fits 64 bits", value) from None


def _datetime(value: Any, _: Any) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        return moment if moment.tzinfo is UTC else _in_utc(moment)
    except (TypeError, ValueError, OverflowError):
        raise _MismatchError(
            "a date and time in ISO 8601 with its offset", value
        ) from None


def _in_utc(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError("a date without its offset")
    return moment.astimezone(UTC)


def _open_enum(kind: type[OpenEnum]) -> Callable[[Any, Any], OpenEnum]:
    known = {member.value: member for member in kind}

    def structure_member(value: Any, _: Any) -> OpenEnum:
        if type(value) is not str:
            raise _MismatchError("a string", value)
        return known.get(value) or kind(value)

    return structure_member


def _array(kind: Any, converter: Converter) -> Callable[[Any, Any], tuple[Any, ...]]:
    inner = get_args(kind)[0]
    hook = converter.get_structure_hook(inner)

    def structure_array(payload: Any, _: Any) -> tuple[Any, ...]:
        if type(payload) is not list:
            raise _MismatchError("an array", payload)
        return tuple(_each(enumerate(payload), hook, inner))

    return structure_array


def _each(
    items: Iterable[tuple[Any, Any]], hook: Callable[[Any, Any], Any], kind: Any
) -> list[Any]:
    """Structure the value of each of *items*, and collect what is wrong by its key."""
    values: list[Any] = []
    errors: list[Exception] = []
    for key, value in items:
        try:
            values.append(hook(value, kind))
        except _WRONG as error:
            # An error quotes nothing of the body but keys that look like names.
            shown = key if _SHOWABLE.fullmatch(str(key)) else "…"
            error.add_note(IterableValidationNote("", shown, kind))
            errors.append(error)
            if len(errors) == MAX_PROBLEMS:
                break
    if errors:
        raise IterableValidationError("", errors, kind)
    return values


def _optional(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """Make the hook for an optional value.

    It looks up the hook of the value once; cattrs would do so for each value.
    """
    (inner,) = (part for part in get_args(kind) if part is not NoneType)
    hook = converter.get_structure_hook(inner)
    return lambda value, _: None if value is None else hook(value, inner)


_SHOWABLE = re.compile(r"[\w.-]{1,40}", re.ASCII)


def _named_values(kind: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """Make the hook for an object with any keys, whose values are of one type."""
    (inner,) = get_args(kind)
    hook = converter.get_structure_hook(inner)

    def structure_values(payload: Any, _: Any) -> Any:
        if type(payload) is not dict:
            raise _MismatchError("an object", payload)
        values = _each(payload.items(), hook, inner)
        return FrozenMapping(dict(zip(payload, values, strict=True)))

    return structure_values


def _values_in_wire_form(kind: Any, converter: Converter) -> Callable[[Any], Any]:
    """Make the hook that undoes `_named_values`."""
    hook = converter.get_unstructure_hook(get_args(kind)[0])
    return lambda values: {key: hook(value) for key, value in values.items()}


# Fields whose key on the wire is not their name in camel case.
_RENAMED: dict[tuple[type, str], str] = {
    (models.Session, "id"): "_id",
    (models.EmotionsTimeline, "intervals"): "timeline",
    (models.SentimentTimeline, "intervals"): "timeline",
}

# Fields whose ID `expand` replaces by the whole object. They have the same name on the
# wire. Source: https://docs.emogg.com, "Expanding".
EXPANDABLE: dict[type, tuple[str, ...]] = {
    models.Session: ("user", "product"),
    models.EmotionTotals: ("session",),
    models.EmotionsTimeline: ("session",),
    models.SentimentTimeline: ("session",),
}

# Fields of models that have no key on the wire.
_OURS = frozenset({"extra", "expanded", "stale"})


def _wire_name(model: type, field: str) -> str:
    head, *tail = field.split("_")
    return _RENAMED.get((model, field), head + "".join(word.title() for word in tail))


def wire_fields(model: type) -> "dict[str, attrs.Attribute[Any]]":
    """Return the fields of *model* that are on the wire, by their names there."""
    return {
        _wire_name(model, field.name): field
        for field in attrs.fields(model)
        if field.name not in _OURS
    }


def _overrides(model: type, converter: Converter) -> dict[str, Any]:
    overrides = {}
    for field in attrs.fields(model):
        hook = None
        if field.default == ():  # an optional array, which may be null
            hook = _absent_if_null(converter.get_structure_hook(field.type))
        overrides[field.name] = override(
            rename=_wire_name(model, field.name),
            struct_hook=hook,
            omit=field.name in _OURS,
            omit_if_default=field.default is None,
        )
    return overrides


def _absent_if_null(hook: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda value, kind: () if value is None else hook(value, kind)


def _id_of(expanded: dict[str, Any]) -> str | None:
    """Return the ID of an object that replaces it, or None if the object has none."""
    candidates = (expanded.get("_id"), expanded.get("id"))
    return next((each for each in candidates if type(each) is str), None)


def _object(model: Any, converter: Converter) -> Callable[[Any, Any], Any]:
    """Make the hook that structures *model* and keeps unknown fields in `extra`."""
    known = make_dict_structure_fn(model, converter, **_overrides(model, converter))
    keeps_unknown = "extra" in attrs.fields_dict(model)
    expandable = EXPANDABLE.get(model, ())
    wire_names = frozenset(wire_fields(model))

    def structure_object(payload: Any, _: Any) -> Any:
        if type(payload) is not dict:
            raise _MismatchError("an object", payload)
        objects = {}
        for field in expandable:
            found = payload.get(field)
            if type(found) is dict and (key := _id_of(found)) is not None:
                payload = payload | {field: key}
                objects[field] = found
        try:
            instance = known(payload, model)
        except ClassValidationError as error:
            _name_as_in_json(error, model)
            raise
        if objects:
            instance = attrs.evolve(instance, expanded=FrozenMapping(objects))
        if keeps_unknown and not wire_names.issuperset(payload):
            extra = {
                key: value for key, value in payload.items() if key not in wire_names
            }
            instance = attrs.evolve(instance, extra=FrozenMapping(extra))
        return instance

    return structure_object


def _name_as_in_json(error: ClassValidationError, model: type) -> None:
    """Name the fields of *model* that *error* is about as they are on the wire."""
    for problem in error.exceptions:
        for note in problem.__notes__:
            if isinstance(note, AttributeValidationNote):
                note.name = _wire_name(model, note.name)


def _wire_form(model: Any, converter: Converter) -> Callable[[Any], dict[str, Any]]:
    """Make the hook that undoes `_object`."""
    expandable = model in EXPANDABLE
    keeps_unknown = "extra" in attrs.fields_dict(model)
    known = make_dict_unstructure_fn(model, converter, **_overrides(model, converter))

    def unstructure_object(instance: Any) -> dict[str, Any]:
        objects = thaw(instance.expanded) if expandable else {}
        unknown = thaw(instance.extra) if keeps_unknown else {}
        wire: dict[str, Any] = known(instance) | objects | unknown
        return wire

    return unstructure_object


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    converter.register_structure_hook_factory(attrs.has)(_object)
    converter.register_structure_hook_factory(_is_tuple)(_array)
    converter.register_structure_hook_factory(_is_optional)(_optional)
    converter.register_structure_hook_factory(_is_mapping)(_named_values)
    converter.register_unstructure_hook_factory(_is_mapping)(_values_in_wire_form)
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(bool, _boolean)
    converter.register_structure_hook(float, _float)
    converter.register_structure_hook(int, _count)
    converter.register_structure_hook(int | float, _number)
    converter.register_structure_hook(str | float, _text_or_float)
    converter.register_structure_hook(datetime, _datetime)
    for kind in OpenEnum.__subclasses__():  # cattrs would take the hooks of `str`
        converter.register_structure_hook(kind, _open_enum(kind))
        converter.register_unstructure_hook(kind, attrgetter("value"))
    converter.register_unstructure_hook_factory(attrs.has)(_wire_form)
    converter.register_unstructure_hook(datetime, format_datetime)
    converter.register_unstructure_hook(float, _plain_number)
    return converter


def _is_tuple(kind: Any) -> bool:
    origin: object = get_origin(kind)
    return origin is tuple


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is FrozenMapping


def _is_optional(kind: Any) -> bool:
    return len(get_args(kind)) == 2 and NoneType in get_args(kind)


def _plain_number(value: float) -> int | float:
    return int(value) if value.is_integer() else value


_converter = _make_converter()
