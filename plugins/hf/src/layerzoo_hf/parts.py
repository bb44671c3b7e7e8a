"""Select the part of a network that is the backbone for a modality: the whole network, a tower, or an encoder."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator
from typing import Any

import torch
import transformers
from torch import nn
from transformers import MODEL_MAPPING, AutoModel, PreTrainedModel

from layerzoo.errors import RepositoryError
from layerzoo.spec import Modality
from layerzoo_hf.configuration import SUB_CONFIGS, sub_config
from layerzoo_hf.families import family

_MODALITIES: dict[str, Modality] = {
    "input_ids": "text",
    "pixel_values": "vision",
    "input_values": "audio",
    "input_features": "audio",
    "pixel_values_videos": "video",
}
"""By the name of a network's main input, what goes in."""


def modality_of(config: Any) -> Modality | None:
    """Return the modality of a network's main input; None for anything but the four modalities."""
    declared: Modality | None = family(config).get("modality")
    return declared or _MODALITIES.get(_main_input(network_class(config)))


def _main_input(kind: Any) -> str:
    """Return the name of the main input of a class of networks.

    A tower may state the main input of the whole network, which the tower does not accept. Then the result is the first
    argument that belongs to one of the four modalities.
    """
    parameters = inspect.signature(kind.forward).parameters
    main_inputs = [kind.main_input_name] if isinstance(kind.main_input_name, str) else list(kind.main_input_name)
    if len(main_inputs) == 1 and main_inputs[0] in parameters:
        return str(main_inputs[0])
    return next(
        (name for name in (*main_inputs, *parameters) if name in parameters and name in _MODALITIES),
        str(main_inputs[0]),
    )


def network_class(config: Any) -> Any:
    """Return the class of the network of a configuration: the base network, or a tower with its projection, where the
    checkpoint was saved from one. Raises: RepositoryError where the library has none."""
    if projecting := _projecting_class(config):
        return projecting
    try:
        return base_class(type(config))
    except KeyError as error:
        message = f"transformers has no base network for a configuration of type '{config.model_type}'"
        raise RepositoryError(f"{message}. Next: another checkpoint, or a newer transformers") from error


def _projecting_class(config: Any) -> Any:
    """Return the class of one tower of a dual encoder with its projection, such as ``CLIPTextModelWithProjection``, if
    the configuration names one; None for any other."""
    if getattr(config, "sub_configs", None):
        return None
    classes: Iterator[Any] = (
        getattr(transformers, name, None) for name in getattr(config, "architectures", None) or ()
    )
    return next((kind for kind in classes if is_projecting(kind) and kind.config_class is type(config)), None)


def is_projecting(kind: Any) -> bool:
    """Return whether a class of networks is one tower of a dual encoder with its projection."""
    return isinstance(kind, type) and issubclass(kind, PreTrainedModel) and kind.__name__.endswith("WithProjection")


def new_network(config: Any, **options: Any) -> Any:
    """Return a network of :func:`network_class` with random weights. options: of ``AutoModel.from_config``."""
    kind = network_class(config)
    config.architectures = [kind.__name__]  # of a type with several base networks, the first
    if is_projecting(kind):
        options.pop("trust_remote_code", None)
        return kind._from_config(config, **options)
    return AutoModel.from_config(config, **options)


def base_class(kind: type) -> Any:
    """Return the class of the base network of a class of configurations; of several, the first."""
    classes = MODEL_MAPPING[kind]
    return classes[0] if isinstance(classes, tuple) else classes


def forward_arguments(config: Any, modality: Modality, part: str | None = None) -> dict[str, bool]:
    """Return, in order, the argument names of the backbone's ``forward``, and whether each is required.

    part: the path of the submodule that is the backbone; None for the default one of the modality.
    Raises: RepositoryError where the library has no network for the configuration.
    """
    return {
        name: parameter.default is parameter.empty
        for name, parameter in _named_parameters(_backbone_class(config, modality, part))
    }


