"""Compare the image and video input of networks with the library's own processors.

Every processor class of the installed library is constructed without arguments and with variations of its settings. It
is saved into a folder next to the configuration of a network that uses it, like a user's own model, and both sides read
that folder.
"""

from __future__ import annotations

import ast
import json
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from tools.certify.preprocessing.record import Record
from transformers import AutoConfig, AutoImageProcessor, AutoVideoProcessor
from transformers.image_processing_utils import BaseImageProcessor
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING_NAMES
from transformers.utils import logging
from transformers.video_processing_utils import BaseVideoProcessor

from layerzoo.errors import (
    LayerzooError,
    ProcessorError,
    SampleError,
)
from layerzoo.media.image import decode
from layerzoo.media.video import sample_frames
from layerzoo.runtime import load_preprocess
from layerzoo.runtime.preprocess import Preprocessor, VideoPreprocessor
from layerzoo.spec import ModelSpec, Weights
from layerzoo_hf.images import backend_of
from layerzoo_hf.parts import modality_of

Settings = dict[str, Any]
_BASES = {"BaseImageProcessor", "BaseVideoProcessor", "AutoImageProcessor", "AutoVideoProcessor"}
_SWITCHES = (
    *("do_resize", "do_rescale", "do_normalize", "do_center_crop", "do_pad", "do_flip_channel_order", "apply_ocr"),
    *("do_crop_margin", "do_thumbnail", "do_align_long_axis", "include_top", "rescale_offset", "offset"),
    *("keep_aspect_ratio", "crop_to_patches", "do_image_splitting", "do_reduce_labels"),
)
"""Boolean settings."""
_FRAMES = 20
"""The number of frames of the longest video."""


def records() -> Iterator[Record]:
    """Compare every image and video processor of the installed library, in every configuration."""
    for name in image_processors():
        yield from certified(name)
    for name in video_processors():
        yield from certified(name)


def image_processors() -> list[str]:
    """Return the names of the image processor classes. A class and its PIL variant count as one with two backends."""
    names = {name.removesuffix("Pil") for name in _exported("ImageProcessor", BaseImageProcessor)}
    mapped = (kind for kinds in IMAGE_PROCESSOR_MAPPING_NAMES.values() for kind in _names(kinds))
    return sorted(names | {name.removesuffix("Pil") for name in mapped})


def video_processors() -> list[str]:
    """Return the names of the video processor classes."""
    mapped = (kind for kinds in VIDEO_PROCESSOR_MAPPING_NAMES.values() for kind in _names(kinds))
    return sorted(_exported("VideoProcessor", BaseVideoProcessor) | set(mapped))


def certified(name: str, *, inputs: int | None = None, only_default: bool = False) -> Iterator[Record]:
    """Compare one class in its configurations.

    Args:
        name: the name of the class.
        inputs: the number of inputs to compare; None: all.
        only_default: compare the default configuration only.
    """
    logging.set_verbosity(logging.CRITICAL)
    is_video = name.endswith("VideoProcessor")
    try:
        kind = getattr(transformers, name)
        default = kind()
    except (ImportError, TypeError, ValueError, AttributeError, OSError) as error:
        yield _record(name, is_video, "default", 0, "refused", f"the library cannot make it: {_told(error)}")
        return
    variations = {} if only_default else _variations(default)
    for configuration, settings in {"default": {}, **variations, **({} if only_default else _written(name))}.items():
        try:
            processor = kind(**settings)
        except (TypeError, ValueError):
            continue  # this class does not have the setting
        if (problem := _unsaved(processor)) is not None:
            yield _record(name, is_video, configuration, 0, "refused", f"the library cannot save it: {problem}")
            continue
        yield _compared(name, processor, configuration, inputs)


def _unsaved(processor: Any) -> str | None:
    try:
        processor.to_json_string()
    except (ValueError, TypeError, OSError) as error:
        return _told(error)
    return None


def _exported(ending: str, base: type) -> set[str]:
    found = {name: getattr(transformers, name, None) for name in dir(transformers) if ending in name}
    return {name for name, kind in found.items() if isinstance(kind, type) and issubclass(kind, base)} - _BASES


def _names(kinds: Any) -> list[str]:
    return [kind for kind in (kinds.values() if isinstance(kinds, Mapping) else [kinds]) if isinstance(kind, str)]


# ---------------------------------------------------------------- configurations


