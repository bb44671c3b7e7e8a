"""The next step for a plugin that cannot be used, in the words that all commands show."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_CORE = "layerzoo"


def disable(name: str) -> str:
    return f"zoo plugin disable {shlex.quote(name)}"


def enable(name: str) -> str:
    return f"zoo plugin enable {shlex.quote(name)}"


def install(*requirements: str) -> str:
    return f"pip install {' '.join(map(shlex.quote, requirements))}"


def upgrade(*distributions: str) -> str:
    return f"pip install -U {' '.join(map(shlex.quote, distributions))}"


def install_again(distribution: str) -> str:
    return f"pip install --force-reinstall {shlex.quote(distribution)}"


def reinstall(distribution: str) -> str:
    """Advise on a distribution with missing or damaged files."""
    command = install_again(distribution)
    return command if distribution == _CORE else f"{command}, or pip uninstall {shlex.quote(distribution)}"


def take_out(distribution: str) -> str:
    """Advise on a distribution that must not be used."""
    return f"pip uninstall {shlex.quote(distribution)}, or {disable(distribution)}"


def correct_entry_point(distribution: str, project: str | None) -> str:
    """Advise on a wrong entry point.

    Args:
        distribution: the distribution of the plugin.
        project: the folder of its source code, if the user is its author.
    """
    if project is None:
        return f"{upgrade(distribution)}; if it is the newest version, report this to its author"
    file = shlex.quote(f"{project.rstrip('/')}/pyproject.toml")
    return (
        f'correct [project.entry-points.layerzoo] in {file} (NAMESPACE = "PACKAGE"), then install it again: '
        f"pip install -e {shlex.quote(project)}"
    )


def correct_file(distribution: str, path: str | None, *, is_own: bool = False) -> str:
    """Advise on an invalid registry.yaml.

    Args:
        distribution: the distribution of the plugin.
        path: the path of the file.
        is_own: whether the user is its author.
    """
    if distribution == _CORE or path is None:
        return reinstall(distribution)
    check = f"zoo registry check {shlex.quote(path)}"
    if is_own:
        return f"correct {path}; to list all problems: {check}"
    return f"{upgrade(distribution)}; its author can list all problems with: {check}"


def ship_file(distribution: str, own_path: str | None = None) -> str:
    """Advise on a missing registry.yaml.

    Args:
        distribution: the distribution of the plugin.
        own_path: the expected path, if the user is its author.
    """
    if own_path is not None and distribution != _CORE:
        return f"write {own_path}, which begins with `layerzoo: 1`; all keys: zoo registry schema"
    command = install_again(distribution)
    return command if distribution == _CORE else f"{command}; if it was never shipped, report this to its author"


def match_versions(distribution: str, own_path: str | None = None) -> str:
    """Advise on a plugin for another version of layerzoo. Either of the two may be too old; pip resolves this.

    Args:
        distribution: the distribution of the plugin.
        own_path: its registry.yaml, if the user is its author.
    """
    if own_path is not None and distribution != _CORE:
        return f"{upgrade(_CORE)}, or correct {own_path}"
    return upgrade(_CORE, distribution) if distribution != _CORE else upgrade(_CORE)


def correct_code(location: str | None, project: str) -> str:
    """Advise the author of a plugin whose code raises.

    Args:
        location: the line, as FILE:LINE; None if it is unknown.
        project: the folder of its source code.
    """
    return f"correct {location}" if location else f"correct the plugin in {project}"


def correct_declaration(model: str, location: str | None) -> str:
    """Advise on a model of the user that its builder cannot build.

    Args:
        model: the id.
        location: the declaration, as FILE:LINE; None if it is unknown.
    """
    return f"correct the declaration of {model}{f' at {location}' if location else ''}: its `args`, its weights"


def look_at_checkpoint(model: str, checkpoint: str) -> str:
    """Advise on a checkpoint of another network."""
    return f"check that {checkpoint} is a checkpoint of {model}. Its own weights, or untrained ones: weights='random:0'"


def look_at_repository(source: str, *distributions: str) -> str:
    """Advise on a repository of the hub that the library cannot read."""
    return f"check what {source} holds. Where it is complete, a newer library may read it: {upgrade(*distributions)}"


def choose_one(distributions: Sequence[str]) -> str:
    """Advise on several plugins with one namespace."""
    return f"keep one of them: {' or '.join(map(disable, distributions))}"


def upgrade_or_leave_out(namespace: str, distribution: str, *others: str) -> str:
    """Advise on a plugin that fails, perhaps because of a library that it requires."""
    return or_leave_out(namespace, distribution, upgrade(distribution, *others))


def or_leave_out(namespace: str, distribution: str, step: str) -> str:
    """Combine a step that may not help with disabling the plugin, which always helps."""
    return step if distribution == _CORE else f"{step}; until then: {disable(namespace)}"
