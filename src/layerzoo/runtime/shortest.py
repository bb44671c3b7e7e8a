"""Find the shortest audio clip that a network accepts. Networks report clips that are too short in different ways."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

from layerzoo.errors import SampleError
from layerzoo.runtime.backbone import Backbone, network_of
from layerzoo.runtime.batch import InputRow
from layerzoo.runtime.preprocess.audio import AudioPreprocessor, least, too_short

_KNOWN: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""Network → the number of samples it needs."""


def too_short_for(backbone: Backbone, row: InputRow, id: str) -> SampleError | None:
    """Return the error for an audio clip that is too short for a network; None if its length is not the cause."""
    preprocess = backbone.preprocess
    if not isinstance(preprocess, AudioPreprocessor) or preprocess.declared.pad == "window":
        return None
    network = network_of(backbone)
    if network not in _KNOWN:
        _KNOWN[network] = _shortest(backbone, preprocess)
    required = _KNOWN[network]
    return too_short(id, row.total, required, preprocess.declared.sample_rate_hz) if row.total < required else None


def _shortest(backbone: Backbone, preprocess: AudioPreprocessor) -> int:
    def works(samples: int) -> bool:
        try:
            activations = backbone.activations(preprocess.silence(samples))
        except Exception:  # noqa: BLE001 - a failure is the answer
            return False
        return all(activation.numel() > 0 for activation in activations.values())

    return least(works, preprocess.usual_samples)
