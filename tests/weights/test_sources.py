"""Parsing of the sources of weights."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.errors import UnsafeWeightsError, WeightsError
from layerzoo.weights.sources import Source, parse_source

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("package://acme-w/acme/m.safetensors", Source("package", "acme-w", "acme/m.safetensors")),
        ("package://acme-w/acme/model/", Source("package", "acme-w", "acme/model/")),
        ("file:/models/m.safetensors", Source("file", "", "/models/m.safetensors")),
        ("file:///models/m.safetensors", Source("file", "", "/models/m.safetensors")),
        ("https://host.org/a/m.safetensors", Source("https", "host.org", "a/m.safetensors")),
        ("hf://acme/vit", Source("hf", "acme/vit", "")),
        ("hf://acme/vit/m.safetensors", Source("hf", "acme/vit", "m.safetensors")),
        (f"hf://acme/vit@{COMMIT}", Source("hf", "acme/vit", "", COMMIT)),
        (f"hf://acme/vit.b@{COMMIT}/sub/m.bin", Source("hf", "acme/vit.b", "sub/m.bin", COMMIT)),
    ],
)
def test_every_form_is_parsed(text: str, source: Source):
    assert parse_source(text) == source
    assert parse_source(str(source)) == source


@pytest.mark.parametrize(
    ("text", "is_folder"),
    [("package://a/b/", True), ("package://a/b", False), ("hf://a/b", True), ("hf://a/b/c", False), ("file:/a/", True)],
)
def test_a_folder_ends_in_a_slash_or_is_a_whole_repository(text: str, is_folder: bool):
    assert parse_source(text).is_folder is is_folder


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "a/../../secret",
        "a/..",
        "/etc/passwd",
        "a//b",
        "./a",
        "a\\..\\b",
        "C:/a",
        "a\0b",
        "..",
        "../",
        "a/./b",
    ],
)
def test_a_path_that_may_leave_its_folder_is_refused(path: str):
    with pytest.raises(UnsafeWeightsError, match="may lead out of its folder"):
        parse_source(f"package://acme/{path}")


def test_a_path_that_may_leave_its_repository_is_refused():
    with pytest.raises(UnsafeWeightsError, match=r"may lead out of its folder"):
        parse_source("hf://acme/vit/../other")


@pytest.mark.parametrize(
    "text",
    ["", "m.safetensors", "http://host/m", "ftp://host/m", "package:acme/m", "package:///m", "package://acme", "hf://vit",
     "hf://acme/vit@/m", "https://host", "https://host/folder/", "package://ac me/m"],
)  # fmt: skip
def test_the_error_for_an_invalid_source_lists_the_possible_forms(text: str):
    with pytest.raises(WeightsError, match=r"is not a source of weights. Possible: package://DISTRIBUTION/PATH"):
        parse_source(text)


def test_the_error_for_a_relative_path_explains_how_paths_are_resolved():
    with pytest.raises(WeightsError, match="must be absolute"):
        parse_source("file:./m.safetensors")


@given(st.text())
def test_any_text_is_a_source_or_raises_a_layerzoo_error(text: str):
    for prefix in ("", "package://", "file:", "https://", "hf://a/"):
        try:
            source = parse_source(prefix + text)
        except WeightsError:
            continue
        assert ".." not in source.path.split("/") or source.scheme in {"file", "https"}
