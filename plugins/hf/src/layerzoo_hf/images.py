"""The library's own image and video processors, called for every image and clip.

Their computations are not repeated here. The files next to a checkpoint determine the processor of a model, else its
architecture does. It is called on example images once, to measure the size of its output and to check that it can be
called with an image alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoVideoProcessor
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.image_utils import SizeDict
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING
from transformers.video_processing_utils import BaseVideoProcessor

from layerzoo.authoring import ImageInputs
from layerzoo.errors import ProcessorError, SampleError
from layerzoo.spec import ImagePreprocess, Modality, ModelSpec, VideoPreprocess
from layerzoo.weights import Files
from layerzoo_hf.configuration import image_size_of, read_json, sub_config
from layerzoo_hf.families import family
from layerzoo_hf.grids import is_with_grid, passed_with_grid
from layerzoo_hf.library_errors import quiet
from layerzoo_hf.parts import forward_arguments
from layerzoo_hf.processor_bounds import counts_pixels
from layerzoo_hf.processors import default_class

_SIDE_PX = 224
"""The side of an example image for a network whose configuration names no size."""
_PROBES = ((448, 672), (1120, 448))
"""Height and width of further example images: large enough to be cut into tiles, of other proportions."""
_LONGEST_SETTING = 400
"""Settings that are longer as JSON, such as the colours of a palette, are not repeated in a description."""
_SERVICE = {"processor_class", "auto_map", "return_tensors", "device", "data_format", "input_data_format"}
"""Settings that say nothing about what becomes of an image."""


# ---------------------------------------------------------------- calling a processor


@dataclass(frozen=True)
class LibraryProcessor:
    """Preprocess an image, or the frames of a clip, with the library's processor; returned by ``layerzoo_preprocess``.

    processor: the library's own. arguments: the argument of the network that takes it, by the name of each of the
    processor's outputs that the network takes, the pixels first. is_clip: whether it is called with the frames of a
    clip. mask: the name of the output that is 1 for the image and 0 for padding.
    """

    processor: Any
    arguments: Mapping[str, str]
    is_clip: bool = False
    mask: str | None = None

    @property
    def name(self) -> str:
        """The class of the processor."""
        return type(self.processor).__name__

    def __call__(self, image: Any) -> ImageInputs:
        """Return the inputs of the network.

        image: an RGB ``PIL.Image``; of a clip, the list of its frames.
        Raises: SampleError where the library refuses the image, ProcessorError where it makes several inputs of it.
        """
        try:
            batch = outputs(self.processor, image if self.is_clip else [image], is_clip=self.is_clip)
        except Exception as error:  # the type of the exception depends on the image size
            raise SampleError("image", f"{self.name} refuses it: {_message_of(error)}") from error
        if reason := _misshaped(self.processor, batch, self.is_clip, self.arguments):
            raise ProcessorError(reason, processor=self.name)
        main = next(iter(self.arguments))
        with_grid = is_with_grid(self.arguments)  # then the patches have no batch axis
        pixels = batch[main] if with_grid else _row(batch[main], self.is_clip)
        inputs = {self.arguments[main]: _array(pixels, np.float32)}
        for output, argument in self.arguments.items():
            if output != main and isinstance(batch.get(output), Tensor):
                inputs[argument] = _array(_row(batch[output], self.is_clip and not with_grid))
        mask = None if self.mask is None or self.mask not in batch else _array(batch[self.mask][0])
        return ImageInputs(inputs, mask)


def outputs(processor: Any, images: Sequence[Any], *, is_clip: bool = False) -> Mapping[str, Any]:
    """Return the outputs of the library's processor for one image or clip, by the library's names.

    images: one RGB image, or the frames of a clip.
    """
    with torch.device("cpu"):  # a trace may have set another device
        if isinstance(processor, BaseVideoProcessor):
            batch = processor(videos=[list(images)], do_sample_frames=False, return_tensors="pt")
        else:
            batch = processor(images=list(images), return_tensors="pt")
    return {main_output(processor, {}): batch} if isinstance(batch, Tensor) else dict(batch)


def main_output(processor: Any, batch: Mapping[str, Any]) -> str:
    """Return the name of the output that holds the pixels."""
    names = [*getattr(processor, "model_input_names", ()), "pixel_values"]
    tensors = [name for name, value in batch.items() if isinstance(value, Tensor)]
    return next((name for name in names if name in batch), next(iter(tensors), names[0]))


def _row(tensor: Tensor, is_clip: bool) -> Tensor:
    """Return the only row of a batch. An image processor returns the frames of a clip as a batch, which is one row."""
    return tensor if is_clip and tensor.shape[0] != 1 else tensor[0]


def _array(tensor: Tensor, dtype: Any = None) -> NDArray[Any]:
    values = tensor.float() if tensor.dtype is torch.bfloat16 else tensor
    return np.asarray(values.numpy(), dtype=dtype)


def _message_of(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _misshaped(processor: Any, batch: Mapping[str, Any], is_clip: bool, output_names: Collection[str]) -> str | None:
    """Return why the output of a processor for one image is not one input of a network; None if it is one.

    output_names: the names of the outputs that the network takes.
    """
    name, main = type(processor).__name__, batch.get(main_output(processor, batch))
    if not isinstance(main, Tensor):
        return f"{name} makes no tensor of pixels of an image alone"
    if is_clip:
        is_one = (main.ndim == 5 and main.shape[0] == 1) or main.ndim == 4
        return None if is_one else f"{name} makes patches of a video, {tuple(main.shape)}, and not one map for a frame"
    with_grid = is_with_grid(output_names)
    tensors = [
        batch[output]
        for output in output_names
        if isinstance(batch.get(output), Tensor) and not (with_grid and batch[output] is main)
    ]
    if with_grid and main.ndim == 2 and all(tensor.shape[0] == 1 for tensor in tensors):
        return None
    if main.ndim not in (3, 4) or any(tensor.shape[0] != 1 for tensor in (main, *tensors)):
        return f"{name} makes tiles or patches of an image, {tuple(main.shape)}, and not one map"
    return None


# ---------------------------------------------------------------- the processor of a model


def own_processor(config: Any, files: Files, modality: Modality) -> Any:
    """Return the library's processor for a model, on the PIL backend where its class has one.

    The files next to the checkpoint configure it; otherwise it is the default of the architecture, for the image size
    of the configuration. None if the library has none.
    """
    with quiet():
        if modality == "video" and (processor := _beside_for_videos(files)):
            return processor
        if processor := _beside(files, config):
            return processor
        kind = _default_class(config, modality)
        return None if kind is None else _resized(kind(), image_size_of(config, modality))


def _default_class(config: Any, modality: Modality) -> Any:
    class_name = family(config).get("images")
    if class_name is not None:
        return getattr(transformers, class_name)
    return default_class(config, IMAGE_PROCESSOR_MAPPING) or default_class(config, VIDEO_PROCESSOR_MAPPING)


def _beside(files: Files, config: Any) -> Any:
    """Return the image processor that the files next to a checkpoint configure."""
    is_configured = "preprocessor_config.json" in files or "image_processor" in read_json(
        files.get("processor_config.json")
    )
    if not is_configured and not (config.model_type == "timm_wrapper" and "config.json" in files):
        return None
    settings_path = next(
        files[name] for name in ("preprocessor_config.json", "processor_config.json", "config.json") if name in files
    )
    options = {"local_files_only": True, "trust_remote_code": False}
    return AutoImageProcessor.from_pretrained(settings_path.parent, backend="pil", **options)


def _beside_for_videos(files: Files) -> Any:
    """Return the video processor that the files next to a checkpoint configure; None for an image processor."""
    settings = read_json(files.get("preprocessor_config.json"))
    kinds = [str(settings.get(key, "")) for key in ("video_processor_type", "image_processor_type")]
    candidates = [
        files.get("video_preprocessor_config.json"),
        files.get("processor_config.json")
        if "video_processor" in read_json(files.get("processor_config.json"))
        else None,
        files.get("preprocessor_config.json") if any("VideoProcessor" in kind for kind in kinds) else None,
    ]
    settings_path = next((path for path in candidates if path is not None), None)
    if settings_path is None:
        return None
    return AutoVideoProcessor.from_pretrained(settings_path.parent, local_files_only=True, trust_remote_code=False)


def _resized(processor: Any, size: tuple[int, int] | None) -> Any:
    """Return the default processor of an architecture, for a network whose configuration names another size.

    A processor that preserves the aspect ratio, or whose settings do not determine the size, is returned unchanged.
    """
    if size is None:
        return processor
    sizes = _sizes(processor)
    if sizes is None or len(set(sizes)) > 1 or sizes[0] == size:
        return processor
    changed = type(processor)(**_settings_for(processor, size))
    return changed if _sizes(changed) == [size, size] else processor


def _settings_for(processor: Any, size: tuple[int, int]) -> dict[str, Any]:
    """Return the settings for another size, with the same ratio of crop to resized image."""
    height, width = size
    edges = _size_of(getattr(processor, "size", None))
    crop = _size_of(getattr(processor, "crop_size", None)) if getattr(processor, "do_center_crop", False) else {}
    if not crop:
        return {
            "size": {"shortest_edge": min(size)} if "shortest_edge" in edges else {"height": height, "width": width}
        }
    share = min(size) / min(crop.values())
    return {
        "size": {side: round(length * share) for side, length in edges.items()},
        "crop_size": {"height": height, "width": width},
    }


def _size_of(size: Any) -> dict[str, int]:
    sides = dict(size) if isinstance(size, Mapping | SizeDict) else {}
    return {side: length for side, length in sides.items() if length is not None}


def _sizes(processor: Any) -> list[tuple[int, int]] | None:
    """Return the height and width of the output for example images; None if the processor cannot be called with an
    image alone."""
    try:
        batches = [outputs(processor, [_example(*size)]) for size in ((_SIDE_PX, _SIDE_PX), _PROBES[0])]
    except Exception:  # noqa: BLE001 - why is said where the processor is probed
        return None
    tensors = [batch.get(main_output(processor, batch)) for batch in batches]
    maps = [tensor for tensor in tensors if isinstance(tensor, Tensor) and tensor.ndim >= 2]
    if len(maps) < len(tensors):
        return None
    return [(int(tensor.shape[-2]), int(tensor.shape[-1])) for tensor in maps]


def _example(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([y % 251, x % 241, (x + y) % 239], axis=-1).astype(np.uint8))


# ---------------------------------------------------------------- the output for example images


@dataclass(frozen=True)
class Probed:
    """A processor after it was called on example images."""

    call: LibraryProcessor
    size_px: tuple[int, int] | None
    variable_size: bool = False
    refused: str | None = None


def probed(config: Any, files: Files, modality: Modality, part: str | None = None) -> Probed | None:
    """Call the processor of a model on example images. Return None if the library has no processor for it.

    part: the path of the submodule that is the backbone; None for the default one.
    """
    processor = own_processor(config, files, modality)
    if processor is None:
        return None
    parameters = forward_arguments(config, modality, part)
    side = min(image_size_of(config, modality) or (_SIDE_PX, _SIDE_PX))
    key = type(processor), processor.to_json_string()
    with quiet():
        return _probe(_ByKey(processor, key), tuple(parameters.items()), side, modality == "video")


class _ByKey:
    """A processor that is equal to every other of its class and settings."""

    def __init__(self, processor: Any, key: tuple[Any, ...]) -> None:
        self.processor = processor
        self._key = key

    def __hash__(self) -> int:
        return hash(self._key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ByKey) and other._key == self._key


@lru_cache(maxsize=64)
def _probe(by_key: _ByKey, parameters: tuple[tuple[str, bool], ...], side: int, is_clip: bool) -> Probed:
    """parameters: the arguments of the network, and whether each is required."""
    processor, arguments = by_key.processor, dict(parameters)

    def refuse(reason: str) -> Probed:
        return Probed(LibraryProcessor(processor, {}, is_clip), _named_size(processor), refused=reason)

    batches: list[Mapping[str, Any]] = []
    failures: list[Exception] = []
    for size in ((side, side), *_PROBES):
        image = _example(*size)
        try:
            batches.append(outputs(processor, [image] * 2 if is_clip else [image], is_clip=is_clip))
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - the reason is reported
            failures.append(error)  # one image may be too narrow, where others are not
            continue
        by_output = _arguments_by_output(processor, batches[-1], arguments)
        if reason := _misshaped(processor, batches[-1], is_clip, by_output):
            return refuse(reason)
    if not batches:
        example_input = "the frames of a video" if is_clip else "an image"
        reason = _message_of(failures[0])
        return refuse(f"{type(processor).__name__} cannot be called with {example_input} alone: {reason}")
    by_output = _arguments_by_output(processor, batches[0], arguments)
    if missing := [name for name, is_needed in parameters if is_needed and name not in by_output.values()]:
        needed = ", ".join(missing)
        return refuse(f"its network takes {needed} too, and {type(processor).__name__} does not make that")
    main = next(iter(by_output))
    shapes = {tuple(batch[main].shape[1:] if not is_clip else batch[main].shape[-3:]) for batch in batches}
    if is_with_grid(by_output):
        return Probed(LibraryProcessor(processor, by_output), (side, side))
    call = LibraryProcessor(processor, by_output, is_clip, None if is_clip else _mask(batches[0], main))
    if batches[0][main].ndim == 3 and not is_clip:
        if len(shapes) > 1:
            return refuse(f"{call.name} makes patches of an image, and their number depends on the image")
        return Probed(call, _named_size(processor) or (side, side))
    return _sized(call, batches[0][main], len(shapes) > 1)


def _sized(call: LibraryProcessor, square: Tensor, variable_size: bool) -> Probed:
    """square: the pixels of a square image. If the size varies, another square image of the smaller side is
    processed."""
    size_px = int(square.shape[-2]), int(square.shape[-1])
    if variable_size:
        example = _example(min(size_px), min(size_px))
        batch = outputs(call.processor, [example] * 2 if call.is_clip else [example], is_clip=call.is_clip)
        pixels = batch[next(iter(call.arguments))]
        size_px = int(pixels.shape[-2]), int(pixels.shape[-1])
    return Probed(call, size_px, variable_size)


def _arguments_by_output(processor: Any, batch: Mapping[str, Any], parameters: Mapping[str, bool]) -> dict[str, str]:
    """Return the arguments of the network by the names of the outputs that they receive, the pixels first."""
    main = main_output(processor, batch)
    argument = main if main in parameters else next(iter(parameters), main)
    names = [name for name, value in batch.items() if name in parameters and name != main and isinstance(value, Tensor)]
    return {main: argument} | {name: name for name in names if name != argument} | passed_with_grid(batch, parameters)


def _mask(batch: Mapping[str, Any], main: str) -> str | None:
    """Return the output that is a mask of the pixels: of (height, width), or of each patch."""
    shape = batch[main].shape
    mask_shape = shape[-2:] if len(shape) == 4 else shape[1:2]
    mask_names = (name for name, value in batch.items() if name.endswith("mask") and isinstance(value, Tensor))
    return next((name for name in mask_names if batch[name].shape[1:] == mask_shape), None)


def _named_size(processor: Any) -> tuple[int, int] | None:
    """Return the size that a processor's settings name. Where they limit the number of pixels, they name none."""
    if counts_pixels(processor):
        return None
    for size in (getattr(processor, "crop_size", None), getattr(processor, "size", None)):
        sides = _size_of(size)
        if "height" in sides and "width" in sides:
            return sides["height"], sides["width"]
        if side := sides.get("shortest_edge") or sides.get("longest_edge"):
            return side, side
    return None


