"""A catalogue: a file with many models next to a registry.yaml, one JSON object per line.

A line has the keys of a model in a registry.yaml, and its ``id`` and ``aliases``. If the layers were found by tracing,
the first line is a head: ``{"layerzoo": 1, "traced_with": …, "common": …, "columns": …}``. It contains the versions of
the libraries that were traced, the values that all lines share, and the columns of ``layers``, which is then a table
(see :mod:`layerzoo.registry.format.layer_table`).

A mistake in a line makes that line unusable; a mistake in the head, the whole file.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from layerzoo.registry.format.compiled import diagnostic_at
from layerzoo.registry.format.diagnostics import Diagnostic, Lines, Position
from layerzoo.registry.format.document import Document, DocumentError, Loc, decoded, parse_document
from layerzoo.registry.format.layer_table import COLUMNS, unpacked
from layerzoo.registry.format.mistakes import ID_FORM, Mistake, shorten, show
from layerzoo.registry.format.schema import FORMAT, check_catalogue_head, check_model, pydantic_alone
from layerzoo.registry.format.source import RegistrySource, full_id, with_full_base
from layerzoo.small_files import open_regular
from layerzoo.spec import TAGS

with pydantic_alone():
    from layerzoo.registry.format.forms import is_id

_MAX_BYTES = 500_000_000
"""100,000 models take 130 MB at the 1.3 kB that a line of timm's catalogue has; that catalogue is 2.4 MB."""
_MAX_LINE_BYTES = 4_000_000
_MAX_DIGITS = 20
_HEAD = b'{"layerzoo"'
_FIRST_KEYS = (
    "id",
    "aliases",
    "summary",
    "license",
    *TAGS,
    "args",
    "params",
    "flops",
    "metrics",
    "training",
    "weights",
    "preprocess",
)

Plain = dict[str, Any]


def compile_catalogue(source: RegistrySource) -> Iterator[Plain | Diagnostic]:
    """Yield the models of a catalogue in the form of ``ModelSpec.from_dict``, and its diagnostics."""
    try:
        with open_regular(source.path) as file:
            if os.fstat(file.fileno()).st_size > _MAX_BYTES:
                raise OSError(errno.EFBIG, f"it is larger than {_MAX_BYTES // 1_000_000} MB")
            yield from _CatalogueCompiler(source).rows(file)
    except OSError as error:
        yield diagnostic_at(source, Position(1, 1), "unreadable", f"cannot be read: {error.strerror}")


def compile_models(models: Iterable[Any], source: RegistrySource) -> Iterator[Plain | Diagnostic]:
    """Compile models before they are written to a catalogue. ``source`` is the future file."""
    lines = "".join(f"{json.dumps(model)}\n" for model in models)
    return _CatalogueCompiler(source).rows(BytesIO(lines.encode()))


def published_models(path: str) -> Iterator[Plain]:
    """Read a list of models that can be installed, such as ``published.jsonl``: one JSON object a line.

    A line has those of the fields of :class:`layerzoo.registry.Entry` that have a value. It is ignored while a plugin
    of its namespace is installed.
    """
    with Path(path).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def catalogue_lines(
    models: Iterable[Mapping[str, Any]], *, common: Mapping[str, Any], traced_with: Mapping[str, str]
) -> Iterator[str]:
    """Yield the lines of a generated catalogue: the head, then the models sorted by id.

    Args:
        models: each in the author's form, with the layers of :func:`layerzoo.registry.format.layer_table.packed`.
        common: the values that are written once, in the head.
        traced_with: the versions of the libraries that were traced.
    """
    head = {"layerzoo": FORMAT, "traced_with": dict(traced_with), "common": dict(common), "columns": list(COLUMNS)}
    yield _line(head)
    for model in sorted(models, key=lambda entry: str(entry["id"])):
        own = {key: value for key, value in model.items() if key not in common or value != common[key]}
        first = {key: own.pop(key) for key in _FIRST_KEYS if key in own}
        yield _line({**first, **own})


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n"


