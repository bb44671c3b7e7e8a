"""List the files that layerzoo stores on this machine: their sizes, the models that use them, and unused ones.

No connection is opened, and no link in the cache directory is followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import stat_result
from pathlib import Path
from typing import Literal

from layerzoo.disk import is_scratch, remove_leftover
from layerzoo.errors import CacheError, MissingLibraryError
from layerzoo.lock import Lock
from layerzoo.paths import cache_dir, converted_dir, downloads_dir
from layerzoo.registry import Registry
from layerzoo.weights import network
from layerzoo.weights.cache import READER
from layerzoo.weights.digests import files_of
from layerzoo.weights.listings import stored_listings
from layerzoo.weights.network import Listing, RemoteFile, web_endpoint
from layerzoo.weights.partial import PartialFile, read_about
from layerzoo.weights.uses import Use, uses

Kind = Literal[
    "hub",
    "download",
    "converted",
    "traces",
    "catalogues",
    "identified",
    "listings",
    "index",
    "digests",
    "features",
    "scratch",
]
"""A store, see ``docs/stores.md``.

hub: a file in the cache of huggingface_hub, of a revision that layerzoo took files from. download: a file that is
fetched in parts, or came from a link. converted: a checkpoint converted to safetensors. traces: the structure of a
network. catalogues: the same, for `zoo catalogue build`. identified: the models that plugins recognised in
repositories. listings: the file lists of repositories. index: the compiled registries. digests: the sha256 of files.
features: cached features of samples. scratch: a temporary file that a process is writing, or that a killed process
left.
"""

_BLOCK_BYTES = 512  # the unit of st_blocks on every file system
# The names of layerzoo's files: the cache directory may hold files of other programs.
_DOWNLOAD = re.compile(r"[0-9a-f]{40}")
_OF_SAFETENSORS = re.compile(r"\.tmp[A-Za-z0-9]{6}")
"""The temporary files of the safetensors library, with which earlier versions of layerzoo wrote converted files."""
_CONVERTED = re.compile(r"[0-9a-f]{64}\..+\.safetensors")
_FOLDERS: dict[Kind, tuple[str, re.Pattern[str]]] = {
    "traces": ("traces", re.compile(r"[0-9a-f]{64}\.trace")),
    "catalogues": ("catalogues", re.compile(r"[a-z0-9_-]+\.ledger")),
    "identified": ("identified", re.compile(r"[a-z0-9_-]+/[^/]+--[^/]+/([0-9a-f]{40}\.json|refs/[^/]+)")),
    "listings": ("repositories", re.compile(r"[^/]+--[^/]+/([0-9a-f]{40}\.json|refs/[^/]+)")),
}
_DATABASES: dict[Kind, re.Pattern[str]] = {
    "index": re.compile(r"registry-\d+\.sqlite3(-journal|-wal|-shm)?"),
    "digests": re.compile(r"digests-\d+\.sqlite3(-journal|-wal|-shm)?"),
    "features": re.compile(r"features-\d+\.sqlite3(-journal|-wal|-shm)?"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One kept file, or several files of one store."""

    kind: Kind
    name: str
    """Its source, such as hf://acme/vit/model.safetensors; else its file name."""
    revision: str | None = None
    """The commit of a repository's file."""
    bytes: int
    """The number of bytes on disk, without holes."""
    of_bytes: int | None
    """The size of the whole file; None if it is unknown."""
    whole: bool
    """Whether it is complete."""
    models: tuple[str, ...] = ()
    """The ids of the declared models whose weights it is."""
    useless: str | None = None
    """The reason why nothing can use it any more; None if something may."""
    digest: str | None = None
    """Of the whole, in hex: its sha256, or git's sha1 of a small file of a repository."""
    path: Path
    parts: tuple[Path, ...] = ()
    """The files that it consists of; empty for an item that is removed as a folder."""
    used: float | None
    """The time when it was last read or written, in seconds since 1970, if the file system records it."""

    @property
    def share(self) -> float | None:
        """The fraction that is on disk, from 0 to 1."""
        return None if self.of_bytes is None else self.bytes / self.of_bytes if self.of_bytes else 1.0


