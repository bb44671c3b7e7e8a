"""Describe a JSON Schema in words."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.reference.markdown import link, sentence

Schema = Mapping[str, Any]
_MAX_INT = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The terms of one format."""

    types: Mapping[str, str]
    """Terms for the types of JSON Schema, which are the default."""
    headings: Mapping[str, str] = field(default_factory=dict)
    """By definition, the heading of its section. The name of the definition is the default."""
    needed: str = ""
    """The remark for a required key."""
    optional: str = ""
    """The remark for an optional key."""

    def keys(self, schema: Schema) -> Iterator[str]:
        """Yield one line for each key of an object: its values, whether it is required, and its description."""
        for key, schema_of_key in schema.get("properties", {}).items():
            is_needed = key in schema.get("required", ())
            requirement = self.needed if is_needed else self._absence(schema_of_key)
            remarks = [self.values(schema_of_key), *_limits(schema_of_key), requirement]
            description = f": {sentence(schema_of_key['description'])}" if "description" in schema_of_key else ""
            yield f"`{key}` ({'; '.join(filter(None, remarks))}){description}"

    def values(self, schema: Schema) -> str:
        """Describe the values of a key."""
        if "$ref" in schema:
            return link(self.headings.get(_name(schema), _name(schema)))
        if "const" in schema:
            return _shown(schema["const"])
        if "enum" in schema:
            return " or ".join(map(_shown, schema["enum"]))
        if alternatives := schema.get("anyOf") or schema.get("oneOf"):
            return " or ".join(dict.fromkeys(self.values(alternative) for alternative in alternatives if alternative))
        if schema.get("type") == "array":
            return f"{self._type('array')} of {self._items(schema)}"
        if isinstance(values := schema.get("additionalProperties"), Mapping) and values:
            return f"{self._type('object')} to {self.values(values)}"
        kinds = schema.get("type", "anything")
        return " or ".join(map(self._type, [kinds] if isinstance(kinds, str) else kinds))

    def _absence(self, schema_of_key: Schema) -> str:
        default = schema_of_key.get("default")
        return self.optional if default in (None, [], {}, "") else f"default {_shown(default)}"

    def _items(self, schema: Schema) -> str:
        if fixed := schema.get("prefixItems"):
            return f"{len(fixed)}: {', '.join(dict.fromkeys(map(self.values, fixed)))}"
        return self.values(schema.get("items", {}))

    def _type(self, name: str) -> str:
        return self.types.get(name, name)


def in_order(definitions: Mapping[str, Schema], root: str) -> Iterator[str]:
    """Yield the definitions that a definition refers to, directly or not, in the order of their first occurrence."""
    pending, seen = [root], {root}
    while pending:
        for name in _references(definitions[pending.pop(0)]):
            if name not in seen:
                seen.add(name)
                pending.append(name)
                yield name


def _limits(schema: Schema) -> Iterator[str]:
    """Describe the limits of a number, except that of 64 bits."""
    words = {"minimum": "at least", "exclusiveMinimum": "greater than", "maximum": "at most"}
    for keyword, word in words.items():
        if keyword in schema and schema[keyword] < _MAX_INT:
            yield f"{word} {schema[keyword]:,}"


def _references(schema: object) -> Iterator[str]:
    """Yield the definitions that a schema refers to, in order."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield _name(schema)
        for item in schema.values():
            yield from _references(item)
    elif isinstance(schema, list):
        for item in schema:
            yield from _references(item)


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _shown(value: object) -> str:
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"
