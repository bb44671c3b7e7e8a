"""Compile a registry file to its head, its models as rows, and diagnostics.

A mistake makes as little as possible unusable:

- the whole file, if it is not one document of strict YAML, not a mapping, declares no supported version of the format
  with ``layerzoo:``, or ``requires:`` another version of layerzoo. Its models are checked nevertheless, unless it is
  for another version, whose keys may be unknown;
- one model, if the mistake is in the model;
- one entry of ``builders``, ``aliases``, ``disable``, ``defaults`` or ``plugins``, if the mistake is in the entry;
- one section, if it has the wrong type (a list, a mapping) or is not allowed in this kind of file;
- an unknown or a repeated key itself. If a model or an entry is declared twice, neither declaration is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerzoo.registry.format.catalogue import compile_catalogue, published_models
from layerzoo.registry.format.compiled import Compiled, Head, diagnostic_at
from layerzoo.registry.format.diagnostics import Diagnostic, Position
from layerzoo.registry.format.document import (
    Document,
    DocumentError,
    Fault,
    Loc,
    UnreadableError,
    decoded,
    parse_document,
    read_registry,
)
from layerzoo.registry.format.mistakes import ID_FORM, Mistake, shorten
from layerzoo.registry.format.schema import FORMAT, check_head, check_model, pydantic_alone, without
from layerzoo.registry.format.source import RegistrySource, full_id, with_full_base

with pydantic_alone():
    from layerzoo.registry.format.forms import HeadForm, is_id

# Keys that are allowed only in files of these owners.
_OWNERS = {
    "builders": ("core", "plugin"),
    "catalogue": ("core", "plugin"),
    "hub": ("plugin",),
    "frames": ("plugin",),
    "disable": ("user",),
    "defaults": ("core",),
    "plugins": ("core",),
}
MAX_DISABLED = 400
"""The maximal number of entries of ``disable``: each namespace among them is a condition of every query."""
MAX_LAYERS_OF_FILE = 200_000
"""The maximal number of layers of all models of a file together. timm's whole catalogue has 58,020."""
_FILES = {"core": "layerzoo's own file", "plugin": "a plugin's file", "user": "a user's own file"}


def compile_source(source: RegistrySource, version: str | None, is_catalogue: bool) -> Compiled:
    """Compile a registry.yaml, a catalogue, or the list of models that can be installed.

    Args:
        source: the file.
        version: layerzoo's own version, which ``requires`` is compared with; None if it is not known.
        is_catalogue: whether the file is the catalogue of a registry.yaml.
    """
    if source.role == "published":
        return Compiled(Head(), published_models(source.path))
    if is_catalogue:
        return Compiled(Head(), compile_catalogue(source))
    return compile_registry(source, version)


def compile_registry(source: RegistrySource, version: str | None) -> Compiled:
    """Compile a registry.yaml. ``version`` is that of layerzoo, for ``requires``; None if it is unknown."""
    sha256 = None
    try:
        raw = read_registry(Path(source.path))
        sha256 = hashlib.sha256(raw).hexdigest()
        document = parse_document(decoded(raw))
    except DocumentError as error:
        diagnostic = diagnostic_at(source, error.position, "syntax", error.message)
        unreadable = error.message if isinstance(error, UnreadableError) else None
        return Compiled(
            Head(state="invalid", cause=str(diagnostic), sha256=sha256, unreadable=unreadable), [diagnostic]
        )
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        diagnostic = diagnostic_at(source, Position(1, 1), "unreadable", reason)
        # A file that has just been removed is missing; a dangling link is unreadable.
        is_gone = isinstance(error, FileNotFoundError) and not Path(source.path).is_symlink()
        unreadable = None if is_gone else reason
        return Compiled(Head(state="invalid", cause=str(diagnostic), unreadable=unreadable), [diagnostic])
    compiled = _Compiler(source, document, version).compiled()
    return replace(compiled, head=replace(compiled.head, sha256=sha256))


