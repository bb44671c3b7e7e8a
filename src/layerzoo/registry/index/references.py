"""Dangling references in registry files, each with its position and the nearest names.

The index does not store positions. A file with a dangling reference is read again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from layerzoo.errors import LayerzooError, NotFoundError, RegistryError, nearest_hint
from layerzoo.registry.format.diagnostics import Diagnostic, Position
from layerzoo.registry.format.source import RegistrySource, full_id
from layerzoo.registry.index.models import Specs
from layerzoo.registry.index.reader import MAX_ALIASES, IndexReader
from layerzoo.registry.index.repositories import Repositories
from layerzoo.registry.index.unknown import COMPARED_NAMES, Unknown, few_hints, nearest_within_limit
from layerzoo.registry.index.visibility import Declaration, covers
from layerzoo.registry.installed.plugin import USER_NAMESPACE

if TYPE_CHECKING:
    from layerzoo.registry.format.document import Document, Loc


_MOST = 1_000
"""How many dangling references are listed."""
_HINTS = 20
"""For how many dangling references the nearest names are searched."""


class References:
    """The references of registry files to models."""

    def __init__(
        self,
        reader: IndexReader,
        specs: Specs,
        unusable: Callable[[], list[Declaration]],
        unknown: Unknown,
        repositories: Repositories,
    ) -> None:
        self._reader = reader
        self._specs = specs
        self._unusable = unusable
        self._unknown = unknown
        self._repositories = repositories

    def dangling(self) -> list[Diagnostic]:
        """Return the names that refer to nothing: aliases, bases, entries of ``disable``, defaults, catalogues."""
        diagnostics = self._diagnostics()
        with few_hints(_HINTS):
            listed = list(islice(diagnostics, _MOST))
        if next(diagnostics, None) is not None:
            message = f"more than {_MOST:,} dangling references; the others are not listed"
            listed.append(Diagnostic.at(Position(1, 1), path=listed[-1].path, code="reference", message=message))
        return listed

    def location(self, model: str) -> str | None:
        """Return where a model is declared: FILE:LINE, or FILE for a catalogue; None if there is no such model."""
        if (row := self._specs.find(model)) is None:
            return None
        if any(row.source.path == source.head["catalogue"] for source in self._reader.sources):
            return row.source.path
        return f"{row.source.path}:{_Positions([]).model(row.source, model).line}"

    def _diagnostics(self) -> Iterator[Diagnostic]:
        files = _Positions([path for source in self._reader.sources if (path := source.head["catalogue"])])
        yield from self._catalogues(files)
        yield from self._aliases(files)
        yield from self._bases(files)
        yield from self._bases_of_invalid_models(files)
        yield from self._disabled(files)
        yield from self._defaults(files)

    def _catalogues(self, files: _Positions) -> Iterator[Diagnostic]:
        for source in self._reader.sources:
            if (path := source.head["catalogue"]) and not os.path.lexists(path):
                message = f"there is no file {Path(path).name} next to this one"
                yield _diagnostic(source.source, files.position(source.source, ("catalogue",)), message)

    def _aliases(self, files: _Positions) -> Iterator[Diagnostic]:
        disabled = self._reader.disabled()
        for source, alias, target in self._reader.dangling_aliases():
            if alias in disabled:  # the alias disables its target
                continue
            if error := self._reason(target, source):
                message = f"the alias '{alias}' leads to {target}: {error}"
                yield _diagnostic(source, files.alias(source, alias), message, error)
        targets = self._reader.targets()
        for source, alias, target in self._reader.aliases_of_aliases():
            if self._leads_back(alias, targets) and self._specs.find(alias) is None:
                message = f"the alias '{alias}' leads to {target}, which leads back to it, and to no model"
                yield _diagnostic(source, files.alias(source, alias), message)

    def _leads_back(self, alias: str, targets: dict[str, str]) -> bool:
        """Return whether an alias leads back to itself, and none of the aliases on the way is a model."""
        visited: list[str] = []
        name = alias
        while name not in visited and len(visited) <= MAX_ALIASES:
            visited.append(name)
            step = targets.get(name) or targets.get(name.removeprefix(f"{USER_NAMESPACE}/"))
            if step is None:
                return False
            name = step
        return name == alias and all(self._specs.find(step) is None for step in visited)

    def _bases(self, files: _Positions) -> Iterator[Diagnostic]:
        for row in self._unusable():
            try:
                self._specs.whole(row)
            except LayerzooError as error:
                model = str(row.spec["id"])
                position = files.base(row.source, model)
                message = str(error)
                if isinstance(error, RegistryError) and error.diagnostics:
                    message = f"{model} inherits from {row.spec['base']}, whose declaration is not valid"
                yield _diagnostic(row.source, position, message, error, model)

    def _bases_of_invalid_models(self, files: _Positions) -> Iterator[Diagnostic]:
        """Report them together with the other mistakes of the model, so that the author can correct all at once."""
        sources = {source.source.path: source.source for source in self._reader.sources}
        wrong = self._reader.diagnostics()
        for path, model in sorted(
            {(diagnostic.path, diagnostic.model) for diagnostic in wrong if diagnostic.model is not None}
        ):
            base = files.written_base(sources[path], model) if path in sources else None
            if base is None or self._specs.find(self._specs.resolved(base)) is not None:
                continue
            error = self._reason(base, sources[path])
            if isinstance(error, NotFoundError):
                yield _diagnostic(sources[path], files.base(sources[path], model), str(error), error, model)

    def _disabled(self, files: _Positions) -> Iterator[Diagnostic]:
        for source, entry in self._reader.unused_disabled():
            if not self._is_left_out(entry) and self._repositories.named(entry) is None:
                close = _nearest_entries(entry, lambda: self._reader.ids(COMPARED_NAMES))
                hint = nearest_hint(close)
                message = f"there is no model '{entry}' to disable. {hint}All: zoo list"
                yield _diagnostic(source, files.entry(source, "disable", entry), message, nearest=tuple(close))

    def _defaults(self, files: _Positions) -> Iterator[Diagnostic]:
        published = self._reader.published()
        installed = {plugin.namespace for plugin in self._reader.environment.installed if plugin.state == "ok"}
        for source in self._reader.sources:
            for modality, model in source.head["defaults"].items():
                namespace = model.partition("/")[0]
                is_known = namespace in installed or namespace not in published
                # Models of plugins that are not installed or not usable are not a mistake of this file.
                if not is_known or self._specs.find(self._specs.resolved(model)) is not None:
                    continue
                error = self._reason(model, source.source)
                if isinstance(error, NotFoundError):
                    message = f"the default for {modality} cannot be resolved: {error}"
                    position = files.position(source.source, ("defaults", modality))
                    yield _diagnostic(source.source, position, message, error)

    def _reason(self, name: str, source: RegistrySource) -> LayerzooError | None:
        """Return why a name is dangling; None if the file is not at fault."""
        is_switched_off = any(covers(entry, name) for entry in self._reader.disabled())
        if (is_switched_off and source.role != "user") or self._is_left_out(name):
            return None
        if not is_switched_off and self._repositories.named(name):  # a repository, which may be inspected later
            return None
        error = self._unknown.model(name)
        if isinstance(error, RegistryError):
            return RegistryError("its declaration is not valid")
        return error

    def _is_left_out(self, name: str) -> bool:
        """Return whether all plugins are ignored and the name may belong to one."""
        return not self._reader.environment.has_plugins and not name.startswith(f"{USER_NAMESPACE}/")


def _nearest_entries(entry: str, ids: Callable[[], Sequence[str]]) -> list[str]:
    """Return the names nearest to an entry of ``disable``."""
    if not entry.endswith("/*"):
        return nearest_within_limit(entry, ids)

    def namespaces() -> list[str]:
        return sorted({model.partition("/")[0] for model in ids()})

    return [f"{namespace}/*" for namespace in nearest_within_limit(entry.removesuffix("/*"), namespaces)]


def _diagnostic(
    source: RegistrySource,
    position: Position,
    message: str,
    error: LayerzooError | None = None,
    model: str | None = None,
    nearest: tuple[str, ...] = (),
) -> Diagnostic:
    close = tuple(error.nearest) if isinstance(error, NotFoundError) else nearest
    message = " ".join(message.split())
    return Diagnostic.at(position, path=source.path, code="reference", message=message, nearest=close, model=model)


class _Positions:
    """Finds the positions of names. For a file that has changed since it was compiled, they may be its beginning."""

    def __init__(self, catalogues: list[str]) -> None:
        self._catalogues = catalogues
        self._documents: dict[str, Document | None] = {}
        self._keys: dict[tuple[str, str], dict[str, str]] = {}

    def position(self, source: RegistrySource, loc: Loc) -> Position:
        document = self._document(source.path)
        return document.value_position(loc) if document else Position(1, 1)

    def alias(self, source: RegistrySource, alias: str) -> Position:
        return self.position(source, ("aliases", self._key(source, "aliases", alias)))

    def model(self, source: RegistrySource, model: str) -> Position:
        """Return the position of the key of a model in a registry.yaml."""
        name = self._key(source, "models", model)
        document = self._document(source.path)
        return document.key_position(("models", name)) if document else Position(1, 1)

    def base(self, source: RegistrySource, model: str) -> Position:
        if source.path in self._catalogues:
            return _position_in_catalogue(source, model)
        name = self._key(source, "models", model)
        return self.position(source, ("models", name, "base"))

    def written_base(self, source: RegistrySource, model: str) -> str | None:
        """Return the declared base of a model of a registry.yaml, even if the model is invalid; else None."""
        if source.path in self._catalogues:
            return None
        models = self._section(source, "models")
        name = self._key(source, "models", model)
        form = models.get(name) if isinstance(models, dict) else None
        base = form.get("base") if isinstance(form, dict) else None
        if not isinstance(base, str):
            return None
        return base if "/" in base else full_id(base, source)

    def entry(self, source: RegistrySource, section: str, entry: str) -> Position:
        """Return the position of an entry of a list."""
        entries = self._section(source, section)
        at = entries.index(entry) if isinstance(entries, list) and entry in entries else 0
        return self.position(source, (section, at))

    def _key(self, source: RegistrySource, section: str, full_name: str) -> str:
        """Return the key of a model or an alias in a section."""
        if (keys := self._keys.get((source.path, section))) is None:
            keys = self._keys[source.path, section] = {}
            declared = self._section(source, section)
            is_as_written = section == "aliases" and source.role == "user"
            for name in declared if isinstance(declared, dict) else ():
                keys.setdefault(name if is_as_written else full_id(name, source), name)
        return keys.get(full_name, "")

    def _section(self, source: RegistrySource, section: str) -> object:
        document = self._document(source.path)
        return document.value.get(section) if document and isinstance(document.value, dict) else None

    def _document(self, path: str) -> Document | None:
        if path not in self._documents:
            from layerzoo.registry.format.document import DocumentError, read_document

            try:
                self._documents[path] = read_document(Path(path))
            except (DocumentError, OSError):
                self._documents[path] = None
        return self._documents[path]


def _position_in_catalogue(source: RegistrySource, model: str) -> Position:
    from layerzoo.registry.format.document import DocumentError, decoded, parse_document

    try:
        with Path(source.path).open("rb") as file:
            for number, line in enumerate(file, start=1):
                if _is_line_of(model, line, source):
                    return parse_document(decoded(line.rstrip(b"\r\n"), number), number).value_position(("base",))
    except (DocumentError, OSError):
        pass
    return Position(1, 1)


def _is_line_of(model: str, line: bytes, source: RegistrySource) -> bool:
    name = model.removeprefix(f"{source.namespace}/")
    if name.isascii() and name.encode() not in line:
        return False
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and isinstance(data.get("id"), str) and full_id(data["id"], source) == model
