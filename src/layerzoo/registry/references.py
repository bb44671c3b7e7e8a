"""Names in registry files that lead to nothing, each at its place and with what was probably meant.

Where names stand is not kept: where one leads nowhere, its file is read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from layerzoo.errors import LayerzooError, NotFoundError, RegistryError
from layerzoo.registry.diagnostics import Diagnostic
from layerzoo.registry.heirs import Heirs
from layerzoo.registry.in_use import covers
from layerzoo.registry.installed import USER_NAMESPACE
from layerzoo.registry.places import Place
from layerzoo.registry.repositories import Repositories
from layerzoo.registry.shelf import MAX_ALIASES, Shelf
from layerzoo.registry.source import Source, full_id
from layerzoo.registry.specs import Specs
from layerzoo.registry.stock import Stock
from layerzoo.registry.unknown import COMPARED_NAMES, Unknown, few_hints, nearest_within_limit

if TYPE_CHECKING:
    from layerzoo.registry.document import Document, Loc


_MOST = 1_000
"""How many names that lead nowhere are listed."""
_HINTS = 20
"""For how many names that lead nowhere the nearest ones are looked for."""


class References:
    """The names by which the files of a zoo refer to models."""

    def __init__(self, stock: Stock, specs: Specs, heirs: Heirs, unknown: Unknown, repositories: Repositories) -> None:
        self._stock = stock
        self._specs = specs
        self._heirs = heirs
        self._unknown = unknown
        self._repositories = repositories

    def dangling(self) -> list[Diagnostic]:
        """What leads nowhere: aliases, bases, entries of ``disable``, defaults, and catalogues that are not there."""
        found = self._found()
        with few_hints(_HINTS):
            told = list(islice(found, _MOST))
        if next(found, None) is not None:
            message = f"more than {_MOST:,} names lead nowhere; the others are not listed"
            told.append(Diagnostic.at(Place(1, 1), path=told[-1].path, code="reference", message=message))
        return told

    def place_of(self, model: str) -> str | None:
        """Where a model is declared, as FILE:LINE; of a line in a catalogue, the file alone."""
        if (row := self._specs.find(model)) is None:
            return None
        if any(row.source.path == each.head["catalogue"] for each in self._stock.sources):
            return row.source.path
        return f"{row.source.path}:{_Files([]).model(row.source, model).line}"

    def _found(self) -> Iterator[Diagnostic]:
        files = _Files([path for each in self._stock.sources if (path := each.head["catalogue"])])
        yield from self._catalogues(files)
        yield from self._aliases(files)
        yield from self._bases(files)
        yield from self._bases_of_invalid_models(files)
        yield from self._disabled(files)
        yield from self._defaults(files)

    def _catalogues(self, files: _Files) -> Iterator[Diagnostic]:
        for each in self._stock.sources:
            if (path := each.head["catalogue"]) and not os.path.lexists(path):
                message = f"there is no file {Path(path).name} beside this one"
                yield _diagnostic(each.source, files.place(each.source, ("catalogue",)), message)

    def _aliases(self, files: _Files) -> Iterator[Diagnostic]:
        disabled = self._stock.ask(Shelf.disabled)
        for source, alias, target in self._stock.ask(Shelf.dangling_aliases):
            if alias in disabled:  # its target is disabled by this name
                continue
            if error := self._reason(target, source):
                message = f"the alias '{alias}' stands for {target}: {error}"
                yield _diagnostic(source, files.alias(source, alias), message, error)
        targets = self._stock.ask(Shelf.targets)
        for source, alias, target in self._stock.ask(Shelf.aliases_of_aliases):
            if self._leads_back(alias, targets) and self._specs.find(alias) is None:
                message = f"the alias '{alias}' stands for {target}, which leads back to it, and to no model"
                yield _diagnostic(source, files.alias(source, alias), message)

    def _leads_back(self, alias: str, targets: dict[str, str]) -> bool:
        """Whether an alias leads to itself by way of other aliases, none of which is a model."""
        seen: list[str] = []
        name = alias
        while name not in seen and len(seen) <= MAX_ALIASES:
            seen.append(name)
            step = targets.get(name) or targets.get(name.removeprefix(f"{USER_NAMESPACE}/"))
            if step is None:
                return False
            name = step
        return name == alias and all(self._specs.find(each) is None for each in seen)

    def _bases(self, files: _Files) -> Iterator[Diagnostic]:
        for row in self._stock.ask(self._heirs.unusable):
            try:
                self._specs.whole(row)
            except LayerzooError as error:
                model = str(row.spec["id"])
                place = files.base(row.source, model)
                message = str(error)
                if isinstance(error, RegistryError) and error.diagnostics:
                    message = f"{model} is built on {row.spec['base']}, whose declaration is not valid"
                yield _diagnostic(row.source, place, message, error, model)

    def _bases_of_invalid_models(self, files: _Files) -> Iterator[Diagnostic]:
        """So that an author who has repaired a model does not meet the next mistake in it."""
        sources = {each.source.path: each.source for each in self._stock.sources}
        wrong = self._stock.ask(lambda shelf: shelf.diagnostics())
        for path, model in sorted({(found.path, found.model) for found in wrong if found.model is not None}):
            base = files.written_base(sources[path], model) if path in sources else None
            if base is None or self._specs.find(self._specs.resolved(base)) is not None:
                continue
            error = self._reason(base, sources[path])
            if isinstance(error, NotFoundError):
                yield _diagnostic(sources[path], files.base(sources[path], model), str(error), error, model)

    def _disabled(self, files: _Files) -> Iterator[Diagnostic]:
        for source, entry in self._stock.ask(Shelf.idle_disabled):
            if not self._is_left_out(entry) and self._repositories.named(entry) is None:
                close = _nearest_entries(entry, lambda: self._stock.ask(lambda shelf: shelf.ids(COMPARED_NAMES)))
                hint = f"Nearest: {', '.join(close)}. " if close else ""
                message = f"there is no model '{entry}' to disable. {hint}All: zoo list"
                yield _diagnostic(source, files.entry(source, "disable", entry), message, nearest=tuple(close))

    def _defaults(self, files: _Files) -> Iterator[Diagnostic]:
        published = self._unknown.published()
        installed = {each.namespace for each in self._stock.surroundings.installed if each.state == "ok"}
        for each in self._stock.sources:
            for modality, model in each.head["defaults"].items():
                namespace = model.partition("/")[0]
                is_known = namespace in installed or namespace not in published
                # What could be installed is no mistake, nor what its plugin has spoilt.
                if not is_known or self._specs.find(self._specs.resolved(model)) is not None:
                    continue
                error = self._reason(model, each.source)
                if isinstance(error, NotFoundError):
                    message = f"the default for {modality} leads nowhere: {error}"
                    place = files.place(each.source, ("defaults", modality))
                    yield _diagnostic(each.source, place, message, error)

    def _reason(self, name: str, source: Source) -> LayerzooError | None:
        """Why nothing answers to a name; None where that is no mistake of the file that says it."""
        is_switched_off = any(covers(entry, name) for entry in self._stock.ask(Shelf.disabled))
        if (is_switched_off and source.role != "user") or self._is_left_out(name):
            return None
        if not is_switched_off and self._repositories.named(name):  # a repository, of which nothing need be known yet
            return None
        error = self._unknown.model(name)
        if isinstance(error, RegistryError):
            return RegistryError("its declaration is not valid")
        return error

    def _is_left_out(self, name: str) -> bool:
        """Whether a name may be of a plugin, and all plugins are left out."""
        return not self._stock.surroundings.has_plugins and not name.startswith(f"{USER_NAMESPACE}/")


def _nearest_entries(entry: str, ids: Callable[[], Sequence[str]]) -> list[str]:
    """What was probably meant by an entry of ``disable``."""
    if not entry.endswith("/*"):
        return nearest_within_limit(entry, ids)

    def namespaces() -> list[str]:
        return sorted({each.partition("/")[0] for each in ids()})

    return [f"{namespace}/*" for namespace in nearest_within_limit(entry.removesuffix("/*"), namespaces)]


def _diagnostic(
    source: Source,
    place: Place,
    message: str,
    error: LayerzooError | None = None,
    model: str | None = None,
    nearest: tuple[str, ...] = (),
) -> Diagnostic:
    close = tuple(error.nearest) if isinstance(error, NotFoundError) else nearest
    message = " ".join(message.split())
    return Diagnostic.at(place, path=source.path, code="reference", message=message, nearest=close, model=model)


class _Files:
    """Where names stand. A file that has changed since it was compiled answers with its beginning at worst."""

    def __init__(self, catalogues: list[str]) -> None:
        self._catalogues = catalogues
        self._documents: dict[str, Document | None] = {}
        self._keys: dict[tuple[str, str], dict[str, str]] = {}

    def place(self, source: Source, loc: Loc) -> Place:
        document = self._document(source.path)
        return document.value_place(loc) if document else Place(1, 1)

    def alias(self, source: Source, alias: str) -> Place:
        return self.place(source, ("aliases", self._key(source, "aliases", alias)))

    def model(self, source: Source, model: str) -> Place:
        """The key of a model in a registry.yaml."""
        name = self._key(source, "models", model)
        document = self._document(source.path)
        return document.key_place(("models", name)) if document else Place(1, 1)

    def base(self, source: Source, model: str) -> Place:
        if source.path in self._catalogues:
            return _place_in_catalogue(source, model)
        name = self._key(source, "models", model)
        return self.place(source, ("models", name, "base"))

    def written_base(self, source: Source, model: str) -> str | None:
        """What a model of a registry.yaml is built on, whatever else is wrong with it; None where it says nothing."""
        if source.path in self._catalogues:
            return None
        models = self._section(source, "models")
        name = self._key(source, "models", model)
        form = models.get(name) if isinstance(models, dict) else None
        base = form.get("base") if isinstance(form, dict) else None
        if not isinstance(base, str):
            return None
        return base if "/" in base else full_id(base, source)

    def entry(self, source: Source, section: str, entry: str) -> Place:
        """An entry of a list."""
        written = self._section(source, section)
        at = written.index(entry) if isinstance(written, list) and entry in written else 0
        return self.place(source, (section, at))

    def _key(self, source: Source, section: str, asked: str) -> str:
        """The key under which a section has a model or an alias."""
        if (keys := self._keys.get((source.path, section))) is None:
            keys = self._keys[source.path, section] = {}
            written = self._section(source, section)
            is_as_written = section == "aliases" and source.role == "user"
            for name in written if isinstance(written, dict) else ():
                keys.setdefault(name if is_as_written else full_id(name, source), name)
        return keys.get(asked, "")

    def _section(self, source: Source, section: str) -> object:
        document = self._document(source.path)
        return document.value.get(section) if document and isinstance(document.value, dict) else None

    def _document(self, path: str) -> Document | None:
        if path not in self._documents:
            from layerzoo.registry.document import DocumentError, read_document

            try:
                self._documents[path] = read_document(Path(path))
            except (DocumentError, OSError):
                self._documents[path] = None
        return self._documents[path]


def _place_in_catalogue(source: Source, model: str) -> Place:
    from layerzoo.registry.document import DocumentError, decoded, parse_document

    try:
        with Path(source.path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if _is_line_of(model, line, source):
                    return parse_document(decoded(line.rstrip(b"\r\n"), number), number).value_place(("base",))
    except (DocumentError, OSError):
        pass
    return Place(1, 1)


def _is_line_of(model: str, line: bytes, source: Source) -> bool:
    name = model.removeprefix(f"{source.namespace}/")
    if name.isascii() and name.encode() not in line:
        return False
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and isinstance(data.get("id"), str) and full_id(data["id"], source) == model
