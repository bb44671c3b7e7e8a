"""A loaded network, truncated at its cut, with its preprocessing."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from layerzoo.errors import CutError, UnavailableError, UsageError
from layerzoo.facts import library_versions
from layerzoo.plugins.loader import summary
from layerzoo.registry import Registry, registry
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.blueprint import Blueprint
from layerzoo.runtime.build import build_random, build_uninitialised
from layerzoo.runtime.checkpoint import open_checkpoint
from layerzoo.runtime.cut import Cut, plan_cut
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.load import Loaded, check_structure, load_into, trim
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.pool import rows_of, summarise
from layerzoo.runtime.preprocess import Preprocessor
from layerzoo.runtime.request import LayerChoice, PoolChoice, choose_layers, choose_pools
from layerzoo.spec import Layer, ModelSpec, to_plain
from layerzoo.weights import Files, resolve

Precision = Literal["float32", "bfloat16", "float16"]
_RANDOM = re.compile(r"random:(\d+)")
_LAST_SEED = (1 << 64) - 1  # of torch's generators


@dataclass(frozen=True)
class Backbone:
    """What :func:`load` returns.

    module: an ordinary, trainable ``torch.nn.Module``; called with a batch it returns a dict of layer name → raw
    activation (axes as ``spec`` says). Past the cut it holds stubs that raise.
    preprocess: turns inputs into a batch for ``module``; works alone.
    provenance: where every number comes from; JSON-able.
    Several threads may use one backbone. It can be copied, and pickled where its network can.
    """

    spec: ModelSpec
    module: CutNetwork
    preprocess: Preprocessor
    pools: Mapping[str, str]
    device: torch.device
    precision: Precision
    provenance: Mapping[str, Any]
    blueprint: Blueprint

    @property
    def cut(self) -> Cut:
        return self.module.cut

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers this backbone reads, with their axes, shapes and costs."""
        return self.cut.layers

    def __repr__(self) -> str:
        loaded = self.provenance["loaded"]
        share = f"{loaded['bytes']:,} of {loaded['of_bytes']:,} bytes of weights"
        return f"<Backbone {self.spec.id} cut at {', '.join(layer.name for layer in self.layers)}: {share}>"

    def activations(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Raw activations at the cut, without gradients, on this backbone's device and in its precision."""
        with self._running():
            found: dict[str, torch.Tensor] = self.module(self._placed(batch))
        return found

    def summaries(self, batch: Batch, pools: Mapping[str, str]) -> dict[str, list[NDArray[np.float32]]]:
        """Layer name → one summary for each row of the batch, pooled inside the forward pass.

        What a summary is stands in :mod:`layerzoo.runtime.pool`.
        """
        placed = self._placed(batch)

        def read(layer: Layer, activation: torch.Tensor) -> torch.Tensor:
            if layer.name not in pools:
                return activation.new_empty(0)
            with torch.autocast(self.device.type, enabled=False):
                return summarise(activation, placed, layer, pools[layer.name])

        with self._running():
            found = self.module.read(placed, read)
        return {
            layer.name: rows_of(found[layer.name], placed, layer, pools[layer.name])
            for layer in self.layers
            if layer.name in pools
        }

    def narrowed(self, layer: LayerChoice, pool: PoolChoice) -> dict[str, str]:
        """Layer name → pooling for some of this backbone's layers. Raises: UsageError for one that was not loaded."""
        if layer is None and pool is None:
            return dict(self.pools)
        layers = self.layers if layer is None else choose_layers(self.blueprint, layer)
        loaded = {each.name for each in self.layers}
        if missing := [each.name for each in layers if each.name not in loaded]:
            raise UsageError(
                f"this backbone reads {', '.join(sorted(loaded))}, and not {', '.join(missing)}: "
                f"layerzoo.load('{self.spec.id}', layer=[…]) with all layers that are needed"
            )
        kept = {each.name: self.pools[each.name] for each in layers}
        return kept if pool is None else choose_pools(self.blueprint, layers, pool)

    def _placed(self, batch: Batch) -> Batch:
        return batch.to(self.device, _memory_format(self.preprocess))

    def _running(self) -> _Running:
        """Raises: UsageError in training mode, where dropout and batch statistics would be in the features."""
        if any(module.training for module in self.module.modules()):
            raise UsageError(
                f"the network of {self.spec.id} is in training mode, in which features depend on chance and on the "
                "batch. Before features are taken: backbone.module.eval()"
            )
        return _Running(self.device.type, self.precision)


class _Running:
    """Without gradients, in the chosen precision."""

    def __init__(self, device_type: str, precision: Precision) -> None:
        dtype = getattr(torch, precision) if precision != "float32" else None
        self._contexts = (torch.no_grad(), torch.autocast(device_type, dtype=dtype, enabled=dtype is not None))

    def __enter__(self) -> None:
        for context in self._contexts:
            context.__enter__()

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self._contexts):
            context.__exit__(*error)


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
    network = network.to(device).to(memory_format=_memory_format(blueprint.preprocess))
    return Backbone(
        spec=blueprint.spec,
        module=CutNetwork(network, cut).eval(),
        preprocess=blueprint.preprocess,
        pools=pools,
        device=device,
        precision=precision,
        provenance=_provenance(blueprint, cut, loaded, weights, precision, device, zoo),
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


def _memory_format(preprocess: Preprocessor) -> torch.memory_format:
    """Pictures run 1.1 to 1.9 × as fast channels-last on a CPU; the axes a user sees stay what they are."""
    return torch.channels_last if preprocess.modality in ("vision", "video") else torch.preserve_format


def _provenance(
    blueprint: Blueprint,
    cut: Cut,
    loaded: Loaded,
    weights: str | os.PathLike[str] | None,
    precision: Precision,
    device: torch.device,
    zoo: Registry,
) -> dict[str, Any]:
    spec, files = blueprint.spec, blueprint.files
    assert spec.preprocess is not None
    return {
        "model": spec.id,
        "plugin": spec.plugin,
        "builder": spec.builder,
        "args": spec.args.to_dict(),
        "weights": _weights_provenance(spec, files, weights),
        "layers": {layer.name: layer.address for layer in cut.layers},
        "preprocess": to_plain(spec.preprocess),
        "precision": precision,
        "device": str(device),
        "loaded": asdict(loaded),
        "versions": {
            "python": platform.python_version(),
            **library_versions(spec, zoo),
        },
    }


def _weights_provenance(spec: ModelSpec, files: Files, weights: str | os.PathLike[str] | None) -> dict[str, Any]:
    if _seed(weights) is not None:
        return {"source": str(weights), "revision": None, "sha256": {}}
    declared = spec.weights.source if spec.weights else None
    revision = re.search(r"^hf://[^@]+@([^/]+)", declared or "")
    return {
        "source": declared if weights is None else os.fspath(weights),
        "revision": revision[1] if revision and weights is None else None,
        "sha256": files.digests,
    }


def build(model: str | ModelSpec) -> torch.nn.Module:
    """The whole network of a model with its library's own initialisation: for builders that build on another model."""
    from layerzoo.runtime.build import build as build_network

    zoo = registry()
    spec = _spec(model, zoo)
    return build_network(spec, ModelHooks.of(spec, zoo), resolve(spec.weights))


def trace_layers(model: str | ModelSpec) -> tuple[Layer, ...]:
    """The layers of a model with all that a fresh trace can tell; kept, so that browsing shows it from now on."""
    zoo = registry()
    spec = _spec(model, zoo)
    return Blueprint.of(spec, resolve(spec.weights), ModelHooks.of(spec, zoo), zoo, fresh=True).spec.layers


def with_preprocess(backbone: Backbone, preprocess: Preprocessor) -> Backbone:
    """The same network behind another preprocessing of the same modality."""
    return replace(backbone, preprocess=preprocess)
