"""Parse the source of a checkpoint. Nothing here accesses a disk or a network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from layerzoo.errors import UnsafeWeightsError, WeightsError

Scheme = Literal["package", "file", "https", "hf"]

_DISTRIBUTION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?")
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@]+))?(/(?P<path>.*))?")
_FORMS = (
    "package://DISTRIBUTION/PATH, file:/ABSOLUTE/PATH, https://HOST/PATH or hf://ORG/REPO[@REVISION][/FILE]; "
    "a folder ends in a slash"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A parsed ``spec.Weights.source``."""

    scheme: Scheme
    owner: str
    """The distribution, the ``ORG/REPO`` or the host; empty for ``file:``."""
    path: str
    """The path below the owner. Empty or ending in a slash: a folder. Absolute for ``file:``, else relative."""
    revision: str | None = None
    """The branch, tag or commit of an ``hf://`` repository."""

    @property
    def is_folder(self) -> bool:
        return self.path == "" or self.path.endswith("/")

    @property
    def folder(self) -> str:
        """The folder, or the folder of the file, ending in a slash; empty for the root folder."""
        return self.path[: self.path.rfind("/") + 1]

    def __str__(self) -> str:
        if self.scheme == "file":
            return f"file:{self.path}"
        revision = f"@{self.revision}" if self.revision else ""
        path = f"/{self.path}" if self.path else ""
        return f"{self.scheme}://{self.owner}{revision}{path}"


def parse_source(text: str) -> Source:
    """Parse a source, such as ``package://acme-weights/acme/model.safetensors``.

    Raises: UnsafeWeightsError for a path that leaves its folder, WeightsError for anything else that is not a source.
    """
    scheme, colon, location = text.partition(":")
    if scheme == "http":
        raise WeightsError(f"{_no_source(text)}. What comes by http:// is not encrypted: write https:{location}")
    if not colon or scheme not in get_args(Scheme):
        raise _no_source(text)
    if scheme == "file":
        return _parse_file(text, location)
    if not location.startswith("//"):
        raise _no_source(text)
    return {"package": _parse_package, "https": _parse_https, "hf": _parse_hub}[scheme](text, location[2:])


def check_inside(path: str, *, of: str) -> str:
    """Return the relative path as it is, when it can only mean a place inside its folder.

    of: the owner of the path, for the error.
    Raises: UnsafeWeightsError for ``..``, an absolute path, a backslash, a drive or a NUL.
    """
    parts = path.removesuffix("/").split("/")
    if any(part in {"", ".", ".."} for part in parts) or any(letter in path for letter in "\\\0:"):
        raise UnsafeWeightsError(
            f"{of}: the path {path!r} is refused, because it may lead out of its folder. "
            "Write it relative, with forward slashes, and without '..'"
        )
    return path


def _parse_package(text: str, location: str) -> Source:
    distribution, _, path = location.partition("/")
    if not _DISTRIBUTION.fullmatch(distribution) or not path:
        raise _no_source(text)
    return Source("package", distribution, check_inside(path, of=text))


def _parse_file(text: str, location: str) -> Source:
    path = location.removeprefix("//") if location.startswith("///") else location
    if not Path(path).is_absolute():
        raise WeightsError(
            f"{text}: the path must be absolute by now; one in a registry.yaml starts at that file's folder"
        )
    return Source("file", "", path)


def _parse_https(text: str, location: str) -> Source:
    host, _, path = location.partition("/")
    if not _HOST.fullmatch(host) or not path or path.endswith("/"):
        raise _no_source(text)
    return Source("https", host, path)


def _parse_hub(text: str, location: str) -> Source:
    match = _HUB.fullmatch(location)
    if not match:
        raise _no_source(text)
    path = match["path"] or ""
    return Source("hf", match["repo"], check_inside(path, of=text) if path else "", match["revision"])


def _no_source(text: str) -> WeightsError:
    return WeightsError(f"{text!r} is not a source of weights. Possible: {_FORMS}")
