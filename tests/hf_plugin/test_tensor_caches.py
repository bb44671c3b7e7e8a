"""Tensor caches of transformers do not carry values from one network to the next."""

from __future__ import annotations

import torch
from transformers import AutoModel, DINOv3ViTConfig, pytorch_utils
from transformers.models.dinov3_vit.modeling_dinov3_vit import get_patches_center_coordinates

from layerzoo.runtime.batch import Batch
from layerzoo.runtime.construct import trace_mode
from layerzoo.runtime.trace import trace
from layerzoo.spec import Layer
from layerzoo_hf.tensor_caches import without_tensor_caches

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def test_a_pass_with_fake_tensors_leaves_no_fake_tensor_in_a_cache() -> None:
    network = without_tensor_caches(AutoModel.from_config(DINOv3ViTConfig(**SIZE)))
    with trace_mode("fake"):
        network(torch.zeros(1, 3, 48, 80))  # a size that no other test uses
    found = get_patches_center_coordinates(3, 5, dtype=torch.float32, device=torch.device("cpu"))
    assert type(found) is torch.Tensor


def test_tensor_caches_are_restored_after_a_partial_trace() -> None:
    usual = pytorch_utils.is_torchdynamo_compiling
    with trace_mode("meta"):
        network = without_tensor_caches(AutoModel.from_config(DINOv3ViTConfig(**SIZE)))
        found = trace(
            network, Batch({"pixels": torch.ones(1, 3, 48, 48)}), until=[Layer(name="stem", module="embeddings")]
        )
    assert not found.is_whole
    assert pytorch_utils.is_torchdynamo_compiling is usual
