"""Models that are built on another, with what they take over: worked out once, and kept until a source changes.

Without it, every search would put every such model together with its base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from layerzoo.registry.in_use import Row
    from layerzoo.registry.index import IndexedSource, ShelvedModel
    from layerzoo.registry.shelf import Shelf
    from layerzoo.registry.specs import Specs


class Heirs:
    """Shelves the models that have a base beside those that have none."""

    def __init__(self, specs: Callable[[], Specs]) -> None:
        """specs: returns what resolves bases; it is called only where views must be made."""
        self._specs = specs

    def views(self, shelf: Shelf) -> list[int]:
        """The views that hold them; made where a source is new. Raises: sqlite3.DatabaseError."""
        found = [self._view(shelf, key, sources) for key, sources in shelf.circles()]
        return [view for view in found if view is not None]

    def unusable(self, shelf: Shelf) -> list[Row]:
        """The models whose base cannot be used."""
        return shelf.unusable(self.views(shelf))

    def _view(self, shelf: Shelf, key: str, sources: Sequence[IndexedSource]) -> int | None:
        if not shelf.has_based(sources):
            return None
        known = shelf.view(key)
        return shelf.keep_view(key, self._shelved(shelf, sources)) if known is None else known

    def _shelved(self, shelf: Shelf, sources: Sequence[IndexedSource]) -> Iterator[ShelvedModel]:
        from layerzoo.registry.facets import facets_of
        from layerzoo.registry.index import ShelvedModel

        based = shelf.based(sources)
        wholes = self._specs().plain_heirs([row for _, row in based])
        for (number, _), plain in zip(based, wholes, strict=True):
            if plain is not None:
                yield ShelvedModel.of(number, plain, facets_of(plain))
