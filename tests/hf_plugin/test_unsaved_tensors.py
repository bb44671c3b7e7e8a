"""Tensors of transformers' networks that no checkpoint holds have the values of their constructors."""

from __future__ import annotations

import pytest
from tests.runtime.unsaved import differing
from tools.certify.transformers import small_network
from torch import nn
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

SAMPLE = ["bert", "llama", "vit", "siglip", "modernbert", "swinv2", "deit", "clip", "wav2vec2", "whisper", "t5", "dac"]


def small(model_type: str) -> nn.Module:
    return small_network(model_type, layers=2)


@pytest.mark.parametrize("model_type", SAMPLE)
def test_an_unsaved_tensor_has_the_value_of_its_constructor(model_type: str) -> None:
    assert differing(lambda: small(model_type))[0] == []


@pytest.mark.slow
def test_unsaved_tensors_of_every_type_have_their_values() -> None:
    """576 types with transformers 5.23."""
    found = {}
    for model_type in MODEL_MAPPING_NAMES:
        try:
            small(model_type)
        except Exception:  # noqa: BLE001 - requirements of a type beyond its default configuration do not matter here
            continue
        if names := differing(lambda model_type=model_type: small(model_type))[0]:  # type: ignore[misc]
            found[model_type] = names
    assert found == {}
