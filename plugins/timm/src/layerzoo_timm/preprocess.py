"""Describe the preprocessing of timm's checkpoints by the keys of registry.yaml."""

from __future__ import annotations

from typing import Any

from timm.data import resolve_data_config
from timm.models import PretrainedCfg

_FIT = {"center": "crop", "squash": "squash", "border": "pad"}


def preprocess_of(pretrained_cfg: PretrainedCfg) -> dict[str, Any]:
    """Return timm's evaluation transform as the ``preprocess`` of a registry.yaml. Results are equal bit for bit.

    Equal to ``timm.data.create_transform(**timm.data.resolve_model_data_config(model))`` for a model of this tag, at
    the input size of training (timm's default), not at ``test_input_size``.
    """
    resolved = resolve_data_config(pretrained_cfg=pretrained_cfg.to_dict())
    return {
        "size_px": list(resolved["input_size"][1:]),
        "resize": resolved["interpolation"],
        "crop": resolved["crop_pct"],
        "fit": _FIT[resolved["crop_mode"]],
        "mean": list(resolved["mean"]),
        "std": list(resolved["std"]),
    }
