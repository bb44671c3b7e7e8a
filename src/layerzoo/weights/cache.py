"""Converted checkpoints: computed once, and written by one process at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from layerzoo.disk import atomic_path
from layerzoo.errors import CacheError
from layerzoo.library_messages import is_write_error
from layerzoo.paths import converted_dir

READER = "torch-4"
"""Part of the name of a converted file: another number where the same pickle is read, or kept, in another way."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONVERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def converted_path(sha256: str, conversion: str) -> Path:
    """Return the path of a converted checkpoint in the cache.

    Args:
        sha256: of the original file, in hex.
        conversion: name and version of the converter, such as ``torch-1``.
    Raises: ValueError if one of them cannot be part of a file name.
    """
    if not _SHA256.fullmatch(sha256) or not _CONVERSION.fullmatch(conversion):
        raise ValueError(f"no key of a converted checkpoint: {sha256!r}, {conversion!r}")
    return converted_dir() / f"{sha256}.{conversion}.safetensors"


def make_once(target: Path, write: Callable[[Path], None], *, is_intact: Callable[[Path], bool] = Path.exists) -> Path:
    """Write a file unless it exists. Of several processes that do so at once, one writes.

    Args:
        target: the file.
        write: writes the file at the temporary path that it is called with.
        is_intact: whether the file is intact. A damaged file is written again.
    Returns: ``target``.
    Raises: CacheError if the folder cannot be written, or is full; any other exception of ``write`` unchanged.
    """
    if is_intact(target):
        return target
    with cache_errors(target), locked(target):
        if not is_intact(target):
            with atomic_path(target) as path:
                write(path)
    return target


@contextmanager
def locked(target: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of ``target`` among all processes. It is released when the process ends.

    Args:
        target: the file.
        wait: whether to wait for another process that holds the lock.

    Raises: OSError if the folder of ``target`` cannot be created or written; TimeoutError if another process holds the
        lock and ``wait`` is False.
    """
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock"), timeout=-1 if wait else 0):
        yield


@contextmanager
def cache_errors(target: Path) -> Iterator[None]:
    """Raises: CacheError for a failure while ``target``, a file in the cache, is written."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise _cache_error(target, error) from error
    except SafetensorError as error:
        if is_write_error(error):
            raise _cache_error(target, error) from error
        raise


def _cache_error(target: Path, error: Exception) -> CacheError:
    return CacheError(
        f"the cache folder {target.parent} cannot be written: {error}. LAYERZOO_CACHE=FOLDER chooses another one"
    )
