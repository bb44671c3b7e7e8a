"""Networks that read the size of an image from a tensor are traced without values, and equal the library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModel, PixtralImageProcessorPil

import layerzoo
from layerzoo.runtime.backbone import resolved_model

_PARTS: dict[str, dict[str, Any]] = {
    "pixtral": {
        "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 16,
        "image_size": 64, "patch_size": 8,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", _PARTS)
def test_image_sizes_reach_the_network_and_its_trace(kind: str, tmp_path: Path, home: Path) -> None:
    torch.manual_seed(0)
    library = AutoModel.from_config(AutoConfig.for_model(kind, **_PARTS[kind])).eval()
    library.save_pretrained(tmp_path)
    processor = PixtralImageProcessorPil(size={"longest_edge": 64}, patch_size={"height": 8, "width": 8})
    processor.save_pretrained(tmp_path)
    model = {"modality": "vision", "builder": "transformers", "weights": f"file:{tmp_path}"}
    (home / "registry.yaml").write_text(json.dumps({"layerzoo": 1, "models": {"mine/sized": model}}))
    backbone = layerzoo.load("mine/sized", layer=["block.0", "block.1"], pool="none")
    assert resolved_model(backbone).tracer.latest is not None
    assert resolved_model(backbone).tracer.latest.mode == "fake"
    rng = np.random.default_rng(0)
    for height, width in ((48, 80), (90, 33), (64, 64), (9, 200)):
        image = rng.integers(0, 255, (height, width, 3), dtype=np.uint8)
        with torch.no_grad():
            made = processor(images=[image], return_tensors="pt")
            states = library(**made, output_hidden_states=True).hidden_states
        found = backbone.activations(backbone.preprocess([image]))
        assert torch.equal(found["block.0"], states[1])
        assert torch.equal(found["block.1"], states[2])
