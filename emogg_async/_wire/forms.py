"""Models in the forms that callers ask for: as a dict, as JSON, and as pydantic's type.

Pydantic reads a model's wire form, writes it by `to_dict`, and describes it by the
model's own fields. It is imported only here, where it has asked.
"""

import json
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

import attrs

from emogg_async import models
from emogg_async._values import FrozenMapping, Model, OpenEnum
from emogg_async._wire.converter import (
    EXPANDABLE,
    is_model,
    structure,
    to_dict,
    told,
    wire_fields,
)
from emogg_async.errors import InvalidArgumentError, ResponseShapeError

__all__ = ["core_schema", "from_dict", "json_schema", "to_dict", "to_json"]

M = TypeVar("M", bound=Model)


def to_json(model: Model) -> str:
    """Return the wire form of *model* as JSON, in one line of ASCII.

    Args:
        model: Any model of `emogg_async.models`.

    Raises:
        InvalidArgumentError: *model* is not a model of this package, or has a value
            that JSON cannot hold, such as a NaN.
    """
    wire = to_dict(model)
    try:
        return json.dumps(wire, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgumentError(f"model: {error}") from None


def from_dict(model: type[M], data: dict[str, Any]) -> M:
    """Return the *model* whose wire form *data* is; the reverse of `to_dict`.

    Data that does not fit is the caller's argument and no answer of the service. So it
    is no `ResponseShapeError`; that is the error's cause, and has all `problems`.

    Args:
        model: Any class of `emogg_async.models`, e.g. `Session`.
        data: A dict like the service's JSON, as `to_dict` and `json.loads` return it.

    Raises:
        InvalidArgumentError: *model* is not a model of this package, or *data* is not
            its wire form.
    """
    if not (isinstance(model, type) and is_model(model)):
        raise InvalidArgumentError(
            f"model: expected a class of {models.__name__}, got {_named(model)}"
        )
    try:
        return structure(data, model)
    except ResponseShapeError as error:
        raise InvalidArgumentError(
            f"data: expected the wire form of {model.__name__}; {told(error.problems)}"
        ) from error


def _named(value: object) -> str:
    return (value if isinstance(value, type) else type(value)).__name__


# -- pydantic --------------------------------------------------------------------------


def core_schema(model: type[M], handler: Any) -> Any:
    """Return pydantic's schema of *model*: how to read, write and describe it."""
    from pydantic_core import core_schema as make  # noqa: PLC0415 - it has asked

    def read(value: Any, _: Any) -> M:
        return value if isinstance(value, model) else from_dict(model, value)

    fields = {
        name: make.typed_dict_field(
            handler.generate_schema(_described(model, field)),
            required=field.default is attrs.NOTHING,
        )
        for name, field in wire_fields(model).items()
    }
    return make.no_info_wrap_validator_function(
        read,
        # It only describes: `read` never calls it.
        make.typed_dict_schema(fields, extra_behavior="allow"),
        ref=f"{model.__module__}.{model.__qualname__}",
        serialization=make.plain_serializer_function_ser_schema(to_dict),
    )


def json_schema(model: type, schema: Any, handler: Any) -> Any:
    """Return the JSON schema that pydantic makes of *model*, with name and meaning."""
    made = handler(schema)
    body = handler.resolve_ref_schema(made)
    body["title"] = model.__name__
    if model.__doc__:  # not under `python -OO`
        body["description"] = model.__doc__.partition("\n")[0]
    for described in body["properties"].values():
        described.pop("title", None)  # pydantic would write "Removemedia"
    return made


def _described(model: type, field: "attrs.Attribute[Any]") -> Any:
    """Return a type that pydantic describes as the wire form of *field*."""
    if field.name in EXPANDABLE.get(model, ()):
        return _as({"anyOf": [{"type": "string"}, {"type": "object"}]})
    parts = get_args(field.type)
    if NoneType not in parts:
        return _wire_type(field.type)
    kind = _wire_type(next(part for part in parts if part is not NoneType))
    # An optional field is left out rather than null.
    return kind if field.default is None else kind | None


def _wire_type(kind: Any) -> Any:
    """Return the type of what stands on the wire for a value of type *kind*."""
    if isinstance(kind, type) and issubclass(kind, OpenEnum):
        # Other values can occur, so the known ones are only examples.
        return _as({"type": "string", "examples": [str(each) for each in kind]})
    if get_origin(kind) is FrozenMapping:
        return dict[str, _wire_type(get_args(kind)[0])]  # type: ignore[misc]
    if get_origin(kind) is tuple:
        return list[_wire_type(get_args(kind)[0])]  # type: ignore[misc]
    return float if kind == int | float else kind


def _as(schema: dict[str, Any]) -> Any:
    from pydantic import WithJsonSchema  # noqa: PLC0415 - it has asked

    return Annotated[Any, WithJsonSchema(schema)]