# ---------------------------------------------------------------- hooks


def describe_images(
    config: Any, files: Files, modality: Modality = "vision", part: str | None = None
) -> dict[str, Any] | None:
    """Describe the preprocessing by the library's processor, as keys of registry.yaml; None without a processor.

    The values of resizing, cropping and normalization are only descriptive: the processor itself is called.
    """
    probe = probed(config, files, modality, part)
    if probe is None:
        return None
    size_px = probe.size_px if probe.refused is None else (image_size_of(config, modality) or probe.size_px)
    if size_px is None:
        size_px = _SIDE_PX, _SIDE_PX
    processor = probe.call.processor
    return {
        "size_px": list(size_px),
        **_described(processor),
        "processor": probe.call.name,
        "backend": backend_of(processor),
        "settings": settings_of(processor),
        **({"variable_size": True} if probe.variable_size else {}),
        **({"refused": probe.refused} if probe.refused else {}),
    }


def describe_videos(config: Any, files: Files) -> dict[str, Any] | None:
    """Describe the number of frames of a network's input, and their preprocessing by the library's processor."""
    part = sub_config(config, "video")
    frames = next((count for name in _FRAMES if isinstance(count := getattr(part, name, None), int)), None)
    image = None if frames is None else describe_images(config, files, "video")
    return None if image is None else {"frames": frames, "joint": True, "image": image}


