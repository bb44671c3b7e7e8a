"""Store the file lists of repositories by commit, and the last known commits of their branches."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from layerzoo.branches import keep_commit, last_commit
from layerzoo.disk import atomic_path
from layerzoo.errors import ConnectionFailedError, OfflineError, RateLimitedError, ServerError, UnsafeWeightsError
from layerzoo.paths import is_commit, listings_dir, listings_folder
from layerzoo.weights import network
from layerzoo.weights.digests import sha256
from layerzoo.weights.network import Listing, RemoteFile
from layerzoo.weights.sources import check_inside


def listing_at(repo: str, commit: str) -> Listing:
    """Return the file list of a repository at a commit. It never changes, so the hub is asked once.

    Raises: UnavailableError.
    """
    if stored := _stored(repo, listings_folder(repo) / f"{commit}.json"):
        return stored
    try:
        listing = listing_now(repo, commit)
    except (OfflineError, ConnectionFailedError, RateLimitedError, ServerError):
        if cached := _cached_listing(repo, commit):
            return cached
        raise
    keep(listing)
    return listing


def listing_now(repo: str, commit: str) -> Listing:
    """Ask the hub for a file list. Raises: as :func:`listing_at`, ServerError if the answer is of another commit."""
    listing = network.listing(repo, commit)
    if listing.commit != commit:
        raise ServerError(f"hf://{repo}@{commit}: the hub was asked for this commit, and answers with {listing.commit}")
    return listing


def stored_listings() -> list[Listing]:
    """Return all stored file lists, without a connection."""
    paths = sorted(listings_dir().glob("*/*.json"))
    listings = (_stored(path.parent.name.replace("--", "/", 1), path) for path in paths if is_commit(path.stem))
    return [listing for listing in listings if listing is not None]


def _stored(repo: str, path: Path) -> Listing | None:
    with suppress(OSError, ValueError, TypeError, KeyError, UnsafeWeightsError, ServerError):
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return Listing(repo, path.stem, tuple(_remote_file(repo, file) for file in files))
    return None


def _remote_file(repo: str, fields: Mapping[str, Any]) -> RemoteFile:
    return RemoteFile(check_inside(fields["name"], of=repo), int(fields["size"]), str(fields["etag"]))


def keep(listing: Listing) -> None:
    """Store a file list."""
    with suppress(OSError):  # a cache that cannot be written only costs the next request
        folder = listings_folder(listing.repo)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / f"{listing.commit}.json") as temporary:
            temporary.write_text(json.dumps({"files": [asdict(file) for file in listing.files]}), encoding="utf-8")


def _cached_listing(repo: str, commit: str) -> Listing | None:
    """Return the file list of a commit from the cache of huggingface_hub, whose files are links named by the etag."""
    snapshot = network.snapshot_folder(repo, commit)
    files = [path for path in snapshot.rglob("*") if path.is_file()]
    remote_files = (
        RemoteFile(path.relative_to(snapshot).as_posix(), path.stat().st_size, _etag(path)) for path in files
    )
    return Listing(repo, commit, tuple(remote_files)) if files else None


def _etag(path: Path) -> str:
    """Return the etag of a file in the cache of huggingface_hub; without links in the file system, its sha256."""
    return path.resolve().name if path.is_symlink() else sha256(path)


# ---------------------------------------------------------------- where branches were seen


def keep_seen(repo: str, revision: str, commit: str) -> None:
    """Record the commit that a branch or tag is at. A cache that cannot be written only costs the next request."""
    with suppress(OSError):
        keep_commit(listings_folder(repo), revision, commit)


def seen_commit(repo: str, revision: str) -> str | None:
    """Return the commit that a branch or tag was at when the hub was last queried, by layerzoo or by
    huggingface_hub."""
    return last_commit(listings_folder(repo), revision) or network.cached_commit(repo, revision)
