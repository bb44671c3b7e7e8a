"""From a registry file to rows: its head, its models in plain form, and everything that is wrong with it.

An invalid model is a diagnostic with its id, and costs nothing but itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from layerzoo.registry.diagnostics import Code, Diagnostic
from layerzoo.registry.document import Document, DocumentError, Loc, Place, read_document
from layerzoo.registry.forms import HeadForm, is_id
from layerzoo.registry.mistakes import Mistake, shorten
from layerzoo.registry.schema import FORMAT, check_head, check_model
from layerzoo.registry.source import Source

_MAX_LINE_BYTES = 4_000_000
# Keys that only some files may have, and whose files those are.
_OWNERS = {
    "builders": ("core", "plugin"),
    "catalogue": ("core", "plugin"),
    "disable": ("user",),
    "defaults": ("core",),
    "plugins": ("core",),
}
_FILES = {"core": "layerzoo's own file", "plugin": "a plugin's file", "user": "a user's own file"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What a registry file says beside its models. Built of plain values, so that it travels as JSON."""

    state: str = "ok"
    """``ok``, ``invalid`` (nothing of it can be used) or ``unsupported`` (it wants another layerzoo)."""
    cause: str | None = None
    builders: list[str] = field(default_factory=list)
    catalogue: str | None = None
    """Absolute path of the catalogue beside it."""
    aliases: dict[str, str] = field(default_factory=dict)
    """Full id by alias."""
    disabled: list[str] = field(default_factory=list)
    """Ids, or ``namespace/*``."""
    defaults: dict[str, str] = field(default_factory=dict)
    """Id by modality."""
    published: dict[str, dict[str, Any]] = field(default_factory=dict)
    """``package``, ``summary`` and ``builders`` by namespace."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A file's head, and its models and diagnostics as they are found."""

    head: Head
    rows: Iterable[dict[str, Any] | Diagnostic]


def compile_registry(source: Source, version: str | None) -> Compiled:
    """Compile a registry.yaml. version: layerzoo's own, for ``requires``; None where it is not known."""
    try:
        document = read_document(Path(source.path))
    except DocumentError as error:
        found = _placed(source, error.place, "syntax", error.message)
        return Compiled(Head(state="invalid", cause=str(found)), [found])
    except OSError as error:
        found = _placed(source, Place(1, 1), "unreadable", f"cannot be read: {error.strerror}")
        return Compiled(Head(state="invalid", cause=str(found)), [found])
    return _Compiler(source, document, version).compiled()


def compile_catalogue(source: Source) -> Iterator[dict[str, Any] | Diagnostic]:
    """The models of a file that holds one JSON object a line, each with its ``id``."""
    folder = Path(source.path).parent
    seen: set[str] = set()
    try:
        with Path(source.path).open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE_BYTES), b""), start=1):
                if line.strip():
                    yield from _catalogue_line(source, folder, number, line, seen)
    except OSError as error:
        yield _placed(source, Place(1, 1), "unreadable", f"cannot be read: {error.strerror}")


def full_id(name: str, source: Source) -> str:
    """The id of one of the file's own models: its namespace is put in front where it is missing."""
    return name if name.startswith(f"{source.namespace}/") else f"{source.namespace}/{name}"


