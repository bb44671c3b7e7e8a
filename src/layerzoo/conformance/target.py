"""Resolve the target of `zoo plugin check`: an installed plugin, one in a folder or a wheel, or a model."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from layerzoo.conformance.codes import CHECKS
from layerzoo.conformance.subject import ModelSubject, PluginSubject
from layerzoo.errors import NotFoundError, UsageError
from layerzoo.registry import PluginManifest, Registry, registry
from layerzoo.registry.installed.plugin import CORE_NAMESPACE, FILE_NAME, GROUP
from layerzoo.small_files import read_small
from layerzoo.spec import ModelSpec

EXPECTED = "conformance.toml"
"""The file next to a plugin's registry.yaml that declares expected failures."""
_FILES = (".whl", ".yaml", ".toml")
_NEXT = "zoo plugin new, or the name of an installed plugin"
_MAX_BYTES = 1_000_000
_CATALOGUED = 3
"""The number of models of a generated catalogue that are checked: those with the fewest parameters."""


@dataclass(frozen=True)
class Target:
    """The plugins and models to check.

    plugins: checked as a whole. models: checked one by one. collected: the number of models of the plugins.
    """

    plugins: Sequence[PluginSubject]
    models: Sequence[ModelSubject]
    collected: int
    _expected: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def expected(self, subject: PluginSubject | ModelSubject) -> dict[str, str]:
        """Return the declared failures of a plugin or a model: code → reason."""
        declared = self._expected.get(subject.plugin, {})
        return expected_of(declared, subject.model)


def expected_of(declared: Mapping[str, str], model: str | None) -> dict[str, str]:
    """Return the expected failures of one model, or of the plugin as a whole: code → reason.

    Args:
        declared: ``CODE`` or ``CODE:MODEL`` → reason.
        model: the id; None for the plugin.
    Raises: UsageError for a code that does not exist.
    """
    expected = {}
    for key, reason in declared.items():
        code, _, of = key.partition(":")
        if code not in CHECKS:
            raise UsageError(f"expected failures: there is no check '{code}'. All of them: zoo explain")
        if not of or of == model:
            expected[code] = reason
    return expected


@contextlib.contextmanager
def opened(
    name: str | None,
    *,
    all_models: bool = False,
    downloads: bool = False,
    time_limit_s: float = 120.0,
    inputs: Mapping[str, Sequence[Any]] | None = None,
) -> Iterator[Target]:
    """Find a target, and make it importable inside the ``with`` block.

    Args:
        name: the namespace or distribution of a plugin, the path of its folder, registry.yaml or wheel, or the id of
            a model. None: all installed plugins that are not disabled.
        all_models: check every model of a generated catalogue, instead of the few smallest.
        downloads: whether weights and configurations may be downloaded.
        time_limit_s: for the import of a plugin.
        inputs: samples to check a model with, by its id.
    Raises: NotFoundError if there is nothing of this name; UsageError for a folder without a plugin.
    """
    options = {"downloads": downloads, "inputs": inputs or {}}
    with contextlib.ExitStack() as stack:
        if name is None:
            zoo = registry()
            enabled = [plugin for plugin in zoo.plugins() if plugin.state != "disabled"]
            yield _target(enabled, None, zoo, time_limit_s, all_models, {}, options)
            return
        manifests = _installed(name)
        if manifests is None and (path := Path(name).expanduser()).exists():
            names, aliases = stack.enter_context(_on_path(path))
            zoo = registry()
            manifests = [plugin for plugin in zoo.plugins() if plugin.namespace in names]
            yield _target(manifests, None, zoo, time_limit_s, all_models, aliases, options)
            return
        if manifests is None and _is_path(name):
            noun = "file" if name.endswith(_FILES) else "folder"
            raise NotFoundError(f"there is no {noun} {name}. Next: {_NEXT}", asked=name)
        zoo = registry()
        spec = None
        if manifests is None:
            spec = zoo.model(name)
            manifests = [zoo.plugin(spec.namespace)] if spec.plugin or spec.namespace == CORE_NAMESPACE else []
            if not manifests:
                raise UsageError(f"{spec.id} belongs to no plugin: `zoo registry check` checks the files of users")
        yield _target(manifests, spec, zoo, time_limit_s, all_models, {}, options)


