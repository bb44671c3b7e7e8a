"""Generate a plugin's catalogue: all models that the plugin lists, traced, with their layers and costs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from layerzoo.errors import CacheError, LayerzooError, PluginError, RegistryError
from layerzoo.facts import library_versions
from layerzoo.jobs.ledger import Ledger, Result
from layerzoo.jobs.workers import WorkerLimits, results
from layerzoo.plugins.loader import hooks
from layerzoo.printable import shorten
from layerzoo.registry import Diagnostic, PluginManifest, Registry, registry
from layerzoo.registry.format import layer_table
from layerzoo.registry.format.catalogue import catalogue_lines, compile_models
from layerzoo.registry.format.schema import check_model
from layerzoo.registry.format.source import RegistrySource
from layerzoo.runtime.axes import AxisLayout
from layerzoo.runtime.construct import build_uninitialised, trace_mode
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.resolved import trace_model
from layerzoo.runtime.trace import signature
from layerzoo.spec import TAGS, ModelSpec
from layerzoo.weights import Files

CatalogueRow = dict[str, Any]
"""A model in the form of a declaration, with its ``id``; ``failed`` is the reason why it could not be traced."""

Traced = tuple[CatalogueRow, ...]
"""The models of one architecture, with the facts from traces."""

_NOT_LISTED = ("base", "layers", "params", "flops")
"""Keys that a plugin must not set for the models that it lists: a trace provides them."""

_OF_WEIGHTS = ("weights", *TAGS)
"""Keys that an architecture without weights does not have."""
_PUBLISHED = "published"
"""Key of a checkpoint whose configuration the plugin does not know, next to the keys of the model: see
:func:`models_to_list`."""

_LONGEST = 80
_MEMORY_BYTES = 8 << 30
"""A network that only runs with real values may exceed the memory of the machine."""


def architectures(namespace: str) -> list[str]:
    """Return the names of the architectures that a plugin with a catalogue lists.

    Raises: NotFoundError for an unknown namespace, PluginError when the plugin has no `layerzoo_catalogue`, or lists
    invalid models.
    """
    return sorted(_listed(namespace, registry()))


def trace_architectures(
    namespace: str, names: Iterable[str], ledger: Ledger | None, *, processes: int, seconds: float = 600
) -> Iterator[tuple[Traced, bool]]:
    """Yield the models of each architecture, in the order in which they are traced, and whether an earlier run traced
    them.

    Args:
        ledger: file that keeps each result, so that a stopped run can be continued; None: results are not kept.
        processes: number of parallel processes.
        seconds: time limit for one architecture.
    """
    requested = list(names)
    stored = _stored_results(ledger)
    for name in requested:
        if name in stored:
            yield tuple(stored[name]["rows"]), True
    missing = [name for name in requested if name not in stored]
    limits = WorkerLimits(seconds, _MEMORY_BYTES)
    for name, result in results(missing, partial(_work, namespace), limits, processes=processes):
        if "rows" in result:
            ledger = _keep(ledger, name, result)
            yield tuple(result["rows"]), False
        else:  # its process ended without a result; the next run tries again
            failed = ({**row, "failed": result["failed"]} for row in _listed(namespace, registry())[name])
            yield tuple(model for row in failed for model in models_to_list(row)), False


def _stored_results(ledger: Ledger | None) -> Mapping[str, Result]:
    try:
        return ledger.results() if ledger else {}
    except CacheError:
        return {}  # writing it fails, too, and reports the error


def _keep(ledger: Ledger | None, name: str, result: Result) -> Ledger | None:
    """Add a result. Returns: the ledger for the next; None when it cannot be written."""
    try:
        if ledger:
            ledger.add(name, result)
    except CacheError as error:
        logging.getLogger("layerzoo").warning(
            "%s. If this run is stopped, the next one starts from the beginning.", error
        )
        return None
    return ledger


def catalogue_text(namespace: str, traced: Iterable[Traced]) -> str:
    """Return the content of the file that a plugin ships. Models that could not be traced are listed without layers."""
    models = [{key: value for key, value in row.items() if key != "failed"} for rows in traced for row in rows]
    common = _common([row for listed in _listed(namespace, registry()).values() for row in listed])
    return "".join(catalogue_lines(models, common=common, traced_with=versions_of(namespace)))


def shipped_text(namespace: str) -> str:
    """Return the catalogue that a plugin ships. Raises: RegistryError when it cannot be read."""
    path = catalogue_path(namespace)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}. Next: zoo catalogue build {namespace}"
        raise RegistryError(message) from error
    except UnicodeDecodeError as error:
        raise RegistryError(f"{path} is not UTF-8. Next: zoo catalogue build {namespace}") from error


def shipped_models(namespace: str, names: Iterable[str]) -> Iterator[Traced]:
    """Yield the models of some architectures from the plugin's catalogue.

    Raises: RegistryError when it was generated with other libraries, or an architecture is missing.
    """
    shipped, listed, versions = _by_id(shipped_text(namespace)), _listed(namespace, registry()), versions_of(namespace)
    head = shipped.get(None, {})
    advice = f"Next: zoo catalogue build {namespace}, without --only"
    if head.get("traced_with") != versions:
        raise RegistryError(f"the catalogue of {namespace} was not made with the libraries that are here. {advice}")
    for name in names:
        if missing := [row["id"] for row in listed[name] if row["id"] not in shipped]:
            raise RegistryError(f"the catalogue of {namespace} has no {missing[0]}. {advice}")
        ids = (model_id for row in listed[name] for model_id in _possible_ids(row) if model_id in shipped)
        yield tuple({**head.get("common", {}), **shipped[model_id]} for model_id in ids)


def differences(namespace: str, traced: Sequence[Traced], text: str) -> Iterator[str]:
    """Yield the differences between traced models and a catalogue, one line each. Other architectures are ignored."""
    failed = {row["id"]: row["failed"] for rows in traced for row in rows if "failed" in row}
    shipped = _by_id(text)
    for name, row in _by_id(catalogue_text(namespace, traced)).items():
        label = f"{namespace}/{name}" if name else "the head"
        if name not in shipped:
            yield f"{label} is not in the file"
        elif name in failed and "layers" in shipped[name]:
            yield f"{label} has layers in the file, and cannot be traced: {failed[name]}"
        else:
            yield from (f"{label}: {difference}" for difference in _unlike(row, shipped[name]))
    traced_ids = {row["id"] for rows in traced for row in rows}
    listed = [row for rows in _listed(namespace, registry()).values() for row in rows]
    possible = {model_id: row["id"] for row in listed for model_id in _possible_ids(row)}
    for name in filter(None, shipped):
        if name not in possible:
            yield f"{namespace}/{name} is in the file, and the plugin does not list it"
        elif name not in traced_ids and possible[name] in traced_ids:
            yield f"{namespace}/{name} is in the file, and the size of {namespace}/{possible[name]} is known"


def _unlike(row: CatalogueRow, shipped_row: CatalogueRow) -> Iterator[str]:
    for key in sorted(row.keys() | shipped_row.keys()):
        value, shipped_value = row.get(key), shipped_row.get(key)
        if value == shipped_value:
            continue
        if isinstance(value, list) and isinstance(
            shipped_value, list
        ):  # of tables of layers, only the rows that differ
            value, shipped_value = (
                [row for row in value if row not in shipped_value],
                [row for row in shipped_value if row not in value],
            )
        yield f"{key} is {_short(value)}, and in the file {_short(shipped_value)}"


def _short(value: Any) -> str:
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False)
    return shorten(text, _LONGEST)


def _by_id(text: str) -> dict[str | None, CatalogueRow]:
    """Parse the lines of a catalogue, by id; its head has the key None. Invalid lines are skipped: reading the
    catalogue reports them."""
    rows = []
    for line in text.split("\n"):
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return {row.get("id"): row for row in rows if isinstance(row, dict)}


def catalogue_path(namespace: str) -> Path:
    """Return the path of a plugin's catalogue from its registry.yaml. Raises: RegistryError when it has none."""
    zoo = registry()
    manifest = zoo.plugin(namespace)
    if path := zoo.catalogue(manifest):
        return Path(path)
    raise RegistryError(f"{manifest.path} names no catalogue. Next: write `catalogue: models.jsonl` into it")


