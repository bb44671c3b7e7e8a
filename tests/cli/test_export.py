"""`zoo export`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from tests.terminal import Zoo

import layerzoo


def test_a_layer_is_exported_and_compared(home: Path, zoo: Zoo) -> None:
    said = zoo("export", "toy/next-word", "--layer", "module:hidden", "--weights", "random:0", "--out", "cut.onnx")
    assert said.code == 0, said.err
    assert "input_ids (batch, token), attention_mask (batch, token) → module:hidden" in said.err
    assert "Compared with the network on 3 batches" in said.err
    backbone = layerzoo.load("toy/next-word", layer="module:hidden", weights="random:0")
    batch = backbone.preprocess(["the cat drinks", "the dog eats"])
    session = onnxruntime.InferenceSession(home / "cut.onnx")
    taken = {each.name for each in session.get_inputs()}
    (found,) = session.run(None, {name: each.numpy() for name, each in batch.inputs.items() if name in taken})
    np.testing.assert_allclose(found, backbone.activations(batch)["module:hidden"].numpy(), atol=1e-6)


def test_an_unknown_format_and_model_are_named(home: Path, zoo: Zoo) -> None:
    said = zoo("export", "toy/next-word", "--out", "cut.bin")
    assert (said.code, "one of onnx, pt2" in said.err) == (2, True)
    assert zoo("export", "toy/nothing", "--out", "cut.onnx").code == 3