_FRAMES = ("num_frames", "frames_per_clip")
"""What configurations call the number of frames."""


def image_processor(spec: ModelSpec, config: Any, files: Files) -> Callable[..., Any] | None:
    """Return the library's processor as a callable of an image, or of the frames of a clip.

    None if the user declares values, which are applied instead, or if the processor cannot be called with an image
    alone.
    """
    image = spec.preprocess.image if isinstance(spec.preprocess, VideoPreprocess) else spec.preprocess
    if isinstance(image, ImagePreprocess) and image.processor is None:
        return None
    frames_alone = isinstance(spec.preprocess, VideoPreprocess) and not spec.preprocess.joint
    modality: Modality = "vision" if frames_alone else spec.modality
    probe = probed(config, files, modality, spec.args.get("part"))
    if probe is not None and modality == "video" and spec.preprocess is None:
        unknown = f"its configuration does not say how many frames its network takes, nor does {probe.call.name}"
        raise ProcessorError(
            f"{spec.id}: {probe.refused or unknown}. "
            "Next: declare `preprocess: {frames: …, joint: true, image: …}` in a registry.yaml",
            processor=probe.call.name,
        )
    return None if probe is None or probe.refused is not None else probe.call


def backend_of(processor: Any) -> str:
    """Return the library that a processor computes with."""
    if isinstance(processor, PilBackend):
        return "pil"
    if isinstance(processor, TorchvisionBackend | BaseVideoProcessor):
        return "torchvision"
    return "torchvision" if "torchvision" in _modules(type(processor)) else "pil"


