"""Source separation: Conv-TasNet and Hybrid Demucs. Clips share a batch if they have one length: both networks
normalise over time."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torchaudio import models
from torchaudio.pipelines import SourceSeparationBundle

from layerzoo.authoring import Chain
from layerzoo_torchaudio.model import TorchaudioModel

FACTORIES = {"conv_tasnet_base": 8_000, "hdemucs_low": 44_100, "hdemucs_medium": 44_100, "hdemucs_high": 44_100}
"""The functions of ``torchaudio.models`` that return such a network, and the sample rate in Hz of their pipelines."""
_CONV_TASNET = Chain(
    modules=r"mask_generator\.conv_layers\.\d+\.skip_out",  # the output of a block that the library adds up
    stem=r"mask_generator\.input_conv",
    after={"head": r"mask_generator\.mask_activate"},
    axes={".*": ["batch channel time"]},
)
_HDEMUCS = Chain(
    modules=r"freq_encoder\.\d+",
    stem="<",
    before={"branch.time.stage.*": r"time_encoder\.\d+"},
    branches=False,
    after={"neck.*": r"freq_decoder\.\d+", "branch.time.neck.*": r"time_decoder\.\d+"},
    axes={".*": ["batch channel height time", "batch channel time"]},
)


def pipeline(bundle: SourceSeparationBundle, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model of a pipeline.

    Args:
        bundle: of ``torchaudio.pipelines``.
        arguments: of the pipeline's own factory.
    """
    factory: Any = bundle._model_factory_func  # a partial of a function of torchaudio.models
    own = {**factory.keywords, **arguments}
    return _model(factory.func.__name__, bundle.sample_rate, own)


def factory(name: str, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model of a function of ``torchaudio.models``, with arguments of it and ``sample_rate``, in Hz."""
    own = dict(arguments)
    rate_hz = int(own.pop("sample_rate", FACTORIES[name]))
    return _model(name, rate_hz, own)


def _model(name: str, rate_hz: int, arguments: Mapping[str, Any]) -> TorchaudioModel:
    build = partial(_network, name, arguments)
    if name == "conv_tasnet_base":
        return TorchaudioModel(
            build=build, preprocess={"sample_rate_hz": rate_hz}, chain=_CONV_TASNET, transform=_one_channel
        )
    return TorchaudioModel(build=build, preprocess={"sample_rate_hz": rate_hz, "channels": 2}, chain=_HDEMUCS)


def _network(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network, for example with fewer blocks: the library's factory of Conv-TasNet takes no number of them."""
    own = dict(arguments)
    if name == "conv_tasnet_base" and own.keys() - {"num_sources"}:
        own = {"msk_activate": "relu", **own}
        name = "ConvTasNet"
    network: nn.Module = getattr(models, name)(**own)
    return network


def _one_channel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (1, time)."""
    return samples[None]
