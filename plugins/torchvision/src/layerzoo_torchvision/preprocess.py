"""The preprocessing of torchvision's weights: called, and described by the keys of registry.yaml."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.models import WeightsEnum
from torchvision.transforms.functional import pil_to_tensor

from layerzoo.authoring import ImageInputs
from layerzoo_torchvision.arguments import Arguments
from layerzoo_torchvision.library import whole_network
from layerzoo_torchvision.objects import has_objects

_SETTINGS = ("resize_size", "crop_size", "interpolation", "antialias")
_EXAMPLES_PX = ((640, 640), (480, 640))
"""The height and width of images that show which size a detector resizes to. The first one becomes the example of the
declaration: a trace of a square image tells the channels from height and width."""
_FLOW_PX = 360
"""The side of the example for optical flow, about that of the videos for which the results are stated."""
_DEFAULT_FRAMES = 16

Pixels = NDArray[np.float32]


@dataclass(frozen=True)
class WeightsTransform:
    """Apply the transform of some weights to an image, and that of the detector, which it applies itself."""

    arguments: Arguments

    def __call__(self, image: Image.Image) -> Pixels | ImageInputs:
        """Return (channel, height, width); for an image that a detector pads, also its size without padding.

        Args:
            image: RGB.
        """
        with torch.device("cpu"):  # a trace may have set another device
            return self._transformed(image)

    def _transformed(self, image: Image.Image) -> Pixels | ImageInputs:
        kind = self.arguments.kind
        transform = self.arguments.described_by.transforms()
        if kind == "optical_flow":
            first, _ = transform(image, image)
            return _array(first)
        pixels = transform(image)
        if kind == "detection":
            images, _ = _detector_transform(self.arguments)([pixels])
            (pixels,), (size,) = images.tensors, images.image_sizes
            if size != pixels.shape[1:]:
                return _padded(_array(pixels), size, self.arguments)
        return _array(pixels)


def _padded(pixels: Pixels, size: tuple[int, int], arguments: Arguments) -> ImageInputs:
    """Return the inputs of a detector for an image with padding at the right and the bottom.

    Args:
        pixels: (channel, height, width), with the padding.
        size: height and width without padding.
    """
    mask = np.zeros(pixels.shape[1:], np.int64)
    mask[: size[0], : size[1]] = 1
    sizes = {"image_size": np.array(size)} if has_objects(arguments) else {}
    return ImageInputs({"pixels": pixels, **sizes}, mask)


@dataclass(frozen=True)
class ClipTransform:
    """Apply the transform of some weights to the frames of a clip."""

    arguments: Arguments

    def __call__(self, frames: Sequence[Image.Image]) -> Pixels:
        """Return (frame, channel, height, width). frames: RGB."""
        with torch.device("cpu"):
            clip = torch.stack([pil_to_tensor(frame) for frame in frames])
            return _array(self.arguments.described_by.transforms()(clip).transpose(0, 1))


def transform_of(arguments: Arguments) -> Callable[..., Pixels | ImageInputs]:
    """Return the transform of the weights of an architecture."""
    return ClipTransform(arguments) if arguments.kind == "video" else WeightsTransform(arguments)


def preprocess_of(arguments: Arguments) -> dict[str, Any]:
    """Return the keys of registry.yaml that describe ``weights.transforms()``, and name its class as the processor."""
    weights = arguments.described_by
    transform = weights.transforms()
    settings = {name: _enum_value(getattr(transform, name)) for name in _SETTINGS if hasattr(transform, name)}
    image = {
        **_sizes(arguments, settings),
        "resize": settings.get("interpolation", "none"),
        **({name: list(getattr(transform, name)) for name in ("mean", "std")} if hasattr(transform, "mean") else {}),
        "processor": type(transform).__name__,
        "backend": "torchvision",
        "settings": {name: value for name, value in settings.items() if value is not None},
    }
    if arguments.kind == "video":
        return {"frames": _frames(weights), "joint": True, "image": image}
    return image


def _sizes(arguments: Arguments, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the size of the network's input, and what depends on the task."""
    if arguments.kind == "detection":
        own = _detector_transform(arguments)
        transform = WeightsTransform(arguments)
        first, second = (_size(transform(Image.new("RGB", (width, height)))) for height, width in _EXAMPLES_PX)
        scale = {"mean": list(own.image_mean), "std": list(own.image_std)}
        return {"size_px": first, **scale, **({"variable_size": True} if first != second else {})}
    if arguments.kind == "optical_flow":
        return {"size_px": [_FLOW_PX, _FLOW_PX], "variable_size": True, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    if "crop_size" not in settings:
        (side,) = settings["resize_size"]
        return {"size_px": [side, side], "variable_size": True}
    crop = settings["crop_size"]
    height, width = crop if len(crop) == 2 else (crop[0], crop[0])
    return {"size_px": [height, width], "crop": height / settings["resize_size"][0]}


def _frames(weights: WeightsEnum) -> int:
    """Return the number of frames for which the accuracy of video weights is stated.

    torchvision states it in the documentation of the weights only, as ``clip_len=16``.
    """
    match = re.search(r"clip_len=(\d+)", weights.meta.get("_docs", ""))
    return int(match[1]) if match else _DEFAULT_FRAMES


@cache
def _transform_of_detector(name: str, weights: WeightsEnum | None, options: tuple[tuple[str, Any], ...]) -> Any:
    with torch.device("meta"):
        detector: Any = whole_network(Arguments(name, weights, dict(options)))
    return detector.transform.eval()


def _detector_transform(arguments: Arguments) -> Any:
    """Return the resizing, normalization and padding that a detector applies to images itself."""
    return _transform_of_detector(arguments.name, arguments.weights, tuple(sorted(arguments.options.items())))


def _size(inputs: Pixels | ImageInputs) -> list[int]:
    """Return the height and width of the pixels."""
    pixels = inputs.inputs["pixels"] if isinstance(inputs, ImageInputs) else inputs
    return list(pixels.shape[1:])


def _enum_value(value: Any) -> Any:
    return value.value if hasattr(value, "value") else value


def _array(pixels: torch.Tensor) -> Pixels:
    return np.ascontiguousarray(pixels.numpy(), dtype=np.float32)
