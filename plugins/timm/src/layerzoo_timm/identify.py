"""Identify the model of a hub repository by the config.json that timm's ``push_to_hf_hub`` writes."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import timm
from timm.models import PretrainedCfg
from timm.models._hub import load_model_config_from_path

from layerzoo.authoring import check_counts, check_pixels
from layerzoo.errors import RepositoryError
from layerzoo.weights import Files
from layerzoo_timm.arguments import check_architecture, check_arguments
from layerzoo_timm.embedding import DEFAULT, is_image_tower
from layerzoo_timm.preprocess import preprocess_of

_LONGEST = 400
"""Characters of a message of the library that are repeated: it may hold all of a file."""
_FIELDS = {field.name for field in fields(PretrainedCfg)}


def identify(model: str, files: Files) -> list[dict[str, Any]] | None:
    """Return the model of a repository, as ``timm.create_model("hf-hub:ORG/REPO")`` creates it. model: its id.

    Raises: RepositoryError for a config.json that is not valid JSON, or that names an architecture that timm does
        not have.
    """
    path = files.get("config.json")
    if path is None or not isinstance(name := _config_data(model, path).get("architecture"), str):
        return None
    settings = _config_data(model, path)
    own = settings.get("model_args") or {}
    check_arguments(model, {**(own if isinstance(own, dict) else {}), "name": name})
    check_architecture(model, name, "its config.json names")
    check_counts(settings, of=model)
    try:
        config_fields, _, arguments = load_model_config_from_path(path.parent)
        config = PretrainedCfg(**{key: value for key, value in config_fields.items() if key in _FIELDS})
        args = {"name": name, "num_classes": config.num_classes, **arguments}
        preprocess = preprocess_of(config)
        row = {"modality": "vision", "summary": name, "args": args, "preprocess": preprocess}
        is_tower = is_image_tower(name, config)
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError) as error:
        reason = next(filter(None, str(error).splitlines()), type(error).__name__)[:_LONGEST]
        raise RepositoryError(
            f"{model}: timm {timm.__version__} cannot make sense of its config.json: {type(error).__name__}: {reason}"
        ) from error
    check_pixels(*preprocess["size_px"], of=model)
    return [{**row, "default": DEFAULT} if is_tower else row]


def _config_data(model: str, path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RepositoryError(f"{model}: its config.json is not valid JSON: {error}") from error
    return data if isinstance(data, dict) else {}
