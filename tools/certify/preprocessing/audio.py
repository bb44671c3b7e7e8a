"""Compare the audio input of networks with the library's own feature extractors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import transformers
from numpy.typing import NDArray
from tools.certify.preprocessing.folders import plain, preprocessor_of
from tools.certify.preprocessing.record import Record
from transformers import AutoConfig
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES, model_type_to_module_name
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

from layerzoo.errors import LayerzooError, SampleError
from layerzoo.media import audio
from layerzoo.media.windows import windows
from layerzoo.runtime.preprocess import AudioPreprocessor
from layerzoo_hf.families import family
from layerzoo_hf.parts import arguments, backbone_without_values, modality_of

Samples = NDArray[np.float32]

VARIATIONS: dict[str, Sequence[Mapping[str, Any]]] = {
    "ASTFeatureExtractor": ({"do_normalize": False}, {"num_mel_bins": 64, "max_length": 256}),
    "ClapFeatureExtractor": ({"truncation": "rand_trunc"}, {"truncation": "rand_trunc", "padding": "pad"}),
    "DacFeatureExtractor": ({"hop_length": 320}, {"sampling_rate": 44_100}),
    "EncodecFeatureExtractor": (
        {"feature_size": 2, "sampling_rate": 48_000, "chunk_length_s": 1.0, "overlap": 0.01},
        {"feature_size": 2, "sampling_rate": 48_000},
        {"sampling_rate": 32_000},
    ),
    "ParakeetFeatureExtractor": ({"feature_size": 128}, {"preemphasis": None}),
    "SeamlessM4TFeatureExtractor": ({"stride": 1}, {"padding_value": 1.0}),
    "Speech2TextFeatureExtractor": ({"normalize_vars": False}, {"do_ceptral_normalize": False}),
    "SpeechT5FeatureExtractor": ({"do_normalize": True}, {"return_attention_mask": False}),
    "Wav2Vec2FeatureExtractor": ({"do_normalize": False}, {"return_attention_mask": True}),
    "WhisperFeatureExtractor": ({"feature_size": 128}, {"chunk_length": 10}, {"return_attention_mask": True}),
}
"""Arguments of constructors by class name, for configurations other than the default."""


def classes() -> list[str]:
    """Return the names of the library's feature extractors for audio."""
    exported = [name for name in dir(transformers) if name.endswith("FeatureExtractor")]
    found = {name for name in exported if _is_for_audio(getattr(transformers, name))}
    return sorted(found | set(FEATURE_EXTRACTOR_MAPPING_NAMES.values()))


def _is_for_audio(kind: Any) -> bool:
    if kind is SequenceFeatureExtractor:
        return False
    is_dummy = type(kind).__name__ == "DummyObject"  # its package is missing
    return is_dummy or (isinstance(kind, type) and issubclass(kind, SequenceFeatureExtractor))


def records(names: Sequence[str] | None = None) -> Iterator[Record]:
    """Compare every feature extractor, or those of some names, in its default and other configurations."""
    for name in classes() if names is None else names:
        for options in ({}, *VARIATIONS.get(name, ())):
            yield _record(name, options)


def _record(name: str, options: Mapping[str, Any]) -> Record:
    configuration = ", ".join(f"{key}={value!r}" for key, value in options.items()) or "default"
    row = {"kind": "feature extractor", "name": name, "configuration": configuration}
    try:
        extractor = getattr(transformers, name)(**options)
    except ImportError as error:
        return Record(**row, inputs=0, verdict="refused", reason=plain(error))  # type: ignore[arg-type]
    refusal = "the library names no network for it that takes audio"
    for model_type in _types(name):
        config = AutoConfig.for_model(model_type)
        try:
            with preprocessor_of("audio", config.save_pretrained, extractor.save_pretrained) as (_, preprocess):
                taken = arguments(backbone_without_values(config, "audio"))
                assert isinstance(preprocess, AudioPreprocessor)
                return Record(**row, **_compared(extractor, preprocess, taken))  # type: ignore[arg-type]
        except (LayerzooError, ImportError) as error:
            refusal = plain(error)
    return Record(**row, inputs=0, verdict="refused", reason=refusal)  # type: ignore[arg-type]


def _types(name: str) -> list[str]:
    """Return the model types that use an extractor, those whose main input is audio first."""
    types = [kind for kind, found in FEATURE_EXTRACTOR_MAPPING_NAMES.items() if found == name]
    homes = {model_type_to_module_name(kind) for kind in types}
    towers = [kind for kind in CONFIG_MAPPING_NAMES if model_type_to_module_name(kind) in homes and kind not in types]
    stated = [kind for kind in CONFIG_MAPPING_NAMES if _family_states(kind, name)]
    others = [kind for kind in (*stated, *towers) if _modality(kind) == "audio"]
    return [*sorted(types, key=lambda kind: _modality(kind) != "audio"), *others]


