"""What is wrong with a plugin as a whole, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from layerzoo.registry import advice
from layerzoo.registry.manifest import PluginManifest
from layerzoo.registry.outcome import ImportOutcome
from layerzoo.registry.requirements import Unmet


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
        return "lacks a library" if self.unmet else self.plugin.state

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
