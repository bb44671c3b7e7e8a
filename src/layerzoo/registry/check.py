"""A registry file checked as what it is: layerzoo's own, a plugin's, or a user's."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from dataclasses import replace
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
    """Everything that is wrong in a registry file and in the catalogue beside it, by place.

    The file is put in its place in the zoo that is here, so that what it refers to in other files is looked up too.
    Nothing is imported and nothing changes. It is layerzoo's own or an installed plugin's where it is that very file; a
    plugin's in development where a ``pyproject.toml`` above it names its folder as the package of a ``layerzoo`` entry
    point; and else a user's.

    namespace: says what it is instead: a plugin's namespace, ``mine`` for a user's file, ``toy`` for layerzoo's own.
    Raises: NotFoundError when there is no such file; UsageError when it is a catalogue, or that is no namespace.
    """
    if not os.path.lexists(file):
        raise NotFoundError(f"there is no file {file}", asked=file)
    if Path(file).suffix == ".jsonl":
        raise UsageError(f"{file} is a catalogue: check the {FILE_NAME} beside it, which says `catalogue:`")
    if namespace is not None and not is_namespace(namespace):
        raise UsageError(f"'{namespace}' is no namespace: small letters, digits, - and _, as in --namespace acme")
    path = Path(os.path.abspath(file))  # noqa: PTH100 - keeps links: a file is what it is where it lies
    around = registry().environment
    zoo = Registry(_with_file(around, path, _owner(path, around, namespace)))
    return [problem for problem in zoo.problems() if Path(problem.path).parent == path.parent and _is_of(problem, path)]


def _is_of(problem: Diagnostic, path: Path) -> bool:
    return Path(problem.path) == path or problem.path.endswith(".jsonl")


def _owner(path: Path, around: Environment, namespace: str | None) -> Installed | None:
    """Whose file it is; None for a user's own."""
    core, *plugins = around.installed
    if namespace == USER_NAMESPACE:
        return None
    if namespace == CORE_NAMESPACE:
        return core
    if namespace is not None:
        known = [plugin for plugin in plugins if plugin.namespace == namespace]
        new = Installed(
            namespace=namespace, distribution=f"{namespace} (not installed)", version=None, module=namespace
        )
        return next(iter(known), new)
    for each in around.installed:
        if each.path is not None and os.path.realpath(each.path) == os.path.realpath(path):
            return each
    return next(_in_development(path), None)


def _in_development(path: Path) -> Iterator[Installed]:
    """The plugin whose project names the file's folder as its package."""
    for folder in path.parents:
        try:
            written = read_small(folder / "pyproject.toml", _MAX_PROJECT_BYTES).decode()
            project = tomllib.loads(written)["project"]
            packages = project["entry-points"][GROUP]
            names = [name for name, package in packages.items() if package == path.parent.name]
            yield from (
                Installed(namespace=name, distribution=str(project["name"]), version=None, module=path.parent.name)
                for name in names
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # there is none, it is damaged, or it is not that of a plugin


def _with_file(around: Environment, path: Path, owner: Installed | None) -> Environment:
    """The environment with a file in its place. What the user says counts for his own files only."""
    if owner is None:
        others = [file for file in around.user_files if os.path.realpath(file) != os.path.realpath(path)]
        return replace(around, user_files=(str(path), *others))
    here = replace(owner, folder=str(path.parent), file=path.name, state="ok", cause=None, fix=None)
    core, *plugins = around.installed
    if owner.namespace == CORE_NAMESPACE:
        return replace(around, installed=(here, *plugins), user_files=())
    others_ = [plugin for plugin in plugins if plugin.namespace != owner.namespace]
    return replace(around, installed=(core, *others_, here), user_files=())
