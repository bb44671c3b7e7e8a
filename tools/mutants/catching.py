"""Run the checks on a plugin that is wrong in one way, and on the correct ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.mutants.making import Base, Mutant, write_plugin

from layerzoo.conformance import engine
from layerzoo.conformance.codes import CHECKS, TIERS, Tier
from layerzoo.conformance.report import Report
from layerzoo.conformance.target import opened


def report_of(base: Base, folder: Path, mutant: Mutant | None = None, tiers: Sequence[Tier] = TIERS) -> Report:
    """Write a plugin into a new folder, and check it.

    Args:
        base: the correct plugin.
        folder: an empty folder.
        mutant: its fault; None: a correct plugin.
        tiers: the tiers to run.
    """
    write_plugin(base, folder / "project", mutant)
    return report_in(folder / "project", tiers)


def report_in(project: Path, tiers: Sequence[Tier] = TIERS) -> Report:
    """Check the plugin in a folder, without installing it."""
    with opened(str(project)) as target:
        return engine.run(target.plugins, target.models, tiers=tiers, expected=target.expected)


def tier_of(mutant: Mutant) -> list[Tier]:
    """Return the tier in which a mutant shows."""
    return [mutant.tier or CHECKS[mutant.code].tier]