def _modules(kind: type) -> str:
    """Return the source of the module that defines a class, to search it for the libraries that it uses."""
    import inspect

    return inspect.getsource(inspect.getmodule(kind) or kind)


def settings_of(processor: Any) -> dict[str, Any]:
    """Return the settings of a processor as JSON, without its class."""
    settings: dict[str, Any] = json.loads(processor.to_json_string())
    return {
        name: value if len(json.dumps(value)) <= _LONGEST_SETTING else f"{len(value)} values"
        for name, value in sorted(settings.items())
        if value is not None and name not in _SERVICE and not name.startswith("_") and not name.endswith("_type")
    }


def _described(processor: Any) -> dict[str, Any]:
    """Return interpolation, crop and normalization from the attributes of a processor."""
    factor = getattr(processor, "rescale_factor", 1 / 255) if getattr(processor, "do_rescale", True) else 1.0
    has_offset = any(getattr(processor, name, False) for name in ("rescale_offset", "offset"))
    offset = 1.0 if has_offset and getattr(processor, "do_rescale", True) else 0.0
    is_normalized = getattr(processor, "do_normalize", True)
    mean = _of_three(getattr(processor, "image_mean", None)) if is_normalized else None
    std = _of_three(getattr(processor, "image_std", None)) if is_normalized else None
    scale = 255 * float(factor or 1 / 255)
    crop = _share(processor)
    return {
        "resize": _interpolation(processor),
        "crop": crop,
        "fit": _fit(processor),
        "mean": [round((value + offset) / scale, 8) for value in mean or (0.0,) * 3],
        "std": [round(value / scale, 8) or 1.0 for value in std or (1.0,) * 3],
    }


