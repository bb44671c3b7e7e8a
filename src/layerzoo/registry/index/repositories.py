"""Repositories of the hub as models, ``NAMESPACE/ORG/REPO[@REVISION][:MODALITY]``, and the cache of their declarations.

With the key ``hub``, a plugin offers all repositories that its library can read. The plugin derives the declaration
from the configuration files of a repository when the model is first used (see :mod:`layerzoo.runtime.identify`). The
result is cached by repository and commit. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from layerzoo.branches import keep_commit, last_commit, last_commits
from layerzoo.disk import atomic_path
from layerzoo.errors import LockError, UnknownModelError
from layerzoo.lock import Lock
from layerzoo.paths import identified_dir, identified_folder, is_commit
from layerzoo.registry.index.plugins import Manifests
from layerzoo.registry.index.reader import IndexReader
from layerzoo.registry.index.visibility import covers
from layerzoo.registry.installed.health import PluginManifest
from layerzoo.spec import ModelSpec

_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@:]+))?(:(?P<modality>[a-z]+))?")
_FORMAT = 2
_DEFAULT_REVISION = "main"

Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository of the hub that an id refers to."""

    id: str
    plugin: PluginManifest
    """The plugin of the namespace."""
    builder: str
    repo: str
    """``ORG/REPO``."""
    revision: str | None
    """The branch, tag or commit in the id; None for the main branch."""
    modality: str | None
    """The modality in the id; None for the first one of the network."""

    @property
    def source(self) -> str:
        """The source of its weights, in the form of a declaration."""
        return f"hf://{self.repo}{f'@{self.revision}' if self.revision else ''}"

    def called(self, modality: str | None) -> str:
        """Return the id for a modality; None for the main one."""
        name = self.id.removesuffix(f":{self.modality}")
        return f"{name}:{modality}" if modality else name


@dataclass(frozen=True, slots=True)
class Identification:
    """The models that a plugin identified in a repository."""

    commit: str
    models: Sequence[Plain]
    """One for each modality, the main one first, in the form of ``ModelSpec.to_dict`` without id and weights."""
    versions: Mapping[str, str]
    """The versions of the libraries that were used."""

    def spec(self, repository: Repository) -> ModelSpec:
        """Return the spec. Raises: UnknownModelError if the network does not take the modality of the id."""
        by_modality = {model["modality"]: model for model in self.models}
        modality = repository.modality or next(iter(by_modality))
        if modality not in by_modality:
            names = [repository.called(None if at == 0 else each) for at, each in enumerate(by_modality)]
            message = (
                f"{repository.called(None)} takes {' and '.join(by_modality)}, and not {modality}: {', '.join(names)}"
            )
            raise UnknownModelError(message, asked=repository.id, nearest=names)
        return ModelSpec.from_dict(
            {
                **by_modality[modality],
                "id": repository.id,
                "builder": repository.builder,
                "weights": {"source": repository.source},
                "plugin": repository.plugin.distribution,
            }
        )


class Repositories:
    """Looks up repositories of the hub and their cached declarations."""

    def __init__(self, reader: IndexReader, manifests: Manifests) -> None:
        self._reader = reader
        self._manifests = manifests

    def named(self, model: str) -> Repository | None:
        """Return the repository that an id refers to; None for an id of another form or a namespace without a hub."""
        namespace, _, name = model.partition("/")
        match = _NAME.fullmatch(name)
        manifest = self._manifests.named(namespace) if match else None
        if match is None or manifest is None or manifest.namespace != namespace or not manifest.is_usable:
            return None
        if (builder := self._manifests.hub(manifest)) is None or {".", ".."} & {*match["repo"].split("/")}:
            return None
        return Repository(model, manifest, builder, match["repo"], match["revision"], match["modality"])

    def spec(self, model: str) -> ModelSpec | None:
        """Return the cached declaration of a repository, at the commit that is locked or was seen last.

        Returns: None if there is no cached declaration, or the user has disabled the model.
        Raises: UnknownModelError if the network does not take the modality of the id.
        """
        repository = self.named(model)
        if repository is None or any(covers(entry, model) for entry in self._reader.disabled()):
            return None
        identification = read_identification(repository, known_commit(repository))
        return None if identification is None else identification.spec(repository)

    def found(self) -> list[ModelSpec]:
        """Return the cached declarations of all repositories, at each branch, tag and commit that was inspected."""
        return [spec for name in _cached_ids() if (spec := self.spec(name))]


def _cached_ids() -> Iterator[str]:
    """Yield an id for each branch and tag that was inspected, and for each commit without a branch or tag."""
    for folder in sorted(identified_dir().glob("*/*")):
        name = f"{folder.parent.name}/{folder.name.replace('--', '/', 1)}"
        commits = last_commits(folder)
        yield from (name if revision == _DEFAULT_REVISION else f"{name}@{revision}" for revision in commits)
        for commit in sorted(path.stem for path in folder.glob("*.json")):
            if is_commit(commit) and commit not in commits.values():
                yield f"{name}@{commit}"


def is_repository(model: str) -> bool:
    """Return whether an id has the form of a repository."""
    return _NAME.fullmatch(model.partition("/")[2]) is not None


def known_commit(repository: Repository) -> str | None:
    """Return the commit of an id: the one in the id, the locked one, or the last one that was seen; else None."""
    revision = repository.revision or _DEFAULT_REVISION
    if is_commit(revision):
        return revision
    with contextlib.suppress(LockError):
        if (locked := Lock.read().models.get(repository.id)) and locked.revision:
            return locked.revision
    return last_commit(_folder(repository), revision)


def read_identification(repository: Repository, commit: str | None) -> Identification | None:
    """Return the cached models of a commit; None if the file is missing or invalid."""
    if commit is None:
        return None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        data = json.loads((_folder(repository) / f"{commit}.json").read_text(encoding="utf-8"))
        identification = Identification(commit, data["models"], data["versions"])
        if data["format"] == _FORMAT and identification.models:
            for model in identification.models:
                ModelSpec.from_dict({**model, "id": "", "builder": ""})
            return identification
    return None


def keep_identification(repository: Repository, identification: Identification) -> None:
    """Cache the models of a commit, and the commit of the branch or tag. Errors of writing are ignored."""
    revision = repository.revision or _DEFAULT_REVISION
    with contextlib.suppress(OSError):
        _write(
            _folder(repository) / f"{identification.commit}.json",
            json.dumps({"format": _FORMAT, **asdict(identification)}),
        )
        if not is_commit(revision):
            keep_commit(_folder(repository), revision, identification.commit)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _folder(repository: Repository) -> Path:
    return identified_folder(repository.plugin.namespace, repository.repo)
