"""Unusual requests for layers and poolings have a result, or an error with the request and the choices."""

from __future__ import annotations

import pytest

import layerzoo
from layerzoo.errors import LayerError, LayerzooError, PoolingError, UnknownLayerError, UsageError

MINILM = "starter/minilm-l6"


@pytest.mark.parametrize(
    ("selector", "kind", "message"),
    [
        ("block.99", UnknownLayerError, "has no layer 'block.99'. Nearest: block.5"),
        ("block.-7", UnknownLayerError, "has no layer 'block.-7'. Nearest: block.5"),
        ("block.{3..9}", UnknownLayerError, "has no layer 'block.6'"),
        ("blok.*", UnknownLayerError, r"has no layer 'blok.\*'. Nearest: block"),
        ("", UnknownLayerError, "has no layer ''. All 8: zoo layers starter/minilm-l6"),
        ("@1.5", LayerError, "'@1.5' is not a depth: write a share of the FLOPs from 0 to 1"),
        ("penultimate", LayerError, "has no classifier .* 'last' may be meant"),
        ("module:", LayerError, r"returns last_hidden_state \(2, 16, 384\), pooler_output \(2, 384\)"),
        ("module:nope", UnknownLayerError, "has no layer 'module:nope'. Nearest: module:"),
        ("module:encoder.layer", LayerError, "is never called; only modules inside it are"),
        ("module:encoder.layer.0#3", LayerError, r"runs 1 time\(s\), and call 3 was asked for"),
        ("module:encoder.layer.0#x", LayerError, "the call after # is a number from 0"),
        (3, UsageError, "layer=3 is neither the name of a layer nor a list of names"),
        (b"block.0", UsageError, "is neither the name of a layer nor a list of names"),
        (["block.0", None], UsageError, "is neither the name of a layer nor a list of names"),
    ],
    ids=repr,
)
def test_the_error_for_an_unknown_layer_repeats_the_request(
    selector: str, kind: type[LayerzooError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        layerzoo.load(MINILM, layer=selector)
    assert caught.value.exit_code == (3 if kind is UnknownLayerError else 2)


@pytest.mark.parametrize(
    ("selectors", "names"),
    [
        ("last", ["block.5"]),
        ("block.-6", ["block.0"]),
        (["block.1", "block.*", "block.1"], ["block.1", "block.0", "block.2", "block.3", "block.4", "block.5"]),
        ("module:encoder.layer.0", ["module:encoder.layer.0"]),
        (("@0", "@1"), ["stem", "pooled"]),
    ],
    ids=repr,
)
def test_each_layer_is_returned_once_in_the_requested_order(selectors: str, names: list[str]) -> None:
    assert [layer.name for layer in layerzoo.load(MINILM, layer=selectors).layers] == names


@pytest.mark.parametrize(
    ("layer", "pool", "expected"),
    [
        ("block.*", {"block.*": "max", "block.0": "cls"}, {"block.0": "cls", "block.1": "max"}),
        (["block.0", "block.1"], {"block.*": "max"}, {"block.0": "max", "block.1": "max"}),
        (["block.0", "last"], {"block.-1": "cls"}, {"block.0": "mean", "block.5": "cls"}),
        ("@0.5", {"@0.5": "cls"}, {"block.2": "cls"}),
        ("block.0", {}, {"block.0": "mean"}),
    ],
    ids=repr,
)
def test_poolings_are_given_by_selector(layer: str, pool: dict[str, str], expected: dict[str, str]) -> None:
    pools = layerzoo.load(MINILM, layer=layer, pool=pool).pools
    assert {name: pools[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("pool", "kind", "message"),
    [
        ("meen", PoolingError, "there is no pooling 'meen'. Nearest: mean"),
        ("", PoolingError, "there is no pooling ''. All: mean, max"),
        ({"block.0": ""}, PoolingError, "there is no pooling ''"),
        ("flatten", PoolingError, "samples of one size"),
        ({"block.3": "max"}, UsageError, "a pooling is given for block.3, and that is not among the layers: block.0"),
        ({"nope": "max"}, UnknownLayerError, "has no layer 'nope'"),
        ({"block.0": None}, UsageError, "is neither the name of a pooling nor a mapping"),
        (["mean"], UsageError, "is neither the name of a pooling nor a mapping"),
        (3, UsageError, "is neither the name of a pooling nor a mapping"),
    ],
    ids=repr,
)
def test_an_unknown_pooling_is_refused(pool: str, kind: type[LayerzooError], message: str) -> None:
    with pytest.raises(kind, match=message):
        layerzoo.load(MINILM, layer="block.0", pool=pool)
