"""A JSON Schema in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.reference.markdown import link, sentence

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """How readers of one format call things."""

    types: Mapping[str, str]
    """Words for the types of JSON Schema; one that is missing is called as it is there."""
    headings: Mapping[str, str] = field(default_factory=dict)
    """Of the sections about definitions, where these are not called as the definitions are."""
    needed: str = ""
    """Said of a key that must be there."""
    optional: str = ""
    """Said of one that need not."""

    def keys(self, schema: Schema) -> Iterator[str]:
        """One line for each key of an object: what may stand behind it, whether it is needed, what is said of it."""
        for key, of_key in schema.get("properties", {}).items():
            is_needed = key in schema.get("required", ())
            remarks = [self.values(of_key), self.needed if is_needed else self._absence(of_key)]
            said = f": {sentence(of_key['description'])}" if "description" in of_key else ""
            yield f"`{key}` ({'; '.join(filter(None, remarks))}){said}"

    def values(self, schema: Schema) -> str:
        """What may stand behind a key."""
        if "$ref" in schema:
            return link(self.headings.get(_name(schema), _name(schema)))
        if "const" in schema:
            return _shown(schema["const"])
        if "enum" in schema:
            return " or ".join(map(_shown, schema["enum"]))
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            return " or ".join(dict.fromkeys(self.values(each) for each in alternatives if each))
        if schema.get("type") == "array":
            return f"{self._type('array')} of {self._items(schema)}"
        if isinstance(values := schema.get("additionalProperties"), Mapping) and values:
            return f"{self._type('object')} to {self.values(values)}"
        kinds = schema.get("type", "anything")
        return " or ".join(map(self._type, [kinds] if isinstance(kinds, str) else kinds))

    def _absence(self, of_key: Schema) -> str:
        default = of_key.get("default")
        return self.optional if default in (None, [], {}, "") else f"left out when {_shown(default)}"

    def _items(self, schema: Schema) -> str:
        if fixed := schema.get("prefixItems"):
            return f"{len(fixed)}: {', '.join(dict.fromkeys(map(self.values, fixed)))}"
        return self.values(schema.get("items", {}))

    def _type(self, name: str) -> str:
        return self.types.get(name, name)


def in_order(definitions: Mapping[str, Schema], root: str) -> Iterator[str]:
    """The definitions that one leads to, as they are met."""
    pending, seen = [root], {root}
    while pending:
        for name in _named(definitions[pending.pop(0)]):
            if name not in seen:
                seen.add(name)
                pending.append(name)
                yield name


def _named(schema: object) -> Iterator[str]:
    """The definitions that a schema mentions, in the order in which it does."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield _name(schema)
        for each in schema.values():
            yield from _named(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _named(each)


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _shown(value: object) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
