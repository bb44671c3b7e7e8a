"""The manifest of a plugin and its health: whether it can be used, why not, and what to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from packaging.requirements import Requirement


from layerzoo.registry.installed import advice
from layerzoo.registry.installed.plugin import USABLE, State, canonical

ImportState = Literal["ok", "failed", "crashed", "hung"]
"""``failed``: it raised, or a hook did. ``crashed``: the interpreter ended. ``hung``: it took longer than it might."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginManifest:
    """The declarations of a plugin, and whether they can be used."""

    namespace: str
    """The prefix of its models' ids, before the first slash."""
    distribution: str
    """The name of the package that pip installs."""
    version: str | None = None
    """The version of the distribution; None if it is unknown."""
    module: str
    """The top-level module with its hooks."""
    path: str | None = None
    """The path of its registry.yaml."""
    project: str | None = None
    """The folder that it was installed from, if it was: its user is then assumed to be its author."""
    state: State = "ok"
    """Whether it can be used, and if not, why."""
    cause: str | None = None
    """Why the state is not ``ok``."""
    fix: str | None = None
    """What to do about it."""
    models: int = 0
    """Number of usable models."""
    builders: tuple[str, ...] = ()
    """The builders that it offers."""

    @property
    def release(self) -> str:
        """Distribution and version; without the version if it is unknown."""
        return f"{self.distribution} {self.version}" if self.version else self.distribution

    def is_called(self, name: str) -> bool:
        """Return whether this is the name of its namespace or, in any spelling that pip accepts, its distribution."""
        return name == self.namespace or canonical(name) == canonical(self.distribution)

    @property
    def is_usable(self) -> bool:
        """Whether its models can be looked up."""
        return self.state in USABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOutcome:
    """The outcome of importing a plugin, in this process or another, or of calling one of its hooks."""

    state: ImportState
    cause: str | None = None
    """Why it is not ``ok``, in one line."""
    fix: str | None = None
    """The next step."""
    seconds: float
    """Duration in seconds."""
    at: str
    """The time of the import: ISO 8601, UTC."""

    @classmethod
    def failure(cls, state: ImportState, cause: str, fix: str, seconds: float) -> ImportOutcome:
        """Return the outcome of an import that has just failed."""
        return cls(state=state, cause=cause, fix=fix, seconds=round(seconds, 3), at=_utc_timestamp())

    @classmethod
    def success(cls, seconds: float) -> ImportOutcome:
        """Return the outcome of an import that has just succeeded."""
        return cls(state="ok", seconds=round(seconds, 3), at=_utc_timestamp())

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)


def _utc_timestamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True, slots=True)
class Unmet:
    """A requirement that is not met. ``found`` is the installed version; None if it is not installed."""

    name: str
    requirement: str
    """In the form of pip, without extras and markers: ``torch>=2.6``."""
    found: str | None

    def __str__(self) -> str:
        installed = f"{self.found} is installed" if self.found else "it is not installed"
        return f"it requires {self.requirement}, and {installed}"


def unmet_requirements(distribution: str) -> list[Unmet]:
    """Return the requirements of a distribution that are not met, including those of extras (``layerzoo[torch]``).

    Markers are evaluated for this Python and machine. A distribution that is not installed, or whose metadata cannot be
    read, has no requirements. A requirement that cannot be parsed is ignored.
    """
    unmet = {str(requirement): requirement for requirement in _unmet(distribution, frozenset(), set())}
    return list(unmet.values())


def _unmet(distribution: str, extras: frozenset[str], visited: set[tuple[str, frozenset[str]]]) -> Iterator[Unmet]:
    if (distribution, extras) in visited:  # extras may refer to each other
        return
    visited.add((distribution, extras))
    for requirement in _requirements(distribution, extras):
        version = _version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield Unmet(requirement.name, f"{requirement.name}{requirement.specifier}", version)
        elif requirement.extras:
            yield from _unmet(requirement.name, frozenset(requirement.extras), visited)


def _requirements(distribution: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """Yield the requirements of a distribution; with extras, only those that the extras add."""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in _declared(distribution):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        is_plain = marker is None or marker.evaluate({"extra": ""})
        if extras:
            is_wanted = not is_plain and any(
                marker is not None and marker.evaluate({"extra": extra}) for extra in extras
            )
        else:
            is_wanted = is_plain
        if is_wanted:
            yield requirement


def _declared(distribution: str) -> list[str]:
    import importlib.metadata

    try:
        return importlib.metadata.requires(distribution) or []
    except Exception:  # noqa: BLE001 - not installed, or metadata that each version of Python fails at in its own way
        return []


def _version(distribution: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except Exception:  # noqa: BLE001 - as above
        return None


@dataclass(frozen=True, slots=True)
class Health:
    """A plugin with its manifest, the outcome of its import, and its unmet requirements.

    ``state``, ``cause`` and ``fix`` describe the first problem, in this order: the manifest, the import, a requirement,
    and then a problem of only some of its models.
    """

    plugin: PluginManifest
    last_import: ImportOutcome | None = None
    """None if it was not imported."""
    unmet: tuple[Unmet, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether its networks can be built, unless an unknown problem occurs."""
        return self.plugin.is_usable and not self._failed_import

    @property
    def is_good(self) -> bool:
        """Whether there is no problem at all."""
        return self.state == "ok"

    @property
    def state(self) -> str:
        """``ok``, or the kind of the first problem."""
        if not self.plugin.is_usable:
            return self.plugin.state
        if self._failed_import:
            return self._failed_import.state
        return "missing library" if self.unmet else self.plugin.state

    @property
    def cause(self) -> str | None:
        """The cause of the first problem; None if there is none."""
        if not self.plugin.is_usable:
            return self.plugin.cause
        if self._failed_import:
            return self._failed_import.cause
        return "; ".join(map(str, self.unmet)) or self.plugin.cause

    @property
    def fix(self) -> str | None:
        """The next step."""
        if not self.plugin.is_usable:
            return self.plugin.fix
        if self.unmet:  # also if the import failed, which a missing requirement may explain
            return advice.install(*(unmet.requirement for unmet in self.unmet))
        return self._failed_import.fix if self._failed_import else self.plugin.fix

    @property
    def _failed_import(self) -> ImportOutcome | None:
        return self.last_import if self.last_import and self.last_import.state != "ok" else None
