"""Files that appear whole or not at all, and the folder for what can be made again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SCRATCH = (".layerzoo-", ".part")


def cache_dir() -> Path:
    """The folder for what can be made again: ``LAYERZOO_CACHE``, else the user's cache folder. It may not exist yet."""
    if chosen := os.environ.get("LAYERZOO_CACHE"):
        return Path(chosen).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("layerzoo")


@contextmanager
def scratch_path(folder: Path) -> Iterator[Path]:
    """A name in ``folder`` that no other process uses. Whatever stands there at the end is removed."""
    path = folder / f"{_SCRATCH[0]}{os.urandom(8).hex()}{_SCRATCH[1]}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def is_scratch(name: str) -> bool:
    """Whether a file of this name is one that a run of layerzoo is writing."""
    return name.startswith(_SCRATCH[0]) and name.endswith(_SCRATCH[1])


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """A temporary name beside ``target``: what was written there takes its place at the end, and only without an error.

    Nobody ever sees a half-written ``target``; an exception, Ctrl-C included, leaves what stood there before. The
    folder must exist. Raises: OSError.
    """
    with scratch_path(target.parent) as path:
        yield path
        _sync(path)
        path.replace(target)


def _sync(path: Path) -> None:
    """Wait until the bytes are on the disk: a rename may reach it before them, and a power cut leave an empty file."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
