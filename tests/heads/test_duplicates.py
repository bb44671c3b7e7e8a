"""Samples that occur several times are found, in any form that a sample has."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from layerzoo import Audio
from layerzoo.heads.duplicates import groups_with_duplicates
from layerzoo.media.content import sample_digest
from layerzoo.media.sample import Sample


def pixels(value: int) -> Any:
    return np.full((8, 8, 3), value, np.uint8)


FORMS: dict[str, Callable[[int], Any]] = {
    "text": str,
    "bytes": lambda value: bytes([value]),
    "array": pixels,
    "tensor": lambda value: torch.full((3, 8, 8), float(value)),
    "image": lambda value: Image.fromarray(pixels(value)),
    "audio": lambda value: Audio(np.full(4, value, np.float32), 16_000),
}


def grouped(sources: list[Any]) -> list[int] | None:
    groups, note = groups_with_duplicates([Sample(str(row), source) for row, source in enumerate(sources)], None)
    assert (groups is None) == (note is None)
    return None if groups is None else groups.tolist()


@pytest.mark.parametrize("form", FORMS)
def test_equal_samples_are_in_one_group(form: str) -> None:
    sample = FORMS[form]
    assert grouped([sample(1), sample(2)]) is None
    assert grouped([sample(1), sample(2), sample(1)]) == [0, 1, 0]


def test_contradicting_labels_of_equal_samples_are_noted() -> None:
    samples = [Sample(name, text) for name, text in (("a", "one"), ("b", "two"), ("c", "one"))]
    agreed, contradicted = (groups_with_duplicates(samples, None, labels)[1] for labels in ("xyx", "xyz"))
    assert agreed is not None
    assert contradicted is not None
    assert "contradict" not in agreed
    assert "the labels of equal samples contradict each other in 1 case, such as 'x' of a and 'z' of c" in contradicted


def test_equal_files_are_in_one_group_and_missing_ones_apart(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in "abcd"]
    for path, content in zip(paths, (b"one", b"two", b"one"), strict=False):
        path.write_bytes(content)
    assert grouped(paths) == [0, 1, 0, 2]


def test_a_damaged_image_and_an_array_of_objects_have_no_digest() -> None:
    encoded = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(encoded, "PNG")
    assert sample_digest(Image.open(io.BytesIO(encoded.getvalue()[:400]))) is None
    assert sample_digest(np.array([object()])) is None
