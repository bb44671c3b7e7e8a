"""A network receives the tensors of its own feature extractor for a clip, or is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from tools.certify.preprocessing.audio import clips, records
from tools.certify.preprocessing.folders import preprocessor_of
from tools.certify.shrink import Shrink, small
from transformers import (
    AutoConfig,
    AutoModel,
    ClapFeatureExtractor,
    ClvpFeatureExtractor,
    CohereAsrFeatureExtractor,
    EncodecFeatureExtractor,
    Gemma4AudioFeatureExtractor,
    UnivNetFeatureExtractor,
    Wav2Vec2FeatureExtractor,
)

import layerzoo
from layerzoo.errors import RepositoryError, SampleError
from layerzoo.runtime.preprocess import AudioPreprocessor
from layerzoo.spec import ModelSpec, Weights


def test_a_sample_of_the_certificate() -> None:
    compared = 0
    for record in records(("PeAudioFeatureExtractor", "SpeechT5FeatureExtractor")):
        assert record.verdict == "equal", record
        compared += record.inputs
    assert compared == 4 * len(list(clips(1, None)))


def saved(folder: Path, model_type: str, extractor: Any, **fields: Any) -> ModelSpec:
    config = {**small(AutoConfig.for_model(model_type).to_dict(), Shrink(layers=2)), **fields}
    torch.manual_seed(0)
    AutoModel.from_config(AutoConfig.for_model(model_type, **config)).eval().save_pretrained(folder)
    extractor.save_pretrained(folder)
    return ModelSpec(
        id="mine/audio", modality="audio", builder="transformers", weights=Weights(source=f"file:{folder}/")
    )


def noise(*shape: int) -> Any:
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


def test_clap_with_fusion_receives_four_spectrograms_and_the_is_longer_flag(tmp_path: Path) -> None:
    extractor = ClapFeatureExtractor()
    spec = saved(tmp_path, "clap", extractor, audio_config={"enable_fusion": True, "depths": [1, 1, 1, 1]})
    network: Any = AutoModel.from_pretrained(tmp_path).eval().audio_model
    samples = noise(70_000)
    with torch.no_grad():
        expected = (
            network(**extractor(samples, sampling_rate=48_000, return_tensors="pt")).last_hidden_state[0].flatten(1)
        )
    found = layerzoo.extract(spec, [(samples, 48_000), (noise(9_000), 48_000)], layer="norm", pool="mean").values
    np.testing.assert_allclose(found[0], expected.mean(1).numpy(), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> tuple[layerzoo.Backbone, Path]:
    """Save a small stereo network. Returns: the network and its folder."""
    folder = tmp_path_factory.mktemp("stereo")
    extractor = EncodecFeatureExtractor(feature_size=2, sampling_rate=48_000)
    spec = saved(folder, "encodec", extractor, audio_channels=2, sampling_rate=48_000, num_filters=4)
    return layerzoo.load(spec, layer="bottleneck", pool="mean"), folder


def test_a_stereo_network_receives_both_channels(stereo: tuple[layerzoo.Backbone, Path], tmp_path: Path) -> None:
    backbone, folder = stereo
    samples = noise(20_000, 2)
    path = tmp_path / "two.wav"
    soundfile.write(path, samples, 48_000, subtype="FLOAT")
    extractor = EncodecFeatureExtractor.from_pretrained(folder)
    encoder: Any = AutoModel.from_pretrained(folder).eval().encoder
    with torch.no_grad():
        given = extractor(samples.T, sampling_rate=48_000, return_tensors="pt")["input_values"]
        expected = encoder(given)[0].mean(-1).numpy()
    for source in ((samples, 48_000), path):
        np.testing.assert_allclose(layerzoo.extract(backbone, [source]).values[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 6])
def test_a_stereo_network_refuses_the_audio_that_its_extractor_refuses(
    stereo: tuple[layerzoo.Backbone, Path], tmp_path: Path, channels: int
) -> None:
    backbone, folder = stereo
    samples = noise(20_000, channels)
    with pytest.raises(ValueError, match="channels"):
        EncodecFeatureExtractor.from_pretrained(folder)(samples.T.squeeze(), sampling_rate=48_000)
    path = tmp_path / "other.wav"
    soundfile.write(path, samples, 48_000)
    for source in ((samples, 48_000), path):
        with pytest.raises(
            SampleError, match=rf"{channels} channel\(s\), and this network takes 2.*ffmpeg -i INPUT -ac 2"
        ):
            layerzoo.extract(backbone, [source])


def preprocess_of(model_type: str, extractor: Any) -> AudioPreprocessor:
    config = AutoConfig.for_model(model_type)
    with preprocessor_of("audio", config.save_pretrained, extractor.save_pretrained) as (_, found):
        assert isinstance(found, AudioPreprocessor)
        return found


@pytest.mark.parametrize(
    ("model_type", "extractor", "seconds"),
    [("cohere_asr", CohereAsrFeatureExtractor(), 30), ("gemma4_audio", Gemma4AudioFeatureExtractor(), 30)],
    ids=["splits", "truncates"],
)
def test_audio_is_split_into_windows_of_the_extractor(model_type: str, extractor: Any, seconds: int) -> None:
    preprocess = preprocess_of(model_type, extractor)
    samples = noise((seconds + 15) * 16_000)
    rows = preprocess.rows((samples, 16_000)).rows
    assert [row.total for row in rows] == [seconds * 16_000, 15 * 16_000]
    assert preprocess.declared.window_s == seconds


def test_an_extractor_of_random_numbers_is_refused() -> None:
    with pytest.raises(RepositoryError, match="UnivNetFeatureExtractor returns random numbers as noise_sequence"):
        preprocess_of("univnet", UnivNetFeatureExtractor())


def test_a_network_that_requires_text_and_audio_is_refused() -> None:
    with pytest.raises(RepositoryError, match="its network of type 'clvp' takes text, and audio next to it"):
        preprocess_of("clvp", ClvpFeatureExtractor())


def test_an_extractor_in_a_processor_file_is_read(tmp_path: Path) -> None:
    config = AutoConfig.for_model("wav2vec2")

    def save(folder: Path) -> None:
        Wav2Vec2FeatureExtractor(do_normalize=False).save_pretrained(folder)
        inner = (folder / "preprocessor_config.json").read_text()
        (folder / "preprocessor_config.json").unlink()
        (folder / "processor_config.json").write_text(f'{{"feature_extractor": {inner}}}')

    with preprocessor_of("audio", config.save_pretrained, save) as (_, preprocess):
        samples = noise(16_000) + np.float32(0.5)
        (row,) = preprocess.rows((samples, 16_000)).rows
        np.testing.assert_array_equal(next(iter(row.inputs.values())), samples)
