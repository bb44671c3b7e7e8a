"""Which part of a network is the backbone for a modality: the whole, one of several towers, the encoder of a pair."""

from __future__ import annotations

import inspect
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
    return declared or _MODALITIES.get(_main_input(network_class(config)))


def _main_input(kind: Any) -> str:
    """The name of what a class of networks takes in the first place. Where it takes nothing of the name that it states
    (a tower of a network that states one for all), the first that is one of the four modalities."""
    taken = inspect.signature(kind.forward).parameters
    stated = [kind.main_input_name] if isinstance(kind.main_input_name, str) else list(kind.main_input_name)
    if len(stated) == 1 and stated[0] in taken:
        return str(stated[0])
    return next((name for name in (*stated, *taken) if name in taken and name in _MODALITIES), str(stated[0]))


def network_class(config: Any) -> Any:
    """The class of the base network of a configuration."""
    return base_class(type(config))


def base_class(kind: type) -> Any:
    """The class of the base network of a class of configurations; of several, the first."""
    found = MODEL_MAPPING[kind]
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
    # A configuration saved from the encoder alone says that there is no decoder, and its base network has both.
    has_both = {"encoder", "decoder"} <= {name for name, child in network.named_children() if _is_network(child)}
    if not (getattr(network.config, "is_encoder_decoder", False) or has_both):
        return ""
    encoder = network.get_encoder()
    return next((path for path, module in network.named_modules() if module is encoder), "")


def _is_network(module: nn.Module) -> bool:
    return isinstance(module, PreTrainedModel)