@dataclass(slots=True)
class _CatalogueCompiler:
    """Compiles one catalogue."""

    source: RegistrySource
    head: Mapping[str, Any] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    aliases: set[str] = field(default_factory=set)

    def rows(self, file: BinaryIO) -> Iterator[Plain | Diagnostic]:
        for number, line in enumerate(_lines(file), start=1):
            if not line.strip():
                continue
            try:
                text = decoded(line.rstrip(b"\r\n"), number)
                data = _json(text, number)
            except DocumentError as error:
                yield diagnostic_at(self.source, error.position, "syntax", error.message)
                if number == 1 and line.lstrip().startswith(_HEAD):
                    return
                continue
            if number == 1 and isinstance(data, dict) and "layerzoo" in data and "id" not in data:
                head, mistakes = check_catalogue_head(data)
                yield from (self._diagnostic(text, number, mistake) for mistake in mistakes)
                if head is None:
                    return
                self.head = head
            else:
                yield from self._row(text, number, data)

    def _row(self, text: str, number: int, data: Any) -> Iterator[Plain | Diagnostic]:
        name = data.get("id") if isinstance(data, dict) else None
        if mistake := _invalid_line(data, name):
            yield self._diagnostic(text, number, mistake)
            return
        model = full_id(str(name), self.source)
        fields, mistakes = self._model(model, data)
        yield from (self._diagnostic(text, number, mistake, model) for mistake in mistakes)
        if fields is not None:
            yield fields

    def _model(self, model: str, data: Plain) -> tuple[Plain | None, list[Mistake]]:
        if model in self.ids:
            return None, [Mistake(("id",), "duplicate", f"the model {model} is declared a second time here")]
        self.ids.add(model)
        aliases, mistakes = self._own_aliases(data)
        declared = {**self.head.get("common", {}), **data}
        declared = {key: value for key, value in declared.items() if key not in ("id", "aliases")}
        if isinstance(table := declared.get("layers"), list):
            try:
                declared["layers"] = unpacked(table, self.head.get("columns", COLUMNS))
            except ValueError as error:
                return None, [*mistakes, Mistake(("layers",), "wrong-value", str(error))]
        fields, model_mistakes = check_model(model, declared, Path(self.source.path).parent)
        if fields is None or mistakes:
            return None, [*mistakes, *model_mistakes]
        if aliases:
            fields["aliases"] = aliases
        if "traced_with" in self.head and "layers" in fields:
            fields["traced_with"] = self.head["traced_with"]
        return with_full_base(fields, self.source), []

    def _own_aliases(self, data: Plain) -> tuple[list[str], list[Mistake]]:
        aliases = data.get("aliases", [])
        if not isinstance(aliases, list) or not all(isinstance(name, str) and is_id(name) for name in aliases):
            return [], [Mistake(("aliases",), "wrong-value", f"{show(aliases)} is not a list of ids: {ID_FORM}")]
        names = [full_id(name, self.source) for name in aliases]
        for at, name in enumerate(names):
            if name in self.aliases:
                message = f"the alias '{shorten(name)}' is declared a second time here"
                return [], [Mistake(("aliases", at), "duplicate", message)]
            self.aliases.add(name)
        return names, []

    def _diagnostic(self, text: str, number: int, mistake: Mistake, model: str | None = None) -> Diagnostic:
        """Return the diagnostic of a mistake. JSON is YAML except for some escapes; then the whole line is marked."""
        try:
            document = parse_document(text, number)
        except DocumentError:
            document = Document(None, values={(): Lines(text, number).position(0, len(text))})
        loc = self._as_written(mistake.loc, document.value)
        position = document.key_position(loc) if mistake.on_key else document.value_position(loc)
        return diagnostic_at(self.source, position, mistake.code, str(mistake), mistake.nearest, model)

    def _as_written(self, loc: Loc, data: Any) -> Loc:
        """Return the path of a mistake as written: layers may be written as a table."""
        table = data.get("layers") if isinstance(data, dict) else None
        if len(loc) < 2 or loc[0] != "layers" or not isinstance(table, list):
            return loc
        columns = self.head.get("columns", COLUMNS)
        row = next((at for at, cells in enumerate(table) if cells[0] == loc[1]), 0)
        return ("layers", row, columns.index(loc[2]) if loc[2:3] and loc[2] in columns else 0, *loc[3:])


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file; only the start of a line that is too long."""
    while line := file.readline(_MAX_LINE_BYTES + 1):
        chunk = line
        while len(chunk) > _MAX_LINE_BYTES and not chunk.endswith(b"\n"):
            chunk = file.readline(_MAX_LINE_BYTES + 1)
        yield line


def _json(text: str, number: int) -> Any:
    """Parse a line. Raises: DocumentError."""
    lines = Lines(text, number)
    if len(text) >= _MAX_LINE_BYTES:
        raise DocumentError(f"the line is longer than {_MAX_LINE_BYTES // 1_000_000} MB", lines.position(0, 1))
    try:
        return json.loads(
            text, object_pairs_hook=_distinct_keys, parse_constant=_no_constant, parse_int=_bounded_integer
        )
    except RecursionError:
        raise DocumentError("nested too deep", lines.position(0, len(text))) from None
    except json.JSONDecodeError as error:
        position = lines.position(error.pos, error.pos + 1)
        raise DocumentError(f"not one JSON object: {error.msg[:1].lower()}{error.msg[1:]}", position) from None
    except ValueError as error:
        raise DocumentError(f"not one JSON object: {error}", lines.position(0, len(text))) from None


def _invalid_line(data: Any, name: Any) -> Mistake | None:
    if not isinstance(data, dict):
        message = f'a line of a catalogue is a JSON object with the model\'s "id", not {show(data)}'
        return Mistake((), "wrong-value", message)
    if "id" not in data:
        return Mistake((), "missing-key", 'a line of a catalogue is a JSON object with the model\'s "id"', on_key=True)
    if not isinstance(name, str) or not is_id(name):
        return Mistake(("id",), "wrong-value", f"{show(name)} is not a valid id: {ID_FORM}")
    return None


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key, value in pairs:
        if key in mapping:
            raise ValueError(f"the key '{shorten(key)}' occurs twice in it")
        mapping[key] = value
    return mapping


def _bounded_integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError("whole numbers must fit into 64 bits")
    return int(digits)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a number")
