"""Identify the model in a repository of the Hugging Face Hub: the plugin of its namespace inspects its small files."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerzoo.errors import (
    AccessDeniedError,
    MissingOnServerError,
    PluginError,
    RepositoryError,
    UnidentifiedModelError,
    UsageError,
)
from layerzoo.facts import library_versions
from layerzoo.plugins.loader import hooks
from layerzoo.registry import Registry
from layerzoo.registry.index.repositories import (
    Identification,
    Repository,
    keep_identification,
    known_commit,
    read_identification,
)
from layerzoo.spec import ModelSpec, Weights
from layerzoo.weights import Files, resolve

_NOT_FOUND = ("id", "base", "builder", "weights")
"""Keys that the hook must not return: they follow from the id."""


def find_model(model: str | ModelSpec, zoo: Registry) -> ModelSpec:
    """Return the spec of an id. A repository that was never inspected is inspected now, by its small files.

    Raises: UsageError for an invalid id, NotFoundError, RegistryError, PluginError; for a repository,
    RepositoryError and RemoteCodeError if it contains no model, and UnavailableError if it cannot be downloaded.
    """
    if isinstance(model, ModelSpec):
        return model
    if not isinstance(model, str):
        raise UsageError(
            f"an object of type {type(model).__name__} is not a model: give an id such as 'starter/minilm-l6', or a "
            "spec"
        )
    try:
        return zoo.model(model)
    except UnidentifiedModelError as error:
        repository = zoo.repository(error.asked)
        if repository is None:
            raise
        spec = _identified(repository, error.nearest, zoo)
        return zoo.over_frames(model, spec) or spec


def spec_of_files(spec: ModelSpec, files: Files, zoo: Registry) -> tuple[ModelSpec, ModelSpec]:
    """Return the spec of a repository according to these files, and its spec as users browse it from now on.

    For other models, both are ``spec``. The files of a repository override a catalogue and an earlier inspection: a
    branch may have moved, a catalogue describes a library's default configuration, and a local folder that replaces the
    repository has a separate configuration. A spec that is not from the registry is kept.

    Raises: as :func:`find_model`.
    """
    if spec.base is not None and (frames_spec := zoo.over_frames(spec.id, zoo.model(spec.base))) is not None:
        if frames_spec != spec:
            return spec, spec
        image_model, _ = spec_of_files(zoo.model(spec.base), files, zoo)
        video_spec = zoo.over_frames(spec.id, image_model) or spec
        return video_spec, video_spec
    repository = zoo.repository(spec.id)
    if repository is None or spec.weights is None or spec.weights.source != repository.source:
        return spec, spec
    if _browsed(spec, zoo) != spec:
        return spec, spec
    identification = _identify(repository, files, zoo)
    if identification is None:
        if not files and read_identification(repository, known_commit(repository)) is None:
            message = "%s: the configuration in its repository is unavailable, so the library's default is used"
            logging.getLogger("layerzoo").warning(message, spec.id)
        return spec, spec
    own = identification.spec(repository)
    own = replace(own, summary=spec.summary or own.summary, license=spec.license, aliases=spec.aliases)
    return own, _browsed(own, zoo)


def _browsed(spec: ModelSpec, zoo: Registry) -> ModelSpec:
    """Return the spec of a model as users browse it; the given spec if the cache is not writable."""
    try:
        return zoo.model(spec.id)
    except UnidentifiedModelError:
        return spec


def _identified(repository: Repository, nearest: Sequence[str], zoo: Registry) -> ModelSpec:
    try:
        files = resolve(Weights(source=repository.source), model=repository.id, extent="nothing")
    except (AccessDeniedError, MissingOnServerError) as error:
        raise type(error)(f"{error}. Nearest in the catalogue: {', '.join(nearest)}" if nearest else error) from error
    identification = _identify(repository, files, zoo)
    if identification is None:
        names = ", ".join(files) or "nothing that could say"
        raise RepositoryError(
            f"{repository.source} holds no model that the plugin '{repository.plugin.namespace}' knows. Of its small "
            f"files there are: {names}. Where you know what its network is, declare it in a registry.yaml with that "
            "`builder` and these `weights`"
        )
    return identification.spec(repository)


def _identify(repository: Repository, files: Files, zoo: Registry) -> Identification | None:
    """Inspect a repository at the commit of the files; None if no plugin recognises them.

    Results of the same library versions are kept, and read again.
    """
    if not files:
        return None
    commit = files.origin.revision if files.origin else None
    versions = _versions(repository, zoo)
    identification = read_identification(repository, commit)
    if identification is None or identification.versions != versions:
        models = list(_answered_models(repository, files))
        if not models:
            return None
        identification = Identification(commit or "", models, versions)
    elif commit == known_commit(repository):
        return identification
    if commit is not None:
        keep_identification(repository, identification)
    return identification


def _answered_models(repository: Repository, files: Files) -> Iterator[dict[str, Any]]:
    """Return the plugin's answer, validated like a declaration."""
    from layerzoo.registry.format.schema import check_model

    namespace = repository.plugin.namespace
    answer = hooks(repository.plugin).identify(repository.id, files)
    if answer is None:
        return
    if not isinstance(answer, Sequence) or not all(isinstance(model, Mapping) for model in answer):
        raise PluginError(
            f"the hook layerzoo_identify of the plugin '{namespace}' answers {type(answer).__name__} for "
            f"{repository.id}, and not a list of models",
            plugin=namespace,
        )
    for model in answer:
        own = {**model, "builder": repository.builder}
        fields, mistakes = check_model(repository.id, own, Path())
        problems = [*map(str, mistakes), *(f"{key} must not be said" for key in _NOT_FOUND if key in model)]
        if problems or fields is None:
            answer_of = f"the answer of the hook layerzoo_identify of the plugin '{namespace}' for {repository.id}"
            raise PluginError(f"{answer_of} does not fit: {'; '.join(problems)}", plugin=namespace)
        yield {key: value for key, value in fields.items() if key not in _NOT_FOUND}


def _versions(repository: Repository, zoo: Registry) -> dict[str, str]:
    """Return the versions of all libraries that an answer depends on."""
    spec = ModelSpec(
        id=repository.id, modality="text", builder=repository.builder, plugin=repository.plugin.distribution
    )
    return library_versions(spec, zoo)
