"""torchvision: trace and cut every model."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from tools.certify.exact import Whole, checkpointed, disturb, traced, untraced
from torch import Tensor
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

import layerzoo
from layerzoo.errors import LayerzooError, UnknownModelError
from layerzoo.runtime.loading import trace_layers
from layerzoo.spec import FrozenMap, ModelSpec
from layerzoo_torchvision import layerzoo_build, layerzoo_catalogue
from layerzoo_torchvision.arguments import Arguments

MAX_PARAMS = 1 << 40
"""Every network is run."""
_DEPENDS_ON = ("layerzoo", "layerzoo-torchvision", "torchvision", "torch")


def versions() -> dict[str, str]:
    """Return the versions of all distributions that a result depends on."""
    return {name: version(name) for name in _DEPENDS_ON}


def architectures() -> list[str]:
    """Return every name that ``torchvision.models.get_model`` accepts."""
    return sorted(models.list_models())


def known(name: str) -> dict[str, Any]:
    """Return torchvision's facts about an architecture, without building it."""
    rows = _catalogue()[name]
    facts = {"task": Arguments(name).kind, "weights": len(rows)}
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
        return untraced(spec.params or 0, error)
    with torch.device("meta"):
        params = sum(parameter.numel() for parameter in layerzoo_build(spec=spec).parameters())
    result = traced(params, spec.layers)
    if not spec.layers:
        return result
    return {**result, **_run(spec)}


def _run(spec: ModelSpec) -> dict[str, Any]:
    """Compare cuts with the whole network, and its layers with torchvision's feature extractor."""
    has_objects = any("object" in (layer.axes or ()) for layer in spec.layers)
    if has_objects:  # with random weights, no score is high enough
        spec = replace(spec, args=FrozenMap({**spec.args.to_dict(), "box_score_thresh": 0.0}))
    torch.manual_seed(0)
    network: Any = layerzoo_build(spec=spec)
    disturb(network)
    if has_objects:  # with random weights, all boxes are outside of the image, or all scores are those of no object
        predictor = network.roi_heads.box_predictor
        for predicted in (network.rpn.head.bbox_pred, predictor.cls_score, predictor.bbox_pred):
            predicted.requires_grad_(False).weight.mul_(1e-4)
    is_classifier = Arguments.of(spec.id, spec.args).kind == "classification"
    with checkpointed(spec, network, pickled=True) as saved:  # as torchvision publishes it
        return Whole.of(saved, network).results(**({"extractor": _extracted} if is_classifier else {}))


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


def _declared(name: str) -> ModelSpec:
    try:
        return layerzoo.model(f"torchvision/{name}")
    except UnknownModelError:
        row = _catalogue()[name][0]
        args = FrozenMap({"name": row["args"]["name"]})
        return ModelSpec(id=f"mine/{name}", modality=row["modality"], builder="torchvision", args=args)


@cache
def _catalogue() -> dict[str, list[dict[str, Any]]]:
    return layerzoo_catalogue()
