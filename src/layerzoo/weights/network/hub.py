"""Repositories of the Hugging Face hub, and huggingface_hub's own cache of them."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from layerzoo.disk import replace, scratch_path
from layerzoo.errors import CacheError, ServerError
from layerzoo.extras import needs
from layerzoo.weights.network.connection import require_connection, translated
from layerzoo.weights.network.ranges import Endpoint, read_all

_LARGEST_LISTING_BYTES = 64_000_000
"""The list of a repository of 100,000 files is 30 MB."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a repository at one commit."""

    name: str
    size: int
    etag: str
    """The digest of its bytes: the sha256 of a large file, git's sha1 of a small one, in hex."""

    @property
    def sha256(self) -> str | None:
        """The digest that the hub itself states; None for a small file."""
        return self.etag if len(self.etag) == 64 else None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", self.etag) or self.size < 0:
            raise ServerError(
                f"the hub's list of files makes no sense: {self.name} is said to have {self.size} bytes and the digest "
                f"{self.etag!r}"
            )


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one commit."""

    repo: str
    commit: str
    files: tuple[RemoteFile, ...]


def listing(repo: str, revision: str) -> Listing:
    """Fetch the file list of a repository at a branch, tag or commit. A temporary failure is tried again.

    Raises: UnavailableError of the kind that fits; ServerError for an answer that is too large or makes no sense.
    """
    label = f"hf://{repo}@{revision}"
    require_connection(label)
    from huggingface_hub import HfApi
    from huggingface_hub.utils import validate_repo_id

    endpoint: str = HfApi(endpoint=_endpoint()).endpoint
    with translated(label):
        validate_repo_id(repo)
    url = f"{endpoint}/api/models/{repo}/revision/{quote(revision, safe='')}?blobs=true"
    answer = read_all(Endpoint(url, label, {}, is_on_hub=True), _LARGEST_LISTING_BYTES)
    try:
        commit, files = _parsed(answer)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        message = f"{label}: what answers at {endpoint} is not a model hub ({type(error).__name__}: {error})"
        raise ServerError(f"{message}. Next: look at HF_ENDPOINT, and whether a proxy wants a login") from error
    if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise ServerError(f"{label}: the hub's answer names no commit, so that nothing can be pinned by it")
    return Listing(repo, commit, files)


def _parsed(answer: bytes) -> tuple[object, tuple[RemoteFile, ...]]:
    """Return the commit and the files in an answer of the hub. Raises: ValueError, TypeError, KeyError and others."""
    fields = json.loads(answer)
    return fields["sha"], tuple(_remote_file(file) for file in fields.get("siblings") or ())


def _remote_file(fields: dict[str, Any]) -> RemoteFile:
    name, size, large = fields["rfilename"], fields.get("size") or 0, fields.get("lfs")
    if not isinstance(name, str):
        raise TypeError(f"a file is called {name!r}")
    if not isinstance(size, int):
        raise TypeError(f"{name} is said to have {size!r} bytes")
    return RemoteFile(name, size, str(large["sha256"] if large else fields.get("blobId")))


def adopt(repo: str, commit: str, file: RemoteFile, path: Path) -> Path:
    """Move a whole, verified file into huggingface_hub's cache, where other programs find it too.

    Raises: CacheError when that cannot be written, or is full.
    """
    blob = _blob(repo, file)
    try:
        blob.parent.mkdir(parents=True, exist_ok=True)
        _move(path, blob)
        return _point(repo, commit, file)
    except OSError as error:
        raise CacheError(
            f"hf://{repo}@{commit}/{file.name} was fetched, and cannot be moved into huggingface_hub's cache: {error}. "
            "HF_HOME=FOLDER chooses another place; what was fetched is not fetched again"
        ) from error


def adopted(repo: str, commit: str, file: RemoteFile) -> Path | None:
    """Link a file of another commit in the cache of huggingface_hub, if it is the same, and return its path.

    Opens no connection. Returns: None where it has none, or cannot be written.
    """
    with contextlib.suppress(OSError):
        if _blob(repo, file).stat().st_size == file.size:
            return _point(repo, commit, file)
    return None


def _blob(repo: str, file: RemoteFile) -> Path:
    """Return the path of the content of a file in the cache of huggingface_hub, shared by its commits."""
    return snapshot_folder(repo, "").parent / "blobs" / file.etag


def _move(path: Path, blob: Path) -> None:
    """Whole or not at all."""
    try:
        replace(path, blob)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with scratch_path(blob.parent) as scratch:  # the two caches are on different disks
            shutil.copyfile(path, scratch)
            replace(scratch, blob)


def _point(repo: str, commit: str, file: RemoteFile) -> Path:
    """Put a file that is among the blobs where the commit's files are."""
    pointer, blob = snapshot_folder(repo, commit) / file.name, _blob(repo, file)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    pointer.unlink(missing_ok=True)
    try:
        pointer.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError:  # a file system without links: huggingface_hub keeps the file itself there
        blob.replace(pointer)
    return pointer


def cached(repo: str, commit: str, name: str) -> Path | None:
    """Return a file that is in huggingface_hub's cache already. Opens no connection."""
    path = snapshot_folder(repo, commit) / name
    with contextlib.suppress(OSError):  # a name that is too long for any file
        return path if path.is_file() else None
    return None


def cached_commit(repo: str, revision: str) -> str | None:
    """Return the commit that a branch or tag had when huggingface_hub last saw it. Opens no connection."""
    ref = snapshot_folder(repo, "").parent / "refs" / revision
    with contextlib.suppress(OSError):
        return ref.read_text(encoding="utf-8").strip() or None
    return None


def snapshot_folder(repo: str, commit: str) -> Path:
    """Return the folder in the cache of huggingface_hub with the files of a repository at a commit."""
    with needs("hub"):
        from huggingface_hub.file_download import repo_folder_name

    folder: str = repo_folder_name(repo_id=repo, repo_type="model")
    return hub_cache() / folder / "snapshots" / commit


def hub_endpoint(repo: str, commit: str, file: RemoteFile) -> Endpoint:
    """Return the endpoint of a file of a repository."""
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(repo, file.name, revision=commit, endpoint=_endpoint())
    expected = {"x-repo-commit": commit, "x-linked-etag": file.etag}
    return Endpoint(url, f"hf://{repo}@{commit}/{file.name}", expected, is_on_hub=True)


def _endpoint() -> str | None:
    """Return the current HF_ENDPOINT: huggingface_hub reads the environment only when it is imported."""
    return os.environ.get("HF_ENDPOINT")


def hub_cache() -> Path:
    """Return the cache folder of huggingface_hub, from the current environment, else from its import."""
    with needs("hub"):
        from huggingface_hub.constants import HF_HUB_CACHE

    if chosen := os.environ.get("HF_HUB_CACHE"):
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME")
    return Path(home).expanduser() / "hub" if home else Path(HF_HUB_CACHE)