class _Compiler:
    """One registry.yaml on its way to rows."""

    def __init__(self, source: Source, document: Document, version: str | None) -> None:
        self._source = source
        self._document = document
        self._version = version
        self._folder = Path(source.path).parent
        self._data: dict[str, Any] = document.value if isinstance(document.value, dict) else {}

    def compiled(self) -> Compiled:
        if unsupported := next(self._unsupported(), None):
            return Compiled(Head(state="unsupported", cause=str(unsupported)), [unsupported])
        form, mistakes = check_head(self._document.value)
        found = self._faults(outside=("models",))
        found += [self._diagnostic(mistake) for mistake in [*mistakes, *self._misplaced_keys()]]
        if form is None or found:
            found += [row for row in self._models() if isinstance(row, Diagnostic)]
            return Compiled(Head(state="invalid", cause=str(found[0])), found)
        return Compiled(self._head(form), chain(self._models(), self._unfit_aliases()))

    def _unsupported(self) -> Iterator[Diagnostic]:
        """Another version of the format, or of layerzoo, is said before its keys are called unknown."""
        written = self._data.get("layerzoo", FORMAT)
        if isinstance(written, int) and written != FORMAT:
            message = f"this is version {written} of the format, and this layerzoo reads {FORMAT}"
            yield self._diagnostic(Mistake(("layerzoo",), "unsupported", f"{message}: pip install -U layerzoo"))
        for loc, text in self._requirements():
            if problem := unmet(text, self._version):
                yield self._diagnostic(Mistake(loc, "unsupported", problem))

    def _requirements(self) -> Iterator[tuple[Loc, str]]:
        wanted = self._data.get("requires")
        for loc, text in enumerate(wanted) if isinstance(wanted, list) else [(None, wanted)]:
            if isinstance(text, str):
                yield ("requires",) if loc is None else ("requires", loc), text

    def _misplaced_keys(self) -> Iterator[Mistake]:
        """Keys that only some files may have."""
        for key, owners in _OWNERS.items():
            if key in self._data and self._source.role not in owners:
                allowed = " or ".join(_FILES[owner] for owner in owners)
                yield Mistake((key,), "unknown-key", f"'{key}' may only stand in {allowed}", on_key=True)
        catalogue = self._data.get("catalogue")
        if isinstance(catalogue, str) and Path(catalogue).name != catalogue:
            yield Mistake(("catalogue",), "wrong-value", "a catalogue lies beside this file: write its name only")

    def _head(self, form: HeadForm) -> Head:
        aliases = {name: target for name, target in (form.aliases or {}).items() if not self._is_foreign(name)}
        return Head(
            builders=form.builders or [],
            catalogue=str(self._folder / form.catalogue) if form.catalogue else None,
            aliases={self._alias(name): self._target(target) for name, target in aliases.items()},
            disabled=form.disable or [],
            defaults=form.defaults.model_dump(exclude_unset=True) if form.defaults else {},
            published={name: each.model_dump(exclude_unset=True) for name, each in (form.plugins or {}).items()},
        )

    def _models(self) -> Iterator[dict[str, Any] | Diagnostic]:
        models = self._data.get("models")
        names: dict[str, str] = {}
        for name, data in models.items() if isinstance(models, dict) else ():
            loc: Loc = ("models", name)
            model_id = full_id(name, self._source)
            plain, mistakes = check_model(model_id, data, self._folder)
            found = self._faults(inside=loc, model=model_id)
            found += [self._diagnostic(mistake, inside=loc, model=model_id) for mistake in mistakes]
            if problem := self._unfit_name(name, names.setdefault(model_id, name)):
                found.append(self._diagnostic(Mistake(loc, "wrong-value", problem, on_key=True), model=model_id))
            if found or plain is None:
                yield from sorted(found, key=lambda each: (each.line, each.column))
            else:
                yield _with_full_base(plain, self._source)

    def _unfit_name(self, name: str, first: str) -> str | None:
        if name != first:
            return f"'{name}' and '{first}' are the same model"
        if not is_id(name):
            return f"'{shorten(name)}' is no id: letters, digits and . _ + @ : ~ = - between slashes"
        if self._is_foreign(name):
            return f"'{name}': your own models live under mine/, as in mine/{name.rpartition('/')[2]}"
        return None

    def _unfit_aliases(self) -> Iterator[Diagnostic]:
        for name in filter(self._is_foreign, self._data.get("aliases", ())):
            message = f"'{name}': your own aliases have no slash, or begin with mine/"
            yield self._diagnostic(Mistake(("aliases", name), "wrong-value", message, on_key=True))

    def _is_foreign(self, name: str) -> bool:
        """Whether a user's file writes into a namespace that is not the user's."""
        return self._source.role == "user" and "/" in name and not name.startswith(f"{self._source.namespace}/")

    def _alias(self, name: str) -> str:
        return name if self._source.role == "user" else full_id(name, self._source)

    def _target(self, name: str) -> str:
        """A user's alias may lead anywhere; a plugin's leads to the plugin's own models."""
        return name if self._source.role == "user" and "/" in name else full_id(name, self._source)

    def _diagnostic(self, mistake: Mistake, *, inside: Loc = (), model: str | None = None) -> Diagnostic:
        loc = (*inside, *mistake.loc)
        place = self._document.key_place(loc) if mistake.on_key else self._document.value_place(loc)
        return _placed(self._source, place, mistake.code, str(mistake), model)

    def _faults(self, *, inside: Loc = (), outside: Loc | None = None, model: str | None = None) -> list[Diagnostic]:
        """What the strict form does not have, within one part of the file or anywhere but there."""
        return [
            _placed(self._source, fault.place, "syntax", fault.message, model)
            for fault in self._document.faults
            if fault.loc[: len(inside)] == inside and (outside is None or fault.loc[: len(outside)] != outside)
        ]


def _placed(source: Source, place: Place, code: Code, message: str, model: str | None = None) -> Diagnostic:
    return Diagnostic(path=source.path, line=place.line, column=place.column, code=code, message=message, model=model)


def _catalogue_line(
    source: Source, folder: Path, number: int, line: bytes, seen: set[str]
) -> Iterator[dict[str, Any] | Diagnostic]:
    place = Place(number, 1)
    try:
        data = json.loads(line, object_pairs_hook=_distinct_keys, parse_constant=_no_constant)
    except RecursionError:
        yield _placed(source, place, "syntax", "nested too deep")
        return
    except ValueError as error:
        yield _placed(source, place, "syntax", f"not one JSON object: {error}")
        return
    name = data.pop("id", None) if isinstance(data, dict) else None
    if not isinstance(name, str) or not is_id(name):
        yield _placed(source, place, "missing-key", 'a line of a catalogue is a JSON object with the model\'s "id"')
        return
    model_id = full_id(name, source)
    if model_id in seen:
        yield _placed(source, place, "duplicate", f"the model {model_id} stands here a second time")
        return
    seen.add(model_id)
    plain, mistakes = check_model(model_id, data, folder)
    yield from (_placed(source, place, mistake.code, str(mistake), model_id) for mistake in mistakes)
    if plain is not None:
        yield _with_full_base(plain, source)


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands in it twice")
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no number")


def _with_full_base(plain: dict[str, Any], source: Source) -> dict[str, Any]:
    """A base without a slash is one of this file's models; with one, it is a full id."""
    if "base" in plain and "/" not in plain["base"]:
        plain["base"] = full_id(plain["base"], source)
    return plain


def unmet(requirement: str, version: str | None) -> str | None:
    """Why this layerzoo is not what a file asks for; None when it is, or when its own version is not known."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(requirement)
    except InvalidRequirement:
        return f"'{shorten(requirement)}' is no requirement, as layerzoo>=0.1 is one"
    if wanted.name.lower() != "layerzoo":
        return f"'{shorten(requirement)}': only layerzoo itself can be required here; the rest is for pyproject.toml"
    if version is None or wanted.specifier.contains(version, prereleases=True):
        return None
    return f"it requires {requirement}, and {version} is installed: pip install '{requirement}'"
