"""The backbone for a modality and the inputs of a type are inferred from the classes of the library."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from layerzoo_hf.parts import backbone_path, modality_of


@pytest.mark.parametrize(
    ("model_type", "modality", "part"),
    [
        ("bert", "text", ""),
        ("t5", "text", "encoder"),
        ("whisper", "audio", "encoder"),
        ("clip", "text", "text_model"),
        ("clip", "vision", "vision_model"),
        ("clap", "audio", "audio_model"),
        ("detr", "vision", ""),
        ("dac", "audio", "encoder"),
    ],
)
def test_the_backbone_is_a_tower_an_encoder_or_the_whole(model_type: str, modality: str, part: str) -> None:
    with torch.device("meta"):
        network: Any = AutoModel.from_config(AutoConfig.for_model(model_type))
    assert backbone_path(network, modality) == part


@pytest.mark.parametrize(
    ("model_type", "modality"),
    [
        ("bert", "text"),
        ("vit", "vision"),
        ("wav2vec2", "audio"),
        ("whisper", "audio"),
        ("videomae", "video"),
        ("autoformer", None),
    ],
)
def test_the_modality_follows_from_the_main_input(model_type: str, modality: str | None) -> None:
    assert modality_of(AutoConfig.for_model(model_type)) == modality
