"""Files behind links, each known by its sha256."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from layerzoo.errors import DigestError, UnsafeWeightsError
from layerzoo.weights import network
from layerzoo.weights.digests import sha256 as sha256_of
from layerzoo.weights.files import Files
from layerzoo.weights.partial import About, PartialFile, known_size
from layerzoo.weights.progress import FileProgress, Progress, of_file
from layerzoo.weights.sources import Source


def take(source: Source, sha256: Mapping[str, str], *, is_partial: bool, progress: FileProgress | None) -> Files:
    """The file, and those beside it whose sha256 is declared too, fetched where they are not here yet.

    is_partial: leave the bytes of a safetensors file to be fetched when they are asked for.
    Raises: UnsafeWeightsError without a sha256, UnavailableError of the kind that fits, DigestError.
    """
    main = PurePosixPath(source.path).name
    if main not in sha256:
        raise UnsafeWeightsError(
            f"{source} needs its sha256 declared, so that another file is noticed: weights: {{source: …, sha256: …}}"
        )
    parts = {name: _part(source, name, digest, of_file(progress, name)) for name, digest in sha256.items()}
    partial = {
        name: part
        for name, part in parts.items()
        if is_partial and name == main and name.endswith(".safetensors") and not part.is_whole
    }
    for name, part in parts.items():
        if name not in partial:
            _complete(part)
    return Files(
        {name: part.path for name, part in parts.items()},
        named=main,
        verified=frozenset(parts.keys() - partial.keys()),
        partial=partial,
        stated=dict(sha256),
    )


def _complete(part: PartialFile) -> None:
    """The whole file, which was verified when it came, and is again where it was changed since."""
    path = part.complete()
    if (found := sha256_of(path)) != part.about.digest:
        part.forget()
        advice = (
            f"It was changed on this machine after it came from {part.about.source}, and was removed. Next: try again"
        )
        raise DigestError(path, declared=part.about.digest, found=found, advice=advice)


def url_of(source: Source, name: str) -> str:
    """The link to a file that lies where the source does."""
    return f"https://{source.owner}/{source.path[: source.path.rfind('/') + 1]}{name}"


def _part(source: Source, name: str, digest: str, progress: Progress | None) -> PartialFile:
    url = url_of(source, name)
    endpoint = network.web_endpoint(url)
    size = known_size(url, digest)
    size = network.size_of(endpoint) if size is None else size
    return PartialFile(About(url, PurePosixPath(name).name, size, digest), endpoint, progress)
