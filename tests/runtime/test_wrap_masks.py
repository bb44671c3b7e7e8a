"""Padding in the inputs of a module in memory: attention masks exclude it, as in the library's own mean pooling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import BertConfig, BertModel, Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2Model

import layerzoo
from layerzoo.errors import SampleError, UsageError
from layerzoo.spec import AudioPreprocess

CLS, SEP, LENGTH = 1, 2, 12
TEXTS = ["abc", "hello", "a", "four"]


@lru_cache
def bert() -> BertModel:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=200, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    return BertModel(config).eval()


def tokenize(text: str, *, side: str = "right", length: int | None = LENGTH) -> dict[str, list[int]]:
    ids = [CLS, *map(ord, text), SEP]
    padding = [0] * ((length or len(ids)) - len(ids))
    ones = [1] * len(ids)
    if side == "left":
        return {"input_ids": [*padding, *ids], "attention_mask": [*padding, *ones]}
    return {"input_ids": [*ids, *padding], "attention_mask": [*ones, *padding]}


def encoded(side: str = "right") -> dict[str, Tensor]:
    rows = [tokenize(text, side=side) for text in TEXTS]
    return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}


def hidden(batch: Mapping[str, Tensor]) -> list[np.ndarray[Any, Any]]:
    """Return the first hidden state of each text, without padding."""
    with torch.no_grad():
        states = bert()(**batch, output_hidden_states=True).hidden_states[1]
    return [state[mask.bool()].numpy() for state, mask in zip(states, batch["attention_mask"], strict=True)]


POOLINGS: dict[str, Callable[[Any], Any]] = {
    "mean": lambda state: state.mean(0),
    "max": lambda state: state.max(0),
    "last": lambda state: state[-1],
    "none": lambda state: state,
}


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_of_a_tokenizer_is_not_pooled(side: str) -> None:
    backbone = layerzoo.wrap(bert(), preprocess=partial(tokenize, side=side))
    for pool, expected in (POOLINGS | {"cls": lambda state: state[0]}).items():
        together = layerzoo.extract(backbone, TEXTS, layer="block.0", pool=pool).values
        alone = layerzoo.extract(backbone, TEXTS[1:2], layer="block.0", pool=pool).values
        for row, state in zip([*together, alone[0]], [*hidden(encoded(side)), hidden(encoded(side))[1]], strict=True):
            np.testing.assert_allclose(row, expected(state), atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_of_a_batch_of_arrays_is_not_pooled(side: str) -> None:
    batch = encoded(side)
    backbone = layerzoo.wrap(bert(), example=batch)
    for pool, expected in POOLINGS.items():
        features = layerzoo.extract(backbone, batch, layer="block.0", pool=pool).values
        for row, state in zip(features, hidden(batch), strict=True):
            np.testing.assert_allclose(row, expected(state), atol=1e-5)
    rows = [{name: tensor[at] for name, tensor in batch.items()} for at in range(len(TEXTS))]
    for inputs in (rows, DataLoader(rows, 3)):  # type: ignore[arg-type]
        values = layerzoo.extract(backbone, inputs, layer="block.0").values
        np.testing.assert_allclose(values, [state.mean(0) for state in hidden(batch)], atol=1e-5)


def test_a_mask_that_the_network_does_not_take_excludes_padding_too() -> None:
    class Embedding(nn.Sequential):
        def forward(self, input_ids: Tensor) -> Tensor:
            output: Tensor = super().forward(input_ids)
            return output

    module = Embedding(nn.Embedding(200, 4), nn.Linear(4, 3))
    features = layerzoo.extract(layerzoo.wrap(module, preprocess=tokenize), TEXTS, layer="module:1", pool="mean")
    for text, row in zip(TEXTS, features.values, strict=True):
        ids = torch.tensor([tokenize(text, length=None)["input_ids"]])
        np.testing.assert_allclose(row, module(ids)[0].mean(0).detach(), atol=1e-6)


class TorchEncoder(nn.Module):
    """(batch, position, 4), and a mask as torch.nn.Transformer takes it: True for padding."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), nn.LayerNorm(4)

    def forward(self, x: Tensor, key_padding_mask: Tensor) -> Tensor:
        output: Tensor = self.norm(self.layer(x, src_key_padding_mask=key_padding_mask))
        return output


