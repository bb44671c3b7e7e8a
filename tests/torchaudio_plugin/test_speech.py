"""wav2vec 2.0, HuBERT and WavLM of torchaudio: equal to the same networks of transformers, layer by layer, and to
torchaudio's own functions; a clip has the same features alone and in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import nn
from torchaudio import models, pipelines
from torchaudio.models.wav2vec2.utils import import_huggingface_model
from torchaudio.models.wav2vec2.utils.import_huggingface import _get_config, _get_config_wavlm
from transformers import HubertConfig, HubertModel, Wav2Vec2Config, Wav2Vec2ForCTC, WavLMConfig, WavLMModel

import layerzoo
from layerzoo.errors import RepositoryError, WeightsError
from layerzoo.runtime.backbone import with_preprocess
from layerzoo.runtime.loading import trace_layers
from layerzoo.runtime.preprocess import AudioPreprocessor
from layerzoo.spec import TOLERANCE, FrozenMap, ModelSpec

RATE = 16_000
CONVOLUTIONS = {"conv_dim": (16,) * 3, "conv_kernel": (10, 3, 2), "conv_stride": (5, 4, 4)}
SIZE: dict[str, Any] = {
    **CONVOLUTIONS,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "vocab_size": 11,
    "num_buckets": 32,
}
LAYER_NORM = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
NETWORKS = {
    "wav2vec2, group norm": lambda: Wav2Vec2ForCTC(Wav2Vec2Config(**SIZE)),
    "wav2vec2, layer norm": lambda: Wav2Vec2ForCTC(Wav2Vec2Config(**SIZE, **LAYER_NORM)),
    "hubert": lambda: HubertModel(HubertConfig(**SIZE, **LAYER_NORM)),
    "wavlm, group norm": lambda: WavLMModel(WavLMConfig(**SIZE)),
    "wavlm, layer norm": lambda: WavLMModel(WavLMConfig(**SIZE, **LAYER_NORM)),
}
"""Networks of transformers with random weights."""
DIFFERENT = ("wav2vec2, group norm", "wavlm, layer norm")
TINY: dict[str, Any] = {
    "extractor_conv_layer_config": [[16, 10, 5], [16, 3, 4], [16, 2, 4]],
    "encoder_embed_dim": 24,
    "encoder_num_layers": 2,
    "encoder_num_heads": 4,
    "encoder_ff_interm_features": 48,
    "encoder_pos_conv_kernel": 16,
    "encoder_pos_conv_groups": 4,
}
"""Arguments that make a pipeline of the library small."""


def declared(name: str, **arguments: Any) -> ModelSpec:
    return ModelSpec(
        id="mine/speech", modality="audio", builder="torchaudio", args=FrozenMap({"name": name, **arguments})
    )


def noise(samples: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def hooked(module: nn.Module, activations: dict[str, torch.Tensor], name: str) -> None:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        activations[name] = (output[0] if isinstance(output, tuple) else output)[0].clone()

    module.register_forward_hook(keep)


def states_of(network: Any, waveform: torch.Tensor) -> dict[str, torch.Tensor]:
    """Run a network of transformers. Returns: its activations by the names that layers have here."""
    found: dict[str, torch.Tensor] = {}
    base = getattr(network, "wav2vec2", network)
    for place, layer in enumerate(base.feature_extractor.conv_layers):
        hooked(layer, found, f"stem.{place}")
    hooked(base.encoder.dropout, found, "stem")
    for place, layer in enumerate(base.encoder.layers):
        hooked(layer, found, f"block.{place}")
    if base.config.do_stable_layer_norm:
        hooked(base.encoder.layer_norm, found, "norm")
    if base is not network:
        hooked(network.lm_head, found, "head")
    with torch.no_grad():
        network.eval()(waveform[None])
    return found


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in DIFFERENT else pytest.mark.slow) for case in NETWORKS]
)
def test_every_layer_equals_that_of_the_same_network_in_transformers(case: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs: Any = NETWORKS[case]()
    is_wavlm = "wavlm" in case
    save_file(
        {name: tensor.contiguous() for name, tensor in import_huggingface_model(theirs).state_dict().items()},
        tmp_path / "weights.safetensors",
    )
    arguments = (_get_config_wavlm if is_wavlm else _get_config)(theirs.config)
    labels = theirs.config.vocab_size if hasattr(theirs, "lm_head") else None
    spec = declared("wavlm_model" if is_wavlm else "wav2vec2_model", **arguments, aux_num_out=labels)
    samples = noise(4000)
    ready = torch.from_numpy(samples)
    if theirs.config.feat_extract_norm == "layer":
        ready = nn.functional.layer_norm(ready, ready.shape)
    expected = states_of(theirs, ready)
    layers = [layer.name for layer in trace_layers(spec)]
    assert layers == list(expected)
    features = layerzoo.extract(
        spec, [(samples, RATE)], layer=layers, pool="none", weights=tmp_path / "weights.safetensors"
    )
    for name, state in expected.items():
        assert np.allclose(features[name][0], state.numpy(), rtol=1e-4, atol=1e-5), name


def library_layers(name: str, seed: int, samples: NDArray[np.float32]) -> list[torch.Tensor]:
    """What a pipeline's own network returns as the outputs of its layers, with random weights."""
    bundle = getattr(pipelines, name)
    torch.manual_seed(seed)
    network = pipelines._wav2vec2.utils._get_model(bundle._model_type, {**bundle._params, **TINY})
    wrapped = pipelines._wav2vec2.utils._extend_model(network, bundle._normalize_waveform).eval()
    with torch.no_grad():
        states: list[torch.Tensor] = wrapped.extract_features(torch.from_numpy(samples)[None])[0]
    return states