def _variations(processor: Any) -> dict[str, Settings]:
    """Return other values of the settings that a processor has."""
    found: dict[str, Settings] = {}
    for switch in _SWITCHES:
        if isinstance(value := getattr(processor, switch, None), bool):
            found[f"{switch}: {str(not value).lower()}"] = {switch: not value}
    for key, size in (("size", getattr(processor, "size", None)), ("crop_size", getattr(processor, "crop_size", None))):
        known = {side: length for side, length in dict(size or {}).items() if length}
        if known:
            other = {side: max(16, round(length * 0.75) // 16 * 16 + 3) for side, length in known.items()}
            found[f"{key}: {json.dumps(other)}"] = {key: other}
        if {"height", "width"} == known.keys():
            wide = {"height": known["height"], "width": known["width"] // 2}
            found[f"{key}: {json.dumps(wide)}"] = {key: wide}
    side = max(32, min([*(dict(getattr(processor, "size", None) or {}).values()), 384], key=lambda each: each or 384))
    for size in ({"shortest_edge": side}, {"shortest_edge": side, "longest_edge": side * 4 // 3}):
        found[f"size: {json.dumps(size)}"] = {"size": size}
    if getattr(processor, "resample", None) is not None:
        found["resample: 0 (nearest)"] = {"resample": 0}
        found["resample: 1 (lanczos)"] = {"resample": 1}
    if getattr(processor, "do_rescale", None):
        found["rescale_factor: 1/127.5"] = {"rescale_factor": 1 / 127.5}
    if getattr(processor, "do_normalize", None):
        found["image_mean: 0.5, image_std: 0.25"] = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    for name, other_value in (("crop_pct", 0.9), ("ensure_multiple_of", 32), ("size_divisor", 64), ("pad_size", None)):
        if getattr(processor, name, None) is not None and other_value is not None:
            found[f"{name}: {other_value}"] = {name: other_value}
    if getattr(processor, "do_pad", False) and hasattr(processor, "pad_size"):
        found["pad_size: 1400 x 1400"] = {"pad_size": {"height": 1400, "width": 1400}}
    return found


@cache
def _literal_calls() -> dict[str, list[Settings]]:
    """Return the processors that the library's source creates with literal settings, by class."""
    found: dict[str, list[Settings]] = {}
    folder = Path(str(transformers.__file__)).parent
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "Processor(" not in text:
            continue
        for call in (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            if name.endswith(("ImageProcessor", "VideoProcessor", "ImageProcessorPil")) and call.keywords:
                try:
                    settings = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}
                except ValueError:
                    continue
                found.setdefault(name.removesuffix("Pil"), []).append(settings)
    return found


def _written(name: str) -> dict[str, Settings]:
    return {f"in the library's source: {json.dumps(each)}": each for each in _literal_calls().get(name, [])}


# ---------------------------------------------------------------- inputs


@cache
def images() -> dict[str, Image.Image]:
    """Return images of unusual sizes and modes."""
    random = np.random.default_rng(0)

    def noise(height: int, width: int) -> NDArray[np.uint8]:
        coarse = Image.fromarray(random.integers(0, 256, (max(1, height // 6), max(1, width // 6), 3), np.uint8))
        return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))

    return {
        "480 x 640": Image.fromarray(noise(480, 640)),
        "odd 223 x 331": Image.fromarray(noise(223, 331)),
        "greyscale 300 x 200": Image.fromarray(noise(300, 200)).convert("L"),
        "tall 700 x 90": Image.fromarray(noise(700, 90)),
        "wide 61 x 502": Image.fromarray(noise(61, 502)),
        "1 x 1": Image.fromarray(noise(1, 1)),
        "3 x 57": Image.fromarray(noise(3, 57)),
        "57 x 3": Image.fromarray(noise(57, 3)),
        "panorama 100 x 1600": Image.fromarray(noise(100, 1600)),
        "palette 128 x 192": Image.fromarray(noise(128, 192)).convert("P"),
        "large 900 x 1300": Image.fromarray(noise(900, 1300)),
        "black 250 x 250": Image.new("RGB", (250, 250)),
    }


@cache
def videos() -> dict[str, NDArray[np.uint8]]:
    """Return videos of unusual sizes, as (time, height, width, 3)."""
    random = np.random.default_rng(1)
    sizes = [(_FRAMES, 120, 160), (7, 97, 131), (3, 33, 200), (12, 180, 60), (1, 64, 64), (2, 8, 8),
             (5, 57, 57), (16, 224, 224), (4, 300, 211), (9, 40, 320), (6, 150, 150), (8, 128, 96)]  # fmt: skip
    return {
        f"{length} frames of {height} x {width}": random.integers(0, 256, (length, height, width, 3), np.uint8)
        for length, height, width in sizes
    }


# ---------------------------------------------------------------- the comparison


def _compared(name: str, processor: Any, configuration: str, inputs: int | None) -> Record:
    is_video = isinstance(processor, BaseVideoProcessor)
    with tempfile.TemporaryDirectory(prefix="certify-") as where:
        folder = Path(where)
        modality = _write(folder, name, processor)
        reference: Any = (
            AutoVideoProcessor.from_pretrained(folder)
            if is_video
            else AutoImageProcessor.from_pretrained(folder, backend="pil")
        )
        backend = backend_of(reference)
        spec = ModelSpec(
            id=f"certified/{name}", modality=modality, builder="transformers", weights=Weights(source=f"file:{folder}/")
        )
        try:
            ours = load_preprocess(spec)
        except LayerzooError as error:
            return _record(name, is_video, configuration, 0, "refused", _told(error).replace(spec.id, name), backend)
        samples: Mapping[str, Any] = videos() if modality == "video" else images()
        chosen = list(samples.items())[:inputs]
        flaws = [flaw for label, sample in chosen if (flaw := _flaw(reference, ours, label, sample))]
        refused = [flaw for flaw in flaws if isinstance(flaw, ProcessorError)]
        if refused and len(refused) == len(flaws):
            return _record(name, is_video, configuration, len(chosen), "refused", str(refused[0]), backend)
        unequal = [str(flaw) for flaw in flaws if not isinstance(flaw, ProcessorError | SampleError)]
        both = [str(flaw) for flaw in flaws if isinstance(flaw, SampleError)]
        note = f"refused by both: {'; '.join(both)}" if both else ""
        verdict = "unequal" if unequal else ("refused" if len(both) == len(chosen) else "equal")
        return _record(name, is_video, configuration, len(chosen), verdict, "; ".join(unequal) or note, backend)


def _flaw(reference: Any, ours: Preprocessor, label: str, sample: Any) -> Exception | str | None:
    """Return how the results for one input differ.

    Raises: SampleError if both refuse the input, ProcessorError if layerzoo refuses the class.
    """
    try:
        got = ours([sample]).inputs
    except ProcessorError as error:
        return error
    except LayerzooError as error:
        return _refused_by_both(reference, ours, label, sample, error)
    try:
        wanted = _called(reference, ours, sample)
    except Exception as error:  # noqa: BLE001 - any error of the library
        return f"{label}: the library refuses it and layerzoo does not: {_told(error)}"
    for name, array in got.items():
        tensor = (
            wanted[_main(reference, wanted)]
            if name in ("pixels", next(iter(got)))
            else wanted.get(name, wanted.get(f"image_{name}"))
        )
        if not isinstance(tensor, torch.Tensor):
            return f"{label}: the library returns no {name}"
        flat = tensor if tensor.ndim == array.ndim else tensor[None]
        if flat.shape != array.shape:
            return f"{label}: {name} is {tuple(array.shape)}, and the library's {tuple(tensor.shape)}"
        if not torch.equal(flat.to(array.dtype), array) and not torch.equal(flat.isnan(), array.isnan()):
            worst = float((flat.to(torch.float64) - array.to(torch.float64)).abs().max())
            return f"{label}: {name} differs by {worst:.3g}"
    return None


def _refused_by_both(
    reference: Any, ours: Preprocessor, label: str, sample: Any, error: LayerzooError
) -> Exception | str:
    try:
        _called(reference, ours, sample)
    except Exception:  # noqa: BLE001 - any error of the library
        return SampleError(label, _told(error))
    return f"{label}: layerzoo refuses it and the library does not: {_told(error)}"


def _called(reference: Any, ours: Preprocessor, sample: Any) -> Mapping[str, Any]:
    """Call the library's processor on the same RGB image, or on the frames that layerzoo samples."""
    if isinstance(ours, VideoPreprocessor):
        frames = [frame.image for frame in sample_frames(sample, ours.declared.frames)]
        if isinstance(reference, BaseVideoProcessor):
            made = reference(videos=[frames], do_sample_frames=False, return_tensors="pt")
        else:
            made = reference(images=frames, return_tensors="pt")
    else:
        made = reference(images=decode(sample), return_tensors="pt")
    return {"pixel_values": made} if isinstance(made, torch.Tensor) else dict(made)


def _main(reference: Any, made: Mapping[str, Any]) -> str:
    names: list[str] = [*reference.model_input_names, *made]
    return next(name for name in names if name in made)


def _write(folder: Path, name: str, processor: Any) -> Any:
    """Write a folder with a processor, and the configuration of a network that uses it. Returns the modality."""
    model_type, modality = _network(name)
    config = AutoConfig.for_model(model_type)
    (folder / "config.json").write_text(json.dumps(config.to_dict(), default=str), encoding="utf-8")
    processor.save_pretrained(folder)
    return modality


@cache
def _network(name: str) -> tuple[str, str]:
    """Return a model type that uses a class of processors, and its modality: images or videos if possible."""
    is_video = name.endswith("VideoProcessor")
    mapping: Any = VIDEO_PROCESSOR_MAPPING_NAMES if is_video else IMAGE_PROCESSOR_MAPPING_NAMES
    types = [each for each, kinds in mapping.items() if name in {kind.removesuffix("Pil") for kind in _names(kinds)}]
    usable = [(each, modality) for each in types if (modality := _modality(each)) is not None]
    if is_video:
        return next(
            (model_type for model_type, modality in usable if modality == "video"), (*types, "videomae")[0]
        ), "video"
    preferred = sorted(usable, key=lambda pair: ("vision", "video", "text", "audio").index(pair[1]))
    model_type, modality = preferred[0] if preferred else ("vit", "vision")
    return model_type, "video" if modality == "video" else "vision"


def _modality(model_type: str) -> str | None:
    try:
        return modality_of(AutoConfig.for_model(model_type))
    except (LayerzooError, KeyError, ValueError, ImportError, AttributeError, OSError):
        return None


def _record(
    name: str, is_video: bool, configuration: str, inputs: int, verdict: Any, reason: str = "", backend: str = ""
) -> Record:
    return Record(
        kind="video processor" if is_video else "image processor",
        name=name,
        configuration=configuration,
        backend=backend,
        inputs=inputs,
        verdict=verdict,
        reason=reason,
    )


def _told(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
