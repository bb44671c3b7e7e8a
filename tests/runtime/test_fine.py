"""The fine layers of a block are the input of its feed-forward network, and the activation inside it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import layerzoo
from layerzoo.errors import LayerError


@pytest.mark.parametrize(
    ("model", "block", "path"),
    [
        ("timm/eva02_tiny_patch14_224", "block.1", "blocks.1"),
        ("timm/swin_tiny_patch4_window7_224", "stage.0.block.1", "layers.0.blocks.1"),
    ],
    ids=["gated", "maps as the output of the block"],
)
def test_they_are_the_inputs_of_the_linear_layers(model: str, block: str, path: str) -> None:
    names = [f"{block}.attn", f"{block}.mlp"]
    backbone = layerzoo.load(model, layer=names, weights="random:0", pool="none")
    network = backbone.module.network.get_submodule(f"{path}.mlp")
    received: dict[str, torch.Tensor] = {}

    def keep(name: str, module: nn.Module) -> None:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            received[name] = args[0].detach().clone()

        module.register_forward_pre_hook(hook)

    keep(names[0], network)
    keep(names[1], network.get_submodule("fc2"))
    found = backbone.activations(backbone.preprocess.example(2))  # type: ignore[arg-type]
    for name, activation in found.items():
        np.testing.assert_array_equal(activation.numpy(), received[name].numpy())
    assert [layer.axes for layer in backbone.layers] == [("batch", "token", "channel")] * 2


def test_all_of_them_have_one_selector_and_are_pooled_like_other_layers() -> None:
    features = layerzoo.extract("starter/minilm-l6", ["a text"], layer=["fine"])
    assert len(features.layers) == 12
    assert features["block.5.mlp"].shape == (1, 1536)
    assert layerzoo.extract("starter/minilm-l6", ["a"], layer="block.-1.attn").layers == ("block.5.attn",)


def test_a_network_without_feed_forward_networks_has_none() -> None:
    with pytest.raises(LayerError, match="no blocks with a feed-forward network"):
        layerzoo.load("timm/resnet18", layer="fine", weights="random:0")
