"""Front ends of classical audio processing: ``spectrogram``, ``logmel`` and ``mfcc``, which have no weights.

Their parameters are those of torchaudio's transforms of the same name. Without others they are those of speech
recognition at 16 kHz: windows of 25 ms every 10 ms, 80 mel bands, 13 coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torchaudio.transforms import MFCC, AmplitudeToDB, MelSpectrogram, Spectrogram

from layerzoo.authoring import Chain
from layerzoo_torchaudio.model import TorchaudioModel

RATE_HZ = 16_000
_WINDOW = {"n_fft": 400, "hop_length": 160}
"""25 ms and 10 ms at 16 kHz."""
_MEL_WINDOW = {"n_mels": 80, **_WINDOW}
DEFAULTS: dict[str, dict[str, Any]] = {
    "spectrogram": _WINDOW,
    "logmel": _MEL_WINDOW,
    "mfcc": {"n_mfcc": 13, "melkwargs": _MEL_WINDOW},
}
"""By name: the arguments of torchaudio's transform, where none are given."""


class FrontEnd(nn.Module):
    """Frames of a spectrum, from the waveforms of a batch."""

    def __init__(self, **steps: nn.Module) -> None:
        super().__init__()
        self.steps = list(steps)
        for name, step in steps.items():
            self.add_module(name, step)

    def forward(self, waveforms: Tensor) -> Tensor:
        """Return (batch, band, frame). waveforms: (batch, sample)."""
        frames = waveforms
        for step in self.steps:
            frames = self.get_submodule(step)(frames)
        return frames


def _spectrogram(rate_hz: int, arguments: Mapping[str, Any]) -> FrontEnd:
    return FrontEnd(spectrogram=Spectrogram(**{**DEFAULTS["spectrogram"], **arguments}))


def _logmel(rate_hz: int, arguments: Mapping[str, Any]) -> FrontEnd:
    own = {**DEFAULTS["logmel"], **arguments}
    scale = {"stype": "power" if own.get("power", 2.0) == 2.0 else "magnitude", "top_db": own.pop("top_db", None)}
    return FrontEnd(mel=MelSpectrogram(sample_rate=rate_hz, **own), log=AmplitudeToDB(**scale))


def _mfcc(rate_hz: int, arguments: Mapping[str, Any]) -> FrontEnd:
    own = {**DEFAULTS["mfcc"], **arguments}
    mel = {**DEFAULTS["mfcc"]["melkwargs"], **own.pop("melkwargs")}
    return FrontEnd(mfcc=MFCC(sample_rate=rate_hz, melkwargs=mel, **own))


FRONT_ENDS: dict[str, tuple[Callable[[int, Mapping[str, Any]], FrontEnd], str]] = {
    "spectrogram": (_spectrogram, "Power spectrogram"),
    "logmel": (_logmel, "Mel spectrogram in decibels"),
    "mfcc": (_mfcc, "Mel-frequency cepstral coefficients"),
}
"""By name: the function that builds it, and what it is."""


def front_end(name: str, arguments: Mapping[str, Any]) -> TorchaudioModel:
    """Return a front end.

    Args:
        name: of :data:`FRONT_ENDS`.
        arguments: of torchaudio's transform, and ``sample_rate``, in Hz.
    """
    own = dict(arguments)
    rate_hz = int(own.pop("sample_rate", RATE_HZ))
    return TorchaudioModel(
        build=partial(_network, name, rate_hz, own),
        preprocess={"sample_rate_hz": rate_hz},
        chain=Chain(embedding="", axes={".*": ["batch channel time"]}),
        default={"layer": "embedding", "pool": "mean"},
    )


def _network(name: str, rate_hz: int, arguments: Mapping[str, Any]) -> FrontEnd:
    """Build a front end on the CPU, because torchaudio reads the values of a filter bank; then move it to the meta
    device if that is the current one."""
    is_meta = torch.empty(0).is_meta
    with torch.device("cpu"):
        network = FRONT_ENDS[name][0](rate_hz, arguments)
    return network.to("meta") if is_meta else network
