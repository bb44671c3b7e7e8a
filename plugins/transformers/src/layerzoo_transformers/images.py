"""The library's own image and video processors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image
from transformers import AutoImageProcessor, AutoVideoProcessor
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING
from transformers.models.auto.video_processing_auto import VIDEO_PROCESSOR_MAPPING

from layerzoo.spec import Modality
from layerzoo.weights import Files
from layerzoo_transformers.configuration import picture_size, sub_config
from layerzoo_transformers.processors import library_processor


def describe_images(config: Any, files: Files, modality: Modality = "vision") -> dict[str, Any] | None:
    """Size, interpolation, crop and normalisation as the library's image processor has them; None without one."""
    processor = library_processor(config, files, IMAGE_PROCESSOR_MAPPING, AutoImageProcessor)
    if processor is None:
        processor = library_processor(config, files, VIDEO_PROCESSOR_MAPPING, AutoVideoProcessor)
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
    image = describe_images(config, files, "video")
    return None if frames is None or image is None else {"frames": frames, "joint": True, "image": image}


_FRAMES = ("num_frames", "frames_per_clip")
"""What configurations call the number of frames."""