@dataclass(frozen=True, slots=True)
class Inventory:
    """The kept files, and the models that use them."""

    items: Sequence[Item]
    missing: Sequence[Item]
    """Files of repositories that declared models use, and that are not here."""
    uses: Sequence[Use]

    @classmethod
    def collect(cls, zoo: Registry) -> Inventory:
        """Collect the items now, without a connection. zoo: the registry.

        Raises: CacheError when the cache directory cannot be read, LockError when ``layerzoo.lock`` is not valid.
        """
        root = cache_dir()
        _require_readable(root)
        listings = stored_listings()
        all_uses = uses(zoo, Lock.read(), listings)
        files = list(_hub_files(listings, all_uses))
        items = [
            *(item for item in files if item.bytes or item.whole),
            *_downloads(listings, all_uses),
            *_converted(converted_dir(), zoo, all_uses),
            *_things(root),
            *_scratch(root, listings),
        ]
        downloads = {item.digest for item in items if item.kind == "download"}
        lost = [item for item in files if not item.whole and item.models and item.digest not in downloads]
        return cls(items, lost, all_uses)

    @property
    def bytes(self) -> int:
        """The number of bytes of all files. A file that two revisions share counts once."""
        return sum({item.path.resolve(): item.bytes for item in self.items}.values())

    def of(self, models: Iterable[str]) -> Inventory:
        """Return the part of the inventory that belongs to some models."""
        selected = set(models)
        return Inventory(
            [item for item in self.items if selected & set(item.models)],
            [item for item in self.missing if selected & set(item.models)],
            [use for use in self.uses if use.model in selected],
        )


def _require_readable(root: Path) -> None:
    """Raises: CacheError. A folder that is not there yet is an empty one."""
    try:
        next(root.iterdir(), None)
    except FileNotFoundError:
        return
    except OSError as error:
        message = f"the cache folder {root} cannot be read: {error.strerror}. LAYERZOO_CACHE=FOLDER chooses another one"
        raise CacheError(message) from error


# ---------------------------------------------------------------- files of repositories


def _hub_files(listings: Iterable[Listing], all_uses: Sequence[Use]) -> Iterator[Item]:
    """Yield every file of every recorded revision, whether it is on disk or not."""
    for listing in listings:
        with suppress(MissingLibraryError):  # without huggingface_hub, its cache is not listed
            folder = network.snapshot_folder(listing.repo, listing.commit)
            candidates = [use for use in all_uses if use.is_of(listing)]
            for file in listing.files:
                yield _hub_file(listing, file, folder / file.name, candidates)


def _hub_file(listing: Listing, file: RemoteFile, path: Path, candidates: Sequence[Use]) -> Item:
    stat = _stat(path, follow=True)
    return Item(
        kind="hub",
        name=f"hf://{listing.repo}/{file.name}",
        revision=listing.commit,
        bytes=stat.st_size if stat else 0,
        of_bytes=file.size,
        whole=stat is not None,
        models=tuple(use.model for use in candidates if file in use.files),
        digest=file.etag,
        path=path,
        used=_last_used(stat),
    )


# ---------------------------------------------------------------- downloads


def _downloads(listings: Sequence[Listing], all_uses: Sequence[Use]) -> Iterator[Item]:
    for folder in _inside(downloads_dir(), Path.is_dir):
        if _DOWNLOAD.fullmatch(folder.name):
            yield _download(folder, listings, all_uses)


