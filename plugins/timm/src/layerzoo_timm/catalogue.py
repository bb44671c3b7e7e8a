"""Every architecture and pretrained tag of timm, as lines of a catalogue."""

from __future__ import annotations

import inspect
import re
import sys
from typing import Any

import timm
from timm.models import PretrainedCfg, model_entrypoint

from layerzoo_timm.embedding import DEFAULT, is_image_tower
from layerzoo_timm.preprocess import preprocess_of
from layerzoo_timm.training import tasks_of, trained_on

_SAFETENSORS = "model.safetensors"
"""What timm's own organisation on the hub calls the file, in every repository that it publishes."""


def models() -> dict[str, list[dict[str, Any]]]:
    """Return the models of each architecture, its default tag first; one model without weights if it has no tag."""
    tags: dict[str, list[str]] = {name: [] for name in timm.list_models()}
    for name in timm.list_models(pretrained=True, include_tags=True):
        tags[name.split(".")[0]].append(name)
    return {architecture: _of(architecture, names) for architecture, names in tags.items()}


def _of(architecture: str, names: list[str]) -> list[dict[str, Any]]:
    if not names:
        return [_model(architecture, timm.get_pretrained_cfg(architecture))]
    default = f"{architecture}.{timm.get_pretrained_cfg(architecture).tag}"
    rows = [_model(name, timm.get_pretrained_cfg(name)) for name in sorted(names, key=lambda name: name != default)]
    rows[0]["aliases"] = [architecture]
    return rows


def _model(name: str, config: PretrainedCfg) -> dict[str, Any]:
    row = {
        "id": name,
        "modality": "vision",
        "builder": "timm",
        "args": {"name": name},
        "summary": _summary(name.split(".")[0]),
        "license": None if config.license == "unknown" else config.license,
        "tasks": tasks_of(name, config) if "." in name else None,
        "trained_on": trained_on(name.partition(".")[2]),
        "weights": weights_of(config),
        "preprocess": preprocess_of(config),
        "default": DEFAULT if is_image_tower(name, config) else None,
    }
    return {key: value for key, value in row.items() if value}


def weights_of(config: PretrainedCfg) -> str | None:
    """Return the source of a tag's weights on the hub; None where they are not there."""
    if not config.hf_hub_id:
        return None
    if config.hf_hub_filename:
        return f"hf://{config.hf_hub_id}/{config.hf_hub_filename}"
    is_timms = config.hf_hub_id.startswith("timm/")
    return f"hf://{config.hf_hub_id}/{_SAFETENSORS}" if is_timms else f"hf://{config.hf_hub_id}"


def _summary(architecture: str) -> str:
    """Return the first line of timm's documentation of an architecture, else of its model file."""
    make = model_entrypoint(architecture)
    lines = (_first_line(inspect.getdoc(each)) for each in (make, sys.modules[make.__module__]))
    return next(filter(None, lines), "")


def _first_line(documentation: str | None) -> str:
    lines = (documentation or "").strip().splitlines()
    line = re.sub(r"^(Constructs?|Instantiates?|Create) (an?|the) ", "", lines[0].strip()) if lines else ""
    return line.removesuffix(" model.").rstrip(".:, ")
