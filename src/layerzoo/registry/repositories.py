"""Repositories of the hub as models, ``NAMESPACE/ORG/REPO[@REVISION][:MODALITY]``, and what they were found to be.

A plugin's file says with ``hub:`` that its library reads whatever is there. What a repository is follows from its small
files, which only the plugin can read; so it is asked once, when the model is used for the first time (see
:mod:`layerzoo.runtime.identify`), and its answer is kept in the cache by repository and commit. Standard library only.
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
from layerzoo.registry.in_use import covers
from layerzoo.registry.manifest import PluginManifest
from layerzoo.registry.manifests import Manifests
from layerzoo.registry.shelf import Shelf
from layerzoo.registry.stock import Stock
from layerzoo.spec import ModelSpec

_NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@:]+))?(:(?P<modality>[a-z]+))?")
_FORMAT = 2
_DEFAULT_REVISION = "main"

Plain = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Repository:
    """A model that lies on the hub, by its id."""

    id: str
    plugin: PluginManifest
    """Whose namespace it is in."""
    builder: str
    repo: str
    """``ORG/REPO``."""
    revision: str | None
    """The branch, tag or commit that the id names."""
    modality: str | None
    """What goes in, as the id names it; else what the repository's network takes in the first place."""

    @property
    def source(self) -> str:
        """Where its weights are, as a declaration says it."""
        return f"hf://{self.repo}{f'@{self.revision}' if self.revision else ''}"

    def called(self, modality: str | None) -> str:
        """The id under which it takes a modality; None stands for the first of them."""
        name = self.id.removesuffix(f":{self.modality}")
        return f"{name}:{modality}" if modality else name


@dataclass(frozen=True, slots=True)
class Finding:
    """What a plugin found a repository to be."""

    commit: str
    models: Sequence[Plain]
    """Each in the plain form of a spec, by modality, the main one first; without id and weights."""
    versions: Mapping[str, str]
    """Of all that took part."""

    def spec(self, repository: Repository) -> ModelSpec:
        """The spec under an id. Raises: UnknownModelError where the network does not take the modality it names."""
        known = {each["modality"]: each for each in self.models}
        asked = repository.modality or next(iter(known))
        if asked not in known:
            names = [repository.called(None if at == 0 else each) for at, each in enumerate(known)]
            message = f"{repository.called(None)} takes {' and '.join(known)}, and not {asked}: {', '.join(names)}"
            raise UnknownModelError(message, asked=repository.id, nearest=names)
        return ModelSpec.from_dict(
            {
                **known[asked],
                "id": repository.id,
                "builder": repository.builder,
                "weights": {"source": repository.source},
                "plugin": repository.plugin.distribution,
            }
        )


class Repositories:
    """Tells which names mean a repository, and what is known of it here."""

    def __init__(self, stock: Stock, manifests: Manifests) -> None:
        self._stock = stock
        self._manifests = manifests

    def named(self, model: str) -> Repository | None:
        """The repository that an id means; None for an id of another form, or of a namespace without a hub."""
        namespace, _, name = model.partition("/")
        found = _NAME.fullmatch(name)
        manifest = self._manifests.named(namespace) if found else None
        if found is None or manifest is None or manifest.namespace != namespace or not manifest.is_usable:
            return None
        if (builder := self._manifests.hub(manifest)) is None or {".", ".."} & {*found["repo"].split("/")}:
            return None
        return Repository(model, manifest, builder, found["repo"], found["revision"], found["modality"])

    def spec(self, model: str) -> ModelSpec | None:
        """What a repository was found to be, at the commit that is locked or was seen last; None where nothing is
        known, or where the user has switched the model off.

        Raises: UnknownModelError where its network does not take the modality that the id names.
        """
        repository = self.named(model)
        if repository is None or any(covers(entry, model) for entry in self._stock.ask(Shelf.disabled)):
            return None
        found = read_finding(repository, known_commit(repository))
        return None if found is None else found.spec(repository)

    def found(self) -> list[ModelSpec]:
        """What each repository that was looked at was found to be, at every branch, tag and commit asked for."""
        return [spec for name in _noted_ids() if (spec := self.spec(name))]


def _noted_ids() -> Iterator[str]:
    """An id for each branch and tag of a repository that was looked at, and for each commit that none of them is at."""
    for folder in sorted(identified_dir().glob("*/*")):
        name = f"{folder.parent.name}/{folder.name.replace('--', '/', 1)}"
        seen = last_commits(folder)
        yield from (name if revision == _DEFAULT_REVISION else f"{name}@{revision}" for revision in seen)
        for commit in sorted(path.stem for path in folder.glob("*.json")):
            if is_commit(commit) and commit not in seen.values():
                yield f"{name}@{commit}"


def is_repository(model: str) -> bool:
    """Whether an id has the form of one that means a repository."""
    return _NAME.fullmatch(model.partition("/")[2]) is not None


def known_commit(repository: Repository) -> str | None:
    """The commit that an id means, as far as that is known here: its own, the locked one, or the one seen last."""
    revision = repository.revision or _DEFAULT_REVISION
    if is_commit(revision):
        return revision
    with contextlib.suppress(LockError):
        if (locked := Lock.read().models.get(repository.id)) and locked.revision:
            return locked.revision
    return last_commit(_folder(repository), revision)


def read_finding(repository: Repository, commit: str | None) -> Finding | None:
    """What was found at a commit. A file that cannot be read, or makes no sense, counts as none."""
    if commit is None:
        return None
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        plain = json.loads((_folder(repository) / f"{commit}.json").read_text(encoding="utf-8"))
        found = Finding(commit, plain["models"], plain["versions"])
        if plain["format"] == _FORMAT and found.models:
            for each in found.models:
                ModelSpec.from_dict({**each, "id": "", "builder": ""})
            return found
    return None


def keep_finding(repository: Repository, found: Finding) -> None:
    """Keep what was found, and that its branch or tag was seen at that commit. A cache that cannot be written only
    costs the next look."""
    revision = repository.revision or _DEFAULT_REVISION
    with contextlib.suppress(OSError):
        _write(_folder(repository) / f"{found.commit}.json", json.dumps({"format": _FORMAT, **asdict(found)}))
        if not is_commit(revision):
            keep_commit(_folder(repository), revision, found.commit)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _folder(repository: Repository) -> Path:
    return identified_folder(repository.plugin.namespace, repository.repo)
