"""Read the encoded bytes of one sample, from a path, from memory or from an open file."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO, TypeGuard

import numpy as np

from layerzoo.media.limits import limits
from layerzoo.media.sample import UnusableError

Encoded = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]


def is_encoded(source: object) -> TypeGuard[Encoded]:
    """Return whether a source is a path, bytes or an open file."""
    if isinstance(source, np.ndarray):  # the checks below take 2 µs for it
        return False
    return isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) or _is_file(source)


def _is_file(source: object) -> TypeGuard[IO[bytes]]:
    return callable(getattr(source, "read", None)) and callable(getattr(source, "readline", None))


@contextmanager
def opened(source: Encoded) -> Iterator[BinaryIO]:
    """Open an encoded sample for reading at its first byte. A str is a path.

    An open file, seekable or not, is read from its current position to its end, into memory.
    Raises: UnusableError when there is nothing to read: no such file, a folder, a special file, no permission, 0
        bytes, a file that was opened as text.
    """
    if isinstance(source, str | os.PathLike):
        check_regular(source)
        try:
            file = open(source, "rb")  # noqa: PTH123, SIM115 - closed below
        except OSError as error:
            raise UnusableError(why(error)) from error
        with file:
            yield file
        return
    yield io.BytesIO(encoded_bytes(source))


def encoded_bytes(source: bytes | bytearray | memoryview | IO[bytes]) -> bytes | bytearray | memoryview:
    """Return the bytes of an encoded sample that is not a path.

    Raises: UnusableError when there is nothing to read, or more than may be handed over in memory.
    """
    data = source if isinstance(source, bytes | bytearray | memoryview) else _read_whole(source)
    if len(data) == 0:
        raise UnusableError("empty: 0 bytes")
    if len(data) > (most := limits().handed_over_bytes):
        raise UnusableError(f"more than {most >> 20} MiB in memory, which is the limit. Next: give the path of a file")
    return data


def _read_whole(file: IO[bytes]) -> bytes:
    most = limits().handed_over_bytes + 1
    try:
        data = file.read(most)
        while isinstance(data, bytes) and 0 < len(data) < most and (more := file.read(most - len(data))):
            data += more
    except (OSError, ValueError) as error:
        raise UnusableError(f"an open file that cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise UnusableError("an open file that gives text: open it in binary mode, 'rb'")
    return data


def check_regular(path: str | os.PathLike[str]) -> None:
    """Refuse anything but a regular file with content. A named pipe is never opened, since that may wait for ever.

    Raises: UnusableError.
    """
    try:
        status = os.stat(path)  # noqa: PTH116
    except (OSError, ValueError) as error:
        raise UnusableError(why(error)) from error
    if not stat.S_ISREG(status.st_mode):
        raise UnusableError(f"not a file but {_SPECIAL.get(stat.S_IFMT(status.st_mode), 'a special file')}")
    if status.st_size == 0:
        raise UnusableError("empty file")


def why(error: OSError | ValueError) -> str:
    """Return the reason for a failed access to a path, in plain words."""
    if isinstance(error, ValueError):
        return "not a path: it holds a null character"
    return _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()


_SPECIAL = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_REASONS = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ELOOP: "a link that points to itself",
    errno.ENAMETOOLONG: "no such file: the name is too long",
}
