"""The encoder of Emformer RNN-T, a speech recogniser."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.models import RNNT
from torchaudio.models.rnnt import emformer_rnnt_base, emformer_rnnt_model
from torchaudio.pipelines import RNNTBundle, rnnt_pipeline
from torchaudio.transforms import MelSpectrogram

from layerzoo.authoring import Chain
from layerzoo.errors import WeightsError
from layerzoo.weights import Files
from layerzoo_torchaudio.model import BASE_URL, Tensors, TorchaudioModel

_CHAIN = Chain(
    modules="(?!)",  # none: the frames come before the batch inside the blocks
    before={"stem": r"transcriber\.time_reduction", "block.*": r"transcriber\.transformer\.emformer_layers\.\d+"},
    after={"head": r"transcriber\.output_linear", "norm": r"transcriber\.layer_norm"},
    axes={
        r"transcriber\.transformer\.emformer_layers\.\d+": ["time batch channel"],
        ".*": ["batch time channel"],
    },
)
_MEAN, _SCALE = "mean", "invstddev"
"""Buffers of the network, and keys of the library's file of statistics."""


class EmformerEncoder(nn.Module):
    """The network from frames of a log mel spectrogram to what is decoded, with the library's normalisation of them."""

    def __init__(self, network: RNNT, bands: int, right_padding: int) -> None:
        super().__init__()
        self.transcriber = network.transcriber
        self.right_padding = right_padding
        self.register_buffer(_MEAN, torch.zeros(bands))
        self.register_buffer(_SCALE, torch.ones(bands))

    def forward(self, frames: Tensor) -> Tensor:
        """Return (batch, frame, channel). frames: (batch, frame, band)."""
        normalised = (frames - self.get_buffer(_MEAN)) * self.get_buffer(_SCALE)
        padded = functional.pad(normalised, (0, 0, 0, self.right_padding))
        device = "cpu" if padded.is_meta else padded.device
        encoded: Tensor = self.transcriber(padded, torch.full(padded.shape[:1], padded.shape[1], device=device))[0]
        return encoded


def pipeline(bundle: RNNTBundle, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return the model of a pipeline.

    Args:
        bundle: of ``torchaudio.pipelines``.
        arguments: of ``emformer_rnnt_model``; without any, the pipeline's own.
    """
    factory: Any = bundle._rnnt_factory_func
    build = partial(emformer_rnnt_model, **arguments) if arguments else partial(emformer_rnnt_base, **factory.keywords)
    spectrogram = (bundle.sample_rate, bundle.n_fft, bundle.n_mels, bundle.hop_length)
    return TorchaudioModel(
        build=partial(_network, build, bundle.n_mels, bundle._right_padding),
        preprocess={"sample_rate_hz": bundle.sample_rate},
        chain=_CHAIN,
        transform=partial(log_mel, spectrogram=spectrogram),
        add_tensors=partial(_with_statistics, bundle),
    )


def log_mel(samples: NDArray[np.float32], *, spectrogram: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """Return (frame, band), as the pipeline's feature extractor computes it before its normalisation.

    Args:
        samples: (time,), at the model's rate.
        spectrogram: the sample rate in Hz, the samples of a window, the bands, and the samples between two windows.
    """
    frames = _mel(*spectrogram)(torch.from_numpy(np.ascontiguousarray(samples))).transpose(1, 0)
    logarithm: Tensor = rnnt_pipeline._piecewise_linear_log(frames * rnnt_pipeline._gain)
    return logarithm.contiguous().numpy()


@cache
def _mel(rate_hz: int, window: int, bands: int, hop: int) -> MelSpectrogram:
    return MelSpectrogram(sample_rate=rate_hz, n_fft=window, n_mels=bands, hop_length=hop)


def _network(build: Any, bands: int, right_padding: int) -> nn.Module:
    return EmformerEncoder(build(), bands, right_padding)


def _with_statistics(bundle: RNNTBundle, tensors: Tensors, files: Files) -> Tensors:
    """Return the tensors of the encoder, with the statistics of the training data from the library's separate file.

    Raises: WeightsError if the statistics are neither in the checkpoint nor next to it.
    """
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("transcriber.")}
    if _MEAN in tensors:
        return {**own, _MEAN: tensors[_MEAN], _SCALE: tensors[_SCALE]}
    address = bundle._global_stats_path
    name = address.rpartition("/")[2]
    path = files.get(name)
    if path is None:
        raise WeightsError(
            f"the statistics that the input of this network is normalised with are in a separate file, {name}, "
            f"which is not next to the checkpoint. Next: put it and the checkpoint into a folder, and weights=FOLDER. "
            f"It is at {BASE_URL}{address}"
        )
    statistics = json.loads(path.read_text(encoding="utf-8"))
    return {**own, **{key: torch.tensor(statistics[key]) for key in (_MEAN, _SCALE)}}
