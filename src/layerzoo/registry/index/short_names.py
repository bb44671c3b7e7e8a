"""Resolve names that are the end of an id or an alias."""

from __future__ import annotations

from layerzoo.errors import UnknownModelError
from layerzoo.registry.index.models import Specs
from layerzoo.registry.index.reader import IndexReader


class ShortNames:
    """Finds the models that a short name may mean."""

    def __init__(self, reader: IndexReader, specs: Specs) -> None:
        self._reader = reader
        self._specs = specs

    def full_id(self, name: str) -> str:
        """See :meth:`layerzoo.registry.Registry.full_id`."""
        if self._is_full(name):
            return name
        candidates = self._reader.ids_ending(name)
        if not candidates:
            aliases = [alias for alias in self._reader.aliases_ending(name) if alias != name]
            targets = list(dict.fromkeys(map(self._specs.resolved, aliases)))
            # The error about a single target that cannot be used explains more than one about the short name.
            candidates = [target for target in targets if self._specs.find(target) is not None] or targets[:1]
        if len(candidates) > 1:
            message = f"'{name}' is ambiguous: {', '.join(candidates)}"
            raise UnknownModelError(message, asked=name, nearest=candidates)
        return candidates[0] if candidates else name

    def _is_full(self, name: str) -> bool:
        """Return whether a name is an id or an alias, or belongs to a namespace that is known."""
        if not isinstance(name, str) or not name or self._reader.target(name) is not None:
            return True
        return self._specs.find(name) is not None or (
            "/" in name and self._reader.has_namespace(name.partition("/")[0])
        )
