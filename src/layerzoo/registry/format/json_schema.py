"""The format of registry.yaml as a JSON Schema, for editors. It is generated from the forms that check a file."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from layerzoo.registry.format.forms import MODEL_FORMS, Form, HeadForm
from layerzoo.registry.format.schema import FORMAT, NEEDED
from layerzoo.spec import KINDS

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a registry.yaml.

    It finds fewer mistakes than the checker: a schema cannot express most rules about several keys, nor rules about
    other files or about the owner of a file.
    """
    described = definitions([HeadForm, *MODEL_FORMS.values()])
    for modality, form in MODEL_FORMS.items():
        described[form.__name__] |= _unless_inherited(KINDS[modality])
    head = described.pop(HeadForm.__name__)
    head["properties"]["layerzoo"]["const"] = FORMAT
    head["properties"]["models"]["additionalProperties"] = {
        "oneOf": [{"$ref": f"#/$defs/{form.__name__}"} for form in MODEL_FORMS.values()]
    }
    about = {"$schema": DIALECT, "title": "registry.yaml of layerzoo", "description": "Models for layerzoo."}
    return {**head, **about, "$defs": described}


def definitions(forms: Iterable[type[Form]]) -> dict[str, JsonSchemaValue]:
    """Return the JSON Schemas of forms and of all forms that they refer to, by name, with descriptions."""
    _, schema = models_json_schema([(form, "validation") for form in forms], schema_generator=_Generator)
    described: dict[str, JsonSchemaValue] = schema["$defs"]
    return described


def _unless_inherited(kind: str) -> JsonSchemaValue:
    """Require the keys that a model without a base must declare."""
    required = {"required": ["builder"], "properties": {"preprocess": _needed(kind)}}
    return {"if": {"not": {"required": ["base"]}}, "then": required}


def _needed(kind: str) -> JsonSchemaValue:
    inner = {"properties": {"image": _needed("image")}} if "image" in NEEDED[kind] else {}
    return {"required": list(NEEDED[kind]), **inner}


class _Generator(GenerateJsonSchema):
    """Generates schemas with descriptions from docstrings, and without defaults: an absent key is unset."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        form: type[Form] = schema["cls"]
        generated = super().model_schema(schema)
        keys: dict[str, JsonSchemaValue] = generated["properties"]
        of_spec = [field.name for field in fields(form.spec_class)] if form.spec_class else []
        generated["properties"] = {key: keys[key] for key in [*(key for key in of_spec if key in keys), *keys]}
        for key, described in generated["properties"].items():
            described["description"] = describe(form, key)
        return generated

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        generated = super().dict_schema(schema)
        return {**generated, "additionalProperties": False} if "patternProperties" in generated else generated


def describe(form: type[Form], key: str) -> str:
    """Return the description of a key: the docstring of the field of its dataclass, then that of the form."""
    bases = [base for base in form.__mro__ if issubclass(base, Form)]
    spec_class = next((base.spec_class for base in bases if base.spec_class), None)
    docstrings = [_docstrings(cls.__module__, cls.__name__).get(key, "") for cls in (spec_class, *bases) if cls]
    return " ".join(" ".join(dict.fromkeys(filter(None, docstrings))).split())


def _docstrings(module: str, name: str) -> dict[str, str]:
    return _docstrings_of_module(module).get(name, {})


@cache
def _docstrings_of_module(name: str) -> dict[str, dict[str, str]]:
    """Read the docstrings of attributes, which Python discards, from the source: by class and attribute."""
    source = inspect.getsource(__import__(name, fromlist=["*"]))
    classes = [statement for statement in ast.parse(source).body if isinstance(statement, ast.ClassDef)]
    return {node.name: _docstrings_of_class(node) for node in classes}


def _docstrings_of_class(definition: ast.ClassDef) -> dict[str, str]:
    return {
        statement.target.id: following.value.value
        for statement, following in zip(definition.body, definition.body[1:], strict=False)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(following, ast.Expr)
        and isinstance(following.value, ast.Constant)
        and isinstance(following.value.value, str)
    }
