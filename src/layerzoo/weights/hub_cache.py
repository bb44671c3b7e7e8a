"""Remove files from the cache of huggingface_hub, which other programs share, with its own functions."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from layerzoo.errors import UnsafeWeightsError
from layerzoo.extras import needs
from layerzoo.library_messages import cache_warnings_about
from layerzoo.paths import hub_turn_path
from layerzoo.weights import network
from layerzoo.weights.cache import locked


def remove_revision(repo: str, commit: str, *, dry_run: bool) -> int:
    """Remove a revision of a repository with all its files, also those that other programs fetched.

    Returns: the number of bytes that are freed; files that other revisions share stay. Raises: FileNotFoundError where
        it is not there, OSError where it stays; UnsafeWeightsError when it leads out of the cache.
    """
    with _alone():
        cache_info = _scanned(repo)
        if commit not in {revision.commit_hash for entry in cache_info.repos for revision in entry.revisions}:
            raise FileNotFoundError(commit)
        return _executed(cache_info.delete_revisions(commit), dry_run=dry_run)


def remove_file(repo: str, path: Path, *, dry_run: bool) -> int:
    """Remove one file, in all revisions that share its bytes: otherwise the next one would get these back.

    path: in the folder of one of the revisions. Returns and raises: as :func:`remove_revision`.
    """
    with _alone():
        cache_info = _scanned(repo)
        files = [file for entry in cache_info.repos for revision in entry.revisions for file in revision.files]
        blobs = {file.blob_path for file in files if file.file_path.resolve() == path.resolve()}
        if not blobs:
            raise FileNotFoundError(path)
        return _executed(cache_info.delete_files(*(file for file in files if file.blob_path in blobs)), dry_run=dry_run)


def _alone() -> AbstractContextManager[None]:
    """Exclude other processes that remove files: a partly removed revision looks damaged."""
    return locked(hub_turn_path())


def _scanned(repo: str) -> Any:
    """Return the entry of one repository in the cache of huggingface_hub."""
    with needs("hub"):
        from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        cache_info = scan_cache_dir(network.hub_cache())
    except CacheNotFound as error:
        raise FileNotFoundError(str(error)) from error
    ours = frozenset(entry for entry in cache_info.repos if (entry.repo_type, entry.repo_id) == ("model", repo))
    if not ours:
        folder = network.snapshot_folder(repo, "-").parents[1]
        if not folder.exists():
            raise FileNotFoundError(folder)
        reasons = cache_warnings_about(cache_info.warnings, folder.name)
        raise OSError(errno.EIO, f"huggingface_hub takes its folder for damaged: {'; '.join(reasons)}", str(folder))
    return replace(cache_info, repos=ours)


def _executed(strategy: Any, *, dry_run: bool) -> int:
    paths = [*strategy.repos, *strategy.snapshots, *strategy.refs, *strategy.files, *strategy.blobs]
    root = network.hub_cache().resolve()
    for path in paths:
        # A link in the cache may lead anywhere, and huggingface_hub would follow it.
        if not Path(path).parent.resolve().is_relative_to(root):
            raise UnsafeWeightsError(f"{path} is not removed: it leads out of the cache directory {root}")
    if dry_run:
        return int(strategy.expected_freed_size)
    strategy.execute()
    for path in paths:
        if os.path.lexists(path):  # huggingface_hub logs it, and continues
            raise OSError(errno.EACCES, f"{path} could not be removed")
    return int(strategy.expected_freed_size)
