"""Mistakes in a form, in the terms of the format instead of the validator's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from layerzoo.errors import nearest, nearest_hint
from layerzoo.registry.format.diagnostics import Code, visible
from layerzoo.registry.format.document import Loc
from layerzoo.spec import MODALITIES


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake in the author's form."""

    loc: Loc
    code: Code
    message: str
    on_key: bool = False
    """Whether the key is wrong, and not its value."""
    nearest: tuple[str, ...] = ()
    """The nearest valid names, the nearest first."""
    lacks: str | None = None
    """The key that is missing in the mapping at ``loc``, if that is the mistake."""

    def __str__(self) -> str:
        """Return the message, after the path of the mistake."""
        inside = self.loc[:-1] if self.on_key and self.code != "missing-key" else self.loc
        # A digest without a name has an empty key: see WeightsForm.
        key_path = ".".join(str(step) for step in inside if step != "")
        return f"{shorten(key_path)}: {self.message}" if key_path else self.message


class UnknownWordError(ValueError):
    """A word that is not one of the possible ones; ``nearest`` are the most similar ones."""

    def __init__(self, message: str, word: str, words: Sequence[str]) -> None:
        super().__init__(f"{message}. {hint(word, words)}")
        self.nearest = tuple(nearest(word, words))


class MissingKeyError(ValueError):
    """A key that is required because of other keys; ``key`` is its name."""

    def __init__(self, message: str, key: str) -> None:
        super().__init__(message)
        self.key = key


ID_FORM = "letters, digits and . _ + @ : ~ = - between slashes"


_WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text of whole characters",
    "bool_type": "true or false",
    "dict_type": "a mapping (KEY: VALUE)",
    "model_type": "a mapping (KEY: VALUE)",
    "model_attributes_type": "a mapping (KEY: VALUE)",
    "list_type": "a list",
    "tuple_type": "a list",
}
_WHY = {
    "modality": f": it says what goes in, {', '.join(MODALITIES[:-1])} or {MODALITIES[-1]}, also next to a base",
    "layerzoo": ": a registry file begins with `layerzoo: 1`, the version of its format",
}
_LIMITS = {
    "greater_than": ("gt", "it must be greater than {}"),
    "greater_than_equal": ("ge", "it must be at least {}"),
    "less_than": ("lt", "it must be less than {}"),
    "less_than_equal": ("le", "it must be at most {}"),
    "string_too_long": ("max_length", "it must have at most {} characters"),
}


def explain(form: Any, error: Mapping[str, Any]) -> Mistake:
    """Translate an entry of pydantic's ``ValidationError.errors()``. ``form`` is the form that was validated."""
    kind, loc, value = error["type"], tuple(error["loc"]), error["input"]
    on_key = len(loc) > 1 and loc[-1] == "[key]"
    if on_key:
        loc = loc[:-1]
    if kind == "extra_forbidden":
        key, keys = str(loc[-1]), _keys_at(form, loc[:-1])
        close = tuple(nearest(key, keys))
        message = f"unknown key '{shorten(key)}'. {hint(key, keys)}"
        return Mistake(loc, "unknown-key", message, on_key=True, nearest=close)
    if kind == "missing" and isinstance(loc[-1], str):
        reason = _WHY.get(loc[-1], "")
        message = f"the key '{loc[-1]}' is missing{reason}"
        return Mistake(loc[:-1], "missing-key", message, on_key=True, lacks=loc[-1])
    if kind == "missing":
        number = len(get_args(_type_at(form, loc[:-1])))
        return Mistake(loc[:-1], "wrong-value", f"{_values(len(value))} too few: {number} are wanted")
    if kind == "too_long":
        return Mistake(loc, "wrong-value", f"{_values(len(value))} too many: {error['ctx']['max_length']} are wanted")
    if kind == "literal_error":
        possible = _choices(_type_at(form, loc))
        close = tuple(nearest(str(value), possible))
        message = f"{show(value)} is not possible here. {hint(str(value), possible)}"
        return Mistake(loc, "wrong-value", message, nearest=close)
    if kind == "value_error":
        cause = error["ctx"]["error"]
        close, lacks = getattr(cause, "nearest", ()), getattr(cause, "key", None)
        return Mistake(loc, "wrong-value", str(cause), on_key, nearest=close, lacks=lacks)
    if kind == "string_too_short":
        return Mistake(loc, "wrong-value", "there must be text here, not an empty one", on_key)
    if limit := _LIMITS.get(kind):
        name, words = limit
        message = f"{show(value)} is not possible here: {words.format(error['ctx'][name])}"
        return Mistake(loc, "wrong-value", message, on_key)
    if expected := _WANTED.get(kind):
        quotes = "; in quotes it is text" if kind == "string_type" and isinstance(value, int | float) else ""
        return Mistake(loc, "wrong-value", f"{expected} is wanted here, not {show(value)}{quotes}", on_key)
    text = str(error["msg"]).removeprefix("Input ").removeprefix("String ").removeprefix("Tuple ")
    return Mistake(loc, "wrong-value", f"{show(value)} is not possible here: it {text[:1].lower()}{text[1:]}", on_key)


def _keys_at(form: Any, loc: Loc) -> list[str]:
    """Return the keys that are allowed in the mapping at ``loc``."""
    return list(getattr(_type_at(form, loc), "model_fields", ()))


def _type_at(form: Any, loc: Loc) -> Any:
    """Describe the values that a form allows at ``loc``."""
    for step in loc:
        form = form.model_fields[step].annotation if hasattr(form, "model_fields") else get_args(form)[-1]
    return form


def _choices(kind: Any) -> list[str]:
    """Return the words that a type allows, of all its literals."""
    if get_origin(kind) is Literal:
        return [str(word) for word in get_args(kind)]
    return [word for part in get_args(kind) for word in _choices(part)]


def _values(number: int) -> str:
    return "1 value is" if number == 1 else f"{number} values are"


def hint(word: str, names: Sequence[str]) -> str:
    """List the nearest of the possible names, then all of them."""
    close = nearest(word, names)
    return nearest_hint(close) + f"Possible: {', '.join(names)}"


def shorten(text: str) -> str:
    """Shorten the text for a message, on one line."""
    return visible(text if len(text) <= 60 else text[:57] + "…")


def show(value: Any) -> str:
    """Describe a value."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f"'{shorten(value)}'"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, list | tuple) else shorten(str(value))
