"""Whole specs: a declaration, together with what it takes over from its base."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from layerzoo.errors import LayerzooError, RegistryError, UnknownModelError
from layerzoo.registry.inherit import inherit
from layerzoo.registry.shelf import Row
from layerzoo.registry.stock import Stock
from layerzoo.registry.unknown import Unknown
from layerzoo.spec import ModelSpec


class Specs:
    """Finds declarations, follows aliases, and puts models together with their bases."""

    def __init__(self, stock: Stock, unknown: Unknown) -> None:
        self._stock = stock
        self._unknown = unknown

    def find(self, model: str) -> Row | None:
        """The declaration of a full id."""
        return self._stock.ask(lambda shelf: shelf.find(model))

    def resolved(self, name: str) -> str:
        """The id that an alias stands for, by way of other aliases; a name that is none stays as it is."""
        seen = {name}
        while self.find(name) is None:
            target = self._target(name)
            if target is None or target in seen:
                return name
            seen.add(name := target)
        return name

    def named(self, name: str) -> ModelSpec:
        """The spec of an id or an alias. Raises: UnknownModelError, RegistryError, PluginError."""
        model = self.resolved(name)
        if (row := self.find(model)) is None:
            raise self._unknown.model(model)
        return self.whole(row, [alias for alias, _ in self._stock.ask(lambda shelf: shelf.aliases(model))])

    def whole(self, row: Row, aliases: Sequence[str] = ()) -> ModelSpec:
        """Raises: UnknownModelError, RegistryError or PluginError when the base cannot be used."""
        plain = self._inherited(row, ())
        plain |= {"plugin": row.source.distribution, "aliases": tuple(aliases)}
        try:
            return ModelSpec.from_dict(plain)
        except TypeError as error:  # a field without a default is missing: only a base can leave one out
            both = f"{plain['id']} and its base {plain.get('base')}"
            raise RegistryError(f"{both} together do not say enough: {error}") from None

    def usable(self, row: Row, aliases: Sequence[str] = ()) -> ModelSpec | None:
        """As :meth:`whole`; None when the base cannot be used."""
        try:
            return self.whole(row, aliases)
        except LayerzooError:
            return None

    def _target(self, alias: str) -> str | None:
        return self._stock.ask(lambda shelf: shelf.target(alias))

    def _inherited(self, row: Row, heirs: tuple[str, ...]) -> dict[str, Any]:
        own = dict(row.spec)
        if "base" not in own:
            return own
        heirs = (*heirs, own["id"])
        own["base"] = self.resolved(own["base"])
        if own["base"] in heirs:
            raise RegistryError(f"{heirs[0]} is built on itself: {' → '.join([*heirs, own['base']])}")
        if (base := self.find(own["base"])) is None:
            error = self._unknown.model(own["base"])
            if isinstance(error, UnknownModelError):
                raise UnknownModelError(f"{own['id']} is built on {own['base']}: {error}", asked=own["base"])
            raise error
        return inherit(own, self._inherited(base, heirs))
