"""torchvision's networks: `builder: torchvision`, `args: {name: an architecture, and what its builder takes}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from layerzoo import ModelSpec, hookimpl
from layerzoo.authoring import Chain
from layerzoo_torchvision import library


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """Return the architecture, as torchvision builds it for the weights that the name states."""
    arguments = spec.args.to_dict()
    name, _, tag = arguments.pop("name").partition(".")
    weights = library.get_model_weights(name)[tag] if tag else None
    return library.build(name, weights, arguments)


@hookimpl
def layerzoo_describe(spec: ModelSpec) -> dict[str, Any] | None:
    w = library.weights_of(spec.args["name"].partition(".")[0])[0]
    return {"preprocess": {"size_px": (w.transforms().crop_size*2)[:2], "resize": "bilinear", "mean": [.5,.5,.5], "std": [.5,.5,.5]}}
