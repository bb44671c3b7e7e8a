"""The folder of a run, on a disk or in an object store: files that appear whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from layerzoo.disk import atomic_path, remove_leftovers, replace, scratch_path, sync
from layerzoo.errors import OutputError
from layerzoo.features.part import PartFacts, part_name, read_facts, shard_of
from layerzoo.features.writer import disk_failure
from layerzoo.weights.network.objects import ObjectFolder, is_url

MANIFEST = "manifest.parquet"


class RunStorage(Protocol):
    """The files of a run, by name."""

    @property
    def label(self) -> str:
        """The path or URL of the folder."""

    @property
    def lease_folder(self) -> Path:
        """The folder on this machine for the leases of shards."""

    def prepare(self) -> None:
        """Create the folder, and check that it can be written. Raises: OutputError."""

    def parts(self) -> list[int]:
        """Return the shards that have a part, in order."""

    def exists(self, name: str) -> bool:
        """Return whether a file exists."""

    def local(self, name: str) -> Path:
        """Return a file on this machine with the content of a file. Raises: FileNotFoundError."""

    def fetched(self, name: str) -> contextlib.AbstractContextManager[Path]:
        """Yield a file as :meth:`local` returns it. A copy is removed when the ``with`` block ends."""

    def opened(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        """Open a file for reading, of which only a part is read. Raises: FileNotFoundError."""

    def publish(self, name: str, *, is_first: bool = False) -> contextlib.AbstractContextManager[Path]:
        """Yield the path of an empty file, which appears under a name when the ``with`` block ends.

        Args:
            name: of the file. One that exists is replaced.
            is_first: keep a file of that name that exists already.
        Raises: OutputError when it cannot be written.
        """

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""


def facts_of(files: RunStorage, shard: int) -> PartFacts:
    """Return the facts of a part, from the end of its file alone. Raises: InputError, FileNotFoundError."""
    with files.opened(part_name(shard)) as file:
        return read_facts(f"{files.label}/{part_name(shard)}", file)


def storage(folder: str | os.PathLike[str]) -> RunStorage:
    """Return the storage of a run's folder. folder: a path, or a URL of a file system that fsspec knows."""
    path = os.fspath(folder)
    return ObjectStorage(path) if is_url(path) else LocalStorage(Path(path).absolute())


class LocalStorage:
    """A folder on a disk, of this machine or of a network file system."""

    def __init__(self, folder: Path) -> None:
        """folder: need not exist."""
        self._folder = folder

    @property
    def label(self) -> str:
        return str(self._folder)

    @property
    def lease_folder(self) -> Path:
        return self._folder

    def prepare(self) -> None:
        if self._folder.exists() and not self._folder.is_dir():
            raise OutputError(f"cannot write {self._folder}: it is a file. Name a folder", path=self._folder)
        with disk_failure(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self._folder)
            with scratch_path(self._folder):
                pass

    def parts(self) -> list[int]:
        try:
            with os.scandir(self._folder) as entries:
                return sorted(shard for entry in entries if (shard := shard_of(entry.name)) is not None)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def exists(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def local(self, name: str) -> Path:
        path = self._folder / name
        if not path.is_file():
            raise FileNotFoundError(str(path))
        return path

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        yield self.local(name)

    def opened(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        return (self._folder / name).open("rb")

    @contextmanager
    def publish(self, name: str, *, is_first: bool = False) -> Iterator[Path]:
        target = self._folder / name
        with disk_failure(target):
            if not is_first:
                with atomic_path(target) as path:
                    yield path
                return
            with scratch_path(self._folder) as path:
                yield path
                _link(path, target)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


def _link(path: Path, target: Path) -> None:
    """Give a file another name, unless a file has it. Where a disk has no hard links, the last writer wins."""
    sync(path)
    try:
        os.link(path, target)
    except FileExistsError:
        return
    except OSError:
        if not target.exists():
            replace(path, target)
        return
    sync(target.parent)


class ObjectStorage:
    """A folder of an object store, or of any other file system of fsspec. Files are copied here to be read."""

    def __init__(self, url: str) -> None:
        """url: of the folder, such as ``s3://bucket/run``."""
        self._objects = ObjectFolder(url)
        self._copies = Path(tempfile.mkdtemp(prefix="layerzoo-run-"))

    @property
    def label(self) -> str:
        return self._objects.url

    @property
    def lease_folder(self) -> Path:
        from layerzoo.paths import run_leases_dir

        folder = run_leases_dir(self._objects.url)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def prepare(self) -> None:
        self._objects.check_writable()

    def parts(self) -> list[int]:
        return sorted(shard for name in self._objects.names() if (shard := shard_of(name)) is not None)

    def exists(self, name: str) -> bool:
        return self._objects.exists(name)

    def local(self, name: str) -> Path:
        copy = self._copies / name
        self._objects.fetch(name, copy)
        return copy

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        copy = self.local(name)
        try:
            yield copy
        finally:
            copy.unlink(missing_ok=True)

    def opened(self, name: str) -> contextlib.AbstractContextManager[BinaryIO]:
        return self._objects.opened(name)

    @contextmanager
    def publish(self, name: str, *, is_first: bool = False) -> Iterator[Path]:
        with scratch_path(self._copies) as path:
            yield path
            self._objects.put(path, name, is_first=is_first)

    def remove(self, name: str) -> None:
        self._objects.remove(name)

    def __del__(self) -> None:
        shutil.rmtree(getattr(self, "_copies", ""), ignore_errors=True)
