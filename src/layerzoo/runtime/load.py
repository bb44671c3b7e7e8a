"""Loading a network up to a layer."""

from __future__ import annotations

import os
import re
from typing import get_args

import torch

from layerzoo.errors import CutError, UnavailableError, UsageError
from layerzoo.plugins.loader import summary
from layerzoo.registry import Registry, registry
from layerzoo.runtime.backbone import Backbone, Precision, memory_format
from layerzoo.runtime.blueprint import Blueprint
from layerzoo.runtime.build import build as build_network
from layerzoo.runtime.build import build_random, build_uninitialised
from layerzoo.runtime.checkpoint import open_checkpoint
from layerzoo.runtime.cut import Cut, plan_cut
from layerzoo.runtime.fill import Loaded, check_structure, load_into, trim
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.provenance import provenance
from layerzoo.runtime.request import LayerChoice, PoolChoice, choose_layers, choose_pools
from layerzoo.spec import Layer, ModelSpec
from layerzoo.weights import Files, resolve

_RANDOM = re.compile(r"random:(\d+)")
_LAST_SEED = (1 << 64) - 1  # of torch's generators


def load(
    model: str | ModelSpec,
    *,
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
) -> Backbone:
    """Load a network up to a layer.

    model: an id such as ``"starter/minilm-l6"``, or a spec.
    layer: one or several names or selectors (``"stage.1"``, ``"block.-1"``, ``"@0.5"``); else the model's own default.
    pool: how :func:`extract` will pool, for all layers or by layer; checked here, before anything is loaded.
    weights: another checkpoint (a path) for the same architecture, or ``"random:SEED"`` for the initialisation that the
        library itself gives the network, the same for every cut.
    precision: ``float32``; or ``bfloat16`` / ``float16``, in which torch's autocast computes what bears it.
    Raises: NotFoundError, LayerError, PoolingError, PluginError, WeightsError: see :mod:`layerzoo.errors`.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision={precision!r} is not one of {', '.join(get_args(Precision))}")
    zoo = registry()
    spec = _spec(model, zoo)
    seed = _seed(weights)
    place = _usable(device)
    files = resolve(spec.weights, weights) if seed is None else _files_without_weights(spec)
    hooks = ModelHooks.of(spec, zoo)
    blueprint = Blueprint.of(spec, files, hooks, zoo)
    try:
        return _load(blueprint, layer, pool, weights, seed, place, precision, zoo)
    except CutError:  # the plugin's code has changed since it was traced, and its version has not
        blueprint = Blueprint.of(spec, files, hooks, zoo, fresh=True)
        return _load(blueprint, layer, pool, weights, seed, place, precision, zoo)


def _spec(model: str | ModelSpec, zoo: Registry) -> ModelSpec:
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, str):
        raise UsageError(f"a {type(model).__name__} is no model: give an id such as 'starter/minilm-l6', or a spec")
    return zoo.model(model)


def _usable(device: str | torch.device) -> torch.device:
    """Raises: UsageError for a device that is not here, or that holds no numbers (meta)."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f"device={str(device)!r} cannot be used here: {summary(error)}. 'cpu' always can") from error
    return found


def _load(
    blueprint: Blueprint,
    layer: LayerChoice,
    pool: PoolChoice,
    weights: str | os.PathLike[str] | None,
    seed: int | None,
    device: torch.device,
    precision: Precision,
    zoo: Registry,
) -> Backbone:
    layers = choose_layers(blueprint, layer)
    pools = choose_pools(blueprint, layers, pool)
    cut = plan_cut(blueprint.trace, layers, model=blueprint.spec.id)
    network, loaded = _filled(blueprint, cut, seed)
    network = network.to(device).to(memory_format=memory_format(blueprint.preprocess))
    return Backbone(
        spec=blueprint.spec,
        module=CutNetwork(network, cut).eval(),
        preprocess=blueprint.preprocess,
        pools=pools,
        device=device,
        precision=precision,
        provenance=provenance(blueprint, cut, loaded, weights, seed is not None, precision, device, zoo),
        blueprint=blueprint,
    )


def _filled(blueprint: Blueprint, cut: Cut, seed: int | None) -> tuple[torch.nn.Module, Loaded]:
    spec, hooks, files = blueprint.spec, blueprint.hooks, blueprint.files
    if seed is None:
        network = build_uninitialised(spec, hooks, files)
        return network, load_into(network, cut, open_checkpoint(spec, files, hooks), model=spec.id)
    network = build_random(spec, hooks, files, seed)
    check_structure(network, cut, spec.id)
    trim(network, cut)
    return network, Loaded(tensors=0, of_tensors=0, bytes=0, of_bytes=0)


def _files_without_weights(spec: ModelSpec) -> Files:
    """What a network without its weights can be built from: a configuration and a tokenizer, where they are here."""
    try:
        return resolve(spec.weights)
    except UnavailableError:
        return Files()


def _seed(weights: str | os.PathLike[str] | None) -> int | None:
    if not (weights is None or isinstance(weights, os.PathLike) or (isinstance(weights, str) and weights)):
        raise UsageError(f"weights={weights!r} is neither a path nor 'random:SEED'")
    if not isinstance(weights, str) or not weights.startswith("random"):
        return None
    if (found := _RANDOM.fullmatch(weights)) and int(found[1]) <= _LAST_SEED:
        return int(found[1])
    raise UsageError(
        f"weights={weights!r}: random weights need a seed of 0 to {_LAST_SEED}, as in 'random:0'; "
        f"a file of that name is './{weights}'"
    )


def build(model: str | ModelSpec) -> torch.nn.Module:
    """The whole network of a model with its library's own initialisation: for builders that build on another model."""
    zoo = registry()
    spec = _spec(model, zoo)
    return build_network(spec, ModelHooks.of(spec, zoo), resolve(spec.weights))


def trace_layers(model: str | ModelSpec) -> tuple[Layer, ...]:
    """The layers of a model with all that a fresh trace can tell; kept, so that browsing shows it from now on."""
    zoo = registry()
    spec = _spec(model, zoo)
    return Blueprint.of(spec, resolve(spec.weights), ModelHooks.of(spec, zoo), zoo, fresh=True).spec.layers
