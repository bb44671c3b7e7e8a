"""What does not follow from the library's classes: families.toml, by model type."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any


def family(config: Any) -> dict[str, Any]:
    """What families.toml says of the type of a configuration; of one that is like another, what is said of that too."""
    row = _families().get(config.model_type, {})
    other = _families().get(row.get("like", ""), {})
    return other | row | {"chain": other.get("chain", {}) | row.get("chain", {})}


@cache
def _families() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files(__package__).joinpath("families.toml").read_text(encoding="utf-8"))