def _of_three(values: Any) -> tuple[float, float, float] | None:
    numbers = [
        float(value) for value in (values if isinstance(values, list | tuple) else [values]) if value is not None
    ]
    if len(numbers) == 1:
        numbers *= 3
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == 3 else None


def _interpolation(processor: Any) -> str:
    resample = getattr(processor, "resample", None)
    if not getattr(processor, "do_resize", True) or resample is None:
        return "none"
    name = resample.value if isinstance(getattr(resample, "value", None), str) else Image.Resampling(resample).name
    name = name.lower().partition("-")[0]
    return name if name.upper() in Image.Resampling.__members__ else "none"


def _share(processor: Any) -> float:
    """Return the share of the resized image that is kept."""
    if share := getattr(processor, "crop_pct", None):
        return min(1.0, float(share))
    crop = _size_of(getattr(processor, "crop_size", None)) if getattr(processor, "do_center_crop", False) else {}
    size = _size_of(getattr(processor, "size", None))
    return min(1.0, round(min(crop.values()) / min(size.values()), 6)) if crop and size else 1.0


def _fit(processor: Any) -> str:
    if getattr(processor, "do_center_crop", False) or getattr(processor, "crop_pct", None):
        return "crop"
    return "pad" if getattr(processor, "do_pad", False) else "squash"
