"""Configurations for inputs of another size. A network that supports only one size is built again for the other."""

from __future__ import annotations

import copy
from typing import Any

from layerzoo.spec import AudioPreprocess, ImagePreprocess, ModelSpec, Preprocess, VideoPreprocess
from layerzoo.weights import Files
from layerzoo_hf.audio import describe_audio
from layerzoo_hf.configuration import config_of, image_size_of, sub_config
from layerzoo_hf.families import family


def sized_config_of(spec: ModelSpec, files: Files) -> Any:
    """Return the configuration of the whole network, for inputs of the size that the spec declares."""
    config = config_of(spec, files)
    fields = _image_fields(config, spec) | _window_fields(config, spec, files)
    if not fields:
        return config
    config = copy.deepcopy(config)
    for name, value in fields.items():
        setattr(sub_config(config, spec.modality), name, value)
    return config


def _image_fields(config: Any, spec: ModelSpec) -> dict[str, Any]:
    """Return the fields for the size that a user declares; none where the library's processor defines the size."""
    if _is_by_processor(spec.preprocess):
        return {}
    size = _declared_size(spec.preprocess)
    usual = image_size_of(config, spec.modality)
    if size is None or usual is None or size == usual:
        return {}
    default_size = sub_config(config, spec.modality).image_size
    if isinstance(default_size, int):
        return {"image_size": size[0] if size[0] == size[1] else size}
    return {"image_size": type(default_size)(size)}


def _window_fields(config: Any, spec: ModelSpec, files: Files) -> dict[str, Any]:
    name = family(config).get("positions")
    if name is None or not isinstance(spec.preprocess, AudioPreprocess) or spec.preprocess.window_s is None:
        return {}
    usual = (describe_audio(config, files) or {}).get("window_s", spec.preprocess.window_s)
    times = spec.preprocess.window_s / usual
    return {} if times == 1 else {name: round(getattr(sub_config(config, spec.modality), name) * times)}


def _is_by_processor(preprocess: Preprocess | None) -> bool:
    image = _image(preprocess)
    return image is not None and image.processor is not None


def _declared_size(preprocess: Preprocess | None) -> tuple[int, int] | None:
    image = _image(preprocess)
    return None if image is None else image.size_px


def _image(preprocess: Preprocess | None) -> ImagePreprocess | None:
    image = preprocess.image if isinstance(preprocess, VideoPreprocess) else preprocess
    return image if isinstance(image, ImagePreprocess) else None
