"""The short form of layer names."""

from __future__ import annotations

import pytest
from tools.certify.folding import folded


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["stem", "block.0", "block.1", "block.2", "norm", "head"], "stem · block.{0..2} · norm · head"),
        (["stem", "stage.0.block.0", "stage.0", "stage.1.block.0", "stage.1"], "stem · stage.{0..1} · stage.*.block.*"),
        (["branch.0.block.0", "branch.1.block.0", "pooled"], "branch.*.block.* · pooled"),
        (["block.1", "block.3"], "block.{1,3}"),
        (["block.7"], "block.7"),
        ([], ""),
    ],
)
def test_names_are_folded_into_ranges_and_stars(names: list[str], expected: str) -> None:
    assert folded(names) == expected
