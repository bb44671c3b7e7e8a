"""Checkpoints of torchvision's networks, as torchvision publishes them: pickled state dicts."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from layerzoo.spec import ModelSpec, Weights

IMPLIED: dict[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "init_weights": False, "aux_logits": False},
    "inception_v3": {"transform_input": True, "init_weights": False, "aux_logits": False},
    "vit_h_14": {"image_size": 518},
}
"""What the default weights imply for a network, where that is not torchvision's default."""


def network_of(name: str) -> nn.Module:
    """Return an architecture with the shape that its default weights imply, and random values."""
    torch.manual_seed(0)
    network: nn.Module = models.get_model(name, weights=None, **IMPLIED.get(name, {}))
    return network


def saved(spec: ModelSpec, network: nn.Module, folder: Path) -> ModelSpec:
    """Save the weights of a network, and return the spec with them."""
    path = folder / "weights.pth"
    torch.save(network.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return replace(spec, weights=Weights(source=f"file:{path}", sha256=((path.name, digest),)))
