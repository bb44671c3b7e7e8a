"""A declaration that contradicts a trace is refused with both values, and used if it is trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.terminal import Zoo

import layerzoo
from layerzoo.errors import DeclarationError, LayerError
from layerzoo.spec import AudioPreprocess, FrozenMap, Layer, ModelSpec, TextPreprocess

MAP = ("batch", "channel", "height", "width")
TOKENS = ("batch", "token", "channel")


@pytest.fixture
def spec(install: Callable[..., None]) -> Callable[..., ModelSpec]:
    install("varying")

    def declared(name: str, args: dict[str, Any] | None = None, preprocess: Any = None, **facts: Any) -> ModelSpec:
        found = layerzoo.model(f"varying/{name}")
        first, *others = found.layers
        found = replace(found, layers=(replace(first, **facts), *others), preprocess=preprocess or found.preprocess)
        return replace(found, args=FrozenMap(found.args.to_dict() | (args or {})))

    return declared


@pytest.mark.parametrize(
    ("name", "args", "facts", "message"),
    [
        ("image", {}, {"axes": ("batch", "height", "width", "channel")}, "'batch height width channel', and inputs of"),
        ("image", {}, {"axes": ("batch", "channel", "width", "height")}, "show 'batch channel height width'"),
        ("image", {}, {"axes": ("channel", "batch", "height", "width")}, r"and a batch of 2 gives \(2, 4, 8, 8\)"),
        ("image", {}, {"axes": ("token", "channel", "height", "width")}, "without a batch, and a batch of 2 gives"),
        (
            "image",
            {},
            {"axes": MAP, "shape": (4, 16, 8)},
            r"the shape \(4, 16, 8\), and for 16 × 16 pixels .*\(4, 8, 8\)",
        ),
        ("image", {}, {"shape": (7, 8, 8)}, r"the shape \(7, 8, 8\)"),
        ("image", {}, {"axes": MAP, "prefix_tokens": 1}, "1 prefix tokens, and the axes .* have no tokens"),
        ("text", {}, {"axes": ("batch", "channel", "token")}, "show 'batch token channel'"),
        ("text", {"added": (5, 0)}, {"prefix_tokens": 2}, "2 prefix tokens, and the network adds 5 tokens to a text"),
        ("text", {}, {"prefix_tokens": 40}, "40 prefix tokens, and there are 6 tokens in all"),
        ("text", {}, {"axes": TOKENS, "shape": (6, 7)}, r"declared is the shape \(6, 7\), and for 6 tokens"),
        ("patches", {"prefix": 1}, {"prefix_tokens": 0}, "0 prefix tokens, and inputs of other sizes show 1"),
        ("patches", {"prefix": 3}, {"prefix_tokens": 1, "suffix_tokens": 1}, "1 prefix and 1 suffix tokens, and .* 3"),
        ("patches", {"prefix": 1}, {"axes": ("batch", "channel", "token")}, "show 'batch token channel'"),
        ("patches", {"prefix": 1}, {"suffix_tokens": 1}, "1 suffix tokens, and the network has 1 tokens before .* 0"),
        ("patches", {"prefix": 0, "suffix": 1}, {"prefix_tokens": 1}, "has 0 tokens before those of the input and 1"),
        ("patches", {"prefix": 3}, {"prefix_tokens": 2, "suffix_tokens": 1}, "3 tokens before .* and 0 after them"),
        (
            "patches",
            {"prefix": 1, "registers": 4},
            {"prefix_tokens": 4, "suffix_tokens": 1},
            "5 tokens before .* and 0",
        ),
        (
            "patches",
            {"prefix": 1},
            {"axes": TOKENS, "last_tokens": 1},
            "last 1 tokens, and the network has 0 .* after",
        ),
        (
            "patches",
            {"suffix": 2},
            {"axes": TOKENS, "last_tokens": 3},
            "last 3 tokens, and the network has 2 .* after",
        ),
        ("text", {"added": (2, 1)}, {"prefix_tokens": 3}, "adds 2 tokens before a text and 1 after it"),
        (
            "text",
            {"added": (2, 1)},
            {"prefix_tokens": 1, "suffix_tokens": 2},
            "adds 2 tokens before a text and 1 after",
        ),
    ],
)
def test_a_declaration_that_contradicts_the_trace_is_refused(
    spec: Callable[..., ModelSpec], name: str, args: dict[str, Any], facts: dict[str, Any], message: str
) -> None:
    declared = spec(name, args, **facts)
    for _ in range(2):  # a refused declaration is not stored
        with pytest.raises(DeclarationError, match=message) as caught:
            layerzoo.load(declared, weights="random:0")
        assert "--trust-declaration" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "args", "facts"),
    [
        ("image", {}, {"axes": MAP, "shape": (4, 8, 8)}),
        ("image", {}, {"shape": (4, 8, 8)}),
        ("text", {}, {"axes": TOKENS, "prefix_tokens": 1, "suffix_tokens": 1}),  # the tokenizer's
        ("text", {}, {"axes": ("batch", "time", "channel")}),  # another word for positions
        ("text", {"added": (5, 0)}, {"prefix_tokens": 5}),
        ("text", {"added": (2, 1)}, {"prefix_tokens": 2, "suffix_tokens": 1}),
        ("text", {"added": (2, 0)}, {"prefix_tokens": 3}),  # the network's, and one of the tokenizer's
        ("patches", {"prefix": 3}, {"prefix_tokens": 3}),
        ("patches", {"prefix": 2, "suffix": 1}, {"prefix_tokens": 2, "suffix_tokens": 1}),
        ("patches", {"prefix": 1, "suffix": 2, "registers": 4}, {"prefix_tokens": 5, "suffix_tokens": 2}),
        ("patches", {"prefix": 1, "suffix": 2}, {"suffix_tokens": 2}),
        ("patches", {"prefix": 1, "suffix": 2}, {"axes": TOKENS, "last_tokens": 2}),
        ("patches", {"prefix": 1, "suffix": 2}, {"axes": TOKENS, "last_tokens": 1}),
        ("text", {"added": (2, 1)}, {"prefix_tokens": 2, "suffix_tokens": 2}),
    ],
)
def test_a_declaration_that_the_trace_confirms_is_kept(
    spec: Callable[..., ModelSpec], name: str, args: dict[str, Any], facts: dict[str, Any]
) -> None:
    layer = layerzoo.load(spec(name, args, **facts), weights="random:0").spec.layers[0]
    assert {key: getattr(layer, key) for key in facts} == facts


def test_a_declaration_can_be_trusted_without_a_trace(spec: Callable[..., ModelSpec]) -> None:
    declared = spec("patches", {"prefix": 1}, prefix_tokens=0, shape=(9, 9))
    trusted = layerzoo.load(declared, weights="random:0", trust_declaration=True)
    assert trusted.spec.layers[0].prefix_tokens == 0
    assert trusted.spec.layers[0].shape == (9, 9)
    with pytest.raises(DeclarationError):  # an earlier trust has no effect
        layerzoo.load(declared, weights="random:0")
    images = [np.full((16, 16, 3), level, np.uint8) for level in (10, 200)]
    mean = layerzoo.extract(declared, images, weights="random:0", trust_declaration=True, layer="block.0")
    raw = layerzoo.extract(declared, images, weights="random:0", trust_declaration=True, layer="block.0", pool="none")
    np.testing.assert_allclose(mean.values, raw.values.mean(1), rtol=1e-4, atol=1e-6)


def test_an_inherited_shape_applies_to_the_input_size_of_the_base(install: Callable[..., None], home: Path) -> None:
    install("varying")
    (home / "registry.yaml").write_text(
        """layerzoo: 1
