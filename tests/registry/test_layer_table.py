"""Layers are packed into the table of a generated catalogue, and unpacked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.registry.format.layer_table import packed, unpacked
from layerzoo.registry.format.schema import check_model
from layerzoo.spec import AXES, Layer, ModelSpec

TOTAL = 10**9


def blocks(*names: tuple[str, str], shape: tuple[int, ...] = (197, 192), flops: int = 50) -> list[Layer]:
    return [
        Layer(
            name=name,
            module=module,
            axes=("batch", "token", "channel"),
            shape=shape,
            prefix_tokens=1,
            params=100 + 10 * place,
            flops=flops * (place + 1),
        )
        for place, (name, module) in enumerate(names)
    ]


def test_equal_blocks_are_one_row() -> None:
    layers = blocks(*((f"block.{i}", f"blocks.{i}") for i in range(12)))
    assert packed(layers) == [["block.{0..11}", "blocks.{0..11}", "BTC", [197, 192], [100, 10], [50, 50], 1]]


def test_a_change_of_shape_or_step_begins_a_new_row() -> None:
    layers = blocks(*((f"block.{i}", f"blocks.{i}") for i in range(6)))
    layers[3] = replace(layers[3], shape=(50, 192))
    layers[2] = replace(layers[2], flops=101)
    assert [row[0] for row in packed(layers)] == ["block.{0..1}", "block.2", "block.3", "block.{4..5}"]


def test_only_one_number_of_a_row_increases() -> None:
    layers = blocks(("stage.0.block.0", "0.0"), ("stage.0.block.1", "0.1"), ("stage.1.block.2", "1.2"))
    assert [row[0] for row in packed(layers)] == ["stage.0.block.{0..1}", "stage.1.block.2"]


@pytest.mark.parametrize("table", [[["a"]], ["ab"], [[1, "m"]], [["a", "m"], ["a", "n"]], [["a", "m", *range(30)]]])
def test_an_invalid_table_is_reported(table: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"a row of layers|twice"):
        unpacked(table)


NAMES = st.sampled_from(["stem", "block.{}", "stage.{}", "stage.1.block.{}", "norm"])
LAYERS = st.builds(
    lambda name, number, module, axes, facts: Layer(
        name=name.format(number),
        module=module.format(number, number),
        axes=tuple(axes),
        shape=tuple(range(1, len(axes) - ("batch" in axes) + 1)),
        depth=round(min(facts["flops"] / TOTAL, 1.0), 4),
        **facts,
    ),
    NAMES,
    st.integers(0, 30),
    st.sampled_from(["blocks.{}", "layer{}.x", "features.{}.{}", "shared"]),
    st.lists(st.sampled_from(AXES), unique=True, min_size=1),
    st.fixed_dictionaries(
        {"params": st.integers(0, 9), "flops": st.integers(0, TOTAL)},
        optional={
            "prefix_tokens": st.integers(0, 2),
            "call": st.integers(0, 2),
            "output": st.sampled_from(["hidden", 0, 1]),
            "at": st.just("input"),
        },
    ),
)


@given(st.lists(LAYERS, unique_by=lambda layer: layer.name))
def test_a_table_represents_its_layers(layers: list[Layer]) -> None:
    declared = {"modality": "vision", "builder": "b", "flops": TOTAL, "layers": unpacked(packed(layers))}
    plain, mistakes = check_model("acme/net", declared, Path())
    assert mistakes == []
    assert plain is not None
    assert ModelSpec.from_dict(plain).layers == tuple(layers)
