"""The schema that editors use says what the checker says, as far as a schema can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from layerzoo.registry.check import check
from layerzoo.registry.format.document import parse_document, read_document
from layerzoo.registry.format.json_schema import json_schema

ROOT = Path(__file__).parents[2]
VALID = [
    ROOT / "registry.yaml",
    *sorted(ROOT.glob("plugins/*/src/*/registry.yaml")),
    *sorted((ROOT / "tests" / "plugins_on_disk" / "good").glob("*/registry.yaml")),
]
VISION = "modality: vision, builder: toy, preprocess: {resize: box, mean: [0, 0, 0], std: [1, 1, 1]"

# A file each, by what stands behind `net:`.
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

# What the forms allow beside the long way.
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
def test_valid_files_are_valid_by_the_schema(validator: Any, file: Path) -> None:
    assert list(validator.iter_errors(read_document(file).value)) == []


@pytest.mark.parametrize("model", SHORT_FORMS)
def test_short_forms_are_valid_by_the_schema_and_the_checker(validator: Any, home: Path, model: str) -> None:
    text = _with_model(model)
    assert list(validator.iter_errors(parse_document(text).value)) == []
    assert {problem.code for problem in check(_file(home, text))} <= {"reference"}


@pytest.mark.parametrize("text", [*map(_with_model, MISTAKES), *HEADS])
def test_mistakes_are_found_by_the_schema_and_by_the_checker(validator: Any, home: Path, text: str) -> None:
    assert not validator.is_valid(parse_document(text).value)
    assert check(_file(home, text))


def test_every_key_is_described() -> None:
    assert [path for path, key in _keys(json_schema(), "") if "description" not in key and "$ref" not in key] == []


def _keys(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for name, inner in schema.items():
            if name == "then":  # what is needed, of keys that are described elsewhere
                continue
            if name == "properties":
                yield from ((f"{path}/{key}", each) for key, each in inner.items())
            yield from _keys(inner, f"{path}/{name}")
    elif isinstance(schema, list):
        for inner in schema:
            yield from _keys(inner, path)
