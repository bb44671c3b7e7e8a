"""Fetch files from links. The sha256 of each is declared or locked, or the first digits of it are declared.

``LAYERZOO_WEIGHTS_BASE_URL`` is the address of a mirror, for a machine that reaches the web through a proxy.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from layerzoo.errors import DigestError, UnsafeWeightsError, UsageError
from layerzoo.spec import FrozenMap, Weights
from layerzoo.weights import network
from layerzoo.weights.digests import SHA256_DIGITS, agrees
from layerzoo.weights.digests import sha256 as sha256_of
from layerzoo.weights.files import Files
from layerzoo.weights.partial import About, PartialFile, known_size
from layerzoo.weights.progress import FileProgress, Progress, of_file
from layerzoo.weights.sources import Source

MIRROR = "LAYERZOO_WEIGHTS_BASE_URL"
"""Variable with the address of a mirror. ``{host}`` and ``{path}`` in it are replaced by those of a link. Without
``{path}``, the path of the link is appended."""


@dataclass(frozen=True, slots=True)
class Link:
    """The files of a model at links.

    source: the link of the checkpoint.
    sha256: declared or locked digests by file name.
    prefix: the declared first digits of the sha256 of the checkpoint; empty if none are declared.
    other_links: the links of files that are not in the folder of the checkpoint, by file name.
    lock: whether the publisher states no digest, so that only the lock has the sha256 of each file.
    """

    source: Source
    sha256: Mapping[str, str]
    prefix: str = ""
    other_links: Mapping[str, str] = FrozenMap()
    lock: bool = False

    @property
    def name(self) -> str:
        """The name of the checkpoint."""
        return PurePosixPath(self.source.path).name

    def stated(self) -> dict[str, str]:
        """Return the known digits of the sha256 of each file, by name; empty if it will be locked."""
        return {**self._declared(), **self.sha256}

    def cache_digest(self, name: str) -> str:
        """Return the digits by which a file is found in the cache. Locking its digest does not change them."""
        declared = self._declared()
        return declared[name] if name in declared else self.sha256[name]

    def _declared(self) -> dict[str, str]:
        if self.lock:
            return dict.fromkeys((*self.other_links, self.name), "")
        return {self.name: self.prefix} if self.prefix else {}

    def url(self, name: str) -> str:
        """Return the link of a file."""
        return self.other_links.get(name) or url_of(self.source, name)


def link_of(source: Source, weights: Weights, digests: Mapping[str, str]) -> Link:
    """Return the links of the files that a declaration of weights refers to.

    Args:
        source: the parsed source of the weights.
        weights: the declaration.
        digests: declared or locked digests by file name.
    """
    prefix = "" if weights.lock else weights.sha256_prefix or ""
    return Link(source, digests, prefix, dict(weights.files), weights.lock)


def take(link: Link, *, model: str | None, is_partial: bool, progress: FileProgress | None) -> Files:
    """Return the file of a link and the other files that have a known sha256, fetching missing ones.

    Args:
        link: the files.
        model: the id of the model, for messages.
        is_partial: leave the bytes of a safetensors file to be fetched when they are asked for.
        progress: see :func:`layerzoo.weights.resolve`.
    Raises: UnsafeWeightsError without a sha256, UnavailableError of the kind that fits, DigestError.
    """
    main, sha256 = link.name, link.stated()
    for name in (main, *link.other_links):
        if name not in sha256:
            raise UnsafeWeightsError(
                f"{link.url(name)} needs its sha256 declared, so that another file is noticed: "
                f"weights: {{source: …, sha256: {'…' if name == main else f'{{{name}: …}}'}}}"
            )
    parts = {name: _part(link, name, of_file(progress, name)) for name in sha256}
    partial = {
        name: part
        for name, part in parts.items()
        if is_partial and name == main and name.endswith(".safetensors") and not part.is_whole
        if _is_whole_digest(sha256[name])
    }
    for name, part in parts.items():
        if name not in partial:
            _complete(part, sha256[name], model or "MODEL")
    return Files(
        {name: part.path for name, part in parts.items()},
        named=main,
        verified=frozenset(name for name in parts.keys() - partial.keys() if sha256[name]),
        partial=partial,
        stated={name: digest for name, digest in sha256.items() if _is_whole_digest(digest)},
    )


def _is_whole_digest(digest: str) -> bool:
    return len(digest) == SHA256_DIGITS


def _complete(part: PartialFile, digest: str, model: str) -> None:
    """Fetch the whole file. It is verified after the download, and again if it has changed since.

    Args:
        part: the file.
        digest: its sha256, or the first digits of it.
        model: the id of the model, for messages.
    """
    path = part.complete()
    actual = sha256_of(path)
    if not agrees(actual, part.about.digest):
        part.forget()
        advice = (
            f"It was changed on this machine after it came from {part.about.source}, and was removed. Next: try again"
        )
        raise DigestError(path, declared=part.about.digest, found=actual, advice=advice)
    if not agrees(actual, digest):
        part.forget()
        advice = (
            f"It came from {part.about.source}, and was removed. Next: try again; or, if the change is intended: "
            f"zoo lock --update {model}"
        )
        raise DigestError(path, declared=digest, found=actual, advice=advice)


def url_of(source: Source, name: str) -> str:
    """Return the link to a file in the folder of a source."""
    return f"https://{source.owner}/{source.path[: source.path.rfind('/') + 1]}{name}"


def _part(link: Link, name: str, progress: Progress | None) -> PartialFile:
    url, digest = link.url(name), link.cache_digest(name)
    endpoint = network.web_endpoint(url, mirrored(url))
    size = known_size(url, digest)
    size = network.size_of(endpoint) if size is None else size
    return PartialFile(About(url, PurePosixPath(name).name, size, digest), endpoint, progress)


def mirrored(url: str) -> str:
    """Return the address that a file is fetched from: the link, or that of the mirror in the environment.

    Raises: UsageError for a mirror without https.
    """
    base = os.environ.get(MIRROR, "")
    if not base:
        return url
    if not base.startswith("https://"):
        raise UsageError(
            f"{MIRROR}={base} is not the address of a mirror. Possible: https://HOST/FOLDER, to which the path of a "
            "link is appended, or an address with {host} and {path} in it"
        )
    host, _, path = url.removeprefix("https://").partition("/")
    template = base if "{path}" in base else f"{base.rstrip('/')}/{{path}}"
    return template.replace("{host}", host).replace("{path}", path)