def _backbone_class(config: Any, modality: Modality, part: str | None) -> Any:
    """Return the class of the backbone. If it does not follow from the configuration, build the network on the meta
    device."""
    tower = sub_config(config, modality)
    if part is None and modality not in family(config).get("parts", {}) and type(tower) in MODEL_MAPPING:
        return network_class(tower)
    try:
        return type(backbone_without_values(config, modality, part))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"transformers has no network for this configuration of type '{config.model_type}': {error}"
        raise RepositoryError(message) from error


def backbone_path(network: nn.Module, modality: str) -> str:
    """Return the path of the module that is the backbone for a modality; empty for the whole network.

    Of a network of several towers, the module that is made from the configuration for that modality; of an
    encoder-decoder that reads text or audio, the encoder.
    """
    parts: dict[str, str] = family(network.config).get("parts", {})
    if is_projecting(type(network)):
        return next(name for name, child in network.named_children() if _is_network(child))
    if modality in parts:
        return parts[modality]
    tower = _tower(network, modality)
    encoder = _encoder(network.get_submodule(tower), modality)
    return ".".join(filter(None, (tower, encoder)))


def _tower(network: nn.Module, modality: str) -> str:
    configs = [getattr(network.config, name, None) for name in SUB_CONFIGS[modality]]
    kinds = tuple(type(config) for config in configs if config is not None)
    towers = [
        path
        for path, module in network.named_modules()
        if path and isinstance(module, PreTrainedModel) and isinstance(module.config, kinds)
    ]
    return min(towers, key=lambda path: path.count("."), default="")


def _encoder(network: nn.Module, modality: str) -> str:
    if modality not in ("text", "audio") or not isinstance(network, PreTrainedModel):
        return ""
    # The configuration of a saved encoder states that there is no decoder, but the base network has both.
    has_both = {"encoder", "decoder"} <= {name for name, child in network.named_children() if _is_network(child)}
    if not (getattr(network.config, "is_encoder_decoder", False) or has_both):
        return ""
    encoder = network.get_encoder()
    return next((path for path, module in network.named_modules() if module is encoder), "")


def is_encoder_of_pair(network: nn.Module, part: str) -> bool:
    """Return whether a part is the encoder of an encoder-decoder network."""
    owner = network.get_submodule(part.rpartition(".")[0]) if part else network
    return bool(part) and "decoder" in dict(owner.named_children())


def backbone_without_values(config: Any, modality: str, part: str | None = None) -> nn.Module:
    """Build the module that is the backbone for a modality on the meta device, to be inspected and not changed.

    Args:
        config: the configuration of the whole network.
        modality: of the input.
        part: the path of the module, where it is declared.
    """
    key = type(config), config.to_json_string(use_diff=False), modality, part
    if key not in _WITHOUT_VALUES:
        config = copy.deepcopy(config)
        with torch.device("meta"):
            network = new_network(config)
        path = backbone_path(network, modality) if part is None else part
        while len(_WITHOUT_VALUES) >= _MOST_KEPT:
            _WITHOUT_VALUES.pop(next(iter(_WITHOUT_VALUES)), None)
        _WITHOUT_VALUES[key] = network.get_submodule(path)
    return _WITHOUT_VALUES[key]


_WITHOUT_VALUES: dict[Any, nn.Module] = {}
"""The last networks built on the meta device: one load of a model inspects the same one several times."""
_MOST_KEPT = 4


def _named_parameters(module: Any) -> list[tuple[str, inspect.Parameter]]:
    """Return the parameters of a ``forward``, without ``self``, ``*args`` and ``**kwargs``."""
    return [
        (name, parameter)
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if name != "self" and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def arguments(network: nn.Module) -> tuple[str, ...]:
    """Return the names of the arguments of a network's ``forward``, in their order."""
    return tuple(name for name, _ in _named_parameters(network))


def accepts_any_argument(network: nn.Module) -> bool:
    """Return whether a network's ``forward`` accepts arbitrary keyword arguments."""
    parameters = inspect.signature(network.forward).parameters.values()
    return any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


def _is_network(module: nn.Module) -> bool:
    return isinstance(module, PreTrainedModel)
