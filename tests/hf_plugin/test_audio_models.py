"""Features of audio equal the library's own feature extractor and network; unusual audio has a documented result, or
an error with the reason."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from tools.certify.shrink import Shrink, merged, small
from transformers import (
    ASTFeatureExtractor,
    AutoConfig,
    AutoModel,
    ClapFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    VibeVoiceAcousticTokenizerFeatureExtractor,
    Wav2Vec2FeatureExtractor,
)

import layerzoo
from layerzoo.cli import main
from layerzoo.errors import SampleError
from layerzoo.media.resample import stages
from layerzoo.spec import ModelSpec, Weights

RATE = 16_000
Vector = NDArray[np.float32]


def saved(folder: Path, kind: str, extractor: Any, **fields: Any) -> Any:
    """Save a small network with random weights in a folder, as the library does. Returns: the network."""
    config = small(AutoConfig.for_model(kind).to_dict(), Shrink(layers=2))
    torch.manual_seed(0)
    network = AutoModel.from_config(AutoConfig.for_model(kind, **merged(config, fields))).eval()
    network.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return network


def spec_of(folder: Path) -> ModelSpec:
    weights = Weights(source=f"file:{folder}/")
    return ModelSpec(id="mine/speech", modality="audio", builder="transformers", weights=weights)


def last_state(network: Any, **inputs: torch.Tensor) -> torch.Tensor:
    state: torch.Tensor = network(**inputs).last_hidden_state[0]
    return state


LIBRARY: dict[str, tuple[str, Any, dict[str, Any], str, Callable[..., torch.Tensor]]] = {
    "group norm": ("wav2vec2", Wav2Vec2FeatureExtractor(), {}, "block.-1", last_state),
    "layer norm": (
        "wav2vec2",
        Wav2Vec2FeatureExtractor(return_attention_mask=True),
        {"feat_extract_norm": "layer", "do_stable_layer_norm": True},
        "norm",
        last_state,
    ),
    "as recorded": ("wavlm", Wav2Vec2FeatureExtractor(do_normalize=False), {}, "block.-1", last_state),
    "mel frames": (
        "wav2vec2-bert",
        SeamlessM4TFeatureExtractor(),
        {"feature_projection_input_dim": 160},
        "block.-1",
        lambda network, **inputs: last_state(network, **inputs)[: inputs["attention_mask"].sum()],
    ),
    "tensors alone": (
        "vibevoice_acoustic_tokenizer_encoder",
        VibeVoiceAcousticTokenizerFeatureExtractor(),
        {"depths": [1] * 7, "num_filters": 4, "hidden_size": 16},
        "bottleneck",
        lambda network, input_values, **_: network(input_values)[0][0],
    ),
    "patches of a spectrogram": (
        "audio-spectrogram-transformer",
        ASTFeatureExtractor(),
        {},
        "norm",
        lambda network, **inputs: last_state(network, **inputs)[2:],
    ),
    "a clip repeated": (
        "clap",
        ClapFeatureExtractor(truncation="rand_trunc"),
        {"audio_config": {"hidden_size": 768}},  # the width of its last stage
        "norm",
        lambda network, **inputs: last_state(network.audio_model, **inputs).flatten(1).T,
    ),
}
"""By description: model type, extractor, fields of the configuration, a layer, and the same layer in the library."""


@pytest.mark.parametrize("case", LIBRARY)
def test_single_audio_equals_the_library(case: str, tmp_path: Path) -> None:
    kind, extractor, fields, layer, states = LIBRARY[case]
    network = saved(tmp_path, kind, extractor, **fields)
    backbone = layerzoo.load(spec_of(tmp_path), layer=layer, pool="mean")
    rate = extractor.sampling_rate
    for seconds in (0.7, 2.31):
        clip = np.random.default_rng(1).normal(0, 0.1, round(seconds * rate)).astype(np.float32)
        with torch.no_grad():
            expected = states(network, **extractor(clip, sampling_rate=rate, return_tensors="pt")).mean(0).numpy()
        found = layerzoo.extract(backbone, [(clip, rate)]).values[0]
        assert np.linalg.norm(found - expected) <= 1e-6 * np.linalg.norm(expected)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("speech")
    saved(folder, "wav2vec2", Wav2Vec2FeatureExtractor())
    return folder


@pytest.fixture(scope="module")
def speech(folder: Path) -> layerzoo.Backbone:
    """Return a small network that accepts audio of any length."""
    return layerzoo.load(spec_of(folder))


@pytest.fixture(scope="module")
def whisper() -> layerzoo.Backbone:
    return layerzoo.load("starter/whisper-tiny-en", layer="stem")


@pytest.fixture(params=["speech", "whisper"])
def backbone(request: pytest.FixtureRequest) -> layerzoo.Backbone:
    found: layerzoo.Backbone = request.getfixturevalue(request.param)
    return found


def features(backbone: layerzoo.Backbone, samples: NDArray[Any], rate: int = RATE) -> Vector:
    values: Vector = layerzoo.extract(backbone, [(samples, rate)]).values[0]
    return values


def noise(*shape: int) -> Vector:
    return np.random.default_rng(3).normal(0, 0.1, shape).astype(np.float32)


@pytest.mark.parametrize("level", [0.0, 0.5, -1.0])
def test_silence_and_a_constant_are_valid_audio(backbone: layerzoo.Backbone, level: float) -> None:
    found = features(backbone, np.full(RATE, level, np.float32))
    assert np.isfinite(found).all()
    assert not np.array_equal(found, features(backbone, noise(RATE)))


@pytest.mark.parametrize("rate", [8_000, 44_100, 192_000])
def test_other_rates_are_resampled(backbone: layerzoo.Backbone, rate: int) -> None:
    clip = noise(rate)
    converted = clip
    for before, after in pairwise(stages(rate, RATE)):
        converted = soxr.resample(converted, before, after, quality="HQ")
    expected = features(backbone, converted)
    np.testing.assert_array_equal(features(backbone, clip, rate), expected)


def test_32_channels_are_averaged(backbone: layerzoo.Backbone) -> None:
    clip = noise(RATE, 32)
    expected = features(backbone, clip.mean(axis=1, dtype=np.float32))
    np.testing.assert_array_equal(features(backbone, clip), expected)


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        ((np.zeros(0, np.float32), RATE), "empty: 0 samples"),
        ((np.full(RATE, np.nan, np.float32), RATE), "holds samples that are not finite (infinite or not a number)"),
        ((np.full(RATE, np.inf, np.float32), RATE), "holds samples that are not finite (infinite or not a number)"),
        (
            (np.zeros((RATE, 65), np.float32), RATE),
            "samples of shape (16000, 65): 65 channels, at most 64",
        ),
        ((np.zeros(RATE, np.float32), 2_000_000), "a sample rate of 2000000 Hz: audio has 1000 to 1000000"),
        ((np.zeros(RATE, complex), RATE), "samples of complex128: give floating point or integers"),
    ],
    ids=["empty", "nan", "infinite", "65 channels", "2 MHz", "complex"],
)
def test_invalid_audio_is_reported_and_fails_alone(backbone: layerzoo.Backbone, clip: Any, reason: str) -> None:
    good = (noise(RATE), RATE)
    found = layerzoo.extract(backbone, [good, clip, good], errors="skip")
    assert found.ids == ("0", "2")
    assert [(error.id, error.reason) for error in found.errors] == [("1", reason)]
    with pytest.raises(SampleError, match=r"^1: "):
        layerzoo.extract(backbone, [good, clip])


def test_audio_shorter_than_the_first_frame_of_the_network_is_refused(speech: layerzoo.Backbone) -> None:
    clips = [(noise(length), RATE) for length in (160, 400, 399)]
    found = layerzoo.extract(speech, clips, errors="skip")
    assert found.ids == ("1",)
    assert [error.reason for error in found.errors] == [
        "too short: 160 samples at 16000 Hz (10 ms), and this network needs 400 (25 ms)",
        "too short: 399 samples at 16000 Hz (24.9 ms), and this network needs 400 (25 ms)",
    ]
    with pytest.raises(SampleError, match=r"too short: 1 samples at 16000 Hz .*needs 400"):
        layerzoo.extract(speech, [torch.zeros(1)])


def test_audio_shorter_than_the_first_frame_of_the_extractor_is_refused(tmp_path: Path) -> None:
    saved(tmp_path, "audio-spectrogram-transformer", ASTFeatureExtractor())
    found = layerzoo.extract(spec_of(tmp_path), [(noise(160), RATE), (noise(1600), RATE)], errors="skip")
    assert found.ids == ("1",)
    assert found.errors[0].reason.startswith("too short: 160 samples at 16000 Hz (10 ms), and this network needs ")


def test_audio_of_any_length_is_padded_to_a_window(whisper: layerzoo.Backbone) -> None:
    assert np.isfinite(features(whisper, noise(1))).all()


def test_preprocessed_audio_that_the_network_refuses_reports_the_reason(speech: layerzoo.Backbone) -> None:
    with pytest.raises(SampleError, match="the network fails on it: "):
        layerzoo.extract(speech, [torch.zeros(3, 2, RATE)])


def test_audio_of_different_lengths_is_batched_with_a_mask(speech: layerzoo.Backbone) -> None:
    batch = speech.preprocess([(noise(RATE), RATE), (noise(RATE + 1), RATE)])
    assert batch.valid is not None
    assert batch.valid.tolist() == [RATE, RATE + 1]
    assert batch.inputs["attention_mask"].sum(1).tolist() == [RATE, RATE + 1]


def test_audio_files_on_the_command_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry.yaml").write_text(
        "layerzoo: 1\nmodels:\n  mine/speech: {modality: audio, builder: transformers, weights: 'file:"
        + f"{folder}/'}}\n"
    )
    (tmp_path / "sounds").mkdir()
    for name, samples, rate in (
        ("8kHz", noise(8_000), 8_000),
        ("192kHz", noise(192_000), 192_000),
        ("32channels", noise(RATE, 32), RATE),
        ("empty", np.zeros(0), RATE),
        ("nan", np.full(RATE, np.nan), RATE),
        ("short", noise(160), RATE),
        ("silence", np.zeros(RATE), RATE),
    ):
        soundfile.write(tmp_path / "sounds" / f"{name}.wav", samples, rate, subtype="FLOAT")
    with pytest.raises(SystemExit) as caught:
        main(["extract", "sounds", "--model", "mine/speech", "--out", "f.npz"])
    message = capsys.readouterr().err
    assert caught.value.code == 1
    assert set(layerzoo.Features.load("f.npz").ids) == {
        f"sounds/{name}.wav" for name in ("8kHz", "192kHz", "32channels", "silence")
    }
    assert "sounds/empty.wav: empty: 0 samples" in message
    assert "sounds/nan.wav: holds samples that are not finite" in message
    assert "sounds/short.wav: too short: 160 samples at 16000 Hz (10 ms), and this network needs 400 (25 ms)" in message
