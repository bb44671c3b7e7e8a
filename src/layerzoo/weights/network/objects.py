"""Read and write files by URL: object stores, web servers and other file systems that fsspec knows."""

from __future__ import annotations

import contextlib
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from layerzoo.errors import (
    AccessDeniedError,
    ConnectionFailedError,
    InputError,
    LayerzooError,
    MissingLibraryError,
    MissingOnServerError,
    OfflineError,
    OutputError,
    SampleError,
)
from layerzoo.weights.network.connection import is_offline

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WITHOUT_CONNECTION = {"memory", "file", "local"}
_WHOLE_PUTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci", "memory", "hf"}
"""Protocols in which a file appears when it is complete. Others get a temporary name first."""
_MAGIC = re.compile(r"[*?\[]")


def is_url(name: object) -> bool:
    """Return whether an input or a folder is named by a URL."""
    return isinstance(name, str) and _URL.match(name) is not None


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """A file at a URL."""

    url: str
    size: int | None
    """In bytes; None where the server does not state it."""
    etag: str | None
    """The value that changes with the file, if the server has one."""


def listing(url: str) -> Iterator[RemoteObject]:
    """Yield the files at a URL: a file, all files below a folder, or those that match a pattern, sorted.

    Raises: InputError where there is none; UnavailableError of the kind that fits.
    """
    with _translated(url):
        system, path = _opened(url)
        protocol = _protocol(url)
        if protocol in ("http", "https"):
            yield _object(url, system.info(path))
            return
        if _MAGIC.search(path):
            entries = system.glob(path, detail=True)
        elif system.isdir(path):
            entries = system.find(path, detail=True)
        else:
            entries = {path: system.info(path)}
        files = [(name, info) for name, info in sorted(entries.items()) if info.get("type") != "directory"]
        if not files:
            raise InputError(f"{url}: no file there")
        for name, info in files:
            yield _object(
                system.unstrip_protocol(name) if protocol != "memory" else f"memory://{name.lstrip('/')}", info
            )


def fetch_file(url: str, target: Path) -> None:
    """Copy the file at a URL to a path. Raises: UnavailableError of the kind that fits."""
    with _translated(url):
        system, path = _opened(url)
        system.get_file(path, str(target))


class ObjectReader:
    """A file at a URL, which is read when a sample is decoded: an open file with one method."""

    def __init__(self, stated: RemoteObject, *, accepts_changes: bool = False) -> None:
        """stated: the file as it was listed. accepts_changes: also read a file that changed since."""
        self._stated = stated
        self._accepts_changes = accepts_changes
        self._rest: bytes | None = None

    def read(self, size: int = -1) -> bytes:
        """Return bytes of the file. Raises: SampleError where it cannot be read, or changed since it was listed."""
        if self._rest is None:
            self._rest = self._fetched()
        count = len(self._rest) if size < 0 else size
        data, self._rest = self._rest[:count], self._rest[count:]
        return data

    def readline(self) -> bytes:
        """Return the rest of the file."""
        return self.read()

    def _fetched(self) -> bytes:
        url = self._stated.url
        try:
            with _translated(url):
                system, path = _opened(url)
                current = _object(url, system.info(path))
                is_same = (current.size, current.etag) == (self._stated.size, self._stated.etag)
                if not (is_same or self._accepts_changes):
                    raise SampleError(url, changed(self._stated, current))
                data = system.cat_file(path)
        except SampleError:
            raise
        except LayerzooError as error:
            raise SampleError(url, str(error)) from error
        return bytes(data)


def changed(listed: RemoteObject, current: RemoteObject) -> str:
    """Return the reason for a file that is not the listed one."""
    now = f"{current.size} bytes (etag {current.etag})"
    return f"changed since the run began: {listed.size} bytes (etag {listed.etag}), now {now}"


