"""SQUIM, which estimates the quality of speech."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from torchaudio import models
from torchaudio.models import Wav2Vec2Model

from layerzoo.authoring import Chain, WithoutInitialisation
from layerzoo_torchaudio import speech
from layerzoo_torchaudio.lengths import convolutions_of, frame_and_hop
from layerzoo_torchaudio.model import Tensors, TorchaudioModel

FACTORIES = ("squim_objective_base", "squim_objective_model", "squim_subjective_base", "squim_subjective_model")
"""The functions of ``torchaudio.models`` that return such a network."""
_OBJECTIVE = Chain(
    modules=r"dprnn\.col_norm\.\d+",
    stem="encoder",
    after={"neck": "dprnn", "pooled.*": r"branches\.\d+\.1", "head.*": r"branches\.\d+"},
    axes={
        "encoder": ["batch channel time"],
        r"dprnn\.col_norm\.\d+": ["batch channel token window"],
        "dprnn": ["batch time channel"],
        r"branches\..*": ["batch channel"],
    },
)
"""The heads estimate STOI, PESQ and SI-SDR, in this order."""
_SSL = "ssl_model."
"""The self-supervised network among the tensors of the subjective one."""


def factory(name: str, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model of a function of ``torchaudio.models``.

    The subjective network compares a clip with a clean one. Its backbone is the wav2vec 2.0 network through which each
    of the two goes.

    Args:
        name: of the function.
        arguments: of the function.
    """
    build = partial(getattr(models, name), **arguments)
    if name.startswith("squim_objective"):
        return TorchaudioModel(
            build=build,
            preprocess={"sample_rate_hz": speech.RATE_HZ},
            chain=_OBJECTIVE,
            default={"layer": "neck", "pool": "mean"},  # of a block, padding cannot be placed: it has windows of frames
        )
    with torch.device("meta"), WithoutInitialisation():
        network: Wav2Vec2Model = build().ssl_model
    return TorchaudioModel(
        build=partial(_ssl_network, build),
        preprocess=speech.preprocess(frame_and_hop(convolutions_of(network))),
        chain=speech.chain(has_final_norm=not network.encoder.transformer.layer_norm_first),
        transform=partial(speech.waveforms, normalize=False),
        select_tensors=_of_ssl_network,
    )


def _ssl_network(build: Any) -> nn.Module:
    network: nn.Module = speech.masked(build().ssl_model)
    return network


def _of_ssl_network(tensors: Tensors) -> Tensors:
    """Select the tensors of the backbone in a checkpoint of the whole network."""
    inside = {name.removeprefix(_SSL): tensor for name, tensor in tensors.items() if name.startswith(_SSL)}
    return inside or tensors
