"""Texts share a batch as the spec declares; without a declaration, nothing is padded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import layerzoo
from layerzoo.errors import SampleError, UsageError
from layerzoo.spec import Batching, ModelSpec, TextPreprocess

TEXTS = ["cat", "the cat drinks", "dog", "the dog", "the cat drinks milk", "the milk"]


def words(batching: Batching | None, max_tokens: int = 16) -> ModelSpec:
    spec = layerzoo.model("toy/next-word")
    return replace(spec, preprocess=TextPreprocess(max_tokens=max_tokens, batching=batching))


def received(backbone: layerzoo.Backbone, inputs: list[object]) -> list[dict[str, torch.Tensor]]:
    """Return the inputs of the network for some texts, batch by batch."""
    given = []

    def keep(network: nn.Module, arguments: tuple[torch.Tensor, ...], named: dict[str, torch.Tensor]) -> None:
        given.append({**dict(zip(("input_ids", "attention_mask"), arguments, strict=False)), **named})

    layerzoo.extract(backbone, inputs)  # rows of the first batch run alone, too
    backbone.module.network.register_forward_pre_hook(keep, with_kwargs=True)
    layerzoo.extract(backbone, inputs)
    return given


@pytest.mark.parametrize("batching", [None, "equal_lengths"])
def test_without_a_declaration_only_texts_of_equal_length_share_a_batch(batching: Batching | None) -> None:
    batches = received(layerzoo.load(words(batching)), list(TEXTS))
    assert sorted(tuple(batch["input_ids"].shape) for batch in batches) == [(1, 3), (1, 4), (2, 1), (2, 2)]
    assert all(bool(batch["attention_mask"].all()) for batch in batches)


def test_a_network_that_supports_padding_gets_right_padding_and_a_mask() -> None:
    (batch,) = received(layerzoo.load(words("tolerance")), list(TEXTS))
    assert batch["input_ids"].shape == (6, 4)
    assert sorted(batch["attention_mask"].sum(1).tolist()) == [1, 1, 2, 2, 3, 4]
    assert bool(batch["attention_mask"][:, 0].all())


def test_a_network_with_fixed_windows_gets_no_mask() -> None:
    backbone = layerzoo.load(words("exact", max_tokens=8))
    (batch,) = received(backbone, list(TEXTS))
    assert batch.keys() == {"input_ids"}
    assert batch["input_ids"].shape == (6, 8)
    alone = layerzoo.load(words("tolerance"))
    np.testing.assert_array_equal(layerzoo.extract(backbone, TEXTS).values, layerzoo.extract(alone, TEXTS).values)
    with pytest.raises(SampleError, match="0: 9 tokens, and this network takes 8"):
        layerzoo.extract(backbone, [torch.ones(9, dtype=torch.long)])


def test_the_spec_states_the_padding_support() -> None:
    assert layerzoo.model("starter/minilm-l6").preprocess.batching == "tolerance"  # type: ignore[union-attr]
    assert layerzoo.model("starter/whisper-tiny-en").preprocess.batching == "exact"  # type: ignore[union-attr]
    assert layerzoo.model("starter/efficientnet-lite0").preprocess.batching == "exact"  # type: ignore[union-attr]
    assert layerzoo.model("starter/efficientnet-lite0-video").preprocess.batching == "exact"  # type: ignore[union-attr]


def test_texts_of_different_length_are_refused_in_one_batch_without_padding_support() -> None:
    preprocess = layerzoo.load(words(None)).preprocess
    assert len(preprocess(["cat", "dog"])) == 2
    with pytest.raises(UsageError, match="these inputs differ in size"):
        preprocess(["cat", "the cat"])
