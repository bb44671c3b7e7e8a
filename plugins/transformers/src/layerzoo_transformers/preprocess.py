"""The library's own tokenizers, image processors and feature extractors, as layerzoo takes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import transformers
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoFeatureExtractor,
    AutoImageProcessor,
    AutoTokenizer,
    AutoVideoProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.auto.configuration_auto import (
    CONFIG_MAPPING,
    CONFIG_MAPPING_NAMES,
    model_type_to_module_name,
)
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING

from layerzoo.errors import WeightsError
from layerzoo.spec import Modality
from layerzoo.weights import Files
from layerzoo_transformers.configuration import picture_size, sub_config
from layerzoo_transformers.families import batching, family
from layerzoo_transformers.frames import can_leave_out_padding, frame_and_hop

_LIMIT = 1_000_000
"""More tokens than any network takes; the library's word for an unknown limit is 1e30."""


class LibraryTokenizer:
    """A tokenizer of the library: pieces without special tokens, which stand apart as prefix and suffix."""

    unknown: int | None
    """What stands for all that the vocabulary lacks."""
    _backend: Any = None
    """What the library itself would ask, with half as much done around it for each text."""

    def __init__(self, library: Any) -> None:
        self.library = library
        alone = self.encode("a")
        dressed = list(library("a", truncation=False, padding=False)["input_ids"])
        start = next(at for at in range(len(dressed)) if dressed[at : at + len(alone)] == alone)
        self.prefix: tuple[int, ...] = tuple(dressed[:start])
        self.suffix: tuple[int, ...] = tuple(dressed[start + len(alone) :])
        self.pad: int = library.pad_token_id if library.pad_token_id is not None else 0
        self.unknown = library.unk_token_id
        # The calls above have left it as it is to be from here on: without truncation and padding.
        self._backend = library.backend_tokenizer if _adds_nothing(library) else None

    @classmethod
    def of(cls, files: Files) -> LibraryTokenizer:
        """The tokenizer that lies beside a model's config.json."""
        folder = files["config.json"].parent
        return cls(AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False))

    def encode(self, text: str) -> list[int]:
        if self._backend is not None:
            return list(self._backend.encode(text, add_special_tokens=False).ids)
        made = self.library(text, add_special_tokens=False, truncation=False, padding=False, verbose=False)
        return list(made["input_ids"])


def _adds_nothing(library: Any) -> bool:
    """Whether a tokenizer is the fast one of the library, which hands texts on as they are."""
    kind = type(library)
    return isinstance(library, PreTrainedTokenizerFast) and all(
        getattr(kind, name) is getattr(PreTrainedTokenizerFast, name) for name in ("__call__", "_encode_plus")
    )


class NoTokenizer:
    """Of an architecture without a checkpoint: it takes tokens, and no text."""

    prefix: tuple[int, ...] = ()
    suffix: tuple[int, ...] = ()
    pad = 0
    unknown = None

    def __init__(self, model: str) -> None:
        self._model = model

    def encode(self, text: str) -> list[int]:
        raise WeightsError(
            f"{self._model} is an architecture without a checkpoint, and has no tokenizer: give it tokens "
            "(a torch.LongTensor a sample), or `weights:` with a tokenizer beside them"
        )


def describe_text(config: Any, files: Files) -> dict[str, Any]:
    """How long a text may be, whether it starts with a classification token, and what padding does to the network."""
    part = sub_config(config, "text")
    limits = [_largest(part, "max_position_embeddings"), _largest(part, "n_positions")]
    cls = False
    if "config.json" in files and _has_tokenizer(files):
        tokenizer = LibraryTokenizer.of(files)
        limits.append(tokenizer.library.model_max_length)
        token = tokenizer.library.cls_token_id
        cls = token is not None and tokenizer.prefix[:1] == (token,)
    known = [limit for limit in limits if limit is not None and 0 < limit < _LIMIT]
    return {"max_tokens": int(min(known, default=512)), "cls_token": cls, "batching": batching(config)}


def tokenizer(model: str, files: Files) -> LibraryTokenizer | NoTokenizer:
    """The tokenizer beside a checkpoint; without one, that of a bare architecture."""
    return LibraryTokenizer.of(files) if "config.json" in files and _has_tokenizer(files) else NoTokenizer(model)


