"""Whole specs: a declaration, together with what it takes over from its base."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from layerzoo.errors import LayerzooError, RegistryError, UnknownModelError
from layerzoo.registry.in_use import Row
from layerzoo.registry.installed import USER_NAMESPACE
from layerzoo.registry.shelf import MAX_ALIASES
from layerzoo.registry.source import Source
from layerzoo.spec import ModelSpec

if TYPE_CHECKING:
    from layerzoo.registry.repositories import Repositories
    from layerzoo.registry.stock import Stock
    from layerzoo.registry.unknown import Unknown

Bases = dict[str, dict[str, Any] | LayerzooError]
"""The plain form of bases by the name that leads to them, or why they cannot be used."""

_KEPT_BASES = 1000
MAX_BASES = 100
"""How many models may be built on one another."""


class Specs:
    """Finds declarations, follows aliases, and puts models together with their bases."""

    def __init__(self, stock: Stock, unknown: Callable[[], Unknown], repositories: Callable[[], Repositories]) -> None:
        """unknown, repositories: return these, and are called only about a name that nothing declares."""
        self._stock = stock
        self._unknown = unknown
        self._repositories = repositories

    def find(self, model: str) -> Row | None:
        """The declaration of a full id."""
        return self._stock.ask(lambda shelf: shelf.find(model))

    def resolved(self, name: str) -> str:
        """The id that an alias stands for, by way of other aliases; a name that is none stays as it is."""
        seen = {name}
        while self.find(name) is None:
            target = self._target(name)
            if target is None or target in seen or len(seen) > MAX_ALIASES:
                return name
            seen.add(name := target)
        return name

    def named(self, name: str) -> ModelSpec:
        """The spec of an id or an alias. Raises: UnknownModelError, RegistryError, PluginError."""
        model = self.resolved(name)
        if (row := self.find(model)) is None:
            if found := self._repositories().spec(model):
                return found
            raise _of_alias(name, model, self._unknown().model(model))
        return self.whole(row, [alias for alias, _ in self._stock.ask(lambda shelf: shelf.aliases(model))])

    def whole(self, row: Row, aliases: Sequence[str] = ()) -> ModelSpec:
        """Raises: UnknownModelError, RegistryError or PluginError when the base cannot be used."""
        plain = self._inherited(row, (), {})
        plain |= {"plugin": row.source.distribution, "aliases": tuple(aliases)}
        return _built(plain)

    def plain_heirs(self, rows: Iterable[Row]) -> Iterator[dict[str, Any] | None]:
        """The plain form of models that have a base, with what the base says; None where that cannot be used."""
        bases: Bases = {}
        for row in rows:
            if len(bases) > _KEPT_BASES:
                bases.clear()
            yield self._plain_heir(row, bases)

    def _plain_heir(self, row: Row, bases: Bases) -> dict[str, Any] | None:
        from layerzoo.registry.unknown import few_hints

        with few_hints(0):  # the message is not shown
            try:
                plain = self._inherited(row, (), bases)
                _built({**plain, "layers": ()})  # layers were checked where they are declared
            except LayerzooError:
                return None
        return plain

    def usable(self, row: Row, aliases: Sequence[str] = ()) -> ModelSpec | None:
        """As :meth:`whole`; None when the base cannot be used."""
        from layerzoo.registry.unknown import few_hints

        with few_hints(0):
            try:
                return self.whole(row, aliases)
            except LayerzooError:
                return None

    def _target(self, alias: str) -> str | None:
        return self._stock.ask(lambda shelf: shelf.target(alias))

    def _inherited(self, row: Row, heirs: tuple[str, ...], bases: Bases) -> dict[str, Any]:
        """The plain form of a model and its base. bases: those that are known; more are added."""
        own = dict(row.spec)
        if "base" not in own:
            return own
        from layerzoo.registry.inherit import inherit

        heirs = (*heirs, own["id"])
        if len(heirs) > MAX_BASES:
            raise RegistryError(f"{heirs[0]} is built on a chain of more than {MAX_BASES} models")
        if (known := bases.get(named := own["base"])) is not None:
            if isinstance(known, LayerzooError):
                raise known
            return inherit({**own, "base": known["id"]}, known)
        own["base"] = self.resolved(named)
        if own["base"] in heirs:
            raise RegistryError(f"{heirs[0]} is built on itself: {' → '.join([*heirs, own['base']])}")
        try:
            base = bases[named] = self._inherited(self._base(row, own), heirs, bases)
        except LayerzooError as error:
            bases[named] = error
            raise
        return inherit(own, base)

    def _base(self, row: Row, own: dict[str, Any]) -> Row:
        if own["base"].startswith(f"{USER_NAMESPACE}/") and row.source.role != "user":
            raise RegistryError(f"{own['id']} is built on {own['base']}: only your own models can be built on your own")
        if base := self.find(own["base"]):
            return base
        if found := self._repositories().spec(own["base"]):
            owner = Source("", "plugin", found.namespace, found.plugin)
            return Row(owner, found.to_dict())
        error = self._unknown().model(own["base"])
        if isinstance(error, UnknownModelError):
            message = f"{own['id']} is built on {own['base']}: {error}"
            raise UnknownModelError(message, asked=own["base"], nearest=error.nearest)
        raise error


def _of_alias(name: str, model: str, error: LayerzooError) -> LayerzooError:
    """The error about a model, which names the alias that led to it."""
    if name != model:
        error.args = (f"the alias '{name}' leads to {model}: {error}",)
    return error


def _built(plain: dict[str, Any]) -> ModelSpec:
    try:
        return ModelSpec.from_dict(plain)
    except TypeError as error:  # a field without a default is missing: only a base can leave one out
        both = f"{plain['id']} and its base {plain.get('base')}"
        missing = ", ".join(re.findall(r"'(\w+)'", str(error)))
        raise RegistryError(f"{both} together do not say enough: there is no {missing or error}") from None
