"""torchvision: trace every model, and cut every one with up to 60 million parameters."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tools.certify.exact import Whole, disturb
from tools.certify.folding import folded
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import layerzoo
from layerzoo.errors import LayerzooError, UnknownModelError
from layerzoo.runtime.loading import trace_layers
from layerzoo.spec import FrozenMap, ModelSpec, Weights
from layerzoo_torchvision import layerzoo_build, layerzoo_catalogue

MAX_PARAMS = 60_000_000
"""Larger networks are traced but not run."""
_DEPENDS_ON = ("layerzoo", "layerzoo-torchvision", "torchvision", "torch")
_MEMORY = Path("/dev/shm")


def versions() -> dict[str, str]:
    """Return the versions of all distributions that a result depends on."""
    return {name: version(name) for name in _DEPENDS_ON}


def architectures() -> list[str]:
    """Return every name that ``torchvision.models.get_model`` accepts."""
    return sorted(models.list_models())


def known(name: str) -> dict[str, Any]:
    """Return torchvision's facts about an architecture, without building it."""
    rows = _catalogue()[name]
    facts = {"task": _task(name), "weights": len(rows)}
    return {**facts, **({"unusable": rows[0]["unusable"]} if "unusable" in rows[0] else {})}


def certify(name: str) -> dict[str, Any]:
    """Trace an architecture with its default weights' shape, run its cuts, and return the results."""
    torch.set_num_threads(1)
    spec = _declared(name)
    if spec.unusable is not None:
        return {}
    try:
        spec = replace(spec, layers=spec.layers or trace_layers(spec))
    except LayerzooError as error:
        return {"params": spec.params or 0, "untraced": next(iter(str(error).splitlines()), "")}
    with torch.device("meta"):
        params = sum(parameter.numel() for parameter in layerzoo_build(spec=spec).parameters())
    traced: dict[str, Any] = {
        "params": params,
        "layers": len(spec.layers),
        "names": folded(layer.name for layer in spec.layers),
    }
    if unknown := [layer.name for layer in spec.layers if layer.axes is None]:
        traced["unknown_axes"] = folded(unknown)
    if params > MAX_PARAMS or not spec.layers:
        return traced
    return {**traced, **_run(spec)}


def _run(spec: ModelSpec) -> dict[str, Any]:
    """Compare cuts with the whole network, and its layers with torchvision's feature extractor."""
    if any("object" in (layer.axes or ()) for layer in spec.layers):  # with random weights, no score is high enough
        spec = replace(spec, args=FrozenMap({**spec.args.to_dict(), "box_score_thresh": 0.0}))
    torch.manual_seed(0)
    network = layerzoo_build(spec=spec)
    disturb(network)
    with _checkpointed(spec, network) as saved:
        whole = Whole.of(saved, network)
        passes = list(whole.passes())
    differing = {name: difference for run in passes for name, difference in run.differing.items()}
    results = {
        "cuts": {run.layers[0]: round(run.share_read, 4) for run in passes[1:]},
        "differing": differing,
        "flaws": whole.flaws(),
        "unrepeatable": bool(differing) and not whole.is_repeatable(),
        "extractor": _extracted(whole) if _task(spec.args["name"].partition(".")[0]) == "classification" else None,
    }
    return {key: value for key, value in results.items() if value}


def _extracted(whole: Whole) -> dict[str, Any]:
    """Compare the layers with those of ``create_feature_extractor`` on the same network.

    Returns: ``count``, the number of compared layers; ``equal``, how many are equal bit for bit; ``other``, the names
    of the others. ``{"none": reason}`` if torch.fx cannot trace the network.
    """
    modules: Any = whole.network.modules()
    for module in modules:
        if hasattr(module, "inplace"):
            module.inplace = False  # otherwise the extractor returns what a later module has overwritten
    (pixels,) = whole.batch.inputs.values()
    found: dict[str, Tensor] = {}
    try:
        nodes = get_graph_node_names(whole.network)[1]  # without those inside modules of torchvision.ops
        layers = [
            layer
            for layer in whole.backbone.layers
            if layer.at == "output" and layer.call in (None, 0)
            if any(f"{node}.".startswith(f"{layer.module}.") for node in nodes)
        ]
        for in_blocks in (False, True):  # a stage and its last block may be one node, which has one name
            group = {layer.module: layer.name for layer in layers if (".block." in layer.name) is in_blocks}
            with torch.no_grad():
                found |= create_feature_extractor(whole.network, return_nodes=group)(pixels) if group else {}
    except Exception as error:  # noqa: BLE001 - the failure is the result
        return {"none": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"}
    equal = [name for name, tensor in found.items() if torch.equal(tensor, whole.expected[name])]
    return {"count": len(found), "equal": len(equal), "other": [name for name in found if name not in equal]}


@contextmanager
def _checkpointed(spec: ModelSpec, network: nn.Module) -> Iterator[ModelSpec]:
    """Provide the spec with a checkpoint as torchvision publishes it: pickled, with the versions of its modules."""
    with tempfile.TemporaryDirectory(prefix="certify-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "weights.pth"
        torch.save(network.state_dict(), path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        yield replace(spec, weights=Weights(source=f"file:{path}", sha256=((path.name, digest),)))


def _declared(name: str) -> ModelSpec:
    try:
        return layerzoo.model(f"torchvision/{name}")
    except UnknownModelError:
        row = _catalogue()[name][0]
        args = FrozenMap({"name": row["args"]["name"]})
        return ModelSpec(id=f"mine/{name}", modality=row["modality"], builder="torchvision", args=args)


def _task(name: str) -> str:
    """Return the task of an architecture: the package of its model file."""
    _, _, module = models.get_model_builder(name).__module__.partition("torchvision.models.")
    return module.partition(".")[0] if "." in module else "classification"


@cache
def _catalogue() -> dict[str, list[dict[str, Any]]]:
    return layerzoo_catalogue()
