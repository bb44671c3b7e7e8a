"""wav2vec 2.0, HuBERT and WavLM: 13 self-supervised pipelines, 16 for speech recognition, one for alignment."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchaudio import models
from torchaudio.models import Wav2Vec2Model
from torchaudio.pipelines import Wav2Vec2ASRBundle, Wav2Vec2Bundle
from torchaudio.pipelines._wav2vec2 import utils

from layerzoo.authoring import AudioInputs, Chain, WithoutInitialisation
from layerzoo_torchaudio.lengths import convolutions_of, frame_and_hop, take_attention_mask
from layerzoo_torchaudio.model import Tensors, TorchaudioModel

FACTORIES = tuple(
    name for name in models.__all__ if name.startswith(("wav2vec2_", "hubert_", "wavlm_")) and "pretrain" not in name
)
"""The functions of ``torchaudio.models`` that return such a network."""
RATE_HZ = 16_000
"""Of all pipelines."""


def pipeline(bundle: Wav2Vec2Bundle, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model of a pipeline.

    Args:
        bundle: of ``torchaudio.pipelines``.
        arguments: of the library's factory, which take the place of the pipeline's own.
    """
    own = {**bundle._params, **arguments}
    normalize = own.pop("normalize_waveform", bundle._normalize_waveform)
    return TorchaudioModel(
        build=partial(_pipeline_network, bundle._model_type, own),
        preprocess=preprocess(frame_and_hop(own["extractor_conv_layer_config"])),
        chain=chain(has_final_norm=own["encoder_layer_norm_first"]),
        transform=partial(waveforms, normalize=normalize),
        select_tensors=partial(_without_unused_labels, bundle, own["aux_num_out"]),
    )


def factory(name: str, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model of a function of ``torchaudio.models``.

    Args:
        name: of the function.
        arguments: of the function; and ``normalize_waveform``, whether each clip is normalised to mean 0 and variance
            1. By default that follows from the network, as in every pipeline of the library: the networks with a layer
            norm after each convolution take normalised clips.
    """
    own = dict(arguments)
    normalize = own.pop("normalize_waveform", None)
    with torch.device("meta"), WithoutInitialisation():
        network = getattr(models, name)(**own)
    if normalize is None:
        normalize = not isinstance(network.feature_extractor.conv_layers[0].layer_norm, nn.GroupNorm)
    return TorchaudioModel(
        build=partial(_factory_network, name, own),
        preprocess=preprocess(frame_and_hop(convolutions_of(network))),
        chain=chain(has_final_norm=not network.encoder.transformer.layer_norm_first),
        transform=partial(waveforms, normalize=normalize),
    )


def chain(*, has_final_norm: bool) -> Chain:
    """Return the layers of such a network.

    has_final_norm: whether its layer norm runs after the last block; otherwise it runs before the first.
    """
    norm = {"norm": r"encoder\.transformer\.layer_norm"} if has_final_norm else {}
    return Chain(
        modules=r"encoder\.transformer\.layers\.\d+",
        before={"stem.*": r"feature_extractor\.conv_layers\.\d+"},
        after={**norm, "head": "aux"},
        branches=False,
    )


def preprocess(frame_hop: tuple[int, int]) -> dict[str, Any]:
    """Return the keys of registry.yaml's ``preprocess``."""
    return {"sample_rate_hz": RATE_HZ, "frame_hop_samples": list(frame_hop)}


def waveforms(samples: NDArray[np.float32], *, normalize: bool) -> AudioInputs:
    """Return the network's input of one clip, as a pipeline's own network makes it of a batch of one.

    Args:
        samples: (time,), at the model's rate.
        normalize: whether the clip is normalised to mean 0 and variance 1.
    """
    if normalize:
        waveform = torch.from_numpy(np.ascontiguousarray(samples))
        samples = functional.layer_norm(waveform, waveform.shape).numpy()
    mask = np.ones(len(samples), np.int64)
    return AudioInputs({"waveforms": samples, "attention_mask": mask}, "attention_mask", mask_is_optional=True)


def _pipeline_network(kind: str, arguments: Mapping[str, Any]) -> Wav2Vec2Model:
    return masked(utils._get_model(kind, dict(arguments)))


def _factory_network(name: str, arguments: Mapping[str, Any]) -> Wav2Vec2Model:
    return masked(getattr(models, name)(**arguments))


def masked(network: Wav2Vec2Model) -> Wav2Vec2Model:
    """Return the network, which takes ``attention_mask`` from now on."""
    take_attention_mask(network)
    return network


def _without_unused_labels(bundle: Wav2Vec2Bundle, labels: int | None, tensors: Tensors) -> Tensors:
    """Return a published checkpoint without the rows of its head that are not labels, as the library loads it."""
    head: Tensor | None = tensors.get("aux.weight")
    if not isinstance(bundle, Wav2Vec2ASRBundle) or head is None or len(head) == labels:
        return tensors
    without = dict(tensors)
    utils._remove_aux_axes(without, bundle._remove_aux_axis)
    return without
