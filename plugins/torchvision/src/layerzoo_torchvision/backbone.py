"""The part of a network that computes features, by the task of the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from layerzoo.spec import ImagePreprocess, ModelSpec
from layerzoo_torchvision.arguments import Arguments
from layerzoo_torchvision.library import loaded_tensors, whole_network
from layerzoo_torchvision.objects import ObjectNetwork, has_objects

_PARTS = {"detection": "backbone", "optical_flow": "feature_encoder"}
"""The submodule that is the backbone, by task. That of a one-stage detector is its body and its feature pyramid: what
follows computes scores and boxes for every position. That of a network for optical flow sees one image."""
_SIZES = {"vision_transformer": "image_size", "maxvit": "input_size"}
"""The argument of a network that is made for one size of images, by model file."""


def backbone(spec: ModelSpec) -> nn.Module:
    """Build the backbone of a spec, for the size of the input that the spec declares."""
    arguments = Arguments.of(spec.id, spec.args)
    network = whole_network(_for_size(arguments, spec))
    if arguments.kind == "video":
        network.register_forward_pre_hook(_channels_first)
    if has_objects(arguments):
        return ObjectNetwork(network)
    part = _part(arguments)
    return network.get_submodule(part) if part else network


def backbone_tensors(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return the tensors of the backbone by its own keys, of a checkpoint of the whole network."""
    arguments = Arguments.of(spec.id, spec.args)
    loaded = loaded_tensors(arguments, tensors)
    part = _part(arguments)
    if part is None or not any(name.startswith(f"{part}.") for name in loaded):
        return loaded
    prefix = f"{part}."
    return {name.removeprefix(prefix): tensor for name, tensor in loaded.items() if name.startswith(prefix)}


def _part(arguments: Arguments) -> str | None:
    """Return the name of the submodule that is the backbone; None if the backbone has the keys of the whole network."""
    return None if has_objects(arguments) else _PARTS.get(arguments.kind)


def _for_size(arguments: Arguments, spec: ModelSpec) -> Arguments:
    """Return the arguments for another size of images than that of the weights, where the network has one size."""
    argument = _SIZES.get(arguments.family)
    if argument is None or argument in arguments.options or not isinstance(spec.preprocess, ImagePreprocess):
        return arguments
    height, width = spec.preprocess.size_px
    own = arguments.described_by.transforms().crop_size[0]
    if height == width == own:
        return arguments
    size: Any = height if argument == "image_size" else (height, width)
    return replace(arguments, weights=None, options={**arguments.options, argument: size})


def _channels_first(network: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
    """Move the channels of clips to where torchvision has them.

    Args:
        network: the network that takes (batch, channel, frame, height, width).
        inputs: clips, (batch, frame, channel, height, width).
    """
    (clips,) = inputs
    return (clips.transpose(1, 2),)
