"""Every named layer of a classification network equals torchvision's own ``create_feature_extractor``, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.torchvision_plugin.checkpoints import network_of, saved
from tools.certify.exact import Whole, disturb
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import layerzoo
from layerzoo.spec import Layer

SAMPLE = ("mobilenet_v3_small", "squeezenet1_1")
"""Small networks: stages with blocks and without, convolutions numbered like blocks, a classifier of convolutions."""
LARGEST = 100_000_000
"""The number of parameters of the largest network that is run."""


@pytest.mark.parametrize("name", SAMPLE)
def test_layers_equal_those_of_torchvision(name: str, tmp_path: Path, home: Path) -> None:
    assert differing_layers(name, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(models.list_models(module=models)) - set(SAMPLE)))
def test_layers_equal_those_of_torchvision_in_every_network(name: str, tmp_path: Path, home: Path) -> None:
    if (layerzoo.model(f"torchvision/{name}").params or 0) > LARGEST:
        pytest.skip(f"more than {LARGEST:,} parameters")
    assert differing_layers(name, tmp_path) == []


def differing_layers(name: str, folder: Path) -> list[str]:
    """Return the names of the layers whose activations differ from those of torchvision's feature extractor."""
    network = network_of(name)
    disturb(network)
    whole = Whole.of(saved(layerzoo.model(f"torchvision/{name}"), network, folder), network)
    activations = whole.backbone.activations(whole.batch)
    (pixels,) = whole.batch.inputs.values()
    expected = extracted(whole.network, whole.backbone.layers, pixels)
    if name.startswith("densenet"):  # its forward applies a ReLU in place to what the extractor returns
        activations["norm"] = activations["norm"].relu()
    return [layer for layer, tensor in expected.items() if not torch.equal(tensor, activations[layer])]


def extracted(network: nn.Module, layers: tuple[Layer, ...], pixels: Tensor) -> dict[str, Tensor]:
    """Return the outputs of modules that torchvision's feature extractor finds, by the name of the layer."""
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False  # otherwise the extractor returns what a later module has overwritten
    nodes = get_graph_node_names(network)[1]  # without those inside modules of torchvision.ops, which it does not trace
    called_once = [
        layer
        for layer in layers
        if layer.at == "output" and layer.call in (None, 0)
        if any(f"{node}.".startswith(f"{layer.module}.") for node in nodes)
    ]
    found: dict[str, Tensor] = {}
    for group in (
        {layer.module: layer.name for layer in called_once if ".block." not in layer.name},
        {layer.module: layer.name for layer in called_once if ".block." in layer.name},
    ):  # a node of its graph has one name, and a stage may be the node of its last block
        extractor = create_feature_extractor(network, return_nodes=group)
        with torch.no_grad():
            found |= extractor(pixels)
    return found
