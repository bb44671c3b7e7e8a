"""Check a registry file of layerzoo, a plugin or a user."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

from layerzoo.errors import NotFoundError, UsageError
from layerzoo.registry.format.diagnostics import Diagnostic
from layerzoo.registry.format.source import is_namespace
from layerzoo.registry.installed.environment import Environment
from layerzoo.registry.installed.plugin import CORE_NAMESPACE, FILE_NAME, GROUP, USER_NAMESPACE, Installed
from layerzoo.registry.lookup import Registry, registry
from layerzoo.small_files import read_small

_MAX_PROJECT_BYTES = 1_000_000


def check(file: str, namespace: str | None = None) -> list[Diagnostic]:
    """Return all problems of a registry file and of its catalogue, sorted by position.

    The file is checked as part of the installed zoo, so that references to other files are checked too. Nothing is
    imported or changed. By default the owner of the file is inferred: layerzoo or an installed plugin if it is their
    file; a plugin in development if a ``pyproject.toml`` above it names its folder as the package of a ``layerzoo``
    entry point; otherwise the user.

    Args:
        file: the path of a registry.yaml.
        namespace: the owner: a plugin's namespace, ``mine`` for the user, ``toy`` for layerzoo itself.
    Raises: NotFoundError if the file does not exist; UsageError for a catalogue or an invalid namespace.
    """
    if not os.path.lexists(file):
        raise NotFoundError(f"there is no file {file}", asked=file)
    if Path(file).suffix == ".jsonl":
        raise UsageError(f"{file} is a catalogue: check the {FILE_NAME} that names it under `catalogue:`")
    if namespace is not None and not is_namespace(namespace):
        raise UsageError(
            f"'{namespace}' is not a valid namespace: lower-case letters, digits, - and _, as in --namespace acme"
        )
    path = Path(os.path.abspath(file))  # noqa: PTH100 - keeps links: a file is identified by its path
    environment = registry().environment
    zoo = Registry(_with_file(environment, path, _owner(path, environment, namespace)))
    return [problem for problem in zoo.problems() if Path(problem.path).parent == path.parent and _is_of(problem, path)]


def _is_of(problem: Diagnostic, path: Path) -> bool:
    return Path(problem.path) == path or problem.path.endswith(".jsonl")


def _owner(path: Path, environment: Environment, namespace: str | None) -> Installed | None:
    """Return the owner of the file; None for the user."""
    core, *plugins = environment.installed
    if namespace == USER_NAMESPACE:
        return None
    if namespace == CORE_NAMESPACE:
        return core
    if namespace is not None:
        candidates = [plugin for plugin in plugins if plugin.namespace == namespace]
        new = Installed(
            namespace=namespace, distribution=f"{namespace} (not installed)", version=None, module=namespace
        )
        return next(iter(candidates), new)
    for candidate in environment.installed:
        if candidate.path is not None and os.path.realpath(candidate.path) == os.path.realpath(path):
            return candidate
    return next(_in_development(path), None)


def _in_development(path: Path) -> Iterator[Installed]:
    """Yield the plugin whose project names the file's folder as its package."""
    for folder in path.parents:
        try:
            text = read_small(folder / "pyproject.toml", _MAX_PROJECT_BYTES).decode()
            project = tomllib.loads(text)["project"]
            packages = project["entry-points"][GROUP]
            names = [name for name, package in packages.items() if package == path.parent.name]
            yield from (
                Installed(namespace=name, distribution=str(project["name"]), version=None, module=path.parent.name)
                for name in names
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # it is missing, damaged, or not the project of a plugin


def _with_file(environment: Environment, path: Path, owner: Installed | None) -> Environment:
    """Return the environment with the file added, and without the user's other files unless the owner is the user."""
    if owner is None:
        other_files = [file for file in environment.user_files if os.path.realpath(file) != os.path.realpath(path)]
        return environment._replace(user_files=(str(path), *other_files))
    local_owner = owner._replace(folder=str(path.parent), file=path.name, state="ok", cause=None, fix=None)
    core, *plugins = environment.installed
    if owner.namespace == CORE_NAMESPACE:
        return environment._replace(installed=(local_owner, *plugins), user_files=())
    other_plugins = [plugin for plugin in plugins if plugin.namespace != owner.namespace]
    return environment._replace(installed=(core, *other_plugins, local_owner), user_files=())
