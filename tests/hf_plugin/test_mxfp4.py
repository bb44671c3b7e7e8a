"""Checkpoints in MXFP4, like gpt-oss: 32 numbers of 4 bits share a scale, a power of two."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModel, GptOssConfig
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

import layerzoo
from layerzoo.errors import WeightsError
from layerzoo.spec import ModelSpec, Weights

CONFIG = {
    "num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2, "vocab_size": 200,
    "pad_token_id": 0, "eos_token_id": 1, "architectures": ["GptOssForCausalLM"],
}  # fmt: skip
EXPERTS = ("layers.0.mlp.experts.gate_up_proj", "layers.0.mlp.experts.down_proj")


def published() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the tensors of a checkpoint with random packed experts, and those of the network as the library unpacks
    them."""
    torch.manual_seed(0)
    own = {name: tensor.clone() for name, tensor in AutoModel.from_config(GptOssConfig(**CONFIG)).state_dict().items()}
    stored = dict(own)
    for name in EXPERTS:
        experts, columns, rows = stored.pop(name).shape
        blocks = torch.randint(0, 256, (experts, rows, columns // 32, 16), dtype=torch.uint8)
        scales = torch.randint(118, 124, (experts, rows, columns // 32), dtype=torch.uint8)
        stored |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        own[name] = convert_moe_packed_tensors(blocks, scales, dtype=torch.float32)
    return stored, own


def spec_of(folder: Path, tensors: dict[str, Tensor], **config: Any) -> ModelSpec:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(GptOssConfig(**CONFIG).to_dict() | CONFIG | config))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return ModelSpec(id="mine/oss", modality="text", builder="transformers", weights=Weights(source=f"file:{folder}/"))


@pytest.mark.parametrize("prefix", ["", "model."])
def test_packed_experts_are_dequantised_like_the_library(tmp_path: Path, prefix: str) -> None:
    stored, own = published()
    tensors = {prefix + name: tensor for name, tensor in stored.items()}
    spec = spec_of(tmp_path, tensors, quantization_config={"quant_method": "mxfp4"})
    found = layerzoo.load(spec, layer="norm", pool="none").module.state_dict()
    loaded = {name.removeprefix("network."): tensor for name, tensor in found.items()}
    assert loaded.keys() >= set(EXPERTS)
    assert [name for name, tensor in loaded.items() if not torch.equal(tensor, own[name])] == []


@pytest.mark.parametrize(
    ("config", "change", "message"),
    [
        ({}, lambda stored: None, "is quantised: 'layers.0.mlp.experts.down_proj_blocks'"),
        (
            {"quantization_config": {"quant_method": "mxfp4"}},
            lambda stored: [stored.pop(f"{name}_scales") for name in EXPERTS],
            "quantised with mxfp4, and transformers cannot dequantise '.*_blocks'",
        ),
    ],
)
def test_packed_experts_are_never_used_without_their_scales(
    tmp_path: Path, config: dict[str, Any], change: Callable[[dict[str, Tensor]], Any], message: str
) -> None:
    stored, _ = published()
    change(stored)
    with pytest.raises(WeightsError, match=message):
        layerzoo.load(spec_of(tmp_path, stored, **config), layer="norm", pool="none")
