"""timm: every architecture, traced; the exact cut of every one with up to 60 million parameters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

import timm
import torch
from timm.models import model_entrypoint
from tools.certify.exact import Whole, checkpointed, disturb
from tools.certify.folding import folded
from tools.certify.intermediates import intermediates
from torch import nn

import layerzoo
from layerzoo.errors import LayerzooError, UnknownModelError
from layerzoo.runtime.load import trace_layers
from layerzoo.spec import FrozenMap, ModelSpec

MAX_PARAMS = 60_000_000
"""Larger networks are traced, and not run."""
_DEPENDS_ON = ("layerzoo", "layerzoo-timm", "timm", "torch")


def versions() -> dict[str, str]:
    """Of all that a result depends on."""
    return {name: version(name) for name in _DEPENDS_ON}


def architectures() -> list[str]:
    """Every name that ``timm.create_model`` takes."""
    names: list[str] = timm.list_models()
    return names


def known(name: str) -> dict[str, Any]:
    """What timm says of an architecture without making it: its model file, how many pretrained tags it has, and what
    those need whose weights are not safetensors in a repository of timm's own."""
    tags = _tags().get(name, ())
    needs = {tag: need for tag in tags if (need := _needs(tag)) is not None}
    said = {"file": model_entrypoint(name).__module__.rpartition(".")[2], "tags": len(tags)}
    return {**said, "needs": needs} if needs else said


def certify(name: str) -> dict[str, Any]:
    """Everything that is found out about an architecture by running it."""
    torch.set_num_threads(1)
    spec = declared(name)
    params = spec.params or _count(name)
    try:
        spec = replace(spec, layers=spec.layers or trace_layers(spec))
    except LayerzooError as error:
        return {"params": params, "untraced": next(iter(str(error).splitlines()), "")}
    traced: dict[str, Any] = {
        "params": params,
        "layers": len(spec.layers),
        "names": folded(layer.name for layer in spec.layers),
    }
    if unknown := [layer.name for layer in spec.layers if layer.axes is None]:
        traced["unknown_axes"] = folded(unknown)
    if params > MAX_PARAMS or not spec.layers:
        return traced
    return {**traced, **_run(spec, timm.create_model(name))}


def declared(name: str) -> ModelSpec:
    """The architecture as the zoo declares it; without a declaration, as its builder knows it."""
    try:
        return layerzoo.model(f"timm/{name}")
    except UnknownModelError:
        return ModelSpec(id=f"mine/{name}", modality="vision", builder="timm", args=FrozenMap({"name": name}))


def _run(spec: ModelSpec, network: nn.Module) -> dict[str, Any]:
    """Cuts beside the whole network, and timm's own intermediates beside its layers."""
    disturb(network)
    with checkpointed(spec, network) as saved:
        whole = Whole.of(saved, network)
        passes = list(whole.passes())
    differing = {name: told for each in passes for name, told in each.differing.items()}
    found = {
        "cuts": {each.layers[0]: round(each.share_read, 4) for each in passes[1:]},
        "differing": differing,
        "flaws": whole.flaws(),
        "unrepeatable": bool(differing) and not whole.is_repeatable(),
        "intermediates": intermediates(whole.network, whole.batch, whole.by_layer()),
    }
    return {key: value for key, value in found.items() if value}


def _count(name: str) -> int:
    """The parameters of an architecture, which is not made for that."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in timm.create_model(name).parameters())


@cache
def _tags() -> Mapping[str, Sequence[str]]:
    """Pretrained tags by architecture, as full names."""
    found: dict[str, list[str]] = defaultdict(list)
    for tag in timm.list_pretrained():
        found[tag.partition(".")[0]].append(tag)
    return found


def _needs(tag: str) -> str | None:
    """What it takes to have the weights of a tag, where `zoo pull` alone may not do."""
    known = timm.get_pretrained_cfg(tag)
    if not known.hf_hub_id:
        return f"not on the hub: download {known.url or known.file}, and load with `weights=PATH`"
    if known.hf_hub_id.startswith("timm/"):
        return None
    return f"hf://{known.hf_hub_id}, a repository of others: a pickle there needs `--allow-pickle`, or a lock"
