"""Fetch files from links. The sha256 of each is declared or locked, or the first digits of it are declared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from layerzoo.errors import DigestError, UnsafeWeightsError
from layerzoo.weights import network
from layerzoo.weights.digests import SHA256_DIGITS, agrees
from layerzoo.weights.digests import sha256 as sha256_of
from layerzoo.weights.files import Files
from layerzoo.weights.partial import About, PartialFile, known_size
from layerzoo.weights.progress import FileProgress, Progress, of_file
from layerzoo.weights.sources import Source


def take(
    source: Source,
    sha256: Mapping[str, str],
    *,
    prefix: str | None = None,
    is_partial: bool,
    progress: FileProgress | None,
) -> Files:
    """Return the file of a link and the files next to it that have a known sha256, fetching missing ones.

    Args:
        source: the link.
        sha256: declared or locked digests by file name.
        prefix: the declared first digits of the sha256 of the link's file.
        is_partial: leave the bytes of a safetensors file to be fetched when they are asked for.
        progress: see :func:`layerzoo.weights.resolve`.
    Raises: UnsafeWeightsError without a sha256, UnavailableError of the kind that fits, DigestError.
    """
    main = PurePosixPath(source.path).name
    sha256 = {**({main: prefix} if prefix else {}), **sha256}
    if main not in sha256:
        raise UnsafeWeightsError(
            f"{source} needs its sha256 declared, so that another file is noticed: weights: {{source: …, sha256: …}}"
        )
    parts = {
        # A file keeps its place in the cache when its digest is locked.
        name: _part(source, name, prefix or digest if name == main else digest, of_file(progress, name))
        for name, digest in sha256.items()
    }
    partial = {
        name: part
        for name, part in parts.items()
        if is_partial and name == main and name.endswith(".safetensors") and not part.is_whole
        if _is_whole_digest(sha256[name])
    }
    for name, part in parts.items():
        if name not in partial:
            _complete(part, sha256[name])
    return Files(
        {name: part.path for name, part in parts.items()},
        named=main,
        verified=frozenset(parts.keys() - partial.keys()),
        partial=partial,
        stated={name: digest for name, digest in sha256.items() if _is_whole_digest(digest)},
    )


def _is_whole_digest(digest: str) -> bool:
    return len(digest) == SHA256_DIGITS


def _complete(part: PartialFile, digest: str) -> None:
    """Fetch the whole file. It is verified after the download, and again if it has changed since.

    Args:
        part: the file.
        digest: its sha256, or the first digits of it.
    """
    path = part.complete()
    found = sha256_of(path)
    if not agrees(found, part.about.digest):
        part.forget()
        advice = (
            f"It was changed on this machine after it came from {part.about.source}, and was removed. Next: try again"
        )
        raise DigestError(path, declared=part.about.digest, found=found, advice=advice)
    if not agrees(found, digest):
        advice = f"It came from {part.about.source}. Next, if the change is intended: zoo lock --update MODEL"
        raise DigestError(path, declared=digest, found=found, advice=advice)


def url_of(source: Source, name: str) -> str:
    """Return the link to a file in the folder of a source."""
    return f"https://{source.owner}/{source.path[: source.path.rfind('/') + 1]}{name}"


def _part(source: Source, name: str, digest: str, progress: Progress | None) -> PartialFile:
    url = url_of(source, name)
    endpoint = network.web_endpoint(url)
    size = known_size(url, digest)
    size = network.size_of(endpoint) if size is None else size
    return PartialFile(About(url, PurePosixPath(name).name, size, digest), endpoint, progress)
