"""The next step for a plugin that cannot be used. Every command that shows one takes its words from here."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_CORE = "layerzoo"


def disable(name: str) -> str:
    return f"zoo plugin disable {shlex.quote(name)}"


def enable(name: str) -> str:
    return f"zoo plugin enable {shlex.quote(name)}"


def install(*requirements: str) -> str:
    return f"pip install {' '.join(map(shlex.quote, requirements))}"


def upgrade(*distributions: str) -> str:
    return f"pip install -U {' '.join(map(shlex.quote, distributions))}"


def install_again(distribution: str) -> str:
    return f"pip install --force-reinstall {shlex.quote(distribution)}"


def reinstall(distribution: str) -> str:
    """Something of it is missing or damaged."""
    again = install_again(distribution)
    return again if distribution == _CORE else f"{again}, or pip uninstall {shlex.quote(distribution)}"


def take_out(distribution: str) -> str:
    """It can be here only without harm when it is not used."""
    return f"pip uninstall {shlex.quote(distribution)}, or {disable(distribution)}"


def upgrade_or_tell(distribution: str) -> str:
    """The mistake is in how it was packaged."""
    return f"{upgrade(distribution)}; if that is the newest, tell its author"


def correct_file(distribution: str, path: str | None) -> str:
    """Its registry.yaml is not valid, in whole or in part."""
    if distribution == _CORE or path is None:
        return reinstall(distribution)
    return f"{upgrade(distribution)}; its author sees all that is wrong with: zoo registry check {shlex.quote(path)}"


def ship_file(distribution: str) -> str:
    """Its registry.yaml is not there."""
    again = install_again(distribution)
    return again if distribution == _CORE else f"{again}; if it was never shipped, tell its author"


def match_versions(distribution: str) -> str:
    """It was made for another layerzoo than this one: which of the two is too old, pip finds out."""
    return upgrade(_CORE, distribution) if distribution != _CORE else upgrade(_CORE)


def choose_one(distributions: Sequence[str]) -> str:
    """Several claim one namespace."""
    return f"keep one of them: {' or '.join(map(disable, distributions))}"


def upgrade_or_leave_out(namespace: str, distribution: str, *others: str) -> str:
    """The plugin fails by itself, or together with others that it stands on."""
    return or_leave_out(namespace, distribution, upgrade(distribution, *others))


def or_leave_out(namespace: str, distribution: str, step: str) -> str:
    """A step that may not help, and what always does."""
    return step if distribution == _CORE else f"{step}; until that helps: {disable(namespace)}"
