"""The modules of a sentence-transformers repository, and the location of the files of its network."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from layerzoo.errors import RepositoryError
from layerzoo.weights import Files

MODULES = "modules.json"
SETTINGS = "config_sentence_transformers.json"
_TRANSFORMER_SETTINGS = tuple(
    f"sentence_{name}_config.json"
    for name in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
"""What the settings of the network's own module are in; the first file that exists counts."""
HUB = frozenset(
    {
        "cache_dir",
        "force_download",
        "local_files_only",
        "proxies",
        "revision",
        "subfolder",
        "token",
        "trust_remote_code",
    }
)
"""Settings that say where files come from."""
NETWORKS = frozenset({"Transformer", "CLIPModel", "StaticEmbedding"})
"""Modules that take texts, images or audio themselves: the first one of a model."""
_ROUTERS = frozenset({"Router", "Asym"})
_ROUTER_SETTINGS = ("router_config.json", "config.json")
"""What a router is described in; the second name is that of older releases."""
_DEEPEST = 4
"""How many routers are followed into each other."""


@dataclass(frozen=True, slots=True)
class ModuleEntry:
    """One module. type: its class, as the file names it."""

    type: str
    folder: str
    """Where its files are; empty for the repository's own folder."""

    @property
    def kind(self) -> str:
        """The class name for a class of sentence-transformers, whose modules moved between releases; else the import
        path."""
        return self.type.rpartition(".")[2] if self.type.startswith("sentence_transformers.") else self.type


def folder_in(path: str) -> str:
    """Return the folder that a path of a modules.json names; empty for the root folder."""
    return "/".join(part for part in path.split("/") if part not in ("", "."))


def module_rows(model: str, files: Files, route: str | None = None) -> list[ModuleEntry]:
    """Return the modules that a text goes through, in their order; of a router, those of one route.

    Args:
        model: the model's id, for messages.
        files: those of the repository, modules.json among them.
        route: ``query`` or ``document``, the task in the library's terms. None: the router's default.
    Raises: RepositoryError for invalid files, and for a route that no router has.
    """
    rows = read_file(model, files, MODULES)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "type" in row for row in rows):
        raise RepositoryError(f"{model}: its {MODULES} is not a list of modules, each with a 'type' and a 'path'")
    entries = [ModuleEntry(str(row["type"]), folder_in(str(row.get("path") or ""))) for row in rows]
    modules = [module for row in entries for module in _routed(model, files, row, route, _DEEPEST)]
    if route is not None and not any(row.kind in _ROUTERS for row in entries):
        raise RepositoryError(f"{model}: args say `route: {route}`, and it has no router. Next: leave `route` out")
    return modules


def _routed(model: str, files: Files, row: ModuleEntry, route: str | None, depth: int) -> Iterator[ModuleEntry]:
    if row.kind not in _ROUTERS or not depth:
        yield row
        return
    below = f"{row.folder}/" if row.folder else ""
    name = next((f"{below}{file}" for file in _ROUTER_SETTINGS if f"{below}{file}" in files), None)
    if name is None:
        raise RepositoryError(f"{model}: its {row.kind} in '{row.folder or '.'}' has no {_ROUTER_SETTINGS[0]}")
    settings = read_file(model, files, name)
    try:
        types, structure = dict(settings["types"]), dict(settings["structure"])
        keys = structure[_route(model, structure, settings.get("parameters") or {}, route)]
        inner = [ModuleEntry(str(types[key]), folder_in(f"{below}{key}")) for key in keys]
    except (KeyError, TypeError, ValueError) as error:
        raise RepositoryError(f"{model}: its {name} describes no router: {error!r}") from error
    for entry in inner:
        yield from _routed(model, files, entry, route, depth - 1)


def _route(model: str, structure: Mapping[str, Any], parameters: Mapping[str, Any], task: str | None) -> str:
    """Return the route of a text: ``Router._resolve_route`` of sentence_transformers.base.modules.router.

    Raises: RepositoryError where the router has none for the task.
    """
    mappings = {
        _mapping(key): str(name) for key, name in (parameters.get("route_mappings") or {}).items() if _mapping(key)
    }
    for key in ((task, "text"), (task, None), (None, "text"), (None, None)):
        if key in mappings:
            return mappings[key]
    default = parameters.get("default_route")
    if default is None and parameters.get("allow_empty_key", True):
        default = next(iter(structure), None)
    direct = next((name for name in (task, "text") if name in structure), None)
    route = direct or (None if task else default)
    if route is not None:
        return str(route)
    request = f"`route: {task}`" if task else "a text"
    raise RepositoryError(
        f"{model}: its router has no route for {request}. Its routes: {', '.join(structure)}. Next: declare a model in "
        "a registry.yaml with these `weights` and `args: {route: …}`"
    )


def _mapping(key: str) -> tuple[str | None, str | None] | None:
    """Parse a pair of task and modality, which a router's settings store as the text of a tuple; None for other
    text."""
    try:
        task, modality = ast.literal_eval(key)
    except (ValueError, SyntaxError, TypeError):
        return None
    return task, modality


def network_folder(model: str, files: Files, route: str | None = None) -> str:
    """Return the folder of the network in a repository; empty for the root folder. Arguments and errors are those of
    :func:`module_rows`."""
    rows = module_rows(model, files, route) if MODULES in files and read_file(model, files, MODULES) else []
    return rows[0].folder if rows else ""


def network_files(files: Files, folder: str) -> Files:
    """Return the files of a network in a subfolder under the names that they would have in the root folder.

    Files of the root folder are excluded, except those of the modules.
    """
    if not folder:
        return files
    shared = {name: path for name, path in files.paths.items() if "/" in name or name in (MODULES, SETTINGS)}
    own = {name.removeprefix(f"{folder}/"): path for name, path in files.paths.items() if name.startswith(f"{folder}/")}
    return replace(files, paths={**shared, **own})


def transformer_settings(model: str, files: Files) -> Mapping[str, Any]:
    """Return the settings of the network's own module, as sentence-transformers wrote them."""
    names = (name for name in _TRANSFORMER_SETTINGS if name in files)
    return next((settings for name in names if (settings := read_file(model, files, name))), {})


def config_changes(model: str, files: Files) -> dict[str, Any]:
    """Return the changes that sentence-transformers makes to a network's config.json while loading it."""
    settings = transformer_settings(model, files) if MODULES in files else {}
    options = settings.get("config_kwargs") or settings.get("config_args") or {}
    return {name: value for name, value in options.items() if name not in HUB}


def read_file(model: str, files: Files, name: str) -> Any:
    """Return the content of a JSON file of a model. Raises: RepositoryError for one that is not valid JSON."""
    try:
        return json.loads(Path(files[name]).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise RepositoryError(f"{model}: its {name} is not valid JSON: {error}") from error
