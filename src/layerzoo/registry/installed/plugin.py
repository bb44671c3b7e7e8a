"""A plugin as it is known without running it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GROUP = "layerzoo"
CORE_NAMESPACE, CORE_MODULE, CORE_DISTRIBUTION = "toy", "layerzoo.testing.toy", "layerzoo"
USER_NAMESPACE = "mine"
FILE_NAME = "registry.yaml"
PACKAGE = Path(__file__).parents[2]

State = Literal["ok", "incomplete", "invalid", "unsupported", "no registry file", "not found", "conflict", "disabled"]
"""``incomplete``: some models are invalid, the others work. ``not found``: the entry point names no package.
``conflict``: the namespace is claimed twice, or is not the plugin's to claim. ``disabled``: by the user."""

USABLE: tuple[State, ...] = ("ok", "incomplete")


def canonical(distribution: str) -> str:
    """A distribution's name as pip compares it: ``Acme_Zoo`` is ``acme-zoo``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginManifest:
    """What a plugin declares, and whether that can be used."""

    namespace: str
    """What stands before the first slash of its models' ids."""
    distribution: str
    """What pip installs."""
    version: str | None = None
    """The distribution's, where it is known."""
    module: str
    """The top-level module whose hooks are called."""
    path: str | None = None
    """Its registry.yaml."""
    project: str | None = None
    """The folder of its source code, where it was installed from a folder of this machine: its user is its author."""
    state: State = "ok"
    """Whether it can be used; if not, why."""
    cause: str | None = None
    """Why the state is not ``ok``."""
    fix: str | None = None
    """What to do about it."""
    models: int = 0
    """How many models it declares that can be used."""
    builders: tuple[str, ...] = ()
    """The builders that it offers."""

    @property
    def release(self) -> str:
        """Distribution and version, as far as they are known."""
        return f"{self.distribution} {self.version}" if self.version else self.distribution

    def is_called(self, name: str) -> bool:
        """Whether this is the name of its namespace, or of its distribution however that is spelt."""
        return name == self.namespace or canonical(name) == canonical(self.distribution)

    @property
    def is_usable(self) -> bool:
        """Whether its models can be looked up."""
        return self.state in USABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """One entry point of the group ``layerzoo``, and the folder of the package it names."""

    namespace: str
    distribution: str
    version: str | None
    module: str
    folder: str | None = None
    file: str = FILE_NAME
    """What its registry file is called; another name only while one is checked that is not in place yet."""
    project: str | None = None
    """The folder of its source code, where it was installed from a folder of this machine: `pip install -e FOLDER`. Who
    uses it is its author then."""
    state: State = "ok"
    cause: str | None = None
    fix: str | None = None

    @property
    def path(self) -> str | None:
        """Where its registry.yaml is, or should be."""
        return None if self.folder is None else os.path.join(self.folder, self.file)  # noqa: PTH118 - hot

    @property
    def release(self) -> str:
        """Distribution and version, as far as they are known."""
        return f"{self.distribution} {self.version}" if self.version else self.distribution

    def is_called(self, name: str) -> bool:
        """Whether this is the name of its namespace, or of its distribution however that is spelt."""
        return name == self.namespace or canonical(name) == canonical(self.distribution)
