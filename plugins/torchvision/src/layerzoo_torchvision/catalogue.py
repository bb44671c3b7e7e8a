"""Every architecture of torchvision and its weights, as lines of a catalogue."""

from __future__ import annotations

import inspect
import re
from math import isfinite
from typing import Any

from torchvision.models import WeightsEnum, get_model_builder

from layerzoo.authoring import metric_name
from layerzoo_torchvision.arguments import Arguments, architectures, weights_of
from layerzoo_torchvision.preprocess import preprocess_of
from layerzoo_torchvision.training import tasks_of, trained_on

_DATASETS = {"imagenet-1k": "imagenet"}
"""Shorter names of datasets. Others are used as torchvision writes them, in small letters."""
_HASH = re.compile(r"[-_]([0-9a-f]{8,64})\.pth$")
_QUANTIZED = (
    "its layers compute with 8-bit integers, in fused modules of torch.ao.quantization that a trace without values "
    "cannot run. Next: {base}, the same architecture in float32"
)


def models() -> dict[str, list[dict[str, Any]]]:
    """Return the models of each architecture, with its default weights first."""
    return {name: [_model(name, weights) for weights in weights_of(name)] for name in architectures()}


def _model(architecture: str, weights: WeightsEnum) -> dict[str, Any]:
    """Return the line of an architecture with some weights."""
    name = f"{architecture}.{weights.name}"
    arguments = Arguments(architecture, weights)
    is_default = weights is weights_of(architecture)[0]
    row = {
        "id": name,
        "aliases": [architecture] if is_default else [],
        "modality": "video" if arguments.kind == "video" else "vision",
        "builder": "torchvision",
        "args": {"name": name},
        "summary": _summary(architecture),
        "license": weights.meta.get("license"),
        "weights": _source(weights),
        "tasks": tasks_of(arguments),
        "trained_on": trained_on(weights),
        "metrics": metrics_of(weights),
        "training": training_of(weights),
    }
    if arguments.kind == "quantization":
        row |= {"unusable": _QUANTIZED.format(base=f"torchvision/{architecture.removeprefix('quantized_')}")}
    else:
        row |= {"preprocess": preprocess_of(arguments)}
    return {key: value for key, value in row.items() if value}


def metrics_of(weights: WeightsEnum) -> dict[str, dict[str, Any]]:
    """Return the results that torchvision states for some weights, by dataset and metric."""
    results = {
        _DATASETS.get(metric_name(dataset), metric_name(dataset)): {
            metric_name(metric): value for metric, value in values.items() if isfinite(value)
        }
        for dataset, values in weights.meta["_metrics"].items()
    }
    return {dataset: values for dataset, values in results.items() if values}


def training_of(weights: WeightsEnum) -> dict[str, Any]:
    """Return the number of classes and the address of the recipe of some weights, where torchvision states them."""
    training = {"classes": len(weights.meta.get("categories") or ()), "recipe": weights.meta.get("recipe")}
    return {name: value for name, value in training.items() if value}


def _source(weights: WeightsEnum) -> dict[str, str]:
    """Return the address of a checkpoint, with the digits of its sha256 that its name ends in."""
    match = _HASH.search(weights.url)
    return {"source": weights.url, **({"sha256_prefix": match[1]} if match else {})}


def _summary(architecture: str) -> str:
    """Return the first sentence of the documentation of an architecture, without markup."""
    paragraph = (inspect.getdoc(get_model_builder(architecture)) or "").split("\n\n")[0]
    text = re.sub(r"\s+", " ", paragraph.split(".. ")[0]).strip()
    text = re.sub(r"`+([^`<]*?)\s*(<[^>]*>)?`+_*", r"\1", text)
    text = re.sub(r"^(Constructs?|Builds?|Instantiates?)( an?| the)? ", "", text)
    return re.split(r"(?<=\w)\.( |$)", text)[0].removesuffix(".")
