"""What transformers remembers of one network is no business of the next."""

from __future__ import annotations

import torch
from transformers import AutoModel, DINOv3ViTConfig
from transformers.models.dinov3_vit.modeling_dinov3_vit import get_patches_center_coordinates

from layerzoo.runtime.build import ground
from layerzoo_transformers.memory import without_memory

SIZE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def test_a_pass_without_values_leaves_no_fake_tensor_behind() -> None:
    network = without_memory(AutoModel.from_config(DINOv3ViTConfig(**SIZE)))
    with ground("fake"):
        network(torch.zeros(1, 3, 48, 80))  # a size that no other test takes
    found = get_patches_center_coordinates(3, 5, dtype=torch.float32, device=torch.device("cpu"))
    assert type(found) is torch.Tensor
