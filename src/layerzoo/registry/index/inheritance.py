"""Index models that have a base, with the values that they inherit from it.

Without these views, each search would combine every such model with its base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerzoo.registry.index.models import Specs
    from layerzoo.registry.index.reader import IndexReader
    from layerzoo.registry.index.visibility import Declaration, IndexedSource
    from layerzoo.registry.index.writer import IndexedModel


class Inheritance:
    """Index models that have a base together with what they inherit."""

    def __init__(self, reader: IndexReader, specs: Callable[[], Specs]) -> None:
        """specs: returns the resolver of bases; it is called only where a view must be made."""
        self._reader = reader
        self._specs = specs

    def views(self) -> list[int]:
        """The views that hold them; made where a source is new. Raises: sqlite3.DatabaseError."""
        found = [self._view(key, sources) for key, sources in self._reader.inheritance_scopes()]
        return [view for view in found if view is not None]

    def unusable(self) -> list[Declaration]:
        """The models whose base cannot be used."""
        return self._reader.ask(lambda: self._reader.unusable(self.views()))

    def _view(self, key: str, sources: Sequence[IndexedSource]) -> int | None:
        if not self._reader.has_based(sources):
            return None
        known = self._reader.view(key)
        return self._reader.keep_view(key, self._whole(sources)) if known is None else known

    def _whole(self, sources: Sequence[IndexedSource]) -> Iterator[IndexedModel]:
        from layerzoo.registry.format.compiled import facets_of
        from layerzoo.registry.index.writer import IndexedModel

        based = self._reader.based(sources)
        wholes = self._specs().inherited([row for _, row in based])
        for (number, _), plain in zip(based, wholes, strict=True):
            if plain is not None:
                yield IndexedModel.of(number, plain, facets_of(plain))
