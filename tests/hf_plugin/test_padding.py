"""Padding and batches do not change the features of texts and audio: a small network of each family, with random
weights, and drawn lengths and batches."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.sampling import sampled
from tools.certify.shrink import Shrink, small
from transformers import AutoConfig

import layerzoo
from layerzoo.errors import UsageError
from layerzoo.runtime.backbone import with_preprocess
from layerzoo.runtime.preprocess import AudioPreprocessor
from layerzoo.spec import TOLERANCE, FrozenMap, ModelSpec, TextPreprocess

TEXT = {
    "bert": "tolerance",
    "roberta": "tolerance",
    "albert": "tolerance",
    "distilbert": "tolerance",
    "deberta-v2": "tolerance",
    "modernbert": "tolerance",
    "xlnet": "tolerance",
    "electra": "tolerance",
    "mpnet": "tolerance",
    "longformer": "tolerance",  # and "led": padded inside the network, to whole windows of attention
    "led": "tolerance",
    "t5": "tolerance",
    "gpt2": "tolerance",
    "llama": "tolerance",
    "funnel": "equal_lengths",
    "fnet": "equal_lengths",
}
"""By model type, the texts that share a batch."""
SHORTEST = {"funnel": 16}
"""The smallest number of tokens of a network, if it is not one."""
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
AUDIO: dict[str, tuple[str, dict[str, Any]]] = {
    "wav2vec2, group norm": ("wav2vec2", {}),
    "wav2vec2, layer norm": ("wav2vec2", LAYER_NORM),
    "hubert": ("hubert", {}),
    "wavlm": ("wavlm", {}),
    "data2vec-audio": ("data2vec-audio", {}),
    "unispeech": ("unispeech", {}),
    "unispeech-sat": ("unispeech-sat", {}),
}
"""Networks that support padded audio, by name: model type and configuration."""
OWN_LENGTH = {
    "sew": ("sew", {}),
    "wav2vec2-conformer": ("wav2vec2-conformer", {}),
    "hubert, batch norm": ("hubert", {"conv_pos_batch_norm": True}),
}
"""Networks that do not."""
WINDOWED = ("whisper", "audio-spectrogram-transformer")
RATE = 16_000
FEW, MANY = settings(max_examples=3), settings(max_examples=60)


@lru_cache(maxsize=1)
def network(modality: str, name: str, fields: tuple[tuple[str, Any], ...] = ()) -> layerzoo.Backbone:
    """Load a small network up to its last block."""
    config = {**small(AutoConfig.for_model(name).to_dict(), Shrink(layers=2)), **dict(fields)}
    declared = TextPreprocess(max_tokens=128, cls_token=True) if modality == "text" else None
    spec = ModelSpec(
        id=f"small/{name}",
        modality=modality,  # type: ignore[arg-type]
        builder="transformers",
        args=FrozenMap({"model_type": name, "config": config}),
        preprocess=declared,
    )
    return layerzoo.load(spec, weights="random:0")


def agree(
    backbone: layerzoo.Backbone,
    samples: Sequence[Any],
    batch_size: int,
    pool: str,
    batch_backbone: layerzoo.Backbone | None = None,
) -> None:
    """Check that the features of each sample alone equal those in batches with the others.

    batch_backbone: the backbone for the batches, if it is another.
    """
    together = layerzoo.extract(batch_backbone or backbone, list(samples), batch_size=batch_size, pool=pool).values
    for sample, found in zip(samples, together, strict=True):
        alone = layerzoo.extract(backbone, [sample], pool=pool).values[0]
        assert np.linalg.norm(found - alone) <= TOLERANCE * np.linalg.norm(alone)


def text(length: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(100, 500, length))


def clip(length: int, seed: int) -> tuple[NDArray[np.float32], int]:
    return np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32), RATE


def test_a_text_padded_to_all_positions_equals_the_library() -> None:
    config = small(AutoConfig.for_model("siglip").to_dict(), Shrink(layers=2))
    args = FrozenMap({"model_type": "siglip", "config": config})
    spec = ModelSpec(id="small/siglip", modality="text", builder="transformers", args=args)
    backbone = layerzoo.load(spec, layer=["block.-1", "pooled"], weights="random:0")
    assert isinstance(backbone.spec.preprocess, TextPreprocess)
    assert backbone.spec.preprocess.batching == "exact"
    torch.manual_seed(0)
    whole = layerzoo.build(spec)
    whole.load_state_dict(backbone.module.network.state_dict())
    words = [text(3, 0), text(40, 1)]
    found = layerzoo.extract(backbone, words)
    for place, ids in enumerate(words):
        filled = torch.nn.functional.pad(ids, (0, backbone.spec.preprocess.max_tokens - len(ids)))
        with torch.no_grad():
            output = whole(filled[None], output_hidden_states=True)
        states = output.hidden_states[-1][0, : len(ids)].mean(0).numpy()
        np.testing.assert_allclose(found["block.1"][place], states, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found["pooled"][place], output.pooler_output[0].numpy(), rtol=1e-5, atol=1e-6)


def test_features_of_a_text_do_not_depend_on_earlier_texts() -> None:
    backbone = network("text", "big_bird", (("block_size", 4),))
    long, short = text(100, 0), text(5, 1)
    before = layerzoo.extract(backbone, [long]).values
    layerzoo.extract(backbone, [short])
    np.testing.assert_array_equal(layerzoo.extract(backbone, [long]).values, before)


texts = st.lists(st.builds(text, st.integers(1, 100), st.integers(0, 9)), min_size=2, max_size=7)
clips = st.lists(
    st.builds(clip, st.integers(800, 12_000) | st.sampled_from((800, 4000)), st.integers(0, 9)), min_size=2, max_size=6
)
long_clips = st.lists(st.builds(clip, st.integers(400, 3 * RATE), st.integers(0, 9)), min_size=2, max_size=3)
sizes = st.integers(1, 8)


text_batches = given(texts=texts, batch_size=sizes, pool=st.sampled_from(("mean", "max", "last", "cls")))
clip_batches = given(clips=clips, batch_size=sizes, pool=st.sampled_from(("mean", "max", "last")))
window_batches = given(clips=long_clips, batch_size=sizes, pool=st.sampled_from(("mean", "max")))


def check_texts(name: str, texts: list[torch.Tensor], batch_size: int, pool: str) -> None:
    backbone = network("text", name)
    assert backbone.spec.preprocess.batching == TEXT[name]  # type: ignore[union-attr]
    shortest = SHORTEST.get(name, 1)
    agree(backbone, [text if len(text) >= shortest else text.repeat(shortest) for text in texts], batch_size, pool)


def check_clips(name: str, clips: list[Any], batch_size: int, pool: str) -> None:
    """Check unpadded audio, audio padded to one of few lengths, and audio padded to the longest in one batch."""
    kind, fields = AUDIO[name]
    backbone = network("audio", kind, tuple(fields.items()))
    assert backbone.spec.preprocess.batching == "tolerance"  # type: ignore[union-attr]
    assert isinstance(backbone.preprocess, AudioPreprocessor)
    agree(backbone, clips, batch_size, pool)
    agree(backbone, clips, batch_size, pool, with_preprocess(backbone, backbone.preprocess.padded_to_buckets()))
    (name,) = backbone.pools
    together = backbone.pool_rows(backbone.preprocess(clips), {name: pool})[name]
    for sample, found in zip(clips, together, strict=True):
        alone = backbone.pool_rows(backbone.preprocess([sample]), {name: pool})[name][0]
        assert np.linalg.norm(found - alone) <= TOLERANCE * np.linalg.norm(alone)


def check_windows(name: str, clips: list[Any], batch_size: int, pool: str) -> None:
    backbone = network("audio", name)
    assert backbone.spec.preprocess.batching == "exact"  # type: ignore[union-attr]
    agree(backbone, clips, batch_size, pool)


@pytest.mark.parametrize("name", sampled(list(TEXT), 5, always=("longformer", "gpt2", "funnel")))
@FEW
@text_batches
def test_padding_does_not_change_features_of_texts(name: str, texts: Any, batch_size: int, pool: str) -> None:
    check_texts(name, texts, batch_size, pool)


@pytest.mark.parametrize("name", sampled(list(AUDIO), 3))
@FEW
@clip_batches
def test_padding_does_not_change_features_of_audio(name: str, clips: Any, batch_size: int, pool: str) -> None:
    check_clips(name, clips, batch_size, pool)


@pytest.mark.parametrize("name", OWN_LENGTH)
def test_a_network_affected_by_padding_gets_audio_of_equal_length(name: str) -> None:
    kind, fields = OWN_LENGTH[name]
    backbone = network("audio", kind, tuple(fields.items()))
    assert backbone.spec.preprocess.batching == "equal_lengths"  # type: ignore[union-attr]
    agree(backbone, [clip(length, 0) for length in (800, 4000, 4001, 800)], 4, "mean")
    with pytest.raises(UsageError, match="these inputs differ in size"):
        backbone.preprocess([clip(800, 0), clip(801, 0)])


def test_padded_audio_shares_lengths_and_batches() -> None:
    backbone = network("audio", "wav2vec2", (("feat_extract_norm", "group"),))
    assert isinstance(backbone.preprocess, AudioPreprocessor)
    given: list[tuple[int, ...]] = []
    seen = backbone.module.network.register_forward_pre_hook(
        lambda network, args, kwargs: given.append(tuple((args or tuple(kwargs.values()))[0].shape)), with_kwargs=True
    )
    lengths = (16_000, 15_999, 15_500, 4_000, 14_000)
    clips = [clip(length, length) for length in lengths]
    layerzoo.extract(with_preprocess(backbone, backbone.preprocess.padded_to_buckets()), clips)
    assert given == [(3, 16_384), (1, 4_096), (1, 14_336)]
    given.clear()
    layerzoo.extract(backbone, clips)
    assert given == [(1, length) for length in lengths]
    seen.remove()


@pytest.mark.parametrize("fills_up", [False, True])
def test_audio_shorter_than_a_frame_is_not_padded_to_one(fills_up: bool) -> None:
    backbone = network("audio", "wav2vec2")
    assert isinstance(backbone.preprocess, AudioPreprocessor)
    backbone = with_preprocess(backbone, backbone.preprocess.padded_to_buckets()) if fills_up else backbone
    found = layerzoo.extract(backbone, [clip(399, 0), clip(400, 0)], errors="skip", pool="none")
    assert [error.reason for error in found.errors] == [
        "too short: 399 samples at 16000 Hz (24.9 ms), and this network needs 400 (25 ms)"
    ]
    assert found.values.shape[:2] == (1, 1)


@pytest.mark.parametrize("name", WINDOWED)
@FEW
@window_batches
def test_padding_does_not_change_features_of_audio_in_windows(
    name: str, clips: Any, batch_size: int, pool: str
) -> None:
    check_windows(name, clips, batch_size, pool)


@pytest.mark.slow
@pytest.mark.parametrize("name", TEXT)
@MANY
@text_batches
def test_padding_does_not_change_features_of_texts_in_many_batches(
    name: str, texts: Any, batch_size: int, pool: str
) -> None:
    check_texts(name, texts, batch_size, pool)


@pytest.mark.slow
@pytest.mark.parametrize("name", AUDIO)
@MANY
@clip_batches
def test_padding_does_not_change_features_of_audio_in_many_batches(
    name: str, clips: Any, batch_size: int, pool: str
) -> None:
    check_clips(name, clips, batch_size, pool)


@pytest.mark.slow
@pytest.mark.parametrize("name", WINDOWED)
@MANY
@window_batches
def test_padding_does_not_change_features_of_audio_in_windows_in_many_batches(
    name: str, clips: Any, batch_size: int, pool: str
) -> None:
    check_windows(name, clips, batch_size, pool)
