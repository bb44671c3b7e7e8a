"""Small random dual encoders, of every type of the library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel

_COMMON = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_TEXT = {**_COMMON, "vocab_size": 99, "max_position_embeddings": 40, "projection_dim": 16, "pad_token_id": 1}
_VISION = {**_COMMON, "image_size": 32, "patch_size": 8, "projection_dim": 16}
_PAIR: dict[str, Any] = {"text_config": _TEXT, "vision_config": _VISION, "projection_dim": 16}
_OTHERS: dict[str, dict[str, Any]] = {
    "align": {
        **_PAIR,
        "vision_config": {
            "image_size": 32, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 16,
            "in_channels": [32, 16], "out_channels": [16, 16], "kernel_sizes": [3, 3], "strides": [1, 2],
            "num_block_repeats": [1, 1], "expand_ratios": [1, 6], "depthwise_padding": [],
        },
    },
    "altclip": {**_PAIR, "text_config": {**_TEXT, "project_dim": 16}},
    "clap": {
        "text_config": _TEXT,
        "audio_config": {
            "patch_embeds_hidden_size": 8, "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2],
            "hidden_size": 64, "num_mel_bins": 64, "spec_size": 256, "projection_dim": 16,
            "fusion_num_hidden_layers": 1, "enable_fusion": False,
        },
        "projection_dim": 16,
    },
    "flava": {
        "text_config": _TEXT, "image_config": _VISION, "multimodal_config": _COMMON,
        "image_codebook_config": {"num_blocks_per_group": 1, "hidden_size": 8, "vocab_size": 16}, "projection_dim": 16,
    },
    "groupvit": {
        **_PAIR,
        "vision_config": {
            **_VISION, "depths": [1, 1, 1], "num_group_tokens": [8, 4, 0], "num_output_groups": [8, 4, 4],
        },
    },
    "videoprism": {
        "text_config": _TEXT,
        "vision_config": {
            **_COMMON, "image_size": 32, "tubelet_size": [1, 8, 8], "num_spatial_layers": 1, "num_temporal_layers": 1,
            "num_auxiliary_layers": 1, "num_frames": 4,
        },
    },
    "xclip": {
        **_PAIR,
        "vision_config": {
            **_VISION, "mit_hidden_size": 16, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 4,
            "mit_intermediate_size": 32, "num_frames": 4,
        },
    },
}  # fmt: skip
_ALIKE = (
    "aimv2", "blip", "chinese_clip", "clip", "clipseg", "metaclip_2", "owlv2", "owlvit", "siglip", "siglip2", "tipsv2",
)  # fmt: skip
TYPES: dict[str, dict[str, Any]] = {**dict.fromkeys(_ALIKE, _PAIR), **_OTHERS}
"""The configuration of a small network, by model type."""
_FRAME = {"size_px": [32, 32], "resize": "bicubic", "mean": [0, 0, 0], "std": [1, 1, 1]}
VIDEO = {"frames": 4, "joint": True, "image": _FRAME}
"""The preprocessing of videos for those that accept one."""


def network(model_type: str) -> Any:
    """Return a random network. Biases and norms are random too, so that none of them can be missing unnoticed."""
    torch.manual_seed(0)
    made = AutoModel.from_config(AutoConfig.for_model(model_type, **TYPES[model_type])).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def saved(folder: Path, model_type: str) -> Any:
    """Save a random network in the folder. Returns: the network."""
    made = network(model_type)
    made.save_pretrained(folder)
    return made
