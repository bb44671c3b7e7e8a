"""The configuration that a network is built from, and what it says of the part for a modality."""

from __future__ import annotations

import copy
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from layerzoo.spec import ModelSpec
from layerzoo.weights import Files
from layerzoo_transformers.families import family

SUB_CONFIGS = {
    "text": ("text_config",),
    "vision": ("vision_config",),
    "audio": ("audio_config", "encoder_config"),
    "video": ("video_config", "vision_config"),
}
"""By modality, what the part for it is called in the configuration of a network of several."""


def config_of(spec: ModelSpec, files: Files) -> Any:
    """The configuration of the whole network, as its type and its checkpoint have it."""
    if "model_type" in spec.args:
        given = spec.args.to_dict()
        config = AutoConfig.for_model(given["model_type"], **given.get("config", {}))
    else:
        config = AutoConfig.from_pretrained(files["config.json"])
    for name, value in family(config).get("config", {}).items():
        setattr(config, name, value)
    return config


def without_cache(config: Any) -> Any:
    """The configuration, of every part too, of a network that keeps nothing for a next token: none will come."""
    config = copy.deepcopy(config)
    for each in (config, *(getattr(config, name, None) for name in getattr(config, "sub_configs", {}))):
        if getattr(each, "use_cache", None):
            each.use_cache = False
    return config


def sub_config(config: Any, modality: str) -> Any:
    """The configuration of the part that takes a modality; of a network that takes nothing else, the whole."""
    found = (getattr(config, name, None) for name in SUB_CONFIGS[modality])
    return next((each for each in found if isinstance(each, PreTrainedConfig)), config)


def picture_size(config: Any, modality: str) -> tuple[int, int] | None:
    """Height and width that a network is made for; None where it takes any."""
    size = getattr(sub_config(config, modality), "image_size", None)
    if isinstance(size, int):
        return size, size
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) and len(size) == 2 else None
