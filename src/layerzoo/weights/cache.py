"""What is made once from a checkpoint and kept: converted files, written by one process at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from layerzoo.disk import atomic_path
from layerzoo.errors import CacheError
from layerzoo.paths import converted_dir

READER = "torch-4"
"""Part of the name of a converted file: another number where the same pickle is read, or kept, in another way."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONVERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


def converted_path(sha256: str, conversion: str) -> Path:
    """The place of a converted checkpoint in the cache.

    sha256: of the file it was made from, in hex. conversion: name and version of what made it, such as ``torch-1``.
    Raises: ValueError when one of them cannot be part of a file name.
    """
    if not _SHA256.fullmatch(sha256) or not _CONVERSION.fullmatch(conversion):
        raise ValueError(f"no key of a converted checkpoint: {sha256!r}, {conversion!r}")
    return converted_dir() / f"{sha256}.{conversion}.safetensors"


def make_once(target: Path, write: Callable[[Path], None], *, is_sound: Callable[[Path], bool] = Path.exists) -> Path:
    """``target``, written by ``write`` when it is not there yet; of several processes at once, one writes.

    write: makes the file at the path it is given, a temporary one.
    is_sound: whether what stands there can be used. A file that was damaged since is made again.
    Raises: CacheError when the folder cannot be written, or is full; any other exception of ``write`` as it is.
    """
    if is_sound(target):
        return target
    with cache_errors(target), locked(target):
        if not is_sound(target):
            with atomic_path(target) as path:
                write(path)
    return target


@contextmanager
def locked(target: Path, *, wait: bool = True) -> Iterator[None]:
    """Alone with ``target`` among all processes that ask; waits its turn. The lock goes when the process does.

    Raises: OSError when the folder of ``target`` cannot be made or written; TimeoutError where another process is with
    it and ``wait`` is False.
    """
    from filelock import FileLock

    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(target.name + ".lock"), timeout=-1 if wait else 0):
        yield


@contextmanager
def cache_errors(target: Path) -> Iterator[None]:
    """Raises: CacheError for what goes wrong when ``target``, a file in the cache, is written."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, NotImplementedError) as error:  # the latter: a file system without locks
        raise _cache_error(target, error) from error
    except SafetensorError as error:
        if "os error" in str(error):  # safetensors reports a full disk as an error of its own
            raise _cache_error(target, error) from error
        raise


def _cache_error(target: Path, error: Exception) -> CacheError:
    return CacheError(
        f"the cache folder {target.parent} cannot be written: {error}. LAYERZOO_CACHE=FOLDER chooses another one"
    )
