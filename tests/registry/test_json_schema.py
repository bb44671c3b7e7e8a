"""The JSON Schema for editors agrees with the checker, and its keys are the fields of the dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from layerzoo.registry.check import check
from layerzoo.registry.format.document import parse_document, read_document
from layerzoo.registry.format.forms import MODEL_FORMS, PREPROCESS_FORMS, DefaultForm, Form, LayerForm, WeightsForm
from layerzoo.registry.format.json_schema import definitions, describe, json_schema
from layerzoo.spec import KINDS, MODALITIES, PREPROCESS_CLASSES, Default, Layer, ModelSpec, Weights

ROOT = Path(__file__).parents[2]
VALID = [
    ROOT / "registry.yaml",
    *sorted(ROOT.glob("plugins/*/src/*/registry.yaml")),
    *sorted((ROOT / "tests" / "plugins_on_disk" / "good").glob("*/registry.yaml")),
]
VISION = "modality: vision, builder: toy, preprocess: {resize: box, mean: [0, 0, 0], std: [1, 1, 1]"

# One file each: the value of `net:`.
MISTAKES = [
    "{modality: text}",
    "{builder: toy}",
    "{modality: sound, builder: toy}",
    "{modality: text, builder: Toy}",
    "{modality: text, builder: toy, licence: mit}",
    "{modality: text, builder: toy, params: many}",
    "{modality: text, builder: toy, license: 2.0}",
    "{modality: text, builder: toy, license: }",
    "{modality: text, builder: toy, preprocess: {}}",
    f"{{{VISION}}}}}",
    f"{{{VISION}, size_px: 0}}}}",
    f"{{{VISION}, size_px: 8, crop: 87.5}}}}",
    "{modality: video, builder: toy, preprocess: {frames: 8, image: {size_px: 8}}}",
    "{modality: text, builder: toy, default: {pool: maen}}",
    "{modality: text, builder: toy, layers: {a: {axes: batch token}}}",
    "{modality: text, builder: toy, layers: {a: {module: a, axes: batch tokn}}}",
    "{modality: text, builder: toy, layers: {a: 2.2}}",
    "{modality: text, builder: toy, weights: ftp://host/file}",
    "{modality: text, builder: toy, weights: https://host/file}",
    "{modality: text, builder: toy, weights: {source: 'hf://a/b', sha256: abc}}",
    "{modality: text, builder: toy, args: [1]}",
    "[1]",
]
HEADS = ["layerzoo: 2", "models: {}", "layerzoo: 1\nmodells: {}", "layerzoo: 1\ndisable: ['*']", "- 1"]

# Short forms of values.
SHORT_FORMS = [
    "{modality: text, base: acme/net}",
    "{modality: text, builder: toy, layers: {norm: encoder.norm, head: , all: .}}",
    "{modality: text, builder: toy, layers: {norm: {module: a, axes: batch channel}, b: {module: b, axes: [batch]}}}",
    "{modality: text, builder: toy, weights: 'hf://a/b'}",
    f"{{modality: text, builder: toy, weights: {{source: 'https://a/b', sha256: {'ab' * 32}}}}}",
    f"{{{VISION}, size_px: 224}}}}",
    f"{{{VISION}, size_px: [224, 192]}}}}",
]


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def _file(folder: Path, text: str) -> str:
    path = folder / "registry.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def _with_model(model: str) -> str:
    return f"layerzoo: 1\nmodels:\n  net: {model}\n"


@pytest.mark.parametrize("file", VALID, ids=lambda file: file.parent.name)
def test_valid_files_match_the_schema(validator: Any, file: Path) -> None:
    assert list(validator.iter_errors(read_document(file).value)) == []


@pytest.mark.parametrize("model", SHORT_FORMS)
def test_short_forms_match_the_schema_and_the_checker(validator: Any, home: Path, model: str) -> None:
    text = _with_model(model)
    assert list(validator.iter_errors(parse_document(text).value)) == []
    assert {problem.code for problem in check(_file(home, text))} <= {"reference"}


@pytest.mark.parametrize("text", [*map(_with_model, MISTAKES), *HEADS])
def test_mistakes_are_found_by_the_schema_and_by_the_checker(validator: Any, home: Path, text: str) -> None:
    assert not validator.is_valid(parse_document(text).value)
    assert check(_file(home, text))


# Fields that are not keys of a form: ids and the names of layers are keys of the mapping around it, the kind follows
# from the modality, and the others are declared elsewhere.
ELSEWHERE = {ModelSpec: {"id", "traced_with", "plugin", "aliases"}, Layer: {"name"}}
FORMS = {
    ModelSpec: [*MODEL_FORMS.values()],
    Layer: [LayerForm],
    Weights: [WeightsForm],
    Default: [DefaultForm],
    **{PREPROCESS_CLASSES[kind]: [form] for kind, form in PREPROCESS_FORMS.items()},
}


@pytest.mark.parametrize(("spec_class", "form"), [(cls, form) for cls, forms in FORMS.items() for form in forms])
def test_the_keys_of_the_schema_are_the_fields_of_the_dataclass(spec_class: Any, form: type[Form]) -> None:
    names = [field.name for field in dataclasses.fields(spec_class)]
    keys = [name for name in names if name not in ELSEWHERE.get(spec_class, {"kind"})]
    definition = definitions([form])[form.__name__]
    schema = definition["anyOf"][-1] if "anyOf" in definition else definition
    assert list(schema["properties"]) == keys


@pytest.mark.parametrize("spec_class", FORMS)
def test_every_field_of_a_dataclass_is_described_in_the_schema(spec_class: Any) -> None:
    (form, *_) = FORMS[spec_class]
    assert [key for key in form.model_fields if not describe(form, key)] == []
    assert describe(LayerForm, "flops").startswith("The floating-point operations up to this layer")
    assert describe(LayerForm, "flops").endswith("For a range of layers: [first, step].")


def test_every_modality_has_one_kind_of_preprocess() -> None:
    assert tuple(sorted(KINDS)) == tuple(sorted(MODALITIES)) == tuple(sorted(MODEL_FORMS))
    assert sorted(KINDS.values()) == sorted(PREPROCESS_CLASSES) == sorted(PREPROCESS_FORMS)


def test_every_key_is_described() -> None:
    assert [path for path, key in _keys(json_schema(), "") if "description" not in key and "$ref" not in key] == []


def _keys(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for name, inner in schema.items():
            if name == "then":  # required keys, which are described elsewhere
                continue
            if name == "properties":
                yield from ((f"{path}/{key}", each) for key, each in inner.items())
            yield from _keys(inner, f"{path}/{name}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from _keys(inner, path)