def _has_tokenizer(files: Files) -> bool:
    return any(name.startswith(("tokenizer", "vocab", "spiece", "sentencepiece")) for name in files)


def _largest(config: Any, name: str) -> int | None:
    limit = getattr(config, name, None)
    return limit if isinstance(limit, int) else None


def describe_pictures(config: Any, files: Files, modality: Modality = "vision") -> dict[str, Any] | None:
    """Size, interpolation, crop and normalisation as the library's image processor has them; None without one."""
    processor = _processor(config, files, IMAGE_PROCESSOR_MAPPING, AutoImageProcessor)
    if processor is None:
        processor = _processor(config, files, VIDEO_PROCESSOR_MAPPING, AutoVideoProcessor)
    if processor is None:
        return None
    crop = _size(getattr(processor, "crop_size", None)) if getattr(processor, "do_center_crop", False) else None
    resized = _size(processor.size)
    size = picture_size(config, modality) or crop or resized
    if size is None or processor.resample is None:
        return None
    share = getattr(processor, "crop_pct", None) or (min(crop) / min(resized) if crop and resized else 1.0)
    normalised = getattr(processor, "do_normalize", True)
    return {
        "size_px": list(size),
        "resize": Image.Resampling(processor.resample).name.lower(),
        "crop": min(1.0, share),
        "fit": "crop" if crop or getattr(processor, "crop_pct", None) else "squash",
        "mean": list(processor.image_mean) if normalised else [0.0, 0.0, 0.0],
        "std": list(processor.image_std) if normalised else [1.0, 1.0, 1.0],
    }


def _size(size: Any) -> tuple[int, int] | None:
    """Height and width of what a processor makes; of one that keeps proportions, its short side."""
    known = size if isinstance(size, Mapping) else vars(size) if size is not None else {}
    if known.get("height") and known.get("width"):
        return known["height"], known["width"]
    side = known.get("shortest_edge") or known.get("longest_edge")
    return (side, side) if side else None


def describe_videos(config: Any, files: Files) -> dict[str, Any] | None:
    """How many frames a network takes at once, and how each is treated."""
    part = sub_config(config, "video")
    frames = next((found for name in _FRAMES if isinstance(found := getattr(part, name, None), int)), None)
    image = describe_pictures(config, files, "video")
    return None if frames is None or image is None else {"frames": frames, "joint": True, "image": image}


_FRAMES = ("num_frames", "frames_per_clip")
"""What configurations call the number of frames."""


def describe_sound(config: Any, files: Files) -> dict[str, Any] | None:
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


def sound_features(config: Any, files: Files) -> Callable[[NDArray[np.float32]], Any] | None:
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
    return _processor(config, files, FEATURE_EXTRACTOR_MAPPING, AutoFeatureExtractor)


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


def _processor(config: Any, files: Files, mapping: Any, auto: Any) -> Any:
    """What the library makes inputs with: as it lies beside a checkpoint, else as the architecture is published with.

    Returns: None where the library has none for this type.
    """
    if "preprocessor_config.json" in files:
        folder = files["preprocessor_config.json"].parent
        return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    named = family(config).get("features" if auto is AutoFeatureExtractor else "pictures")
    kind = _kind(config, mapping) if named is None else getattr(transformers, named)
    if kind is None:
        return None
    taken = inspect.signature(kind.__init__).parameters
    bins = getattr(sub_config(config, "audio"), "num_mel_bins", None)
    usual = {name: bins for name in ("feature_size", "num_mel_bins") if bins is not None and name in taken}
    return kind(**usual, **(family(config).get("extractor", {}) if auto is AutoFeatureExtractor else {}))


def _kind(config: Any, mapping: Any) -> Any:
    """The class for a type, or for one that is defined beside it: a tower of a network has no processor of its own."""
    home = model_type_to_module_name(config.model_type)
    beside = [name for name in CONFIG_MAPPING_NAMES if model_type_to_module_name(name) == home]
    for kind in (type(config), *(CONFIG_MAPPING[name] for name in beside)):
        if kind in mapping:
            found = mapping[kind]
            return (found.get("pil") or next(iter(found.values()))) if isinstance(found, dict) else found
    return None