models:
  mine/small:
    modality: vision
    base: varying/image
    layers: {stage.0: {module: first, axes: batch channel height width, shape: [4, 8, 8]}}
    default: {layer: stage.0}
  mine/large: {modality: vision, base: mine/small, preprocess: {size_px: 32}}
"""
    )
    assert layerzoo.load("mine/large", weights="random:0").layers[0].shape == (4, 16, 16)
    assert layerzoo.load("mine/small", weights="random:0").layers[0].shape == (4, 8, 8)


def test_the_command_line_reports_the_contradiction_and_can_trust_the_declaration(
    install: Callable[..., None], home: Path, zoo: Zoo
) -> None:
    install("varying")
    (home / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/net: {modality: vision, base: varying/image, "
        "layers: {stage.0: {module: first, axes: batch height width channel}}, default: {layer: stage.0}}\n"
    )
    refused = zoo("layers", "--trace", "mine/net")
    assert refused.code == 2
    assert "declared are the axes 'batch height width channel'" in refused.err
    assert zoo("layers", "--trace", "mine/net", "--trust-declaration").code == 0
    assert zoo("layers", "mine/net", "--format", "jsonl").code == 0


@pytest.mark.parametrize("layers", ["with axes", "without axes", "of channels", "none"])
@pytest.mark.parametrize("hop", [(10, 5), (400, 160)])
def test_a_declared_number_of_frames_that_the_network_does_not_output_is_refused(
    spec: Callable[..., ModelSpec], hop: tuple[int, int], layers: str
) -> None:
    over_time = Layer(name="block.0", module="frames", axes=("batch", "channel", "time"))
    declared_layers = {
        "with axes": (over_time,),
        "without axes": (replace(over_time, axes=None),),
        "of channels": (Layer(name="block.0", module="pooled", axes=("batch", "channel")),),
        "none": (),
    }
    spec("image")
    declared = ModelSpec(
        id="varying/sound",
        modality="audio",
        builder="varying",
        preprocess=AudioPreprocess(sample_rate_hz=1000, frame_hop_samples=hop),
        layers=declared_layers[layers],
    )
    layer = "block.0" if layers != "none" else "module:frames"
    if hop == (10, 5):
        shape = layerzoo.load(declared, weights="random:0", layer=layer).layers[0].shape
        assert shape == ((2,) if layers == "of channels" else (2, 199))
        return
    with pytest.raises(DeclarationError, match=r"\[400, 160\], which makes 4 and 11 frames of 1000 and 2000"):
        layerzoo.load(declared, weights="random:0", layer=layer)


def test_a_classification_token_that_the_tokenizer_does_not_set_is_refused() -> None:
    declared = replace(layerzoo.model("toy/next-word"), preprocess=TextPreprocess(max_tokens=9, cls_token=True))
    with pytest.raises(DeclarationError, match=r"declared is cls_token: true, .* puts none before a text"):
        layerzoo.load(declared)
    layerzoo.load(declared, trust_declaration=True)


def test_axes_of_a_wrong_number_cannot_be_trusted(spec: Callable[..., ModelSpec]) -> None:
    with pytest.raises(LayerError, match="do not fit its shape"):
        layerzoo.load(spec("image", axes=("batch", "channel")), weights="random:0", trust_declaration=True)
