"""What is wrong with a form, in the words of the format rather than those of the validator."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from layerzoo.errors import nearest
from layerzoo.registry.diagnostics import Code
from layerzoo.registry.document import Loc


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something wrong at a place of the author's form."""

    loc: Loc
    code: Code
    message: str
    on_key: bool = False
    """Whether the key is wrong, and not what stands behind it."""

    def __str__(self) -> str:
        """The message, after the keys that lead to what is wrong."""
        inside = self.loc[:-1] if self.on_key and self.code != "missing-key" else self.loc
        return f"{'.'.join(map(str, inside))}: {self.message}" if inside else self.message


_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "dict_type": "a mapping (KEY: VALUE)",
    "model_type": "a mapping (KEY: VALUE)",
    "model_attributes_type": "a mapping (KEY: VALUE)",
    "list_type": "a list",
    "tuple_type": "a list",
}


def explain(form: Any, error: Mapping[str, Any]) -> Mistake:
    """A mistake from one of pydantic's ``ValidationError.errors()``. form: the form that was being read."""
    kind, loc, given = error["type"], tuple(error["loc"]), error["input"]
    if kind == "extra_forbidden":
        keys = _keys_at(form, loc[:-1])
        return Mistake(
            loc, "unknown-key", f"unknown key '{shorten(str(loc[-1]))}'. {hint(str(loc[-1]), keys)}", on_key=True
        )
    if kind == "missing" and isinstance(loc[-1], str):
        return Mistake(loc[:-1], "missing-key", f"the key '{loc[-1]}' is missing", on_key=True)
    if kind == "missing":
        return Mistake(loc[:-1], "wrong-value", f"{len(given)} values are too few")
    if kind == "literal_error":
        words = re.findall(r"'([^']*)'", str(error["ctx"]["expected"]))
        return Mistake(loc, "wrong-value", f"{show(given)} is not possible here. {hint(str(given), words)}")
    if kind == "value_error":
        return Mistake(loc, "wrong-value", str(error["ctx"]["error"]))
    if wanted := _WANTED.get(kind):
        quotes = "; in quotes it is text" if kind == "string_type" and isinstance(given, int | float) else ""
        return Mistake(loc, "wrong-value", f"{wanted} is wanted here, not {show(given)}{quotes}")
    message = str(error["msg"]).removeprefix("Input ").removeprefix("String ").removeprefix("Tuple ")
    return Mistake(loc, "wrong-value", f"{show(given)} does not fit: it {message[:1].lower()}{message[1:]}")


def _keys_at(form: Any, loc: Loc) -> list[str]:
    """The keys that may stand in the mapping at ``loc``."""
    for step in loc:
        form = form.model_fields[step].annotation if hasattr(form, "model_fields") else get_args(form)[-1]
    return list(getattr(form, "model_fields", ()))


def hint(asked: str, names: Sequence[str]) -> str:
    """The nearest of the possible names, then all of them."""
    close = nearest(asked, names)
    return (f"Nearest: {', '.join(close)}. " if close else "") + f"Possible: {', '.join(names)}"


def shorten(text: str) -> str:
    """The text, cut so that it fits into a message."""
    return text if len(text) <= 60 else text[:57] + "…"


def show(value: Any) -> str:
    """A value as a person names it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{shorten(value)}'"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else shorten(str(value))
