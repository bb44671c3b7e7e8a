"""A network with an excessive description is refused before it exhausts the memory."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from layerzoo.bounds import check_counts, check_pixels, free_memory
from layerzoo.errors import TooLargeError
from layerzoo.runtime.construct import build, check_memory
from layerzoo.spec import ModelSpec
from layerzoo.weights import Files

SPEC = ModelSpec(id="mine/x", modality="vision", builder="x")


class Builder:
    """The hooks of a plugin that builds a network of some modules, and of one buffer."""

    def __init__(self, modules: int, buffer: int = 1) -> None:
        self._modules, self._buffer = modules, buffer

    def build(self, spec: ModelSpec, files: object) -> nn.Module:
        network = nn.Sequential(*(nn.Identity() for _ in range(self._modules)))
        network.register_buffer("table", torch.empty(self._buffer))
        return network


def test_a_builder_that_creates_modules_endlessly_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["layerzoo.runtime.construct"], "_MOST_MODULES", 1_000)
    hooks: Any = Builder(1_000)
    assert len(list(build(SPEC, hooks, {}).children())) == 1_000  # type: ignore[arg-type]
    hooks = Builder(20_000)
    with pytest.raises(TooLargeError, match="more than 1,000 modules"):
        build(SPEC, hooks, Files())


def test_constants_of_gigabytes_are_refused() -> None:
    hooks: Any = Builder(1, buffer=10**10)
    with torch.device("meta"), pytest.raises(TooLargeError, match="40,000,000,000 bytes"):
        build(SPEC, hooks, Files())


class DeepBuilder:
    """The hooks of a plugin that builds a network of many small parameters."""

    def build(self, spec: ModelSpec, files: Files) -> nn.Module:
        return nn.Sequential(*(nn.Linear(1, 1) for _ in range(2_000)))


def test_a_network_of_far_more_tensors_than_its_checkpoint_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    hooks: Any = DeepBuilder()
    with pytest.raises(TooLargeError, match="4,000 tensors of 4,000 numbers, and its checkpoint holds 1 of 1"):
        build(SPEC, hooks, Files({"model.safetensors": tmp_path / "model.safetensors"}))
    build(SPEC, hooks, Files())


def test_a_network_that_does_not_fit_the_memory_is_refused() -> None:
    if (free := free_memory()) is None:
        pytest.skip("this system does not say how much memory is free")
    check_memory(1, model="mine/x")
    with pytest.raises(TooLargeError, match=r"its network of .* parameters takes"):
        check_memory(free, model="mine/x")


@pytest.mark.parametrize("key", ["num_hidden_layers", "n_layer", "depth", "depths", "encoder_layers", "num_labels"])
@pytest.mark.parametrize("value", [10**30, -(10**9), float("inf"), float("nan"), [10**9, 1]])
def test_excessive_counts_are_refused_at_any_depth(key: str, value: Any) -> None:
    with pytest.raises(TooLargeError, match=key):
        check_counts({"text_config": {"parts": [{key: value}]}}, of="mine/x")


def test_the_counts_of_real_models_are_accepted() -> None:
    in_use = {
        "num_hidden_layers": 126,
        "vocab_size": 256_000,
        "max_position_embeddings": 10_485_760,
        "rope_theta": 1_000_000_000_000,
        "model_max_length": 10**30,
        "num_labels": 21_843,
        "n_positions": 131_072,
        "depths": [2, 2, 18, 2],
        "intermediate_size": 53_248,
        "id2label": {str(at): "x" for at in range(21_843)},
        "layer_norm_eps": 1e-12,
        "num_experts": 384,
        "max_depth": 80.0,
        "use_all_layers": True,
    }
    check_counts(in_use, of="mine/x")
    check_pixels(2560, 1920, of="mine/x")
