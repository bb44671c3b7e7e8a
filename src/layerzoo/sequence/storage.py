"""A trained model in one file: its numbers as safetensors, everything else as JSON in the file's metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from layerzoo.disk import atomic_path
from layerzoo.errors import InputError, OutputError

_KEY = "layerzoo.model"
_VERSION = 1


def write_model(
    path: str | os.PathLike[str], kind: str, facts: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write a model, whole or not at all.

    Args:
        path: the file to write.
        kind: what the model is; :func:`read_model` requires the same.
        facts: settings, as JSON-able data.
        arrays: numbers by name.
    Raises: OutputError.
    """
    target = Path(path)
    text = json.dumps({"version": _VERSION, "kind": kind, **facts}, ensure_ascii=False, allow_nan=False)
    try:
        with atomic_path(target) as temporary:
            # In place: save_file would replace the file by one that other users cannot read.
            content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()}, {_KEY: text})
            temporary.write_bytes(content)
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror or error}", path=target) from error


def read_model(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the facts and arrays of a model that :func:`write_model` wrote.

    Raises: InputError for a file that is missing, is damaged, or holds something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            text = (file.metadata() or {}).get(_KEY)
            facts = None if text is None else json.loads(text)
            if not isinstance(facts, dict) or facts.get("kind") != kind:
                held = f"holds the kind {facts.get('kind')!r}" if isinstance(facts, dict) else "is not of layerzoo"
                raise InputError(f"{path} is a safetensors file that {held}, and {kind!r} is needed")
            if facts.get("version") != _VERSION:
                raise InputError(
                    f"{path} has version {facts.get('version')}, and this layerzoo reads version {_VERSION}"
                )
            return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path} cannot be read as a saved {kind}: {error}") from error


def plain_labels(labels: NDArray[Any]) -> dict[str, Any]:
    """Return labels as JSON-able data, with their type. Raises: TypeError for labels that JSON cannot hold."""
    values = labels.tolist()
    if not all(isinstance(value, str | int | float | bool) for value in values):
        raise TypeError(
            f"labels are texts, numbers or booleans, and these are {sorted({type(v).__name__ for v in values})}"
        )
    return {"dtype": "object" if labels.dtype == object else labels.dtype.str, "values": values}


def labels_from_plain(plain: Mapping[str, Any]) -> NDArray[Any]:
    """Return the labels that :func:`plain_labels` described."""
    return np.array(plain["values"], dtype=plain["dtype"])
