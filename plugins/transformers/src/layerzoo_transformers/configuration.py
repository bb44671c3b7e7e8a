"""The configuration that a network is built from, and what it says of the part for a modality."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig

from layerzoo.spec import ModelSpec
from layerzoo.weights import Files

SUB_CONFIGS = {
    "text": ("text_config",),
    "vision": ("vision_config",),
    "audio": ("audio_config",),
    "video": ("video_config", "vision_config"),
}
"""By modality, what the part for it is called in the configuration of a network of several."""


def config_of(spec: ModelSpec, files: Files) -> Any:
    """The configuration of the whole network, as its type and its checkpoint have it."""
    if "model_type" in spec.args:
        given = spec.args.to_dict()
        return AutoConfig.for_model(given["model_type"], **given.get("config", {}))
    return AutoConfig.from_pretrained(files["config.json"])


def sub_config(config: Any, modality: str) -> Any:
    """The configuration of the part that takes a modality; of a network that takes nothing else, the whole."""
    found = (getattr(config, name, None) for name in SUB_CONFIGS[modality])
    return next((each for each in found if each is not None), config)


def picture_size(config: Any, modality: str) -> tuple[int, int] | None:
    """Height and width that a network is made for; None where it takes any."""
    size = getattr(sub_config(config, modality), "image_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None
