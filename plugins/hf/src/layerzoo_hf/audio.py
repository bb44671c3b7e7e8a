"""The library's own feature extractors."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import AutoFeatureExtractor
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING

from layerzoo.authoring import AudioInputs
from layerzoo.errors import RepositoryError, SampleError
from layerzoo.weights import Files
from layerzoo_hf.families import batching
from layerzoo_hf.frames import can_leave_out_padding, frame_and_hop
from layerzoo_hf.parts import arguments, backbone_without_values, modality_of
from layerzoo_hf.processors import library_processor

_MASK = "attention_mask"
_SECONDS = 0.25
"""Of noise or silence, to learn what an extractor returns."""
_RATES = (1_000, 1_000_000)
"""The lowest and the highest sample rate that a file of audio may have here, too."""


def describe_audio(config: Any, files: Files) -> dict[str, Any] | None:
    """Return the sample rate and channels that a network takes, and its window where its input has one length."""
    extractor = _extractor(config, files)
    if extractor is None:
        return None
    channels = _channels(extractor)
    takes = {"sample_rate_hz": extractor.sampling_rate} | ({"channels": channels} if channels > 1 else {})
    window, longest = _window_s(extractor), _longest_s(extractor)
    if window:
        return takes | {"window_s": window, "pad": "window"}
    frame_hop = _frames_of_padded(config)
    return (
        takes
        | ({"window_s": longest} if longest else {})
        | ({"frame_hop_samples": list(frame_hop)} if frame_hop else {})
    )


def _frames_of_padded(config: Any) -> tuple[int, int] | None:
    """Return frame and hop in samples of a network that supports padding; None for any other."""
    has_support = can_leave_out_padding(config) and batching(config) == "tolerance"
    return frame_and_hop(config) if has_support else None


def audio_features(
    model: str, config: Any, files: Files, part: str | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.float32] | AudioInputs] | None:
    """Load the feature extractor next to a checkpoint, or make the one that an architecture is published with.

    Args:
        model: the id of the model, for messages.
        config: the configuration of the whole network.
        files: the model's files.
        part: the path of the module that is the backbone; None for the one that takes audio.

    Returns: a function from samples, (time,) or (channel, time), to the network's input. None where the
        library has no extractor for the type.
    Raises: RepositoryError for an extractor that returns random numbers.
    """
    extractor = _extractor(config, files)
    if extractor is None:
        return None
    noise = np.random.default_rng(0).normal(0, 0.1, _shape(extractor, _SECONDS)).astype(np.float32)
    main, *other_names = first = _arrays(extractor, noise)
    window = _window_s(extractor)
    # Without a window, the network is known to accept a mask.
    checked = set(other_names) if window else set(other_names) - {_MASK}
    extra: tuple[str, ...] = ()
    if checked or modality_of(config) != "audio":
        takes = arguments(backbone_without_values(config, "audio", part))
        if takes[0] == "input_ids":
            raise RepositoryError(
                f"{model}: its network of type '{config.model_type}' takes text, and audio next to it"
            )
        extra = tuple(name for name in other_names if name in takes and name in checked)
        main = main if main in takes else takes[0]
    _check_repeatable(model, extractor, noise, first, (next(iter(first)), *extra))
    if window:
        return partial(_windowed, extractor, main, extra)  # not a closure: closures cannot be pickled
    return partial(_masked, extractor, main, extra, always=_frames_of_padded(config) is not None)


def _extractor(config: Any, files: Files) -> Any:
    """Return the extractor. Since version 5 the library may save it in the file of a processor for several modalities.

    Raises: RepositoryError for a sample rate that no audio has.
    """
    extractor = _read_extractor(config, files)
    rate = getattr(extractor, "sampling_rate", _RATES[0])
    if not (isinstance(rate, int | float) and _RATES[0] <= rate <= _RATES[1]):
        raise RepositoryError(
            f"its {type(extractor).__name__} has the sample rate {str(rate)[:40]}, and audio has {_RATES[0]:,} to "
            f"{_RATES[1]:,} Hz. Next: another checkpoint"
        )
    return extractor


def _read_extractor(config: Any, files: Files) -> Any:
    if "preprocessor_config.json" not in files and "processor_config.json" in files:
        path = files["processor_config.json"]
        if "feature_extractor" in json.loads(path.read_text(encoding="utf-8")):
            return AutoFeatureExtractor.from_pretrained(path.parent, local_files_only=True, trust_remote_code=False)
    return library_processor(config, files, FEATURE_EXTRACTOR_MAPPING, AutoFeatureExtractor)


def _check_repeatable(
    model: str, extractor: Any, noise: NDArray[np.float32], first: dict[str, NDArray[Any]], names: tuple[str, ...]
) -> None:
    """Raises: RepositoryError where one of the arrays of these names differs between two calls."""
    second = _arrays(extractor, noise)
    for name in names:
        if not np.array_equal(first[name], second[name], equal_nan=first[name].dtype.kind == "f"):
            raise RepositoryError(
                f"{model}: {type(extractor).__name__} returns random numbers as {name}, different ones at every call, "
                "so that the features of a recording would be random too"
            )


def _windowed(
    extractor: Any, main: str, extra: tuple[str, ...], samples: NDArray[np.float32]
) -> NDArray[np.float32] | AudioInputs:
    """Return the network's input for audio of one window; the extractor pads shorter audio."""
    arrays = _arrays(extractor, samples)
    array = next(iter(arrays.values()))
    return _inputs(main, array, {name: arrays[name] for name in extra})


