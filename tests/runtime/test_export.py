"""Captured and exported cuts, run by other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import layerzoo
from layerzoo.errors import ExportError, OutputError, UsageError
from layerzoo.runtime import Backbone

LARGE = [
    ("starter/efficientnet-lite0", ["stage.1", "penultimate"]),
    ("timm/vit_tiny_patch16_224", ["block.1", "block.3"]),
    ("starter/minilm-l6", ["block.1", "pooled"]),
    ("starter/whisper-tiny-en", ["block.0"]),
]
"""A CNN, a vision transformer, a text and an audio network."""


def loaded(model: str, layers: list[str]) -> Backbone:
    return layerzoo.load(model, layer=layers, weights="random:0")


def small_cnn() -> Backbone:
    torch.manual_seed(0)
    convolutions = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    return layerzoo.wrap(convolutions, example=torch.randn(2, 3, 16, 16), layer=["module:1", "module:3<"])


def small_text() -> Backbone:
    return layerzoo.load("toy/next-word", layer=["module:hidden"])


def argument(backbone: Backbone) -> Any:
    example = backbone.preprocess.example(2)
    assert example is not None
    return dict(example.inputs) if len(example.inputs) > 1 else next(iter(example.inputs.values()))


def captured(backbone: Backbone) -> None:
    """Compare torch.compile and both modes of torch.export with the cut."""
    inputs = argument(backbone)
    with torch.no_grad():
        expected = backbone.module(inputs)
        compiled = torch.compile(backbone.module, fullgraph=True, backend="eager")(inputs)
    shapes: Any = {name: {0: Dim.DYNAMIC} for name in inputs} if isinstance(inputs, dict) else {0: Dim.DYNAMIC}
    program = torch.export.export(backbone.module, (inputs,), dynamic_shapes=(shapes,))
    for found in (compiled, program.module()(inputs)):
        assert list(found) == [layer.name for layer in backbone.layers]
        for name, activation in found.items():
            torch.testing.assert_close(activation, expected[name], rtol=0, atol=0)
    again: dict[str, Tensor] = backbone.module(inputs)
    assert all(torch.equal(again[name], expected[name]) for name in expected)
    assert not any(module._forward_hooks for module in backbone.module.modules())


@pytest.mark.parametrize("make", [small_cnn, small_text])
def test_a_small_cut_is_captured_by_torch(make: Any) -> None:
    captured(make())


@pytest.mark.slow
@pytest.mark.parametrize(("model", "layers"), LARGE)
def test_cuts_of_four_kinds_are_captured_by_torch(model: str, layers: list[str]) -> None:
    captured(loaded(model, layers))


def in_onnxruntime(backbone: Backbone, path: Path) -> None:
    """Compare an exported file with the cut, on a batch of another size."""
    exported = backbone.export(path)
    assert exported.path.is_file()
    assert exported.outputs == [layer.name for layer in backbone.layers]
    example = backbone.preprocess.example(5)
    assert example is not None
    session = onnxruntime.InferenceSession(path)
    found = session.run(None, {name: tensor.numpy() for name, tensor in example.inputs.items()})
    for activation, values in zip(backbone.activations(example).values(), found, strict=True):
        np.testing.assert_allclose(values, activation.numpy(), atol=1e-4 * max(1.0, float(activation.abs().max())))


def test_an_onnx_file_runs_in_onnxruntime(tmp_path: Path) -> None:
    in_onnxruntime(small_cnn(), tmp_path / "cnn.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["cnn.onnx"]


def test_the_axes_of_an_onnx_file_have_names(tmp_path: Path) -> None:
    exported = small_text().export(tmp_path / "text.onnx")
    session = onnxruntime.InferenceSession(exported.path)
    assert {node.name: node.shape for node in session.get_inputs()} == exported.inputs
    (output,) = session.get_outputs()
    assert output.shape[0] == "batch"


@pytest.mark.slow
@pytest.mark.parametrize(("model", "layers"), LARGE)
def test_cuts_of_four_kinds_run_in_onnxruntime(model: str, layers: list[str], tmp_path: Path) -> None:
    in_onnxruntime(loaded(model, layers), tmp_path / "cut.onnx")


def test_a_pt2_file_takes_texts_of_another_length(tmp_path: Path) -> None:
    backbone = small_text()
    exported = backbone.export(tmp_path / "text.pt2")
    assert set(exported.inputs["input_ids"]) == {"batch", "token"}
    program = torch.export.load(exported.path).module()
    batch = backbone.preprocess(["the cat drinks milk the dog eats meat", "the cat drinks milk the cat eats milk"])
    found = program(dict(batch.inputs))
    torch.testing.assert_close(found["module:hidden"], backbone.activations(batch)["module:hidden"])


class Branching(nn.Module):
    """A network whose path depends on the values of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.one(inputs) if inputs.sum() > 0 else self.other(inputs)
        return found


def test_what_cannot_be_exported_is_explained(tmp_path: Path) -> None:
    backbone = layerzoo.wrap(Branching(), example=torch.ones(2, 4))
    with pytest.raises(ExportError, match=r"memory/Branching: torch.export does not follow the code"):
        backbone.export(tmp_path / "cut.pt2")
    with pytest.raises(UsageError, match=r"one of onnx, pt2"):
        backbone.export(tmp_path / "cut.bin")
    with pytest.raises(OutputError, match=r"there is no folder"):
        backbone.export(tmp_path / "missing" / "cut.pt2")
    with pytest.raises(UsageError, match=r"precision='float32' to export"):
        layerzoo.load("toy/next-word", precision="bfloat16").export(tmp_path / "cut.pt2")
    assert not any(tmp_path.iterdir())
