"""One small network of each family of transformers, with random weights: a cut equals the whole network."""

from __future__ import annotations

import pytest
from tests.sampling import sampled
from tools.certify.transformers import Effort, certify

PLAIN = "stem · block.{0..1}"
STAGES = "stem · stage.{0..3} · stage.*.block.*"
FAMILIES = {
    "encoders": {
        "bert": f"{PLAIN} · pooled",  # MiniLM, BGE and E5 are of this type
        "roberta": f"{PLAIN} · pooled",
        "distilbert": PLAIN,
        "albert": f"{PLAIN} · pooled",  # one layer, run twice
        "electra": PLAIN,
        "deberta": PLAIN,
        "deberta-v2": PLAIN,  # v3 too
        "modernbert": f"{PLAIN} · norm",
        "mpnet": f"{PLAIN} · pooled",
        "xlm-roberta": f"{PLAIN} · pooled",
        "xlnet": PLAIN,
        "funnel": "stem · stage.{0..2} · stage.*.block.* · decoder.block.{0..1}",
        "longformer": f"{PLAIN} · pooled",
        "gte": PLAIN,
    },
    "encoders before a decoder": {"t5": f"{PLAIN} · norm", "bart": PLAIN},
    "decoders": {
        "gpt2": f"{PLAIN} · norm",
        "llama": f"{PLAIN} · norm",
        "qwen3": f"{PLAIN} · norm",
        "gemma3_text": f"{PLAIN} · norm",
        "mistral": f"{PLAIN} · norm",
        "opt": f"{PLAIN} · norm",
        "bloom": f"{PLAIN} · norm",
        "phi": f"{PLAIN} · norm",
    },
    "images": {
        "vit": f"{PLAIN} · norm · pooled",
        "deit": f"{PLAIN} · norm · pooled",
        "beit": f"{PLAIN} · pooled",
        "dinov2": f"{PLAIN} · norm",
        "dinov3_vit": f"{PLAIN} · norm",
        "swin": f"{STAGES} · norm",
        "convnext": f"{STAGES} · pooled",
        "resnet": f"{STAGES} · pooled",
        "segformer": "stage.{0..3} · stage.*.block.*",
        "siglip/vision": f"{PLAIN} · norm · pooled · embedding",
        "clip/vision": f"{PLAIN} · pooled · embedding",
    },
    "detectors": {
        "yolos": f"{PLAIN} · query.norm · query.block.{{0..1}} · norm · pooled",
        "detr": f"{STAGES} · neck.block.{{0..1}} · query.norm · query.block.{{0..1}}",
        "rt_detr": f"{STAGES} · neck.block.0 · neck.fpn.{{0..1}} · neck.pan.{{0..1}} · query.block.{{0..1}}",
    },
    "audio": {
        "wav2vec2": PLAIN,
        "hubert": PLAIN,
        "wavlm": PLAIN,
        "data2vec-audio": PLAIN,
        "unispeech": PLAIN,
        "sew": PLAIN,
        "whisper": f"{PLAIN} · norm",
        "audio-spectrogram-transformer": f"{PLAIN} · norm",
        "clap/audio": f"{STAGES} · norm · embedding",
        "encodec": "stage.{0..4} · bottleneck",
        "dac": "stem · stage.{0..3} · bottleneck",
    },
    "videos": {
        "videomae": PLAIN,
        "timesformer": f"{PLAIN} · norm",
        "vivit": f"{PLAIN} · norm · pooled",
        "vjepa2": f"{PLAIN} · norm",
    },
}
"""By kind, each model type and the names of its layers. `TYPE/MODALITY` is a tower of a network with several."""

QUICK = Effort(layers=2, alone=False)


@pytest.mark.parametrize("name", sampled([name for family in FAMILIES.values() for name in family], 9))
def test_a_cut_of_a_family_equals_the_whole_network_bit_for_bit(name: str) -> None:
    found = certify(name, QUICK)
    assert "names" in found, found
    assert found["names"] == next(family[name] for family in FAMILIES.values() if name in family)
    assert found["unknown_axes"] == []
    assert found["flaws"] == {}
    assert found["differing"] == {}
