"""timm's networks: `builder: timm`, `args: {name: an architecture, and whatever timm.create_model takes}`."""

from __future__ import annotations

from typing import Any

import timm
from torch import nn

from layerzoo import ModelSpec, hookimpl
from layerzoo.spec import ImagePreprocess


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """The architecture, at the input size that the spec declares where the network is made for one size only."""
    args = spec.args.to_dict()
    known = timm.get_pretrained_cfg(args["name"])
    declared = spec.preprocess.size_px if isinstance(spec.preprocess, ImagePreprocess) else None
    if known and known.fixed_input_size and declared and declared != tuple(known.input_size[1:]):
        args.setdefault("img_size", declared)
    network: nn.Module = timm.create_model(args.pop("name"), pretrained=False, **args)
    return network


@hookimpl
def layerzoo_describe(spec: ModelSpec) -> dict[str, Any] | None:
    """The preprocessing that timm gives this architecture's default weights."""
    known = timm.get_pretrained_cfg(spec.args["name"])
    if known is None or spec.modality != "vision":
        return None
    return {
        "preprocess": {
            "size_px": list(known.input_size[1:]),
            "resize": known.interpolation,
            "crop": known.crop_pct,
            "fit": "squash" if known.crop_mode == "squash" else "crop",
            "mean": list(known.mean),
            "std": list(known.std),
        }
    }
