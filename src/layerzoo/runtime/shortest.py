"""The shortest sound that a network takes: its first frame needs so many samples, and code that makes it says it in its
own way, or not at all."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

from layerzoo.errors import SampleError
from layerzoo.runtime.backbone import Backbone
from layerzoo.runtime.batch import Row
from layerzoo.runtime.preprocess.audio import AudioPreprocessor, least, too_short

_KNOWN: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
"""By network, the samples it needs."""


def too_short_for(backbone: Backbone, row: Row, id: str) -> SampleError | None:
    """What is to be said of a sound that a network fails on; None where its length is not what it fails on."""
    preprocess = backbone.preprocess
    if not isinstance(preprocess, AudioPreprocessor) or preprocess.declared.pad == "window":
        return None
    if backbone.module not in _KNOWN:
        _KNOWN[backbone.module] = _shortest(backbone, preprocess)
    needed = _KNOWN[backbone.module]
    return too_short(id, row.total, needed, preprocess.declared.sample_rate_hz) if row.total < needed else None


def _shortest(backbone: Backbone, preprocess: AudioPreprocessor) -> int:
    def works(samples: int) -> bool:
        try:
            found = backbone.activations(preprocess.silence(samples))
        except Exception:  # noqa: BLE001 - that it fails is the answer
            return False
        return all(activation.numel() > 0 for activation in found.values())

    return least(works, preprocess.usual_samples)