def _masked(
    extractor: Any, main: str, extra: tuple[str, ...], samples: NDArray[np.float32], *, always: bool = False
) -> NDArray[np.float32] | AudioInputs:
    """Return the network's input for audio of any length, with a mask if the extractor pads it to whole frames.

    always: return the mask even without padding, for audio that is padded later.
    """
    arrays = _arrays(extractor, samples, **({"return_attention_mask": True} if always else {}))
    array, mask = next(iter(arrays.values())), arrays.get(_MASK)
    extra_arrays = {name: arrays[name] for name in extra}
    if mask is not None and (always or not mask.all()):
        extra_arrays[_MASK] = mask
    return _inputs(main, array, extra_arrays)


def _inputs(
    main: str, audio: NDArray[np.float32], extra_arrays: dict[str, NDArray[Any]]
) -> NDArray[np.float32] | AudioInputs:
    """Return the network's input, with the name of its mask. Only the usual mask may be omitted in this library."""
    mask = next((name for name in extra_arrays if name.endswith("mask")), None)
    return AudioInputs({main: audio, **extra_arrays}, mask, mask_is_optional=mask == _MASK) if extra_arrays else audio


def _arrays(extractor: Any, samples: NDArray[np.float32], **options: bool) -> dict[str, NDArray[Any]]:
    """Return all arrays of an extractor for one clip, without a batch axis; the audio comes first."""
    # Every extractor of the library accepts a list, and can return tensors.
    returned = extractor([samples], sampling_rate=extractor.sampling_rate, return_tensors="pt", **options)
    main = extractor.model_input_names[0]
    if len(returned[main]) != 1:
        raise SampleError("audio", f"{type(extractor).__name__} splits it into {len(returned[main])} parts: shorten it")
    other_arrays = {
        name: np.asarray(tensor[0])
        for name, tensor in returned.items()
        if name != main and getattr(tensor, "ndim", 0) > 0 and len(tensor) == 1
    }
    return {main: np.asarray(returned[main][0], dtype=np.float32), **other_arrays}


def _channels(extractor: Any) -> int:
    """Return the number of channels of an extractor: two if it refuses one channel and accepts two, else one."""
    samples = round(_SECONDS * extractor.sampling_rate)
    try:
        _arrays(extractor, np.zeros(samples, np.float32))
    except ValueError:
        try:
            _arrays(extractor, np.zeros((2, samples), np.float32))
        except Exception:  # noqa: BLE001 - it takes neither, and says so of every clip
            return 1
        return 2
    return 1


def _shape(extractor: Any, seconds: float) -> tuple[int, ...]:
    samples, channels = round(seconds * extractor.sampling_rate), _channels(extractor)
    return (samples,) if channels == 1 else (channels, samples)


def _window_s(extractor: Any) -> float | None:
    """Return the length in seconds to which an extractor pads every clip; None if the output length depends on the
    clip."""
    if len({_length(extractor, seconds) for seconds in (_SECONDS, 2 * _SECONDS)}) > 1:
        return None
    rate = extractor.sampling_rate
    sample_counts = [getattr(extractor, name, None) for name in ("nb_max_samples", "n_samples")]
    default_s = getattr(extractor, "default_audio_length", None)
    samples = [count for count in (*sample_counts, default_s and default_s * rate) if count]
    if samples:
        return float(min(samples) / rate)
    seconds = (getattr(extractor, "max_length", None) or 0) / 100  # frames of 10 ms each, as Kaldi counts them
    is_window = seconds and _length(extractor, 1.5 * seconds) == _length(extractor, _SECONDS)
    return float(seconds) if is_window else None


def _longest_s(extractor: Any) -> float | None:
    """Return the length in seconds of the longest clip that an extractor neither truncates nor splits."""
    call = inspect.signature(extractor.__call__).parameters
    truncates = "truncation" in call and call["truncation"].default is True
    samples = [
        getattr(extractor, "n_samples", None),
        call["max_length"].default if truncates and "max_length" in call else None,
    ]
    seconds = [count / extractor.sampling_rate for count in samples if isinstance(count, int)]
    split_s = getattr(extractor, "max_audio_clip_s", None)
    if split_s:
        seconds.append(split_s - getattr(extractor, "overlap_chunk_second", 0))
    return float(min(seconds)) if seconds else None


def _length(extractor: Any, seconds: float) -> tuple[int, ...]:
    """Return the shape of the output of an extractor for silence."""
    arrays = _arrays(extractor, np.zeros(_shape(extractor, seconds), np.float32))
    return next(iter(arrays.values())).shape
