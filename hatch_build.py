"""The root's registry.yaml goes into the package, but not where the package is read from the checkout itself."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class RegistryOfTheRoot(BuildHookInterface):  # type: ignore[type-arg]
    """`force-include` in pyproject.toml would leave a copy in site-packages that an editable install never renews."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            build_data["force_include"]["registry.yaml"] = "layerzoo/registry.yaml"