def _download(folder: Path, listings: Iterable[Listing], all_uses: Sequence[Use]) -> Item:
    about = read_about(folder)
    if about is None:
        return _unknown_download(folder)
    part = PartialFile(about, web_endpoint(about.source))  # only looked at: nothing is asked of that place
    candidates = [use for use in all_uses if use.may_be_download(about.source, about.digest)]
    return Item(
        kind="download",
        name=about.source,
        revision=_revision(about.source, about.digest, listings),
        bytes=part.here_bytes,
        of_bytes=about.size,
        whole=part.is_whole,
        models=tuple(use.model for use in candidates),
        useless=_why_no_download(about.source, candidates),
        digest=about.digest,
        path=folder,
        used=_last_used(_stat(part.path)),  # not of its journal, which was just read
    )


def _unknown_download(folder: Path) -> Item:
    """Return the item of a folder without a description of its file."""
    stats = [stat for path in _inside(folder, Path.is_file) if (stat := _stat(path))]
    size_bytes = sum(map(_allocated, stats))
    return Item(
        kind="download",
        name=folder.name,
        bytes=size_bytes,
        of_bytes=None,
        whole=False,
        useless=None if size_bytes else "it was begun, and holds nothing",
        path=folder,
        used=max(filter(None, map(_last_used, stats)), default=None),
    )


def _revision(source: str, digest: str, listings: Iterable[Listing]) -> str | None:
    """Return the commit that has this file; None when none does, or several do."""
    having = {
        listing.commit
        for listing in listings
        if any(f"hf://{listing.repo}/{file.name}" == source and file.etag == digest for file in listing.files)
    }
    return having.pop() if len(having) == 1 else None


def _why_no_download(source: str, candidates: Sequence[Use]) -> str | None:
    if not candidates:
        return "no declared model uses it"
    if all(use.is_downloaded(source) for use in candidates):
        return "huggingface_hub's cache has the whole file"
    return None


# ---------------------------------------------------------------- converted checkpoints


def _converted(folder: Path, zoo: Registry, all_uses: Sequence[Use]) -> Iterator[Item]:
    paths = [path for path in _inside(folder, Path.is_file) if _CONVERTED.fullmatch(path.name)]
    installed = {READER, *(f"{plugin.distribution}-{plugin.version}" for plugin in zoo.plugins())}
    current = {path: set(_makers(path)) <= installed for path in paths}
    renewed = {_digest(path) for path in paths if current[path]}
    for path in paths:
        origins = files_of(_digest(path))
        candidates = [use for use in all_uses if _is_made_from(use, _digest(path), origins)]
        stat = _stat(path)
        if stat is None:  # another process was faster
            continue
        yield Item(
            kind="converted",
            name=str(candidates[0].source if candidates else origins[0] if origins else path.stem),
            bytes=_allocated(stat),
            of_bytes=stat.st_size,
            whole=True,
            models=tuple(use.model for use in candidates),
            useless=_why_not_converted(
                is_usable=bool(candidates or origins), is_old=not current[path] and _digest(path) in renewed
            ),
            path=path,
            parts=(path,),
            used=_last_used(stat),
        )


def _digest(path: Path) -> str:
    """Return the sha256 of the checkpoint that a file was converted from."""
    return path.name.partition(".")[0]


def _makers(path: Path) -> list[str]:
    """Return the distributions that converted a file, each with its version."""
    return path.name.partition(".")[2].removesuffix(".safetensors").split("+")


def has_digests(path: Path) -> bool:
    """Return whether a converted checkpoint, by its name, was written with the digest of each tensor."""
    return READER in _makers(path)


def _is_made_from(use: Use, digest: str, origins: Iterable[Path]) -> bool:
    return digest in use.digests or any(map(use.is_local_file, origins))


def _why_not_converted(*, is_usable: bool, is_old: bool) -> str | None:
    if not is_usable:
        return "no declared model uses what it was made from, and that is gone"
    return "versions that are installed now made it again" if is_old else None


# ---------------------------------------------------------------- the rest


