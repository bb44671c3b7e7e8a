"""Tensors of timm's networks that no checkpoint holds have the values of their constructors."""

from __future__ import annotations

from functools import partial

import pytest
import timm
import torch
from tests.runtime.unsaved import differing

SAMPLE = [
    "swinv2_cr_tiny_ns_224", "maxvit_rmlp_pico_rw_256", "eva02_tiny_patch14_224", "convit_tiny", "levit_128s",
    "vit_relpos_small_patch16_224", "coatnet_pico_rw_224",
]  # fmt: skip
"""One architecture of each kind with such tensors."""
_LARGEST = 60_000_000


@pytest.mark.parametrize("name", SAMPLE)
def test_an_unsaved_tensor_has_the_value_of_its_constructor(name: str) -> None:
    names, count = differing(partial(timm.create_model, name))
    assert names == []
    assert count > 0


@pytest.mark.slow
def test_unsaved_tensors_of_every_architecture_have_their_values() -> None:
    """Of up to 60 M parameters: 864 architectures with timm 1.0.31."""
    found = {}
    for name in timm.list_models():
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in timm.create_model(name).parameters())
        if size <= _LARGEST and (names := differing(partial(timm.create_model, name))[0]):
            found[name] = names
    assert found == {}
