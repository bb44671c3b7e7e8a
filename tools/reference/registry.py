"""Generate the page of registry.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tools.reference.markdown import bullets, page, prose
from tools.reference.schema import Wording, in_order
from tools.reference.signatures import parameters
from tools.reference.source import attribute, function, module

from layerzoo.pooling import POOLINGS
from layerzoo.registry import forms
from layerzoo.registry.diagnostics import MEANINGS
from layerzoo.registry.json_schema import definitions as described
from layerzoo.registry.layer_table import LETTERS
from layerzoo.registry.schema import FORMAT, NEEDED
from layerzoo.spec import AXES, MODALITIES

_SECTIONS = {
    "HeadForm": "File",
    "ModelForm": "Model",
    "ImageForm": "Preprocess of images",
    "AudioForm": "Preprocess of audio",
    "TextForm": "Preprocess of texts",
    "VideoForm": "Preprocess of videos",
    "LayerForm": "Layer",
    "DefaultForm": "Default",
    "WeightsForm": "Weights",
    "DefaultsForm": "Defaults",
    "PublishedForm": "Published plugin",
    "CatalogueHeadForm": "Head of a catalogue",
}
_YAML = Wording(
    types={
        "string": "text",
        "integer": "whole number",
        "boolean": "true or false",
        "null": "nothing",
        "array": "list",
        "object": "mapping",
    },
    headings=_SECTIONS,
    needed="required",
)
_ROOT = forms.HeadForm.__name__
_MODEL = forms.ModelForm.__name__
_HEAD = forms.CatalogueHeadForm.__name__


def registry_page() -> str:
    """Document every key of the format, then the values of some of them."""
    definitions = _definitions()
    return page(
        "registry.yaml",
        "The format in which plugins, users and layerzoo itself declare models. Scalars are strict: `no`, `010` and "
        "`1:30` are text. `zoo registry check FILE` reports all mistakes of a file, and `zoo registry schema` prints a "
        "JSON Schema for editors.",
        "A model with a `base` inherits every key that it does not declare, also required ones, except `modality`.",
        *(part for name in [_ROOT, *in_order(definitions, _ROOT)] for part in _parts(name, definitions[name])),
        *_catalogue(definitions[_HEAD]),
        *_vocabulary(),
    )


def _definitions() -> dict[str, Any]:
    """Return the JSON Schema of all forms.

    Two rules are added that are checked separately: models are validated one by one, and a base may have required keys.
    """
    preprocess = forms.PREPROCESS_FORMS
    definitions = described([forms.HeadForm, forms.ModelForm, forms.CatalogueHeadForm, *preprocess.values()])
    definitions[_ROOT]["properties"]["layerzoo"] |= {"const": FORMAT}
    definitions[_ROOT]["properties"]["models"]["additionalProperties"] = {"$ref": _MODEL}
    definitions[_MODEL]["required"].append("builder")
    definitions[_MODEL]["properties"]["preprocess"] |= {
        "anyOf": [{"$ref": form.__name__} for form in preprocess.values()]
    }
    for kind, form in preprocess.items():
        definitions[form.__name__]["required"] = list(NEEDED[kind])
    return definitions


def _parts(name: str, definition: dict[str, Any]) -> Iterator[str]:
    yield f"## {_SECTIONS[name]}"
    yield prose(definition.get("description", ""))
    *short, whole = definition.get("anyOf", [definition])
    for form in short:
        yield f"Short form, {_YAML.values(form)}: {form.get('description', '')}"
    yield bullets(_YAML.keys(whole))


def _catalogue(head: dict[str, Any]) -> Iterator[str]:
    """Document catalogue files, whose lines have the keys of a model and two more."""
    yield "## Catalogue"
    yield prose(_module_docstring("layerzoo.registry.catalogue"))
    yield from _parts(_HEAD, head)
    yield "## Table of layers"
    yield prose(_module_docstring("layerzoo.registry.layer_table"))
    yield bullets(f"`{letter}`: {word}" for letter, word in LETTERS.items())


def _vocabulary() -> Iterator[str]:
    yield "## Modalities"
    yield bullets(f"`{modality}`" for modality in MODALITIES)
    yield "## Axes"
    yield prose(_attribute_docstring("layerzoo.spec.AXES"))
    yield bullets(f"`{axis}`" for axis in AXES)
    yield "## Poolings"
    yield bullets(f"`{pooling.name}`: {pooling.summary}" for pooling in POOLINGS.values())
    yield "## Sources of weights"
    yield prose(_attribute_docstring("layerzoo.spec.Weights.source"))
    yield "## Selectors of layers"
    select = function("layerzoo.layers.select")
    yield prose(
        select.docstring.value if select.docstring else "", [parameter.name for parameter in parameters(select)]
    )
    yield "## Codes of diagnostics"
    yield bullets(f"`{code}`: {meaning}" for code, meaning in MEANINGS.items())


def _attribute_docstring(path: str) -> str:
    docstring = attribute(path).docstring
    return docstring.value if docstring else ""


def _module_docstring(path: str) -> str:
    docstring = module(path).docstring
    return docstring.value if docstring else ""
