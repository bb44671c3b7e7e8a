"""What does not follow from the library's classes: families.toml, by model type."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Any


def family(config: Any) -> dict[str, Any]:
    """What families.toml says of the type of a configuration."""
    return _families().get(config.model_type, {})


@cache
def _families() -> dict[str, dict[str, Any]]:
    return tomllib.loads(resources.files(__package__).joinpath("families.toml").read_text(encoding="utf-8"))
