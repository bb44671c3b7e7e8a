"""Facts that do not follow from the library's classes: families.toml and padding.toml, by model type."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from layerzoo.spec import TOLERANCE, Batching


def family(config: Any) -> dict[str, Any]:
    """Return the entry of families.toml for a model type, merged with that of the type named by ``like``."""
    row: dict[str, Any] = read_table("families.toml").get(config.model_type, {})
    base: dict[str, Any] = read_table("families.toml").get(row.get("like", ""), {})
    return base | row | {"chain": base.get("chain", {}) | row.get("chain", {})}


def batching(config: Any) -> Batching:
    """Return how texts or audio clips of different length share a batch.

    families.toml decides, then the measured effect of padding on the type. A type that was not measured takes samples
    of equal length only.
    """
    declared: Batching | None = family(config).get("batching")
    error = padding_errors().get(config.model_type)
    return declared or ("tolerance" if error is not None and error <= TOLERANCE else "equal_lengths")


def padding_errors() -> Mapping[str, float]:
    """Return the effect of padding on the features of a text or an audio clip, relative to their norm, by type."""
    return read_table("padding.toml")


@cache
def read_table(name: str) -> dict[str, Any]:
    """Return the content of a TOML file of this package. name: of the file."""
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))
