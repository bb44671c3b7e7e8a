"""What an installed distribution asks for in its metadata, and what of that is not there. Imports nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement


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
