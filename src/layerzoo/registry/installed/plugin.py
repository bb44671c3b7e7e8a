"""The entry point of an installed plugin, without importing the plugin."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal, NamedTuple

GROUP = "layerzoo"
CORE_NAMESPACE, CORE_MODULE, CORE_DISTRIBUTION = "toy", "layerzoo.testing.toy", "layerzoo"
USER_NAMESPACE = "mine"
FILE_NAME = "registry.yaml"
PACKAGE = Path(__file__).parents[2]

State = Literal["ok", "incomplete", "invalid", "unsupported", "no registry file", "not found", "conflict", "disabled"]
"""``incomplete``: some models are invalid, the others work. ``not found``: the entry point names no package.
``conflict``: the namespace is claimed twice, or reserved. ``disabled``: by the user."""

USABLE: tuple[State, ...] = ("ok", "incomplete")


def canonical(distribution: str) -> str:
    """Normalise the name of a distribution as pip does: ``Acme_Zoo`` is ``acme-zoo``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


class Installed(NamedTuple):
    """An entry point of the group ``layerzoo`` and the folder of its package."""

    namespace: str
    distribution: str
    version: str | None
    module: str
    folder: str | None = None
    file: str = FILE_NAME
    """The name of its registry file. Another name is used only to check a file before it replaces this one."""
    project: str | None = None
    """The folder that it was installed from, as in `pip install -e FOLDER`: its user is then taken for its author."""
    state: State = "ok"
    cause: str | None = None
    fix: str | None = None

    @property
    def path(self) -> str | None:
        """The path of its registry.yaml, which need not exist; None if the package was not found."""
        return None if self.folder is None else os.path.join(self.folder, self.file)  # noqa: PTH118 - hot

    @property
    def release(self) -> str:
        """Distribution and version; without the version if it is unknown."""
        return f"{self.distribution} {self.version}" if self.version else self.distribution

    def is_called(self, name: str) -> bool:
        """Return whether this is the name of its namespace or, in any spelling that pip accepts, its distribution."""
        return name == self.namespace or canonical(name) == canonical(self.distribution)
