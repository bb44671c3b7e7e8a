"""Two functions with one list of parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def with_parameters_of(
    function: Callable[Parameters, object],
) -> Callable[[Callable[..., Result]], Callable[Parameters, Result]]:
    """Give the decorated function the parameters of ``function``, for type checkers, ``help`` and completion.

    The decorated function takes ``*args, **kwargs`` and passes them on.
    """

    def decorate(decorated: Callable[..., Result]) -> Callable[Parameters, Result]:
        returns = inspect.signature(decorated).return_annotation
        signature = inspect.signature(function).replace(return_annotation=returns)
        decorated.__signature__ = signature  # type: ignore[attr-defined]
        decorated.__annotations__ = function.__annotations__ | {"return": returns}
        return decorated

    return decorate