def _things(root: Path) -> Iterator[Item]:
    """Yield one item for each kind of small things."""
    for kind, (name, pattern) in _FOLDERS.items():
        folder = root / name
        files = [path for path in _below(folder) if pattern.fullmatch(path.relative_to(folder).as_posix())]
        yield from _thing(kind, folder, files)
    for kind, pattern in _DATABASES.items():
        files = [path for path in _inside(root, Path.is_file) if pattern.fullmatch(path.name)]
        yield from _thing(kind, root, files)


def _thing(kind: Kind, folder: Path, files: Sequence[Path]) -> Iterator[Item]:
    stats = [stat for file in files if (stat := _stat(file))]
    if stats:
        size_bytes = sum(map(_allocated, stats))
        last = max(filter(None, map(_last_used, stats)), default=None)
        path = max(files, key=lambda file: (file.suffix == ".sqlite3", file)) if kind in _DATABASES else folder
        yield Item(
            kind=kind,
            name=path.name,
            bytes=size_bytes,
            of_bytes=size_bytes,
            whole=True,
            path=path,
            parts=tuple(files),
            used=last,
        )


def _scratch(root: Path, listings: Iterable[Listing]) -> Iterator[Item]:
    for path in [*_scratch_files(root), *_scratch_files_of_hub(listings)]:
        stat = _stat(path)
        if stat is None:
            continue
        useless = None
        with suppress(OSError):  # a file of another user
            if remove_leftover(path, dry_run=True):
                useless = "it was left by a process that was killed"
        yield Item(kind="scratch", name=path.name, bytes=_allocated(stat), of_bytes=None, whole=False,
                   useless=useless, path=path, parts=(path,), used=stat.st_mtime)  # fmt: skip


def _scratch_files(root: Path) -> Iterator[Path]:
    top_level = _inside(root, Path.is_file)
    folders = (converted_dir(), downloads_dir(), *(root / name for name, _ in _FOLDERS.values()))
    for path in [*top_level, *(path for folder in folders for path in _below(folder))]:
        if is_scratch(path.name) or (path.parent.name == "converted" and _OF_SAFETENSORS.fullmatch(path.name)):
            yield path


def _scratch_files_of_hub(listings: Iterable[Listing]) -> Iterator[Path]:
    """Yield the temporary files in the cache of huggingface_hub, in which verified files are written."""
    with suppress(MissingLibraryError):
        for repo in sorted({listing.repo for listing in listings}):
            blobs = network.snapshot_folder(repo, "-").parents[1] / "blobs"
            yield from (path for path in _inside(blobs, Path.is_file) if is_scratch(path.name))


# ---------------------------------------------------------------- the disk


def _inside(folder: Path, is_kind: Callable[[Path], bool]) -> list[Path]:
    """Return the files or folders directly inside a folder. Links do not count; only the cache folder may be one."""
    if folder.is_symlink() and folder != cache_dir():
        return []
    try:
        return sorted(path for path in folder.iterdir() if _is_plain(path, is_kind))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CacheError(f"{folder} cannot be read: {error.strerror}. Next: make it readable") from error


def _below(folder: Path) -> list[Path]:
    """Return the files in a folder and in those below it."""
    deeper = [path for subfolder in _inside(folder, Path.is_dir) for path in _below(subfolder)]
    return [*_inside(folder, Path.is_file), *deeper]


def _is_plain(path: Path, is_kind: Callable[[Path], bool]) -> bool:
    return not path.is_symlink() and is_kind(path)


def _stat(path: Path, *, follow: bool = False) -> stat_result | None:
    """Return the status of a file; None if it is missing: another process may remove it meanwhile."""
    with suppress(OSError, ValueError):
        return path.stat(follow_symlinks=follow)
    return None


def _allocated(stat: stat_result) -> int:
    """Return the bytes that a file occupies on the disk."""
    return min(stat.st_size, stat.st_blocks * _BLOCK_BYTES)


def _last_used(stat: stat_result | None) -> float | None:
    return None if stat is None else max(stat.st_atime, stat.st_mtime)