def _family_states(model_type: str, name: str) -> bool:
    return bool(family(SimpleNamespace(model_type=model_type)).get("features") == name)


def _modality(model_type: str) -> str | None:
    try:
        return modality_of(AutoConfig.for_model(model_type))
    except (LayerzooError, KeyError, ValueError, ImportError):
        return None


def clips(channels: int, window_s: float | None) -> Iterator[tuple[str, tuple[Samples, int]]]:
    """Return twelve clips by name: samples and their sample rate."""
    rng = np.random.default_rng(0)

    def noise(seconds: float, rate: int, level: float = 0.1) -> Samples:
        shape = round(seconds * rate) if channels == 1 else (round(seconds * rate), channels)
        return rng.normal(0, level, shape).astype(np.float32)

    yield "silence", (noise(1, 16_000, 0), 16_000)
    yield "one sample", (noise(1 / 16_000, 16_000), 16_000)
    yield "20 ms", (noise(0.02, 16_000), 16_000)
    yield "an odd length", (noise(16_001 / 16_000, 16_000), 16_000)
    yield "2.31 s", (noise(2.31, 24_000), 24_000)
    yield "longer than the window", (noise(1.3 * (window_s or 4), 16_000), 16_000)
    yield "8 kHz", (noise(0.7, 8_000), 8_000)
    yield "44.1 kHz in stereo", (rng.normal(0, 0.1, (30_000, 2)).astype(np.float32), 44_100)
    yield "loud", (noise(0.9, 48_000, 30), 48_000)
    yield "a constant offset", (noise(0.9, 16_000) + np.float32(0.5), 16_000)
    yield "integers", ((noise(0.6, 16_000) * 3000).astype(np.int16), 16_000)
    yield "a tone", (np.sin(noise(1.1, 22_050, 0) + _ramp(24_255, channels)).astype(np.float32), 22_050)


def _ramp(samples: int, channels: int) -> Samples:
    ramp = np.arange(samples, dtype=np.float32) * np.float32(0.05)
    return ramp if channels == 1 else np.repeat(ramp[:, None], channels, axis=1)


def _compared(extractor: Any, preprocess: AudioPreprocessor, taken: Sequence[str]) -> dict[str, Any]:
    """Return the verdict and the number of compared clips, without those that are too short for the extractor."""
    declared, compared, refused = preprocess.declared, 0, {}
    for name, (samples, rate) in clips(declared.channels, declared.window_s):
        try:
            rows = preprocess.rows((samples, rate)).rows
        except SampleError as error:
            refused[name] = error.reason
            continue
        decoded = audio.decode((samples, rate), declared.sample_rate_hz, declared.channels)
        window = round((declared.window_s or 0) * declared.sample_rate_hz) or len(decoded)
        for row, part in zip(rows, windows(decoded, window), strict=True):
            expected = _library(extractor, part.T)
            inputs = {key: tensor.numpy() for key, tensor in preprocess.collate([row]).inputs.items()}
            if difference := _difference(inputs, expected, extractor.model_input_names[0], taken):
                return {"inputs": compared, "verdict": "unequal", "reason": f"{name}: {difference}"}
        compared += 1
    reason = "; ".join(f"{name}: {why}" for name, why in refused.items())
    return {"inputs": compared, "verdict": "equal" if compared else "refused", "reason": reason}


def _library(extractor: Any, samples: Samples) -> dict[str, NDArray[Any]]:
    """Call the library's extractor on one clip, or on a list of one clip if it fails on a clip."""
    options = {"sampling_rate": extractor.sampling_rate, "return_tensors": "pt"}
    try:
        returned = extractor(samples, **options)
    except ValueError:
        returned = extractor([samples], **options)
    return {name: np.asarray(value) for name, value in returned.items() if hasattr(value, "shape")}


def _difference(
    inputs: dict[str, NDArray[Any]], expected: dict[str, NDArray[Any]], main: str, taken: Sequence[str]
) -> str | None:
    """Return the difference from the library's arrays, or None. A mask of ones may be omitted."""
    (_, ours), *others = inputs.items()
    given = {main: ours, **dict(others)}
    for name, array in expected.items():
        if name != main and name not in taken:
            continue
        if name not in given and name == "attention_mask" and array.all():
            continue
        if name not in given:
            return f"{name} is missing"
        if not np.array_equal(given.pop(name), array, equal_nan=array.dtype.kind == "f"):
            return f"{name} differs"
    return f"{', '.join(given)} is not an array of the library" if given else None