SPEECH = [name for name in pipelines.__all__ if isinstance(getattr(pipelines, name), pipelines.Wav2Vec2Bundle)]
USUAL = ["WAV2VEC2_BASE", "WAVLM_LARGE"]


def check_pipeline(name: str) -> None:
    """Compare the blocks of a small network, to the bit, with those of torchaudio's ``extract_features``."""
    samples = noise(5000) + np.float32(0.05)
    spec = declared(name, **TINY)
    features = layerzoo.extract(spec, [(samples, RATE)], layer="block.*", pool="none", weights="random:3")
    for place, state in enumerate(library_layers(name, 3, samples)):
        assert np.array_equal(features[f"block.{place}"][0], state[0].numpy()), name


@pytest.mark.parametrize("name", USUAL)
def test_the_blocks_are_what_extract_features_of_the_library_returns(name: str) -> None:
    check_pipeline(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", SPEECH)
def test_the_blocks_of_every_pipeline_are_what_extract_features_returns(name: str) -> None:
    check_pipeline(name)


def backbone_of(name: str) -> layerzoo.Backbone:
    return layerzoo.load(declared(name, **TINY), layer=["stem.1", "stem", "block.-1"], weights="random:0")


PADDED = ["WAV2VEC2_BASE", "HUBERT_LARGE"]
ALSO_PADDED = ["WAVLM_BASE", "WAVLM_LARGE", "VOXPOPULI_ASR_BASE_10K_DE"]


@pytest.fixture(scope="module", params=[*PADDED, *(pytest.param(name, marks=pytest.mark.slow) for name in ALSO_PADDED)])
def backbone(request: pytest.FixtureRequest) -> layerzoo.Backbone:
    return backbone_of(request.param)


lengths = st.lists(st.integers(200, 9000), min_size=2, max_size=5)


@settings(max_examples=3, deadline=None)
@given(lengths=lengths, pool=st.sampled_from(("mean", "max", "last")))
def test_a_clip_has_the_same_features_alone_and_in_any_batch(
    backbone: layerzoo.Backbone, lengths: list[int], pool: str
) -> None:
    clips = [(noise(samples, seed), RATE) for seed, samples in enumerate(lengths)]
    preprocess = backbone.preprocess
    assert isinstance(preprocess, AudioPreprocessor)
    padded = with_preprocess(backbone, preprocess.padded_to_buckets())
    pools = dict.fromkeys(("stem", "block.1"), pool)
    together = [
        layerzoo.extract(backbone, clips, pool=pool),
        layerzoo.extract(padded, clips, pool=pool),
    ]
    in_one_batch = backbone.pool_rows(preprocess(clips), pools)
    for place, clip in enumerate(clips):
        alone = layerzoo.extract(backbone, [clip], pool=pool)
        for name in pools:
            expected = alone[name][0]
            for found in (*(features[name][place] for features in together), in_one_batch[name][place]):
                assert np.linalg.norm(found - expected) <= TOLERANCE * np.linalg.norm(expected)


def test_a_published_checkpoint_loads_as_the_library_loads_it(tmp_path: Path) -> None:
    """It has rows for symbols of the training's dictionary that are no labels, and the weight norm of older torch."""
    torch.manual_seed(0)
    bundle = pipelines.VOXPOPULI_ASR_BASE_10K_DE
    network = models.wav2vec2_model(**{**bundle._params, **TINY})
    state = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor.clone()
        for name, tensor in network.state_dict().items()
    }
    labels = len(state["aux.bias"])
    kept = [place for place in range(labels + 4) if place not in bundle._remove_aux_axis]
    for name in ("aux.weight", "aux.bias"):
        whole = torch.full((labels + 4, *state[name].shape[1:]), 99.0)
        whole[kept] = state[name]
        state[name] = whole
    torch.save(state, tmp_path / "published.pt")
    samples = noise(4000)
    spec = declared("VOXPOPULI_ASR_BASE_10K_DE", **TINY)
    backbone = layerzoo.load(spec, layer="head", pool="none", weights=tmp_path / "published.pt", allow_pickle=True)
    features = layerzoo.extract(backbone, [(samples, RATE)])
    with torch.no_grad():
        expected, _ = network.eval()(torch.from_numpy(samples)[None])
    assert np.array_equal(features["head"][0], expected[0].numpy())


def test_an_unknown_name_is_reported_with_the_nearest_one() -> None:
    with pytest.raises(RepositoryError, match=r"no pipeline, factory or front end 'HUBERT_BAS'\. Nearest: hubert_base"):
        layerzoo.load(declared("HUBERT_BAS"), weights="random:0")


def test_an_argument_that_the_factory_does_not_take_is_reported() -> None:
    with pytest.raises(RepositoryError, match="unexpected keyword argument 'colour'"):
        layerzoo.load(declared("HUBERT_BASE", colour=1), weights="random:0")


def test_a_checkpoint_of_another_network_is_reported(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="feature_extractor"):
        layerzoo.load(declared("HUBERT_BASE", **TINY), weights=tmp_path / "other.safetensors")
