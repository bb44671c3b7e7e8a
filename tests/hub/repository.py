"""Repositories of a hub in memory: commits of files, with branches, tags and git's ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

# The real hub's .gitattributes puts these into LFS at any size. Files of 10 MB or more go there too.
_LFS_SUFFIXES = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx", ".npz", ".model", ".zip"}
_LFS_FROM_BYTES = 10_000_000
_FIRST_COMMIT_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Blob:
    """The content of a file. lfs: git stores a pointer to it, and its ETag is its sha256."""

    content: bytes
    lfs: bool

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def pointer(self) -> bytes:
        """The pointer that git stores in place of a large file."""
        size = len(self.content)
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {size}\n".encode()

    @cached_property
    def id(self) -> str:
        """Git's object id, a sha1."""
        return _object_id("blob", self.pointer if self.lfs else self.content)

    @property
    def etag(self) -> str:
        return f'"{self.sha256 if self.lfs else self.id}"'


@dataclass(frozen=True)
class Commit:
    """The files of a repository at one commit. revision: 40 hex digits."""

    revision: str
    parent: Commit | None
    title: str
    date: datetime
    files: dict[str, Blob]

    def history(self) -> Iterator[Commit]:
        """Yield this commit and its ancestors, newest first."""
        commit: Commit | None = self
        while commit is not None:
            yield commit
            commit = commit.parent

    def __contains__(self, path: object) -> bool:
        return path in self.files or str(path) in self._folders

    @property
    def _folders(self) -> set[str]:
        return {str(folder) for path in self.files for folder in PurePosixPath(path).parents} - {"."}

    def listing(self, folder: str = "", *, recursive: bool = True) -> list[dict[str, Any]]:
        """Return the entries in a folder, as the hub's tree API does."""
        prefix = f"{folder}/" if folder else ""
        paths = sorted(path for path in {*self.files, *self._folders} if path.startswith(prefix))
        return [self.entry(path) for path in paths if recursive or "/" not in path.removeprefix(prefix)]

    def entry(self, path: str) -> dict[str, Any]:
        """Return one file or folder, as the hub's tree and paths-info APIs do."""
        blob = self.files.get(path)
        if blob is None:
            return {"type": "directory", "oid": _tree(_files_in(path, self.files)).hex(), "size": 0, "path": path}
        entry = {"type": "file", "oid": blob.id, "size": len(blob.content), "path": path}
        if blob.lfs:
            entry["lfs"] = {"oid": blob.sha256, "size": len(blob.content), "pointerSize": len(blob.pointer)}
        return entry


class Repository:
    """A model repository.

    token: the token that is required to read files; None if none is required.
    private: whether the repository is invisible without the token. A gated repository lists its files without it.
    """

    def __init__(self, name: str, *, token: str | None = None, private: bool = False) -> None:
        self.name = name
        self.token = token
        self.private = private
        self.branches: dict[str, Commit] = {}
        self.tags: dict[str, Commit] = {}
        self.commits: dict[str, Commit] = {}

    def commit(
        self,
        files: Mapping[str, bytes | str | None] | Path,
        *,
        message: str = "Add files",
        branch: str = "main",
        lfs: bool | None = None,
    ) -> str:
        """Add, change or delete files.

        files: the content by name, None to delete a file; or a folder whose files are added.
        lfs: whether these files are stored in LFS; None decides by name and size, as on the real hub.
        Returns: the new revision.
        """
        parent = self.branches.get(branch)
        changed = _read(files) if isinstance(files, Path) else files
        files_now = dict(parent.files) if parent else {}
        for name, content in changed.items():
            if content is None:
                del files_now[name]
            else:
                files_now[name] = _blob(name, content, lfs)
        date = _FIRST_COMMIT_AT + timedelta(minutes=len(self.commits))
        revision = _commit_id(files_now, parent, message, date)
        commit = Commit(revision, parent, message, date, files_now)
        self.commits[revision] = self.branches[branch] = commit
        return revision

    def branch(self, name: str, revision: str = "main") -> None:
        """Create or move a branch."""
        self.branches[name] = self.at(revision)

    def tag(self, name: str, revision: str = "main") -> None:
        """Create or move a tag."""
        self.tags[name] = self.at(revision)

    def rewrite(self, revision: str, files: Mapping[str, bytes | str]) -> None:
        """Change files without a new commit, as a broken or hostile server could: ETags change, ids do not."""
        commit = self.at(revision)
        for name, content in files.items():
            lfs = commit.files[name].lfs if name in commit.files else None
            commit.files[name] = _blob(name, content, lfs)

    def at(self, revision: str) -> Commit:
        """Return the commit of a branch, a tag or 40 hex digits. Raises: KeyError."""
        return {**self.commits, **self.tags, **self.branches}[revision]


def _read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _blob(name: str, content: bytes | str, lfs: bool | None) -> Blob:
    data = content.encode() if isinstance(content, str) else content
    uses_lfs = PurePosixPath(name).suffix in _LFS_SUFFIXES or len(data) >= _LFS_FROM_BYTES
    return Blob(data, uses_lfs if lfs is None else lfs)


def _files_in(folder: str, files: Mapping[str, Blob]) -> dict[str, Blob]:
    return {path.removeprefix(f"{folder}/"): blob for path, blob in files.items() if path.startswith(f"{folder}/")}


# ---------------------------------------------------------------- git's ids


def _object_id(kind: str, content: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(content)}\0".encode() + content).hexdigest()


def _tree(files: Mapping[str, Blob]) -> bytes:
    """Return the id of a folder, 20 bytes."""
    entries = {name: ("100644", bytes.fromhex(blob.id)) for name, blob in files.items() if "/" not in name}
    for folder in {name.split("/")[0] for name in files if "/" in name}:
        entries[f"{folder}/"] = ("40000", _tree(_files_in(folder, files)))  # git sorts folders with a trailing slash
    lines = [f"{mode} {name.rstrip('/')}\0".encode() + digest for name, (mode, digest) in sorted(entries.items())]
    return bytes.fromhex(_object_id("tree", b"".join(lines)))


def _commit_id(files: Mapping[str, Blob], parent: Commit | None, message: str, date: datetime) -> str:
    when = f"acme <acme@example.org> {int(date.timestamp())} +0000"
    parents = f"parent {parent.revision}\n" if parent else ""
    text = f"tree {_tree(files).hex()}\n{parents}author {when}\ncommitter {when}\n\n{message}\n"
    return _object_id("commit", text.encode())