def versions_of(namespace: str) -> dict[str, str]:
    """Return the versions of the libraries that build a plugin's networks."""
    zoo = registry()
    manifest = zoo.plugin(namespace)
    rows = {row["builder"]: row for rows in _listed(namespace, zoo).values() for row in rows}
    versions: dict[str, str] = {}
    for row in rows.values():
        versions |= library_versions(_spec(namespace, row, zoo), zoo)
    return {name: version for name, version in versions.items() if name not in ("layerzoo", manifest.distribution)}


def state_of(namespace: str) -> dict[str, str]:
    """Return everything that results depend on: the libraries, the listed models, and the code that traces and
    names."""
    zoo = registry()
    digest = hashlib.sha256(json.dumps(_listed(namespace, zoo)).encode())
    plugin = Path(str(zoo.plugin(namespace).path)).parent
    parts = [*Path(__file__).parent.glob("*.py"), Path(layer_table.__file__)]
    for path in sorted([*parts, *plugin.rglob("*.py"), *plugin.rglob("*.toml")]):
        digest.update(path.read_bytes())
    return {**versions_of(namespace), "code": digest.hexdigest()}


def models_to_list(row: CatalogueRow) -> list[CatalogueRow]:
    """Return the models to list for a traced row.

    If the configuration of a checkpoint is unknown (``published`` in its row), the trace is that of the library's
    default configuration of its architecture. If the checkpoint is known to have the same size, the row keeps the facts
    of the trace. Otherwise the checkpoint is listed without size, cost and layers, and the architecture is listed
    separately, without weights, under the first of its aliases.

    Args:
        row: from :func:`_trace_models`. ``published`` contains ``params``, the least and the largest possible number of
            parameters of the checkpoint, if known; and ``summary``, for a checkpoint of unknown size.
    """
    own = {key: value for key, value in row.items() if key != _PUBLISHED}
    if _PUBLISHED not in row:
        return [own]
    low, high = row[_PUBLISHED].get("params", (1, 0))
    if low <= own.get("params", 0) <= high:
        return [own]
    unknown = {**own, "summary": row[_PUBLISHED]["summary"]}
    if "params" not in own or not own.get("aliases"):
        return [unknown]
    name, *aliases = own["aliases"]
    unknown = {key: value for key, value in unknown.items() if key not in ("params", "flops", "layers", "aliases")}
    architecture = {**own, "id": name, "aliases": aliases}
    return [unknown, {key: value for key, value in architecture.items() if key not in _OF_WEIGHTS and value != []}]


