"""Tied parameters with different values in a checkpoint are loaded like in transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel

import layerzoo
from layerzoo.runtime.backbone import resolved_model
from layerzoo.spec import FrozenMap, ModelSpec, Weights

NAMES = ("shared.weight", "encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
LARGE = 40_000
"""The size of the vocabulary: memory of so many embeddings is zero until it is written."""
SIZES: dict[str, dict[str, Any]] = {
    "bart": {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "vocab_size": LARGE,
    },
    "t5": {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": LARGE},
}  # fmt: skip


def unlike(*names: str) -> Callable[[dict[str, Tensor]], None]:
    def change(state: dict[str, Tensor]) -> None:
        for name in NAMES:
            if name in names:
                state[name] = torch.randn_like(state[name])
            else:
                del state[name]

    return change


CHANGES: dict[str, Callable[[dict[str, Tensor]], None]] = {
    "all unlike": unlike(*NAMES),
    "two unlike": unlike(*NAMES[1:]),
    "one": unlike(NAMES[2]),
    "alike": lambda state: None,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "part"), [("bart", ""), ("bart", None), ("t5", None)])
def test_tied_embeddings_equal_transformers(tmp_path: Path, kind: str, part: str | None, change: str) -> None:
    torch.manual_seed(0)
    whole = AutoModel.from_config(AutoConfig.for_model(kind, **SIZES[kind]))
    whole.save_pretrained(tmp_path)
    state = {name: tensor.clone() for name, tensor in whole.state_dict().items()}
    CHANGES[change](state)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    expected = AutoModel.from_pretrained(tmp_path)
    expected = expected if part == "" else expected.encoder
    args = FrozenMap({} if part is None else {"part": part})
    spec = ModelSpec(
        id="mine/tied", modality="text", builder="transformers", args=args, weights=Weights(source=f"file:{tmp_path}/")
    )
    layers = [layer.name for layer in resolved_model(layerzoo.load(spec, weights="random:0", pool="none")).spec.layers]
    loaded = layerzoo.load(spec, layer=layers, pool="none").module.state_dict()
    wanted = expected.state_dict()
    unlike = [name for name, tensor in loaded.items() if not torch.equal(tensor, wanted[name.removeprefix("network.")])]
    assert unlike == []
    assert any("embed_tokens" in name for name in loaded)
