"""Which part of a network is the backbone for a modality: the whole, one of several towers, the encoder of a pair."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import MODEL_MAPPING, PreTrainedModel

from layerzoo.spec import Modality
from layerzoo_transformers.configuration import SUB_CONFIGS
from layerzoo_transformers.families import family

_MODALITIES: dict[str, Modality] = {
    "input_ids": "text",
    "pixel_values": "vision",
    "input_values": "audio",
    "input_features": "audio",
    "pixel_values_videos": "video",
}
"""By the name of a network's main input, what goes in."""


def modality_of(config: Any) -> Modality | None:
    """What the network of a configuration takes in the first place; None for something else than the four."""
    declared: Modality | None = family(config).get("modality")
    names = network_class(config).main_input_name
    found = (_MODALITIES.get(name) for name in ([names] if isinstance(names, str) else names))
    return declared or next(filter(None, found), None)


def network_class(config: Any) -> Any:
    """The class of the base network of a configuration."""
    found = MODEL_MAPPING[type(config)]
    return found[0] if isinstance(found, tuple) else found


def backbone_path(network: nn.Module, modality: str) -> str:
    """The path of the module that is the backbone for a modality; empty for the whole network.

    Of a network of several towers, the module that is made from the configuration for that modality; of an
    encoder-decoder that reads text or sound, the encoder.
    """
    parts: dict[str, str] = family(network.config).get("parts", {})
    if modality in parts:
        return parts[modality]
    tower = _tower(network, modality)
    encoder = _encoder(network.get_submodule(tower), modality)
    return ".".join(filter(None, (tower, encoder)))


def _tower(network: nn.Module, modality: str) -> str:
    wanted = [getattr(network.config, name, None) for name in SUB_CONFIGS[modality]]
    kinds = tuple(type(config) for config in wanted if config is not None)
    towers = [
        path
        for path, module in network.named_modules()
        if path and isinstance(module, PreTrainedModel) and isinstance(module.config, kinds)
    ]
    return min(towers, key=lambda path: path.count("."), default="")


def _encoder(network: nn.Module, modality: str) -> str:
    if modality not in ("text", "audio") or not isinstance(network, PreTrainedModel):
        return ""
    if not getattr(network.config, "is_encoder_decoder", False):
        return ""
    encoder = network.get_encoder()
    return next((path for path, module in network.named_modules() if module is encoder), "")
