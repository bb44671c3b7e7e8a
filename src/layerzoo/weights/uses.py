"""Find the files that the declared models use as weights, without a connection."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from layerzoo.errors import MissingLibraryError, WeightsError
from layerzoo.lock import Lock
from layerzoo.paths import is_commit
from layerzoo.registry import Registry
from layerzoo.spec import Weights
from layerzoo.weights import network
from layerzoo.weights.conventions import FileConventions, file_conventions
from layerzoo.weights.digests import agrees
from layerzoo.weights.files import INDEX, checkpoint_of, is_companion
from layerzoo.weights.listings import seen_commit
from layerzoo.weights.modules import module_folders, module_weights
from layerzoo.weights.network import Listing, RemoteFile
from layerzoo.weights.repository import DEFAULT_REVISION
from layerzoo.weights.shards import shards_of
from layerzoo.weights.sources import Source, parse_source
from layerzoo.weights.web import Link, link_of


@dataclass(frozen=True, slots=True)
class Use:
    """The weights of one declared model."""

    model: str
    link: Link
    """The source, and the declared or locked digests."""
    commit: str | None = None
    """Of a repository: its commit, if it is known."""
    files: tuple[RemoteFile, ...] = ()
    """Of a repository: the files of the model at that commit; none if the file list is unknown."""

    @property
    def source(self) -> Source:
        """The parsed source."""
        return self.link.source

    @property
    def sha256(self) -> Mapping[str, str]:
        """The declared or locked digests, in hex, by file name; of a file at a link, perhaps the first digits only."""
        return self.link.stated()

    @property
    def digests(self) -> frozenset[str]:
        """The sha256 of all its files that are known."""
        return frozenset({*self.sha256.values(), *(file.etag for file in self.files)})

    def is_of(self, listing: Listing) -> bool:
        """Return whether the weights are files of this repository at this commit."""
        return (self.source.owner, self.commit) == (listing.repo, listing.commit)

    def may_be_download(self, source: str, digest: str) -> bool:
        """Return whether a download can be one of the files. Without a file list, any may be."""
        if self.source.scheme == "https":
            return any(
                self.link.url(name) == source and (agrees(stated, digest) or agrees(digest, stated))
                for name, stated in self.sha256.items()
            )
        if self.source.scheme != "hf" or not source.startswith(f"hf://{self.source.owner}/"):
            return False
        return not self.files or any(
            f"hf://{self.source.owner}/{file.name}" == source and file.etag == digest for file in self.files
        )

    def is_local_file(self, path: Path) -> bool:
        """Return whether a file is the model's own local checkpoint, or in the folder of it."""
        return self.source.scheme == "file" and path.is_relative_to(self.source.path)

    def declared_sha256(self, name: str) -> str | None:
        """Return the declared or locked digest of a file. name: its name in the repository."""
        return self.sha256.get(name.removeprefix(self.source.folder))

    def is_downloaded(self, source: str) -> bool:
        """Return whether the cache of huggingface_hub has the whole file of a partial download, at the commit."""
        name = source.removeprefix(f"hf://{self.source.owner}/")
        if self.source.scheme != "hf" or self.commit is None or name == source:
            return False
        with suppress(MissingLibraryError):
            return network.cached(self.source.owner, self.commit, name) is not None
        return False


def uses(zoo: Registry, lock: Lock, listings: Iterable[Listing]) -> list[Use]:
    """Return the weights of every declared model, and of every repository that was used as a model.

    Args:
        zoo: the registry.
        lock: the lock in use.
        listings: the known file lists of repositories.
    """
    by_commit = {(listing.repo, listing.commit): listing for listing in listings}
    repos = {repo for repo, _ in by_commit}
    declared = {spec.id: spec.weights for spec in zoo.found() if spec.weights} | zoo.weights()
    conventions = file_conventions()
    all_uses = (_use(model, weights, lock, by_commit, repos, conventions) for model, weights in declared.items())
    return [use for use in all_uses if use]


def _use(
    model: str,
    weights: Weights,
    lock: Lock,
    by_commit: Mapping[tuple[str, str], Listing],
    repos: Iterable[str],
    conventions: FileConventions,
) -> Use | None:
    try:
        source = parse_source(weights.source)
    except WeightsError:
        return None  # it cannot be loaded either
    locked = lock.models.get(model)
    if locked is not None and locked.source != str(source):
        locked = None
    digests = {name: file.sha256 for name, file in locked.files.items()} if locked else {}
    digests |= {name: digest.lower() for name, digest in weights.sha256}
    link = link_of(source, weights, digests)
    commit = locked.revision if locked else None
    if source.scheme == "hf" and source.owner in repos:
        commit = _declared_commit(source) or commit or _last_seen_commit(source)
    listing = by_commit.get((source.owner, commit or ""))
    files = tuple(_meant(source, link.stated(), listing, conventions)) if listing else ()
    return Use(model, link, commit, files)


def _declared_commit(source: Source) -> str | None:
    return source.revision if source.revision and is_commit(source.revision) else None


def _last_seen_commit(source: Source) -> str | None:
    with suppress(MissingLibraryError):  # without huggingface_hub nothing was noted by it
        return seen_commit(source.owner, source.revision or DEFAULT_REVISION)
    return None


def _meant(
    source: Source, declared: Iterable[str], listing: Listing, conventions: FileConventions
) -> Iterator[RemoteFile]:
    """Yield the files of a repository that a source refers to: a checkpoint, its shards, the modules that run after the
    network, and the files that a builder may read next to these."""
    below = source.folder
    inside = {file.name.removeprefix(below): file for file in listing.files if file.name.startswith(below)}
    path = source.path.removeprefix(below)
    checkpoint = path or _checkpoint(inside, conventions)
    folders = () if path else _module_folders(listing, below)
    companions = {
        name for name, remote_file in inside.items() if is_companion(name, remote_file.size, conventions, folders)
    }
    companions = set(declared) if path else {*companions, *module_weights(inside, folders)}
    in_shards = checkpoint is not None and checkpoint.endswith(INDEX)
    named_below = _shards_below(listing, f"{below}{checkpoint}") if in_shards else []
    for name, remote_file in inside.items():
        is_shard = in_shards and (name in named_below or ("/" not in name and name.endswith(".safetensors")))
        if name == checkpoint or name in companions or is_shard:
            yield remote_file


def _shards_below(listing: Listing, index: str) -> list[str]:
    """Return the shards in folders below that a fetched index names."""
    with suppress(MissingLibraryError, WeightsError):
        path = network.cached(listing.repo, listing.commit, index)
        return [] if path is None else [name for name in shards_of(path) if "/" in name]
    return []


def _module_folders(listing: Listing, below: str) -> tuple[str, ...]:
    """Return the folders that the fetched files of a repository name."""
    with suppress(MissingLibraryError, WeightsError):
        return module_folders(lambda name: network.cached(listing.repo, listing.commit, f"{below}{name}"))
    return ()


def _checkpoint(names: Iterable[str], conventions: FileConventions) -> str | None:
    with suppress(WeightsError):  # several could be it, and none can be loaded
        return checkpoint_of(names, conventions)
    return None
