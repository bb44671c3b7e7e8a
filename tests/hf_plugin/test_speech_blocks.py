"""The blocks of speech networks are those of the encoder, whatever the convolutions cost."""

from __future__ import annotations

import pytest

import layerzoo
from layerzoo.runtime.backbone import resolved_model
from layerzoo.spec import FrozenMap, ModelSpec

TYPES = (
    "sew", "sew-d", "wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat", "data2vec-audio", "wav2vec2-conformer"
)  # fmt: skip
SIZE = {
    "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 48, "vocab_size": 32,
    "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


@pytest.mark.parametrize("layers", [2, 7])
@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=() if kind == "sew" else pytest.mark.slow) for kind in TYPES]
)
def test_speech_blocks_are_those_of_the_encoder(kind: str, layers: int) -> None:
    args = FrozenMap({"model_type": kind, "config": {**SIZE, "num_hidden_layers": layers}})
    spec = ModelSpec(id="mine/speech", modality="audio", builder="transformers", args=args)
    resolved = resolved_model(layerzoo.load(spec, weights="random:0", pool="none"))
    blocks = {layer.name: layer.module for layer in resolved.spec.layers if layer.name.startswith("block")}
    assert list(blocks) == [f"block.{index}" for index in range(layers)]
    assert all(module.startswith("encoder.") for module in blocks.values())
