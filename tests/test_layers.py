"""Addresses of layers: addresses printed by `zoo layers` are accepted in selectors and registry files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerzoo.errors import LayerError, UnknownLayerError
from layerzoo.layers import parse_address, select
from layerzoo.registry.format.schema import check_model
from layerzoo.spec import Layer

_SEGMENT = st.text("abcxyz019_-", min_size=1, max_size=6)
_LAYERS = st.builds(
    Layer,
    name=st.just("block.0"),
    module=st.lists(_SEGMENT, max_size=4).map(".".join),
    call=st.none() | st.integers(0, 300),
    output=st.none() | st.integers(0, 9) | st.text(max_size=5) | st.sampled_from(["1", '"', "a]b", "[", "mask"]),
    at=st.sampled_from(["output", "input"]),
)


@given(_LAYERS)
def test_a_parsed_address_gives_the_same_layer(layer: Layer) -> None:
    assert parse_address(layer.address, name=layer.name) == layer
    (selected,) = select([], f"module:{layer.address}", model="acme/net")
    assert (selected.module, selected.call, selected.output, selected.at) == (
        layer.module, layer.call, layer.output, layer.at,
    )  # fmt: skip


@given(_LAYERS)
def test_an_address_in_a_registry_file_equals_its_separate_keys(layer: Layer) -> None:
    address = layer.address if layer.module else f".{layer.address}"
    for written in (address, {"module": address}):
        data = {"modality": "text", "builder": "toy", "layers": {"block.0": written}}
        plain, mistakes = check_model("mine/net", data, Path())
        assert not mistakes
        assert plain is not None
        (declared,) = plain["layers"]
        assert Layer(**declared) == layer


def test_any_part_of_an_address_may_be_a_range() -> None:
    data = {
        "modality": "text",
        "builder": "toy",
        "layers": {"block.{0..2}": "shared#{0..2}", "stage.{0..1}": "mixer<[{0..1}]"},
    }
    plain, mistakes = check_model("mine/net", data, Path())
    assert not mistakes
    assert plain is not None
    assert [Layer(**each).address for each in plain["layers"]] == [
        "shared#0", "shared#1", "shared#2", "mixer<[0]", "mixer<[1]",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "wrong", ["a#", "a#x", "a<#1", "a[1]<", "a[", "a]", "a[]", "a#1#2", "a<<", "a..b", "a b", "a.", ".a", "#1<x"]
)
def test_an_invalid_address_is_one_mistake_that_shows_the_syntax(wrong: str) -> None:
    data = {"modality": "text", "builder": "toy", "layers": {"block.0": wrong}}
    _, mistakes = check_model("mine/net", data, Path())
    (mistake,) = mistakes
    assert wrong in str(mistake)
    assert "#CALL" in str(mistake)


@pytest.mark.parametrize("wrong", ["module:a#", "module:a<#1", "module:a[1]<", "module:a["])
def test_a_selector_with_an_invalid_address_is_refused(wrong: str) -> None:
    with pytest.raises(LayerError, match="as in"):
        select([], wrong, model="acme/net")


def test_an_address_that_contradicts_a_key_is_a_mistake() -> None:
    layers = {"a": {"module": "x#1", "call": 2}, "b": {"module": "x#1", "call": 1}}
    _, (mistake,) = check_model("mine/net", {"modality": "text", "builder": "toy", "layers": layers}, Path())
    assert mistake.loc == ("layers", "a")
    assert "`call`" in mistake.message


def test_a_module_asked_for_as_a_layer_is_named_with_its_layer() -> None:
    layers = [Layer(name="stage.0", module="layer1"), Layer(name="stage.3", module="layer4")]
    with pytest.raises(UnknownLayerError, match=r"is the module of the layer 'stage\.3'; module:layer4 ") as caught:
        select(layers, "layer4", model="acme/net")
    assert list(caught.value.nearest) == ["stage.3"]
    with pytest.raises(UnknownLayerError, match=r"module:layer1\.0\.conv1"):
        select(layers, "layer1.0.conv1", model="acme/net")
