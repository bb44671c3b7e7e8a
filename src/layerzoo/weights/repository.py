"""Choose and fetch the files of a model in a repository of the hub: the commit, the files, and their parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

from layerzoo.errors import (
    ConnectionFailedError,
    DigestError,
    DriftError,
    MissingOnServerError,
    OfflineError,
    RateLimitedError,
    ServerError,
)
from layerzoo.lock import Lock, LockedFile, LockedModel
from layerzoo.paths import is_commit
from layerzoo.registry.changes import announce_lock
from layerzoo.weights import network
from layerzoo.weights.cache import cache_errors, locked
from layerzoo.weights.conventions import FileConventions, file_conventions
from layerzoo.weights.digests import check_sha256, sha256
from layerzoo.weights.files import INDEX, Files, Origin, checkpoint_of, is_companion
from layerzoo.weights.limits import check_size, check_total
from layerzoo.weights.listings import keep, keep_seen, listing_at, listing_now, seen_commit
from layerzoo.weights.modules import module_folders, module_weights
from layerzoo.weights.network import Listing, RemoteFile
from layerzoo.weights.partial import About, PartialFile
from layerzoo.weights.progress import FileProgress, Progress, of_file
from layerzoo.weights.shards import shards_of
from layerzoo.weights.sources import Source, check_inside

Extent = Literal["whole", "partial", "nothing"]
"""How much of a checkpoint to fetch: all of it; the parts that are read later; or only the files next to it."""

DEFAULT_REVISION = "main"


@dataclass(frozen=True, slots=True)
class Request:
    """A request for the files of a model."""

    source: Source
    sha256: Mapping[str, str]
    """Declared digests, in hex, by file name."""
    model: str | None = None
    """The id of the model, which is its key in the lock."""
    extent: Extent = "whole"
    progress: FileProgress | None = None


def take(request: Request) -> Files:
    """Return the files of a model, verified. Missing ones are fetched.

    Raises: UnavailableError, DriftError if the lock differs, DigestError.
    """
    lock = Lock.read()
    locked = lock.models.get(request.model or "")
    announce_lock(lock, request.model)
    origin = commit_of(request.source, locked, model=request.model, lock_sha256=lock.sha256)
    listing = _listing_for(request.source, origin, model=request.model)
    digests = {name: file.sha256 for name, file in locked.files.items()} if locked else {}
    return _Taking(request, origin, listing, {**digests, **request.sha256}).files()


def _listing_for(source: Source, origin: Origin, *, model: str | None) -> Listing:
    """Raises: DriftError when the locked commit is gone from the hub."""
    try:
        return listing_at(source.owner, origin.revision)
    except MissingOnServerError as error:
        if origin.pinned_by != "lock":
            raise
        head = latest_commit(source)
        message = (
            f"{source} was locked at {origin.revision}, and the hub has no such commit any more; it is at {head} now. "
            f"Next, if that is intended: zoo lock --update {model or 'MODEL'}"
        )
        raise DriftError(message, locked=origin.revision, found=head) from error


def locked_model(source: Source, commit: str) -> LockedModel:
    """Return the lock entry of a model at a commit. The checkpoint itself is not fetched.

    Raises: UnavailableError.
    """
    listing = listing_at(source.owner, commit)
    taking = _Taking(Request(source, {}), Origin(commit, None), listing, {})
    return LockedModel(str(source), commit, taking.locked_files())


def difference(source: Source, locked: LockedModel, *, model: str) -> str | None:
    """Describe how the locked commit differs on the hub from the lock; None if it does not.

    A commit never changes, unless its repository was rewritten or removed. One request.
    Raises: UnavailableError.
    """
    at = f"{source} was locked at {locked.revision}"
    try:
        listing = listing_now(source.owner, str(locked.revision))
    except MissingOnServerError:
        return f"{at}, and the hub has no such commit any more; it is at {latest_commit(source)} now"
    taking = _Taking(Request(source, {}, model), Origin(listing.commit, "lock"), listing, {})
    changed = sorted(name for name, file in locked.files.items() if taking.differs(name, file))
    return f"{at}, and at the same revision {', '.join(changed)} is another file now" if changed else None


# ---------------------------------------------------------------- which commit


def commit_of(
    source: Source, locked: LockedModel | None, *, model: str | None = None, lock_sha256: str | None = None
) -> Origin:
    """Return the commit of a source: the declared one, else the locked one, else that of its branch or tag now.

    Raises: DriftError if the lock is of another source, UnavailableError if the hub cannot be reached.
    """
    declared = source.revision
    require_locked_source(source, locked, model=model)
    if declared is not None and is_commit(declared):
        return Origin(declared, "declaration", lock_sha256 if locked else None)
    if locked is not None and locked.revision is not None:
        return Origin(locked.revision, "lock", lock_sha256)
    return Origin(current_commit(source), None)


def require_locked_source(source: Source, locked: LockedModel | None, *, model: str | None = None) -> None:
    """Raise DriftError if the declared source of a model differs from the locked one."""
    if locked is not None and locked.source != str(source):
        message = (
            f"the weights of {model or 'the model'} are declared as {source}, and were locked as {locked.source} at "
            f"{locked.revision}. Next, if the change is intended: zoo lock --update {model or 'MODEL'}"
        )
        raise DriftError(message, locked=str(locked.revision), found=source.revision or str(source))


def latest_commit(source: Source) -> str:
    """Ask the hub for the commit of a source's branch or tag. A commit is returned as it is.

    Raises: UnavailableError.
    """
    revision = source.revision or DEFAULT_REVISION
    if is_commit(revision):
        return revision
    listing = network.listing(source.owner, revision)
    keep(listing)
    keep_seen(source.owner, revision, listing.commit)
    return listing.commit


def current_commit(source: Source) -> str:
    """As :func:`latest_commit`; offline or without an answer, return the commit that was seen last.

    Raises: UnavailableError.
    """
    time_phrase = "today it is"
    try:
        commit = latest_commit(source)
    except (OfflineError, ConnectionFailedError, RateLimitedError, ServerError):
        if (last_commit := seen_commit(source.owner, source.revision or DEFAULT_REVISION)) is None:
            raise
        commit, time_phrase = last_commit, "the hub cannot be asked now, and when it was seen last it was"
    _warn_unpinned(str(source), commit, time_phrase)
    return commit


@lru_cache(maxsize=1024)
def _warn_unpinned(source: str, commit: str, time_phrase: str) -> None:
    """Once a process."""
    message = "%s is not pinned: %s %s. To keep it at that: zoo lock, or write the commit after an @"
    logging.getLogger("layerzoo").warning(message, source, time_phrase, commit)


# ---------------------------------------------------------------- which files


class _Taking:
    """The files of one request, by their names below the folder of the source."""

    def __init__(self, request: Request, origin: Origin, listing: Listing, digests: Mapping[str, str]) -> None:
        self._request = request
        self._origin = origin
        self._repo = listing.repo
        self._digests = digests
        below = request.source.folder
        self._file = request.source.path.removeprefix(below)
        self._remote = {file.name.removeprefix(below): file for file in listing.files if file.name.startswith(below)}
        if not self._remote:
            existing = ", ".join(sorted(file.name for file in listing.files)[:20]) or "nothing"
            raise MissingOnServerError(
                f"{request.source} has no files at {origin.revision}. The repository has: {existing}"
            )

    def files(self) -> Files:
        paths = {name: self._verified_path(name) for name in self._companions()}
        partial: dict[str, PartialFile] = {}
        checkpoint = None if self._request.extent == "nothing" else self._checkpoint()
        modules = [] if self._request.extent == "nothing" else self._module_weights()
        for name in [*self._parts_of(checkpoint, paths), *modules]:
            if self._request.extent == "partial" and self._can_be_partial(name):
                partial[name] = self._in_part(name)
                paths[name] = partial[name].path
            else:
                paths[name] = self._verified_path(name)
        return Files(
            paths,
            folder=self._folder(),
            named=checkpoint,
            verified=frozenset(paths.keys() & self._digests.keys()),
            partial=partial,
            stated={name: digest for name in paths if (digest := self._stated(name).sha256)},
            origin=self._origin,
        )

    def locked_files(self) -> dict[str, LockedFile]:
        """Return digest and size of each file. The hub states the digests of large files; small ones are fetched."""
        companions: dict[str, Path] = {}
        checkpoints = [*self._parts_of(self._checkpoint(), companions), *self._module_weights()]
        names = [*self._companions(), *checkpoints, *companions]
        return {name: self._locked_file(self._stated(name), name) for name in sorted(names)}

    def _locked_file(self, file: RemoteFile, name: str) -> LockedFile:
        return LockedFile(file.sha256 or sha256(self._verified_path(name)), file.size)

    def differs(self, name: str, locked: LockedFile) -> bool:
        """Return whether a file on the hub cannot be the locked one."""
        file = self._remote.get(name)
        return file is None or file.size != locked.size or file.sha256 not in (None, locked.sha256)

    def _companions(self) -> list[str]:
        """Return the files next to the checkpoint that a builder may read; of a single file, those with a digest."""
        if self._file:
            return [name for name in self._request.sha256 if name != self._file]
        folders = self._module_folders
        conventions = self._conventions
        for name, file in self._remote.items():
            if is_companion(name, 0, conventions, folders):
                check_size(name, file.size, conventions, of=str(self._request.source))
        names = [name for name, file in self._remote.items() if is_companion(name, file.size, conventions, folders)]
        names.sort()
        check_total([self._remote[name].size for name in names], of=str(self._request.source))
        return names

    @cached_property
    def _conventions(self) -> FileConventions:
        return file_conventions()

    @cached_property
    def _module_folders(self) -> tuple[str, ...]:
        """The folders of the modules that run after the network; of a single file, none."""
        if self._file:
            return ()
        return module_folders(lambda name: self._verified_path(name) if name in self._remote else None)

    def _module_weights(self) -> list[str]:
        return list(module_weights(self._remote, self._module_folders))

    def _checkpoint(self) -> str | None:
        return self._file or checkpoint_of(self._remote, self._conventions)

    def _parts_of(self, checkpoint: str | None, paths: dict[str, Path]) -> list[str]:
        """Return the files with the tensors of a checkpoint: itself, or those that its index names."""
        if checkpoint is None:
            return []
        if not checkpoint.endswith(INDEX):
            return [checkpoint]
        paths[checkpoint] = self._verified_path(checkpoint)
        return shards_of(paths[checkpoint])

    def _can_be_partial(self, name: str) -> bool:
        """Return whether to fetch a file in part: it is missing, and large enough to have a sha256."""
        if not name.endswith(".safetensors") or self._stated(name).sha256 is None:
            return False
        return self._cached_path(self._stated(name)) is None

    def _folder(self) -> Path | None:
        """Return the folder of the whole files in the cache of huggingface_hub."""
        if self._file:
            return None
        return network.snapshot_folder(self._repo, self._origin.revision) / self._request.source.path

    # ------------------------------------------------------------ one file

    def _verified_path(self, name: str) -> Path:
        file = self._stated(name)
        path = self._cached_path(file) or self._fetched(name, file)
        if declared := self._digests.get(name):
            check_sha256(path, declared, advice=self._advice())
        return path

    def _cached_path(self, file: RemoteFile) -> Path | None:
        """Return the path of a file that is in the cache; None otherwise."""
        path = network.cached(self._repo, self._origin.revision, file.name)
        return path or network.adopted(self._repo, self._origin.revision, file)

    def _fetched(self, name: str, file: RemoteFile) -> Path:
        """Fetch a file in pieces, so that an interrupted download continues, and move it to the cache of
        huggingface_hub.

        huggingface_hub's own download is not used: it takes the length, the name in the cache and the host of a file
        from the headers of the answer.
        """
        self._require_stated(name, file)
        part = self._part(name, file)
        with cache_errors(part.path), locked(part.folder.with_suffix(".whole")):
            # Another process may have fetched it while this one waited.
            if path := self._cached_path(file):
                return path
            download = part.complete(self._progress(name))
            path = network.adopt(self._repo, self._origin.revision, file, download)
            part.forget()
            return path

    def _in_part(self, name: str) -> PartialFile:
        file = self._stated(name)
        self._require_stated(name, file)
        return self._part(name, file)

    def _require_stated(self, name: str, file: RemoteFile) -> None:
        """Raise DigestError before the download if the hub states another digest than the declared one."""
        declared = self._digests.get(name, file.etag).lower()
        if file.sha256 is not None and file.sha256 != declared:
            label, path = self._label(file), self._part(name, file).path
            raise DigestError(path, declared=declared, found=file.sha256, advice=self._advice(), label=label)

    def _advice(self) -> str:
        model = self._request.model or "MODEL"
        return f"Next, if the change is intended: declare the new sha256, or zoo lock --update {model}"

    def _stated(self, name: str) -> RemoteFile:
        """Return the entry of a file in the file list. Raises: MissingOnServerError, which names the existing files."""
        check_inside(name, of=str(self._request.source))
        if name in self._remote:
            check_size(name, self._remote[name].size, self._conventions, of=str(self._request.source))
            return self._remote[name]
        existing = ", ".join(sorted(self._remote)[:20]) or "nothing"
        message = f"{self._request.source} has no file {name!r} at {self._origin.revision}. It has: {existing}"
        raise MissingOnServerError(message)

    def _part(self, name: str, file: RemoteFile) -> PartialFile:
        about = About(f"hf://{self._repo}/{file.name}", PurePosixPath(file.name).name, file.size, file.etag)
        place = network.hub_endpoint(self._repo, self._origin.revision, file)
        return PartialFile(about, place, self._progress(name))

    def _label(self, file: RemoteFile) -> str:
        return f"hf://{self._repo}@{self._origin.revision}/{file.name}"

    def _progress(self, name: str) -> Progress | None:
        return of_file(self._request.progress, name)