def _possible_ids(row: CatalogueRow) -> list[str]:
    """Return the ids of the models that may be listed for a row: see :func:`models_to_list`."""
    return [row["id"], *(row.get("aliases", [])[:1] if _PUBLISHED in row else [])]


def _work(namespace: str, name: str) -> CatalogueRow:
    zoo = registry()  # in a process of the pool
    traced = _trace_models(namespace, _listed(namespace, zoo)[name], zoo)
    return {"rows": [model for row in traced for model in models_to_list(row)]}


def _trace_models(namespace: str, rows: Sequence[CatalogueRow], zoo: Registry) -> Iterator[CatalogueRow]:
    """Yield the models of one architecture with the facts from traces. Equal networks are traced once."""
    layouts: dict[str, AxisLayout] | None = None
    facts: dict[tuple[Any, ...], CatalogueRow] = {}
    for row in rows:
        if "unusable" in row:
            yield {**row}
            continue
        spec = _spec(namespace, row, zoo)
        try:
            model_hooks = ModelHooks.of(spec, zoo)
            key, params = _identity(spec, model_hooks)
            if key not in facts:
                resolved = trace_model(spec, Files(), model_hooks, zoo, layouts=layouts)
                layouts = resolved.tracer.layouts
                facts[key] = {"flops": resolved.tracer.flops, "layers": layer_table.packed(resolved.spec.layers)}
            yield {**row, "params": params, **facts[key]}
        except LayerzooError as error:
            yield {**row, "failed": _cause(error)}


def _cause(error: LayerzooError) -> str:
    """Return the first line of an error; if it only introduces the others, all lines."""
    first, *more = str(error).splitlines() or [type(error).__name__]
    details = [line for line in more if not line.startswith("Next: ")]
    return f"{first}{'; '.join(details)}" if first.endswith(": ") else first