def test_a_mask_of_torch_is_true_for_padding() -> None:
    module, x = TorchEncoder().eval(), torch.randn(2, 5, 4)
    mask = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    batch = {"x": x, "key_padding_mask": mask}
    features = layerzoo.extract(layerzoo.wrap(module, example=batch), batch, layer="module:norm", pool="mean")
    expected = [row[~excluded].mean(0) for row, excluded in zip(module(x, mask).detach(), mask, strict=True)]
    np.testing.assert_allclose(features.values, torch.stack(expected), atol=1e-5)


def test_padding_that_cannot_be_excluded_is_refused() -> None:
    batch = encoded()
    backbone = layerzoo.wrap(bert(), example=batch)
    batch["attention_mask"][0, 1] = 0
    with pytest.raises(SampleError, match=r"0: its attention_mask excludes positions inside the sample \(1\)"):
        layerzoo.extract(backbone, batch, layer="block.0")
    batch["attention_mask"][0] = 0
    with pytest.raises(SampleError, match=r"marks all 12 positions as padding"):
        layerzoo.extract(backbone, batch, layer="block.0")


def test_special_tokens_of_a_tokenizer_can_be_excluded() -> None:
    for length in (None, LENGTH):
        backbone = layerzoo.wrap(bert(), preprocess=partial(tokenize, length=length))
        features = layerzoo.extract(backbone, TEXTS, layer="block.0", special_tokens=False)
        expected = [state[1:-1].mean(0) for state in hidden(encoded())]
        np.testing.assert_allclose(features.values, expected, atol=1e-5)
        assert features.provenance["special_tokens"] is False
    with pytest.raises(UsageError, match=r"needs the special tokens of the tokenizer.*preprocess=tokenizer"):
        layerzoo.extract(layerzoo.wrap(bert(), example=encoded()), encoded(), special_tokens=False)


def test_padding_of_audio_is_excluded_as_the_library_does_it() -> None:
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, conv_dim=(8, 8),
        conv_stride=(5, 4), conv_kernel=(10, 4), num_feat_extract_layers=2, num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2, feat_extract_norm="layer",
    )  # fmt: skip
    module, extractor = Wav2Vec2Model(config).eval(), Wav2Vec2FeatureExtractor(return_attention_mask=True)
    waveforms = [np.random.default_rng(0).standard_normal(size).astype(np.float32) for size in (1600, 813, 500)]
    batch = dict(extractor(waveforms, sampling_rate=16_000, padding=True, return_tensors="pt"))
    with torch.no_grad():
        states = module(**batch, output_hidden_states=True).hidden_states[1]
    masks = module._get_feature_vector_attention_mask(states.shape[1], batch["attention_mask"]).bool()
    expected = [state[mask].mean(0).numpy() for state, mask in zip(states, masks, strict=True)]

    def padded(waveform: Any) -> Any:
        return extractor(waveform, sampling_rate=16_000, padding="max_length", max_length=1600, return_tensors="np")

    arrays = layerzoo.wrap(module, example=batch)
    np.testing.assert_allclose(layerzoo.extract(arrays, batch, layer="block.0").values, expected, atol=1e-5)
    clips = [(waveform, 16_000) for waveform in waveforms]
    wrapped = layerzoo.wrap(module, preprocess=(AudioPreprocess(sample_rate_hz=16_000), padded))
    np.testing.assert_allclose(layerzoo.extract(wrapped, clips, layer="block.0").values, expected, atol=1e-5)
