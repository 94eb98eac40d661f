"""Signatures of functions that pass the client's options on."""

from collections.abc import Callable
from inspect import signature
from typing import Any, ParamSpec, TypeVar

__all__ = ["options_of"]

P = ParamSpec("P")
R = TypeVar("R")


def options_of(
    client: Callable[P, object],
) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Give a function the parameters of *client*, for checkers and for help."""

    def take(function: Callable[..., R]) -> Callable[P, R]:
        options: Any = function
        options.__signature__ = signature(client).replace(
            return_annotation=function.__annotations__["return"]
        )
        return function

    return take
