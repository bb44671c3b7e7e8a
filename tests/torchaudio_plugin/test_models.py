"""The other networks of torchaudio and its front ends give what torchaudio's own functions give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torchaudio import models, pipelines, transforms
from torchaudio.models.rnnt import emformer_rnnt_model
from torchaudio.pipelines import rnnt_pipeline

import layerzoo
from layerzoo.errors import PluginError, RepositoryError, UnusableModelError, WeightsError
from layerzoo.runtime import build
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo_torchaudio.names import model_of

RATE = 16_000
EMFORMER: dict[str, Any] = {
    "input_dim": 80,
    "encoding_dim": 24,
    "num_symbols": 9,
    "segment_length": 16,
    "right_context_length": 4,
    "time_reduction_input_dim": 8,
    "time_reduction_stride": 4,
    "transformer_num_heads": 4,
    "transformer_ffn_dim": 48,
    "transformer_num_layers": 2,
    "transformer_dropout": 0.1,
    "transformer_activation": "gelu",
    "transformer_left_context_length": 30,
    "transformer_max_memory_size": 0,
    "transformer_weight_init_scale_strategy": "depthwise",
    "transformer_tanh_on_mem": True,
    "symbol_embedding_dim": 8,
    "num_lstm_layers": 1,
    "lstm_layer_norm": True,
    "lstm_layer_norm_epsilon": 1e-3,
    "lstm_dropout": 0.3,
}
TASNET = {"enc_num_feats": 16, "msk_num_feats": 8, "msk_num_hidden_feats": 16, "msk_num_layers": 2, "msk_num_stacks": 2}
SQUIM = {
    "feat_dim": 16,
    "win_len": 64,
    "d_model": 16,
    "nhead": 4,
    "hidden_dim": 8,
    "num_blocks": 2,
    "rnn_type": "LSTM",
    "chunk_size": 71,
}


def declared(name: str, modality: Any = "audio", **arguments: Any) -> ModelSpec:
    return ModelSpec(
        id="mine/model", modality=modality, builder="torchaudio", args=FrozenMap({"name": name, **arguments})
    )


def noise(samples: int, channels: int = 1) -> NDArray[np.float32]:
    shape = (samples,) if channels == 1 else (samples, channels)
    return np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)


def seeded(make: Any) -> Any:
    torch.manual_seed(0)
    return make().eval()


FRONT_ENDS = {
    "spectrogram": lambda: transforms.Spectrogram(n_fft=400, hop_length=160),
    "logmel": lambda: torch.nn.Sequential(
        transforms.MelSpectrogram(sample_rate=RATE, n_fft=400, hop_length=160, n_mels=80), transforms.AmplitudeToDB()
    ),
    "mfcc": lambda: transforms.MFCC(
        sample_rate=RATE, n_mfcc=13, melkwargs={"n_fft": 400, "hop_length": 160, "n_mels": 80}
    ),
}


@pytest.mark.parametrize("name", FRONT_ENDS)
def test_a_front_end_is_the_transform_of_torchaudio_and_needs_no_weights(name: str) -> None:
    clips = [(noise(samples), RATE) for samples in (4000, 16_000, 4000)]
    features = layerzoo.extract(f"torchaudio/{name}", clips)
    frames = layerzoo.extract(f"torchaudio/{name}", clips, pool="none")["embedding"]
    for place, (samples, _) in enumerate(clips):
        expected = FRONT_ENDS[name]()(torch.from_numpy(samples)[None])[0]
        assert np.array_equal(frames[place], expected.numpy())
        assert np.allclose(features["embedding"][place], expected.mean(1), rtol=1e-5)


def test_the_parameters_of_a_front_end_are_those_of_the_transform() -> None:
    spec = declared("mfcc", sample_rate=8000, n_mfcc=20, melkwargs={"n_fft": 200, "hop_length": 80, "n_mels": 40})
    (found,) = layerzoo.extract(spec, [(noise(8000), 8000)], pool="none")["embedding"]
    transform = transforms.MFCC(8000, n_mfcc=20, melkwargs={"n_fft": 200, "hop_length": 80, "n_mels": 40})
    assert np.array_equal(found, transform(torch.from_numpy(noise(8000))).numpy())


@pytest.mark.slow
def test_the_heads_of_squim_are_the_estimates_of_the_library() -> None:
    theirs = seeded(lambda: models.squim_objective_model(**SQUIM))
    features = layerzoo.extract(
        declared("SQUIM_OBJECTIVE", **SQUIM), [(noise(3000), RATE)], layer="head.*", weights="random:0"
    )
    with torch.no_grad():
        scores = theirs(torch.from_numpy(noise(3000))[None])
    assert [float(features[f"head.{place}"][0, 0]) for place in range(3)] == [float(score[0]) for score in scores]


@pytest.mark.slow
def test_the_default_layer_of_squim_is_the_mean_of_its_neck_for_clips_that_differ_in_length() -> None:
    theirs = seeded(lambda: models.squim_objective_model(**SQUIM))
    clips = [noise(samples) for samples in (3000, 4000)]
    expected: list[torch.Tensor] = []
    theirs.dprnn.register_forward_hook(lambda module, args, output: expected.append(output[0].mean(0)))
    with torch.no_grad():
        for clip in clips:
            theirs(torch.from_numpy(clip)[None])
    features = layerzoo.extract(
        declared("SQUIM_OBJECTIVE", **SQUIM), [(clip, RATE) for clip in clips], weights="random:0"
    )
    assert features.layers == ("neck",)
    assert np.allclose(features["neck"], torch.stack(expected), rtol=1e-4, atol=1e-6)


def test_the_blocks_of_conv_tasnet_are_what_the_library_adds_up() -> None:
    theirs = seeded(lambda: models.ConvTasNet(msk_activate="relu", **TASNET))
    added: list[torch.Tensor] = []
    for block in theirs.mask_generator.conv_layers:
        block.register_forward_hook(lambda module, args, output: added.append(output[1][0]))
    with torch.no_grad():
        theirs(torch.from_numpy(noise(3000))[None, None])
    spec = declared("CONVTASNET_BASE_LIBRI2MIX", **TASNET)
    features = layerzoo.extract(spec, [(noise(3000), 8000)], layer="block.*", pool="none", weights="random:0")
    for place, expected in enumerate(added):
        assert np.array_equal(features[f"block.{place}"][0], expected.numpy())


def test_the_encoder_of_emformer_gets_frames_normalised_as_the_library_does(tmp_path: Path) -> None:
    bundle = pipelines.EMFORMER_RNNT_BASE_LIBRISPEECH
    theirs = seeded(lambda: emformer_rnnt_model(**EMFORMER))
    statistics = {"mean": [1.0 + band / 80 for band in range(80)], "invstddev": [0.5] * 80}
    file = tmp_path / bundle._global_stats_path.rpartition("/")[2]
    file.write_text(json.dumps(statistics))
    torch.save(theirs.state_dict(), tmp_path / "emformer.pt")
    extractor = torch.nn.Sequential(  # that of the bundle, which would download the statistics
        transforms.MelSpectrogram(sample_rate=RATE, n_fft=400, n_mels=80, hop_length=160),
        rnnt_pipeline._FunctionalModule(lambda x: x.transpose(1, 0)),
        rnnt_pipeline._FunctionalModule(lambda x: rnnt_pipeline._piecewise_linear_log(x * rnnt_pipeline._gain)),
        rnnt_pipeline._GlobalStatsNormalization(str(file)),
        rnnt_pipeline._FunctionalModule(lambda x: torch.nn.functional.pad(x, (0, 0, 0, bundle._right_padding))),
    )
    with torch.no_grad():
        frames = extractor(torch.from_numpy(noise(8000)))
        expected, _ = theirs.transcriber(frames[None], torch.tensor([len(frames)]))
    spec = declared("EMFORMER_RNNT_BASE_LIBRISPEECH", **EMFORMER)
    backbone = layerzoo.load(spec, layer="norm", pool="none", weights=tmp_path, allow_pickle=True)
    found = layerzoo.extract(backbone, [(noise(8000), RATE)])["norm"][0]
    assert np.allclose(found, expected[0].numpy(), rtol=1e-5, atol=1e-6)
    file.unlink()
    with pytest.raises((WeightsError, PluginError), match="which is not next to the checkpoint"):
        layerzoo.load(spec, layer="norm", weights=tmp_path, allow_pickle=True)


def test_a_text_is_encoded_as_tacotron2_encodes_its_characters() -> None:
    texts = ["Hello world!", "to be, or not", "Hello world?"]
    spec = layerzoo.model("torchaudio/TACOTRON2_WAVERNN_CHAR_LJSPEECH")
    features = layerzoo.extract(spec, texts, layer=["stem", "head"], pool="none", weights="random:0")
    theirs = seeded(lambda: models.Tacotron2(**pipelines.TACOTRON2_WAVERNN_CHAR_LJSPEECH._tacotron2_params))
    for place, text in enumerate(texts):
        tokens, lengths = pipelines.TACOTRON2_WAVERNN_CHAR_LJSPEECH.get_text_processor()(text)
        with torch.no_grad():
            expected = theirs.encoder(theirs.embedding(tokens).transpose(1, 2), lengths)[0]
        assert np.allclose(features["head"][place], expected.numpy(), rtol=1e-4, atol=1e-6)


def test_a_pipeline_that_takes_phonemes_says_why_it_is_no_backbone() -> None:
    spec = layerzoo.model("torchaudio/TACOTRON2_WAVERNN_PHONE_LJSPEECH")
    with pytest.raises(UnusableModelError, match="it takes phonemes, which DeepPhonemizer computes"):
        layerzoo.load(spec, weights="random:0")


@pytest.mark.slow
def test_the_stages_of_demucs_are_those_of_the_library() -> None:
    spec = layerzoo.model("torchaudio/HDEMUCS_HIGH_MUSDB")
    torch.manual_seed(0)
    theirs = build(spec).eval()
    found: list[torch.Tensor] = []
    theirs.freq_encoder[5].register_forward_hook(lambda module, args, output: found.append(output[0]))
    clip = noise(30_000, channels=2)
    with torch.no_grad():
        theirs(torch.from_numpy(clip.T.copy())[None])
    features = layerzoo.extract(spec, [(clip, 44_100)], layer="stage.4", pool="none", weights="random:0")
    assert np.array_equal(features["stage.4"][0], found[0].numpy())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ({"name": name, "colour": 1}, f"torchaudio's {name} does not take its `args`: .*'colour'")
            for name in (
                "WAV2VEC2_BASE",
                "wav2vec2_base",
                "mfcc",
                "logmel",
                "spectrogram",
                "CONVTASNET_BASE_LIBRI2MIX",
                "hdemucs_low",
                "SQUIM_OBJECTIVE",
                "squim_subjective_base",
                "EMFORMER_RNNT_BASE_LIBRISPEECH",
                "TACOTRON2_GRIFFINLIM_CHAR_LJSPEECH",
            )
        ),
        ({"name": "mfcc", "melkwargs": {"colour": 1}}, "mfcc does not take its `args`: .*'colour'"),
        ({"name": "mfcc", "n_mfcc": 200}, "mfcc does not take its `args`: Cannot select more MFCC coefficients"),
        ({"name": "hdemucs_low"}, "hdemucs_low does not take its `args`: .*'sources'"),
    ],
)
def test_arguments_that_the_network_does_not_take_are_reported_before_it_is_built(
    arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(RepositoryError, match=message):
        model_of("mine/model", arguments)


def test_no_class_of_a_pipeline_is_suggested() -> None:
    with pytest.raises(RepositoryError, match=r"no pipeline.* 'Wav2Vec2Bundel'") as raised:
        model_of("mine/model", {"name": "Wav2Vec2Bundel"})
    assert "Wav2Vec2Bundle" not in str(raised.value)
    with pytest.raises(RepositoryError, match=r"no pipeline.* 'Wav2Vec2Bundle'"):
        model_of("mine/model", {"name": "Wav2Vec2Bundle"})