def _installed(name: str) -> list[PluginManifest] | None:
    """Return the installed plugins of a name; None for a path and for the id of a model."""
    if os.sep in name or _is_path(name):
        return None
    plugins = [plugin for plugin in registry().plugins() if plugin.is_called(name)]
    if not plugins and not Path(name).exists():
        try:
            registry().model(name)
        except NotFoundError:
            registry().plugin(name)  # raises the error that names the nearest plugins
    return plugins or None


def _is_path(name: str) -> bool:
    """Return whether a name is the path of a file or folder, and not the id of a model, which may contain a slash."""
    return name.startswith((".", "~", os.sep)) or name.endswith((*_FILES, os.sep))


def _target(
    manifests: Sequence[PluginManifest],
    spec: ModelSpec | None,
    zoo: Registry,
    time_limit_s: float,
    all_models: bool,
    aliases: Mapping[str, str],
    options: Mapping[str, Any],
) -> Target:
    plugins = [PluginSubject(manifest, zoo, time_limit_s, aliases) for manifest in manifests]
    models: list[ModelSubject] = []
    for plugin in plugins:
        chosen = [spec] if spec else choose_models(plugin, all_models=all_models)
        models += [
            ModelSubject(
                model_spec, plugin, inputs=options["inputs"].get(model_spec.id), downloads=options["downloads"]
            )
            for model_spec in chosen
        ]
    expected = {plugin.plugin: expected_failures(plugin.folder) for plugin in plugins}
    return Target(plugins, models, sum(len(plugin.specs) for plugin in plugins), expected)


def choose_models(plugin: PluginSubject, *, all_models: bool = False) -> list[ModelSpec]:
    """Return the models of a plugin that are checked: all that are written by hand, and some of its catalogue.

    Args:
        plugin: the plugin.
        all_models: return every model.
    """
    if all_models:
        return list(plugin.specs)
    catalogued = {spec.id for spec in plugin.specs if plugin.is_catalogued(spec.id)}
    by_hand = [spec for spec in plugin.specs if spec.id not in catalogued]
    by_size = sorted(
        (
            spec
            for spec in plugin.specs
            if spec.id in catalogued and spec.params and not spec.unusable and plugin.zoo.repository(spec.id) is None
        ),
        key=lambda spec: (spec.params, spec.id),
    )
    networks = {(spec.params, spec.modality): spec for spec in reversed(by_size)}  # weights of one network occur once
    return [*by_hand, *sorted(networks.values(), key=by_size.index)[:_CATALOGUED]]


def expected_failures(folder: Path | None) -> dict[str, str]:
    """Return the expected failures that a plugin declares in its package: ``CODE`` or ``CODE:MODEL`` → reason.

    Args:
        folder: the folder of its registry.yaml.
    Raises: UsageError for a file that is not valid.
    """
    if folder is None or not (path := folder / EXPECTED).is_file():
        return {}
    try:
        table = tomllib.loads(read_small(path, _MAX_BYTES).decode())["expected-failures"]
        if not all(isinstance(reason, str) and reason.strip() for reason in table.values()):
            raise ValueError("every expected failure needs a reason")
        return {str(key): str(reason) for key, reason in table.items()}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(
            f'{path}: {error}. It has a table [expected-failures] with lines CODE = "REASON" or "CODE:MODEL" = "REASON"'
        ) from error


# ---------------------------------------------------------------- plugins that are not installed