class _Compiler:
    """Compiles one registry.yaml."""

    def __init__(self, source: RegistrySource, document: Document, version: str | None) -> None:
        self._source = source
        self._document = document
        self._version = version
        self._folder = Path(source.path).parent
        self._data: dict[str, Any] = document.value if isinstance(document.value, dict) else {}
        self._faulty = {fault.loc for fault in document.faults}
        self._faults_of_models: dict[Loc, list[Fault]] = {}
        for fault in document.faults:
            self._faults_of_models.setdefault(fault.loc[:2], []).append(fault)
        self._layers = 0

    def compiled(self) -> Compiled:
        if unsupported := next(self._unsupported(), None):
            return Compiled(Head(state="unsupported", cause=str(unsupported)), [unsupported])
        form, head_problems = self._checked_head()
        models, of_models = self._models()
        problems = sorted([*head_problems, *of_models], key=_by_position)
        if form is None:
            return Compiled(Head(state="invalid", cause=str(min(head_problems, key=_by_position))), problems)
        return Compiled(self._head(form), [*models, *problems])

    def _checked_head(self) -> tuple[HeadForm | None, list[Diagnostic]]:
        """Validate the file without its models. Return the valid parts and the diagnostics."""
        faults = self._faults(outside=("models",))
        misplaced = [*self._misplaced_keys(), *self._foreign_aliases()]
        data: Any = self._document.value
        if isinstance(data, dict):
            in_entries = [fault.loc[:2] for fault in self._document.faults if len(fault.loc) > 1]
            in_entries = [loc for loc in in_entries if loc[0] != "models"]
            data = without(data, [*in_entries, *(mistake.loc for mistake in misplaced)])
        form, mistakes = check_head(data)
        return form, faults + [self._diagnostic(mistake) for mistake in self._own(mistakes) + misplaced]

    def _own(self, mistakes: list[Mistake]) -> list[Mistake]:
        """Omit mistakes that follow from a fault of the same value: an alias of YAML is read as null."""
        return [mistake for mistake in mistakes if mistake.loc not in self._faulty or mistake.code == "unknown-key"]

    def _unsupported(self) -> Iterator[Diagnostic]:
        """Report another version of the format or of layerzoo before its keys are reported as unknown."""
        version = self._data.get("layerzoo", FORMAT)
        if isinstance(version, int) and version != FORMAT:
            message = f"this is version {version} of the format, and this layerzoo reads {FORMAT}"
            yield self._diagnostic(Mistake(("layerzoo",), "unsupported", f"{message}. Next: pip install -U layerzoo"))
        for loc, text in self._requirements():
            if problem := unmet(text, self._version):
                yield self._diagnostic(Mistake(loc, "unsupported", problem))

    def _requirements(self) -> Iterator[tuple[Loc, str]]:
        requirements = self._data.get("requires")
        for loc, text in enumerate(requirements) if isinstance(requirements, list) else [(None, requirements)]:
            if isinstance(text, str):
                yield ("requires",) if loc is None else ("requires", loc), text

    def _misplaced_keys(self) -> Iterator[Mistake]:
        """Yield the keys that are not allowed in this kind of file."""
        for key, owners in _OWNERS.items():
            if key in self._data and self._source.role not in owners:
                allowed = " or ".join(_FILES[owner] for owner in owners)
                message = f"'{key}' is only allowed in {allowed}, and this is {_FILES[self._source.role]}"
                yield Mistake((key,), "unknown-key", message, on_key=True)
        disable = self._data.get("disable")
        if isinstance(disable, list) and len(disable) > MAX_DISABLED:
            message = f"{len(disable):,} entries, and there may be {MAX_DISABLED}: disable a NAMESPACE/* instead"
            yield Mistake(("disable",), "wrong-value", message)
        catalogue = self._data.get("catalogue")
        if isinstance(catalogue, str) and Path(catalogue).name != catalogue:
            message = "the catalogue must be in the folder of this file: write only its name"
            yield Mistake(("catalogue",), "wrong-value", message)

    def _head(self, form: HeadForm) -> Head:
        return Head(
            builders=form.builders or [],
            catalogue=str(self._folder / form.catalogue) if form.catalogue else None,
            hub=form.hub,
            frames=form.frames,
            aliases={self._alias(name): self._target(target) for name, target in (form.aliases or {}).items()},
            disabled=form.disable or [],
            defaults=form.defaults.model_dump(exclude_unset=True) if form.defaults else {},
            published={name: plugin.model_dump(exclude_unset=True) for name, plugin in (form.plugins or {}).items()},
        )

    def _models(self) -> tuple[list[dict[str, Any]], list[Diagnostic]]:
        """Return the valid models and the diagnostics of the others."""
        declared = self._data.get("models")
        models: list[dict[str, Any]] = []
        problems: list[Diagnostic] = []
        names: dict[str, str] = {}
        for name, data in declared.items() if isinstance(declared, dict) else ():
            model_id = full_id(name, self._source)
            fields, model_problems = self._model(name, names.setdefault(model_id, name), data)
            problems += model_problems
            if fields is not None and not model_problems:
                models.append(with_full_base(fields, self._source))
        return models, problems

    def _model(self, name: str, first: str, data: Any) -> tuple[dict[str, Any] | None, list[Diagnostic]]:
        """Compile one model. ``first`` is the key under which the file declares the same id before."""
        loc: Loc = ("models", name)
        model_id = full_id(name, self._source)
        if self._layers > MAX_LAYERS_OF_FILE:
            message = f"the models before it declare more than {MAX_LAYERS_OF_FILE:,} layers together"
            return None, [
                self._diagnostic(Mistake(loc, "wrong-value", message, on_key=True), inside=loc, model=model_id)
            ]
        fields, mistakes = check_model(model_id, data, self._folder)
        self._layers += len(fields.get("layers", ())) if fields else 0
        mistakes = self._own([replace(mistake, loc=(*loc, *mistake.loc)) for mistake in mistakes])
        problems = self._faults(inside=loc, model=model_id)
        problems += [self._diagnostic(mistake, inside=loc, model=model_id) for mistake in mistakes]
        if unfit := self._unfit_name(name, first):
            problems.append(self._diagnostic(replace(unfit, loc=loc), inside=loc, model=model_id))
        return fields, problems

    def _unfit_name(self, name: str, first: str) -> Mistake | None:
        if name != first:
            return Mistake((), "duplicate", f"'{shorten(name)}' and '{shorten(first)}' are the same model", on_key=True)
        if not is_id(name):
            return Mistake((), "wrong-value", f"'{shorten(name)}' is not a valid id: {ID_FORM}", on_key=True)
        if self._is_foreign(name):
            example = f"{self._source.namespace}/{name.rpartition('/')[2]}"
            message = f"'{shorten(name)}': your own models live under {self._source.namespace}/, as in {example}"
            return Mistake((), "wrong-value", message, on_key=True)
        return None

    def _foreign_aliases(self) -> Iterator[Mistake]:
        aliases = self._data.get("aliases")
        for name in filter(self._is_foreign, aliases if isinstance(aliases, dict) else ()):
            message = f"'{shorten(name)}': your own aliases have no slash, or begin with {self._source.namespace}/"
            yield Mistake(("aliases", name), "wrong-value", message, on_key=True)

    def _is_foreign(self, name: str) -> bool:
        """Return whether a name in a user's file is in a namespace that is not the user's."""
        return self._source.role == "user" and "/" in name and not name.startswith(f"{self._source.namespace}/")

    def _alias(self, name: str) -> str:
        return name if self._source.role == "user" else full_id(name, self._source)

    def _target(self, name: str) -> str:
        """Return the full id of a target. Only a user's alias may refer to models of another namespace."""
        return name if self._source.role == "user" and "/" in name else full_id(name, self._source)

    def _diagnostic(self, mistake: Mistake, *, inside: Loc = (), model: str | None = None) -> Diagnostic:
        """Return the diagnostic of a mistake. Its message omits the path ``inside``, which the model names already."""
        position = (
            self._document.key_position(mistake.loc) if mistake.on_key else self._document.value_position(mistake.loc)
        )
        message = str(replace(mistake, loc=mistake.loc[len(inside) :]))
        return diagnostic_at(self._source, position, mistake.code, message, mistake.nearest, model)

    def _faults(self, *, inside: Loc = (), outside: Loc | None = None, model: str | None = None) -> list[Diagnostic]:
        """Return the diagnostics of forbidden YAML features, inside one part of the file or outside another."""
        return [
            diagnostic_at(self._source, fault.position, fault.code, fault.message, model=model)
            for fault in (self._faults_of_models.get(inside, ()) if len(inside) == 2 else self._document.faults)
            if fault.loc[: len(inside)] == inside
            and (outside is None or fault.loc == outside or fault.loc[: len(outside)] != outside)
        ]


def _by_position(diagnostic: Diagnostic) -> tuple[int, int]:
    return diagnostic.line, diagnostic.column


def unmet(requirement: str, version: str | None) -> str | None:
    """Return why this version of layerzoo does not meet a requirement; None if it does, or is unknown."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        parsed = Requirement(requirement)
    except InvalidRequirement:
        return f"'{shorten(requirement)}' is not a requirement: write it as in layerzoo>=0.1"
    if parsed.name.lower() != "layerzoo":
        return f"'{shorten(requirement)}': only layerzoo itself can be required here; the rest is for pyproject.toml"
    if version is None or parsed.specifier.contains(version, prereleases=True):
        return None
    return f"it requires {requirement}, and {version} is installed: pip install '{requirement}'"
