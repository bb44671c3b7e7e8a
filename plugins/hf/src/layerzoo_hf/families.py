"""What does not follow from the library's classes: families.toml and padding.toml, by model type."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from layerzoo.spec import TOLERANCE, Batching


def family(config: Any) -> dict[str, Any]:
    """What families.toml says of the type of a configuration; of one that is like another, what is said of that too."""
    row: dict[str, Any] = _read("families.toml").get(config.model_type, {})
    other: dict[str, Any] = _read("families.toml").get(row.get("like", ""), {})
    return other | row | {"chain": other.get("chain", {}) | row.get("chain", {})}


def batching(config: Any) -> Batching:
    """How texts, or sounds, of different length share a batch: as families.toml says; else as padding was measured to
    bear on the type, and only at equal lengths where it was not measured."""
    declared: Batching | None = family(config).get("batching")
    error = padding_errors().get(config.model_type)
    return declared or ("tolerance" if error is not None and error <= TOLERANCE else "equal_lengths")


def padding_errors() -> Mapping[str, float]:
    """What filling up a text, or a sound, changes, relative to the length of its features, by model type."""
    return _read("padding.toml")


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath(name).read_text(encoding="utf-8"))