def _identity(spec: ModelSpec, model_hooks: ModelHooks) -> tuple[tuple[Any, ...], int]:
    """Return a key of everything that determines the trace of a model of an architecture, and its number of parameters.

    These are the names and shapes of all tensors, and the input, which follows from the arguments if it is not
    declared.
    """
    with trace_mode("meta"):
        network = build_uninitialised(spec, model_hooks, Files())
    key = (signature(network), spec.preprocess or spec.args)
    return key, sum(parameter.numel() for parameter in network.parameters())


def _listed(namespace: str, zoo: Registry) -> Mapping[str, Sequence[CatalogueRow]]:
    """Return the models that a plugin lists, by architecture, as JSON-able data. Raises: PluginError for invalid
    ones."""
    return _listed_by(zoo.plugin(namespace))


@cache
def _listed_by(manifest: PluginManifest) -> Mapping[str, Sequence[CatalogueRow]]:
    namespace = manifest.namespace
    answer = hooks(manifest).catalogue()
    if answer is None:
        message = f"the plugin '{namespace}' has no hook layerzoo_catalogue: it lists no models"
        raise PluginError(message, plugin=namespace)
    try:
        listed = json.loads(json.dumps(answer, allow_nan=False))
        mistakes = list(_mistakes(listed, manifest))
    except (TypeError, ValueError) as error:
        listed, mistakes = {}, [f"it is not valid JSON: {error}"]
    if mistakes:
        suffix = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
        message = (
            f"what the hook layerzoo_catalogue of the plugin '{namespace}' lists does not fit: {mistakes[0]}{suffix}"
        )
        raise PluginError(message, plugin=namespace)
    return dict(listed)


def _mistakes(listed: Any, manifest: PluginManifest) -> Iterator[str]:
    if not isinstance(listed, dict) or not listed:
        yield "lists of models, by the name of their architecture, are wanted"
        return
    for name, rows in listed.items():
        if not isinstance(rows, list) or not rows:
            yield f"{name}: a list of models is wanted"
    rows = [row for model_rows in listed.values() if isinstance(model_rows, list) for row in model_rows]
    for row in rows:
        if isinstance(row, dict) and (forbidden := [key for key in _NOT_LISTED if key in row]):
            yield f"{row.get('id')}: {' and '.join(forbidden)} must not be said"
        if isinstance(row, dict) and not _is_published(row.get(_PUBLISHED, {"summary": ""})):
            yield f"{row.get('id')}: published is {{summary: TEXT, params: [LEAST, LARGEST]}}, params where it is known"
    source = RegistrySource(str(manifest.path), "plugin", manifest.namespace, manifest.distribution)
    for model in compile_models(map(_declared, rows), source):
        if isinstance(model, Diagnostic):
            yield f"{model.model or model.text}: {model.message}"


def _is_published(value: Any) -> bool:
    """Return whether a value has the form of ``published``: see :func:`models_to_list`."""
    if not isinstance(value, dict) or not isinstance(value.get("summary"), str) or value.keys() - {"summary", "params"}:
        return False
    params = value.get("params", [0, 0])
    return isinstance(params, list) and len(params) == 2 and all(isinstance(number, int) for number in params)


def _declared(row: Any) -> Any:
    """Return the keys of a listed row that declare a model."""
    return {key: value for key, value in row.items() if key != _PUBLISHED} if isinstance(row, dict) else row


def _spec(namespace: str, row: CatalogueRow, zoo: Registry) -> ModelSpec:
    """Return the spec of a listed model."""
    own = {key: value for key, value in row.items() if key not in ("id", "aliases", _PUBLISHED)}
    fields, _ = check_model(f"{namespace}/{row['id']}", own, Path())
    assert fields is not None
    return replace(ModelSpec.from_dict(fields), plugin=zoo.plugin(namespace).distribution)


def _common(rows: Sequence[CatalogueRow]) -> CatalogueRow:
    """Return the modality and builder, if all rows share them."""
    first = rows[0]
    return {key: first[key] for key in ("modality", "builder") if all(row[key] == first[key] for row in rows)}
