"""The library's own feature extractors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING

from layerzoo.weights import Files
from layerzoo_transformers.families import batching
from layerzoo_transformers.frames import can_leave_out_padding, frame_and_hop
from layerzoo_transformers.processors import library_processor


def describe_audio(config: Any, files: Files) -> dict[str, Any] | None:
    """The rate that a network takes, and its window where its input has one length."""
    extractor = _extractor(config, files)
    if extractor is None:
        return None
    rate = extractor.sampling_rate
    window = _window_s(extractor)
    if window:
        return {"sample_rate_hz": rate, "window_s": window, "pad": "window"}
    known = _frames_of_padded(config)
    return {"sample_rate_hz": rate, **({"frame_hop_samples": list(known)} if known else {})}


def _frames_of_padded(config: Any) -> tuple[int, int] | None:
    """Frame and hop of a network that bears sounds that are filled up; None for any other."""
    bears = can_leave_out_padding(config) and batching(config) == "tolerance"
    return frame_and_hop(config) if bears else None


def audio_features(config: Any, files: Files) -> Callable[[NDArray[np.float32]], Any] | None:
    """The feature extractor beside a checkpoint, or the one that an architecture is published with."""
    extractor = _extractor(config, files)
    if extractor is None:
        return None
    if _window_s(extractor):
        return partial(_windowed, extractor)  # not a closure, which no process can send
    if _frames_of_padded(config):
        return partial(_made, extractor, return_attention_mask=True)
    return partial(_masked, extractor)


def _extractor(config: Any, files: Files) -> Any:
    return library_processor(config, files, FEATURE_EXTRACTOR_MAPPING, AutoFeatureExtractor)


def _windowed(extractor: Any, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the network takes of a sound, which fills a window."""
    return _made(extractor, samples)[extractor.model_input_names[0]]


def _masked(extractor: Any, samples: NDArray[np.float32]) -> NDArray[np.float32] | dict[str, NDArray[Any]]:
    """What the network takes of a sound; with a mask, where the extractor has filled it up to whole frames."""
    made = _made(extractor, samples)
    mask = made.get("attention_mask")
    return made[extractor.model_input_names[0]] if mask is None or mask.all() else made


def _made(extractor: Any, samples: NDArray[np.float32], **asked: bool) -> dict[str, NDArray[Any]]:
    # In a list, and as tensors: so every extractor of the library takes sounds and gives what it makes of them.
    given = extractor([samples], sampling_rate=extractor.sampling_rate, return_tensors="pt", **asked)
    main, mask = extractor.model_input_names[0], given.get("attention_mask")
    made = {main: np.asarray(given[main][0], dtype=np.float32)}
    return made if mask is None else {**made, "attention_mask": np.asarray(mask[0])}


def _window_s(extractor: Any) -> float | None:
    """How much sound an extractor makes its output of, however long the sound is; None where the length decides."""
    short, long = (
        _windowed(extractor, np.zeros(round(seconds * extractor.sampling_rate), np.float32)).shape
        for seconds in (0.25, 0.5)
    )
    if short != long:
        return None
    samples = getattr(extractor, "nb_max_samples", None) or getattr(extractor, "n_samples", None)
    if samples is None:
        frames = extractor.max_length  # of 10 ms each, as Kaldi counts them
        return float(frames) / 100
    return float(samples / extractor.sampling_rate)
