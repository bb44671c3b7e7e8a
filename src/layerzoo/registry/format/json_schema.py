"""The format of registry.yaml as a JSON Schema, for editors. It is generated from the forms that validate a file."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from layerzoo.registry.format.forms import Form, HeadForm
from layerzoo.registry.format.schema import FORMAT, KINDS, MODEL_FORMS, NEEDED

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a registry.yaml.

    It allows more than the checker: it cannot express rules that depend on keys other than ``modality`` and ``base``,
    on other files, or on the owner of the file.
    """
    forms: list[type[Form]] = [HeadForm, *MODEL_FORMS.values()]
    _, found = models_json_schema([(form, "validation") for form in forms], schema_generator=_Generator)
    definitions: dict[str, JsonSchemaValue] = found["$defs"]
    for modality, form in MODEL_FORMS.items():
        definitions[form.__name__] |= _unless_based(KINDS[modality])
    head = definitions.pop(HeadForm.__name__)
    head["properties"]["layerzoo"]["const"] = FORMAT
    head["properties"]["models"]["additionalProperties"] = {
        "oneOf": [{"$ref": f"#/$defs/{form.__name__}"} for form in MODEL_FORMS.values()]
    }
    about = {"$schema": DIALECT, "title": "registry.yaml of layerzoo", "description": "Models for layerzoo."}
    return {**head, **about, "$defs": definitions}


def _unless_based(kind: str) -> JsonSchemaValue:
    """Return the rule for keys that are required in a model without a base."""
    required = {"required": ["builder"], "properties": {"preprocess": _needed(kind)}}
    return {"if": {"not": {"required": ["base"]}}, "then": required}


def _needed(kind: str) -> JsonSchemaValue:
    inner = {"properties": {"image": _needed("image")}} if "image" in NEEDED[kind] else {}
    return {"required": list(NEEDED[kind]), **inner}


class _Generator(GenerateJsonSchema):
    """Generates a schema without default values, because an absent key is unset, and without titles for keys."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        return {**found, "additionalProperties": False} if "patternProperties" in found else found
