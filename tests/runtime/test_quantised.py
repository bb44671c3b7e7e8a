"""Quantised tensors are never loaded as plain numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import layerzoo
from layerzoo.errors import WeightsError

WEIGHT = torch.arange(24.0).reshape(3, 8)
OTHER = {"next_word.weight": torch.ones(8, 3)}
QUANTISED: dict[str, dict[str, Tensor]] = {
    "compressed-tensors": {"hidden.weight": WEIGHT.to(torch.float8_e4m3fn), "hidden.weight_scale": torch.ones(1)},
    "fine-grained float8": {"hidden.weight": WEIGHT.to(torch.float8_e4m3fn), "hidden.weight_scale_inv": torch.ones(1)},
    "a scale of an unknown name": {"hidden.weight": WEIGHT.to(torch.float8_e4m3fn), "hidden.multiplier": torch.ones(1)},
    "scales of their own": {"hidden.weight": WEIGHT.to(torch.float8_e5m2), "scales.hidden.weight": torch.ones(1)},
    "bitsandbytes": {"hidden.weight": WEIGHT.to(torch.int8), "hidden.SCB": torch.ones(3)},
    "4 bits": {"hidden.weight": torch.ones(12, 1, dtype=torch.uint8), "hidden.weight.absmax": torch.ones(1)},
    "GPTQ": {"hidden.qweight": torch.ones(1, 8, dtype=torch.int32), "hidden.scales": torch.ones(1, 8)},
    "packed": {"hidden.weight_packed": torch.ones(3, 1, dtype=torch.int32), "hidden.weight_scale": torch.ones(3, 1)},
}


@pytest.mark.parametrize("kind", QUANTISED)
def test_quantised_tensors_with_scales_are_refused_by_name(tmp_path: Path, kind: str) -> None:
    save_file(QUANTISED[kind] | OTHER, tmp_path / "a.safetensors")
    with pytest.raises(
        WeightsError, match=r"a.safetensors is quantised: 'hidden.q?weight\w*' .* means nothing without"
    ):
        layerzoo.load("toy/next-word", weights=tmp_path / "a.safetensors")


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.bfloat16, torch.float16])
def test_a_cast_without_scales_is_loaded(tmp_path: Path, dtype: torch.dtype) -> None:
    save_file({"hidden.weight": WEIGHT.to(dtype)} | OTHER, tmp_path / "a.safetensors")
    backbone = layerzoo.load("toy/next-word", weights=tmp_path / "a.safetensors")
    assert torch.equal(backbone.module.state_dict()["network.hidden.weight"], WEIGHT.to(dtype).float())


@pytest.mark.parametrize(
    "name", ["hidden.lora_A", "hidden.lora_A.default.weight", "lora.hidden.down", "hidden.lokr_w1"]
)
def test_tensors_of_an_adapter_are_not_ignored(tmp_path: Path, name: str) -> None:
    save_file({"hidden.weight": WEIGHT, name: torch.ones(2, 8)} | OTHER, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=f"holds changes of an adapter .* '{name}'"):
        layerzoo.load("toy/next-word", weights=tmp_path / "a.safetensors")


def test_tensors_of_another_part_of_a_checkpoint_are_not_scales(tmp_path: Path) -> None:
    extra = {"logit_scale": torch.ones(1), "head.layer_scale": torch.ones(1)}
    save_file({"hidden.weight": WEIGHT.to(torch.float8_e4m3fn)} | OTHER | extra, tmp_path / "a.safetensors")
    layerzoo.load("toy/next-word", weights=tmp_path / "a.safetensors")