class ObjectFolder:
    """A folder at a URL."""

    def __init__(self, url: str) -> None:
        """url: such as ``s3://bucket/run``. Raises: MissingLibraryError without the library for its protocol."""
        self.url = url.rstrip("/")
        with _translated(url):
            self._system, self._path = _opened(self.url)

    def check_writable(self) -> None:
        """Write a file and remove it. Raises: OutputError."""
        name = ".layerzoo-writable"
        with self._writing(name):
            self._system.makedirs(self._path, exist_ok=True)
            self._system.pipe_file(self._of(name), b"")
            with contextlib.suppress(FileNotFoundError):  # of another process, which checks at the same time
                self._system.rm_file(self._of(name))

    def names(self) -> list[str]:
        """Return the names of the files in the folder; none where there is no such folder."""
        with _translated(self.url):
            self._system.invalidate_cache()
            try:
                return [posixpath.basename(path) for path in self._system.ls(self._path, detail=False)]
            except FileNotFoundError:
                return []

    def exists(self, name: str) -> bool:
        """Return whether the folder has a file."""
        with _translated(self.url):
            self._system.invalidate_cache()
            return bool(self._system.exists(self._of(name)))

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file to a path. Raises: FileNotFoundError."""
        with _translated(f"{self.url}/{name}"):
            try:
                self._system.get_file(self._of(name), str(target))
                return
            except FileNotFoundError:
                target.unlink(missing_ok=True)
        raise FileNotFoundError(f"{self.url}/{name}")

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading; only the parts that are read are fetched. Raises: FileNotFoundError."""
        if not self.exists(name):
            raise FileNotFoundError(f"{self.url}/{name}")
        with _translated(f"{self.url}/{name}"), self._system.open(self._of(name), "rb") as file:
            yield file

    def put(self, source: Path, name: str, *, is_first: bool = False) -> None:
        """Copy a file to the folder, whole or not at all.

        Args:
            source: the file.
            name: its name in the folder.
            is_first: keep a file of that name that exists already.
        Raises: OutputError.
        """
        with self._writing(name):
            if is_first and self.exists(name):
                return
            if _protocol(self.url) in _WHOLE_PUTS:
                self._system.put_file(str(source), self._of(name))
                return
            self._system.put_file(str(source), self._of(f".{name}.tmp"))
            self._system.mv(self._of(f".{name}.tmp"), self._of(name))

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        with _translated(self.url), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._of(name))

    def _of(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[None]:
        try:
            yield
        except LayerzooError:
            raise
        except Exception as error:
            raise OutputError(
                f"cannot write {self.url}/{name}: {type(error).__name__}: {error}", path=Path(self.url)
            ) from error


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system of a URL, and the path in it. Raises: OfflineError, MissingLibraryError, InputError."""
    if is_offline() and _protocol(url) not in _WITHOUT_CONNECTION:
        raise OfflineError(f"{url} is not on this machine, and no connection may be opened (offline)")
    try:
        import fsspec
        from fsspec.registry import known_implementations
    except ImportError as error:
        raise MissingLibraryError("fsspec", extra="urls", needed_by=url) from error
    protocol = _protocol(url)
    if protocol not in fsspec.available_protocols():
        raise InputError(f"{url}: fsspec knows no protocol '{protocol}'. It knows: {', '.join(known_implementations)}")
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise MissingLibraryError(_library_of(error, protocol), needed_by=url) from error
    return system, path


def _library_of(error: ImportError, protocol: str) -> str:
    return {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "abfs": "adlfs", "az": "adlfs"}.get(
        protocol, error.name or ("aiohttp" if protocol.startswith("http") else protocol)
    )


def _protocol(url: str) -> str:
    return url.split("://", 1)[0].lower()


def _object(url: str, info: dict[str, Any]) -> RemoteObject:
    etag = next((info[name] for name in ("ETag", "etag", "md5Hash", "blob_id", "created") if info.get(name)), None)
    etag = etag.timestamp() if isinstance(etag, datetime) else etag
    size = info.get("size")
    return RemoteObject(url, None if size is None else int(size), None if etag is None else str(etag).strip('"'))


@contextlib.contextmanager
def _translated(url: str) -> Iterator[None]:
    """Translate errors of file systems into named errors; a missing file stays a FileNotFoundError for callers here."""
    try:
        yield
    except LayerzooError:
        raise
    except FileNotFoundError as error:
        raise MissingOnServerError(f"{url}: no such file or folder") from error
    except PermissionError as error:
        raise AccessDeniedError(f"{url}: no access: {error}. Next: check the credentials of its file system") from error
    except Exception as error:
        raise ConnectionFailedError(f"{url}: {type(error).__name__}: {error}. Next: try again later") from error
