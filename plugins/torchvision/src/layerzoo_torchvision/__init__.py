"""torchvision's networks: `builder: torchvision`, `args: {name: an architecture, and what its builder takes}`."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from layerzoo import ModelSpec, hookimpl
from layerzoo.authoring import Chain
from layerzoo.spec import ImagePreprocess, VideoPreprocess
from layerzoo_torchvision import catalogue
from layerzoo_torchvision.arguments import Arguments
from layerzoo_torchvision.backbone import backbone, backbone_tensors
from layerzoo_torchvision.preprocess import preprocess_of, transform_of

if TYPE_CHECKING:
    from torch import Tensor, nn


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """Return the architecture as torchvision builds it for the weights that the name states."""
    return backbone(spec)


@hookimpl
def layerzoo_describe(spec: ModelSpec) -> dict[str, Any]:
    """Return the preprocessing of the weights, by default of the architecture, and the chain of its blocks."""
    arguments = Arguments.of(spec.id, spec.args)
    chain = _chains().get(arguments.name) or _chains().get(arguments.family, {})
    described: dict[str, Any] = {"chain": Chain(**chain)}
    if (spec.modality == "video") == (arguments.kind == "video"):
        described["preprocess"] = preprocess_of(arguments)
    return described


@hookimpl
def layerzoo_preprocess(spec: ModelSpec) -> Callable[..., Any] | None:
    """Return the transform of the weights, unless the declaration has other values."""
    declared = spec.preprocess.image if isinstance(spec.preprocess, VideoPreprocess) else spec.preprocess
    if isinstance(declared, ImagePreprocess) and declared.processor is None:
        return None
    return transform_of(Arguments.of(spec.id, spec.args))


@hookimpl
def layerzoo_state_dict(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return a published checkpoint as torchvision itself loads it."""
    return backbone_tensors(spec, tensors)


@hookimpl
def layerzoo_catalogue() -> dict[str, list[dict[str, Any]]]:
    """Return every architecture with each of its weights."""
    return catalogue.models()


@cache
def _chains() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files(__name__).joinpath("chains.toml").read_text(encoding="utf-8"))
