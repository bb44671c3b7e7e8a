"""timm's networks: `builder: timm`, `args: {name: an architecture, and further arguments of timm.create_model}`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from importlib import resources
from typing import TYPE_CHECKING, Any

import timm
from timm.models import model_entrypoint

from layerzoo import ModelSpec, hookimpl
from layerzoo.authoring import Chain
from layerzoo.spec import ImagePreprocess
from layerzoo.weights import Files
from layerzoo_timm import catalogue
from layerzoo_timm.arguments import check_arguments
from layerzoo_timm.checkpoint import SavedShapes, map_checkpoint
from layerzoo_timm.embedding import DEFAULT, is_image_tower
from layerzoo_timm.identify import identify
from layerzoo_timm.preprocess import preprocess_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_last_built: dict[str, SavedShapes] = {}
"""The state dict of the network that was built last, by its arguments: its checkpoint is usually mapped next."""


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    """Return the architecture, at the input size that the spec declares where the network is made for one size only."""
    arguments = _arguments(spec)
    network: nn.Module = timm.create_model(**arguments, pretrained=False)
    _last_built.clear()
    _last_built[repr(arguments)] = SavedShapes.of(network)
    return network


@hookimpl
def layerzoo_describe(spec: ModelSpec) -> dict[str, Any] | None:
    """Return the preprocessing of this architecture's default weights in timm, and the chain of its blocks."""
    check_arguments(spec.id, spec.args.to_dict())
    config = timm.get_pretrained_cfg(spec.args["name"])
    if config is None or spec.modality != "vision":
        return None
    chain = Chain(**_chains().get(_family(spec.args["name"]), {}))
    described = {"preprocess": preprocess_of(config), "chain": chain}
    # A tag says how many outputs its weights have; `num_classes` among the arguments of another model may differ.
    if spec.args.get("num_classes", config.num_classes) != config.num_classes or not is_image_tower(
        spec.args["name"], config
    ):
        return described
    return described | {"chain": replace(chain, embedding=""), "default": DEFAULT}


@hookimpl
def layerzoo_catalogue() -> dict[str, list[dict[str, Any]]]:
    """Return every architecture and pretrained tag."""
    return catalogue.models()


@hookimpl
def layerzoo_identify(model: str, files: Files) -> list[dict[str, Any]] | None:
    """Return the model of a repository, from timm's own config.json."""
    return identify(model, files)


@hookimpl
def layerzoo_state_dict(spec: ModelSpec, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """Return a published checkpoint of this architecture as timm itself loads it, its own filters applied."""
    arguments = _arguments(spec)
    return map_checkpoint(partial(timm.create_model, **arguments), tensors, _last_built.get(repr(arguments)))


def _arguments(spec: ModelSpec) -> dict[str, Any]:
    """Return the arguments of `timm.create_model`. Raises: OutsideRepositoryError for a file or a repository."""
    arguments = spec.args.to_dict()
    check_arguments(spec.id, arguments)
    config = timm.get_pretrained_cfg(arguments["name"])
    declared = spec.preprocess.size_px if isinstance(spec.preprocess, ImagePreprocess) else None
    if config and config.fixed_input_size and declared and declared != tuple(config.input_size[1:]):
        arguments.setdefault("img_size", declared)
    return {"model_name": arguments.pop("name"), **arguments}


def _family(name: str) -> str:
    """Return the name of timm's model file that an architecture comes from."""
    return str(model_entrypoint(name.split(".")[0]).__module__.rpartition(".")[2])


@cache
def _chains() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files(__name__).joinpath("chains.toml").read_text(encoding="utf-8"))
