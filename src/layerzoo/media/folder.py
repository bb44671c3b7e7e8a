"""The files of a folder, always in the same order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from layerzoo.disk import is_scratch
from layerzoo.errors import SampleError
from layerzoo.media.sample import shown
from layerzoo.media.source import why


def files(folder: Path, passed_over: list[str]) -> Iterator[Path | SampleError]:
    """Yield every file below a folder, sorted by its path with forward slashes, and an error for each unreadable
    folder.

    Passed over, and added to ``passed_over``: hidden files and folders (a leading dot), pipes and devices, and links to
    folders that are read already, which ends loops. A dangling link counts as a file: reading it reports the error.
    """
    visited = {_identity(folder)}
    pending: list[Iterator[os.DirEntry[str] | SampleError]] = [_entries(folder)]
    root = folder.resolve()
    while pending:
        entry = next(pending[-1], None)
        if entry is None:
            pending.pop()
        elif isinstance(entry, SampleError):
            yield entry
        elif is_scratch(entry.name):
            continue  # the result itself, when it is written into the folder that is read
        elif entry.name.startswith("."):
            passed_over.append(shown(entry.path) + ("/" if _is_folder(entry) else ""))
        elif _is_folder(entry):
            path = Path(entry.path)
            if _identity(path) in visited or (entry.is_symlink() and path.resolve().is_relative_to(root)):
                passed_over.append(f"{shown(path)}/")
            else:
                visited.add(_identity(path))
                pending.append(_entries(path))
        elif _is_file(entry):
            yield Path(entry.path)
        else:
            passed_over.append(shown(entry.path))


def _entries(folder: Path) -> Iterator[os.DirEntry[str] | SampleError]:
    try:
        with os.scandir(folder) as scanned:
            # With the slash that its files' paths have, so that the order is that of whole paths.
            entries = sorted(scanned, key=lambda entry: entry.name + ("/" if _is_folder(entry) else ""))
    except OSError as error:
        yield SampleError(shown(folder), why(error))
        return
    yield from entries


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points to itself
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists())
    except OSError:
        return True
