"""One small network of each family of transformers, with random weights: every cut of it is the whole network."""

from __future__ import annotations

import pytest
from tools.certify.transformers import certify

PLAIN = "stem · block.{0..3}"
FAMILIES = {
    "bert": f"{PLAIN} · pooled",
    "distilbert": PLAIN,
    "albert": f"{PLAIN} · pooled",  # one layer, run four times
    "deberta-v2": PLAIN,
    "modernbert": f"{PLAIN} · norm",
    "mpnet": f"{PLAIN} · pooled",
    "xlnet": PLAIN,
    "longformer": f"{PLAIN} · pooled",
    "t5": f"{PLAIN} · norm",
    "bart": PLAIN,
    "gpt2": f"{PLAIN} · norm",
    "qwen3": f"{PLAIN} · norm",
    "gemma3_text": f"{PLAIN} · norm",
    "opt": f"{PLAIN} · norm",
    "bloom": "stem · block.{0..1} · norm",
    "phi": f"{PLAIN} · norm",
    "clip": f"{PLAIN} · norm",
    "vit": f"{PLAIN} · norm · pooled",
    "beit": f"{PLAIN} · pooled",
    "dinov2_with_registers": f"{PLAIN} · norm",
    "swin": "stem · stage.{0..3} · stage.*.block.* · norm",
    "convnext": "stem · stage.{0..3} · stage.*.block.* · pooled",
    "segformer": "stage.{0..3} · stage.*.block.*",
    "siglip_vision_model": f"{PLAIN} · norm · pooled",
    "yolos": f"{PLAIN} · norm · pooled",
    "wav2vec2": PLAIN,
    "wavlm": PLAIN,
    "sew": PLAIN,
    "timesformer": f"{PLAIN} · norm",
    "dac": f"{PLAIN} · norm",
}
"""By model type: the names of its layers."""


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_cut_of_a_family_is_the_whole_network_bit_for_bit(name: str) -> None:
    found = certify(name)
    assert found["names"] == FAMILIES[name]
    assert found["unknown_axes"] == []
    assert found["flaws"] == {}
    assert found["differing"] == {}
