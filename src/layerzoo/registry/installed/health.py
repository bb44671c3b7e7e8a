"""What is wrong with a plugin as a whole, and what to do about it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from packaging.requirements import Requirement


from layerzoo.registry.installed import advice
from layerzoo.registry.installed.plugin import PluginManifest

ImportState = Literal["ok", "failed", "crashed", "hung"]
"""``failed``: it raised, or a hook did. ``crashed``: the interpreter ended. ``hung``: it took longer than it might."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOutcome:
    """How the import of a plugin went, in this process or in one of its own, or the call of a hook after it."""

    state: ImportState
    cause: str | None = None
    """Why it is not ``ok``: one line."""
    fix: str | None = None
    """What to do about it."""
    seconds: float
    """How long it took."""
    at: str
    """When: ISO 8601, UTC."""

    @classmethod
    def failure(cls, state: ImportState, cause: str, fix: str, seconds: float) -> ImportOutcome:
        """An import that went wrong just now."""
        return cls(state=state, cause=cause, fix=fix, seconds=round(seconds, 3), at=_now())

    @classmethod
    def success(cls, seconds: float) -> ImportOutcome:
        """An import that went well just now."""
        return cls(state="ok", seconds=round(seconds, 3), at=_now())

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values."""
        return asdict(self)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


@dataclass(frozen=True, slots=True)
class Unmet:
    """A requirement that is not met. found: the version that is installed; None where none is."""

    name: str
    requirement: str
    """As pip takes it, without extras and markers: ``torch>=2.6``."""
    found: str | None

    def __str__(self) -> str:
        installed = f"{self.found} is installed" if self.found else "it is not installed"
        return f"it requires {self.requirement}, and {installed}"


def unmet_requirements(distribution: str) -> list[Unmet]:
    """What a distribution asks for directly, or by way of extras (``layerzoo[torch]``), and is not installed so.

    Markers hold for this Python and machine. A distribution that is not installed, or whose metadata cannot be read,
    asks for nothing; a requirement that cannot be read is passed over.
    """
    found = {str(each): each for each in _unmet(distribution, frozenset(), set())}
    return list(found.values())


def _unmet(distribution: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[Unmet]:
    if (distribution, extras) in seen:  # extras may name each other in a circle
        return
    seen.add((distribution, extras))
    for requirement in _requirements(distribution, extras):
        version = _version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            yield Unmet(requirement.name, f"{requirement.name}{requirement.specifier}", version)
        elif requirement.extras:
            yield from _unmet(requirement.name, frozenset(requirement.extras), seen)


def _requirements(distribution: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """With extras, only what they add."""
    from packaging.requirements import InvalidRequirement, Requirement

    for text in _declared(distribution):
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        is_plain = marker is None or marker.evaluate({"extra": ""})
        if extras:
            is_wanted = not is_plain and any(marker is not None and marker.evaluate({"extra": each}) for each in extras)
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
    """A plugin, with all that is known of it: its manifest, how its import went, what it lacks.

    ``state``, ``cause`` and ``fix`` are those of the first that stops it: the manifest, the import, a requirement, and
    then what costs only some of its models.
    """

    plugin: PluginManifest
    last_import: ImportOutcome | None = None
    """None where it was not tried."""
    unmet: tuple[Unmet, ...] = ()

    @property
    def is_usable(self) -> bool:
        """Whether its networks can be built, as far as is known."""
        return self.plugin.is_usable and not self._failed_import

    @property
    def is_good(self) -> bool:
        """Whether nothing at all is wrong."""
        return self.state == "ok"

    @property
    def state(self) -> str:
        """``ok``, or what stops it."""
        if not self.plugin.is_usable:
            return self.plugin.state
        if self._failed_import:
            return self._failed_import.state
        return "missing library" if self.unmet else self.plugin.state

    @property
    def cause(self) -> str | None:
        """What is wrong; None where nothing is."""
        if not self.plugin.is_usable:
            return self.plugin.cause
        if self._failed_import:
            return self._failed_import.cause
        return "; ".join(map(str, self.unmet)) or self.plugin.cause

    @property
    def fix(self) -> str | None:
        """What to do about it."""
        if not self.plugin.is_usable:
            return self.plugin.fix
        if self.unmet:  # also where the import failed: what was asked for may be all that it lacks
            return advice.install(*(each.requirement for each in self.unmet))
        return self._failed_import.fix if self._failed_import else self.plugin.fix

    @property
    def _failed_import(self) -> ImportOutcome | None:
        return self.last_import if self.last_import and self.last_import.state != "ok" else None
