"""timm: trace every architecture, and cut every one with up to 60 million parameters."""

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
from tools.certify.exact import Whole, checkpointed, disturb, traced, untraced
from tools.certify.intermediates import intermediates
from torch import nn

import layerzoo
from layerzoo.errors import LayerzooError, UnknownModelError
from layerzoo.runtime.loading import trace_layers
from layerzoo.spec import FrozenMap, ModelSpec

MAX_PARAMS = 60_000_000
"""Larger networks are traced but not run."""
_DEPENDS_ON = ("layerzoo", "layerzoo-timm", "timm", "torch")


def versions() -> dict[str, str]:
    """Return the versions of all distributions that a result depends on."""
    return {name: version(name) for name in _DEPENDS_ON}


def architectures() -> list[str]:
    """Return every name that ``timm.create_model`` accepts."""
    names: list[str] = timm.list_models()
    return names


def known(name: str) -> dict[str, Any]:
    """Return timm's facts about an architecture, without building it.

    Returns: its model file, its number of pretrained tags, and the source of weights that are not safetensors in a timm
    repository.
    """
    tags = _tags().get(name, ())
    needs = {tag: need for tag in tags if (need := _needs(tag)) is not None}
    facts = {"file": model_entrypoint(name).__module__.rpartition(".")[2], "tags": len(tags)}
    return {**facts, "needs": needs} if needs else facts


def certify(name: str) -> dict[str, Any]:
    """Trace an architecture, run its cuts, and return the results."""
    torch.set_num_threads(1)
    spec = declared(name)
    params = spec.params or _count(name)
    try:
        spec = replace(spec, layers=spec.layers or trace_layers(spec))
    except LayerzooError as error:
        return untraced(params, error)
    result = traced(params, spec.layers)
    if params > MAX_PARAMS or not spec.layers:
        return result
    return {**result, **_run(spec, timm.create_model(name))}


def declared(name: str) -> ModelSpec:
    """Return the declared spec of an architecture; without a declaration, a minimal spec for the builder."""
    try:
        return layerzoo.model(f"timm/{name}")
    except UnknownModelError:
        return ModelSpec(id=f"mine/{name}", modality="vision", builder="timm", args=FrozenMap({"name": name}))


def _run(spec: ModelSpec, network: nn.Module) -> dict[str, Any]:
    """Compare cuts with the whole network, and timm's own intermediates with its layers."""
    disturb(network)
    with checkpointed(spec, network) as saved:
        return Whole.of(saved, network).results(
            intermediates=lambda whole: intermediates(whole.network, whole.batch, whole.by_layer())
        )


def _count(name: str) -> int:
    """Count the parameters of an architecture on the meta device."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in timm.create_model(name).parameters())


@cache
def _tags() -> Mapping[str, Sequence[str]]:
    """Return the full names of the pretrained tags by architecture."""
    tags: dict[str, list[str]] = defaultdict(list)
    for tag in timm.list_pretrained():
        tags[tag.partition(".")[0]].append(tag)
    return tags


def _needs(tag: str) -> str | None:
    """Return how to obtain the weights of a tag if `zoo pull` alone may not suffice."""
    config = timm.get_pretrained_cfg(tag)
    if not config.hf_hub_id:
        return f"not on the hub: download {config.url or config.file} and load it with `weights=PATH`"
    if config.hf_hub_id.startswith("timm/"):
        return None
    return f"hf://{config.hf_hub_id}, not a timm repository: a pickle in it requires `--allow-pickle` or a lock"