@contextlib.contextmanager
def _on_path(path: Path) -> Iterator[tuple[set[str], dict[str, str]]]:
    """Make the plugins of a folder or a wheel importable. Yields: their namespaces, and the names of moved paths."""
    with tempfile.TemporaryDirectory(prefix="layerzoo-check-") as temporary:
        folder = Path(os.path.realpath(temporary))
        added, aliases = [str(folder)], {}
        if path.suffix == ".whl":
            names, aliases = _unpacked(path, folder), {f"{folder}{os.sep}": f"{path}/"}
        elif infos := list(_dist_infos(path)):
            added, names = [str(path.resolve())], {name for info in infos for name in info}
        else:
            names, packages = _described(path, folder)
            added += [str(package.parent) for package in packages]
        modules = set(sys.modules)
        sys.path[:0] = added
        importlib.invalidate_caches()
        try:
            yield names, aliases
        finally:
            for added_path in added:
                sys.path.remove(added_path)
            importlib.invalidate_caches()
            tops = {entry.name.removesuffix(".py") for added_path in added for entry in Path(added_path).iterdir()}
            for name in set(sys.modules) - modules:
                if name.partition(".")[0] in tops:
                    del sys.modules[name]


def _dist_infos(path: Path) -> Iterator[list[str]]:
    """Yield the namespaces of the distributions that are installed in a folder."""
    for file in path.glob("*.dist-info/entry_points.txt") if path.is_dir() else ():
        text = read_small(file, _MAX_BYTES).decode(errors="replace")
        if names := _namespaces(text):
            yield names


def _namespaces(entry_points: str) -> list[str]:
    section = re.search(rf"^\[{GROUP}\]\s*$(.*?)(?=^\[|\Z)", entry_points, re.MULTILINE | re.DOTALL)
    return re.findall(r"^\s*([^\s=]+)\s*=", section[1], re.MULTILINE) if section else []


def _unpacked(wheel: Path, folder: Path) -> set[str]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(f"{wheel} is not a wheel: {error}") from error
    names = {name for info in _dist_infos(folder) for name in info}
    if not names:
        raise UsageError(f"{wheel} has no entry point of the group `{GROUP}`: it is not a plugin")
    return names


def _described(path: Path, folder: Path) -> tuple[set[str], list[Path]]:
    """Write the metadata that the wheel of a project would have into a folder.

    Args:
        path: of the project, or of a file or folder in it.
        folder: an empty folder.
    Returns: the namespaces of its plugins, and the folders of their packages.
    """
    root, project = _project(path.resolve() if path.is_dir() else path.resolve().parent)
    name, version = str(project["name"]), str(project.get("version", "0"))
    entries: dict[str, str] = project["entry-points"][GROUP]
    info = folder / f"{re.sub(r'[-_.]+', '_', name)}-{version}.dist-info"
    info.mkdir()
    requires = "".join(f"Requires-Dist: {requirement}\n" for requirement in project.get("dependencies", ()))
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    lines = "".join(f"{namespace} = {module}\n" for namespace, module in entries.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}", encoding="utf-8")
    origin = {"url": root.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(origin), encoding="utf-8")
    packages = (_package(root, module) for module in entries.values())
    return set(entries), list(dict.fromkeys(package for package in packages if package is not None))


def _project(start: Path) -> tuple[Path, dict[str, Any]]:
    """Return the folder and the [project] table of the nearest pyproject.toml of a plugin."""
    for folder in (start, *start.parents):
        try:
            project = tomllib.loads(read_small(folder / "pyproject.toml", _MAX_BYTES).decode())["project"]
            if project["entry-points"][GROUP] and project["name"]:
                return folder, project
        except (OSError, ValueError, KeyError, TypeError):
            continue
    raise UsageError(
        f"{start} is not the folder of a plugin: neither it nor a folder above has a pyproject.toml with "
        f"[project.entry-points.{GROUP}]. Next: {_NEXT}"
    )


def _package(root: Path, module: str) -> Path | None:
    """Return the folder of a package in a project; None if there is none."""
    candidates = [
        root / "src" / module,
        root / module,
        *sorted(root.glob(f"*/{module}")),
        *sorted(root.glob(f"*/*/{module}")),
    ]
    with_file = [folder for folder in candidates if (folder / FILE_NAME).is_file()]
    return next(iter([*with_file, *(folder for folder in candidates if folder.is_dir())]), None)
