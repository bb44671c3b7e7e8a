"""``layerzoo.lock``: which weights a name meant when it was locked, so that it means them tomorrow and elsewhere.

A JSON file beside the user's registry.yaml, made to be committed with it: by model the declared source, the commit that
it stood for, and the size and sha256 of each file. Standard library only, so that browsing can read it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from layerzoo.disk import atomic_path
from layerzoo.errors import LockError, OutputError

FILE_NAME = "layerzoo.lock"
_FORMAT = 1
_BESIDE = "registry.yaml"


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file of a model."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class LockedModel:
    """What the weights of one model were."""

    source: str
    """As declared when it was locked."""
    revision: str | None
    """The commit of a repository of the hub, 40 hex digits; None for any other source."""
    files: Mapping[str, LockedFile]


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock file, and what it says."""

    path: Path
    models: Mapping[str, LockedModel] = field(default_factory=dict)
    sha256: str | None = None
    """Of the file itself; None as long as there is none."""

    @classmethod
    def read(cls, path: Path | None = None) -> Lock:
        """The lock in a file, else the one that counts here; an empty one where there is no such file.

        Raises: LockError when the file is not valid.
        """
        path = path or lock_path()
        try:
            raw = path.read_bytes()
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise LockError(f"{path} cannot be read: {error.strerror}. Without it no model is pinned by it") from error
        return cls(path, dict(_models(path, raw)), hashlib.sha256(raw).hexdigest())

    def with_models(self, models: Mapping[str, LockedModel]) -> Lock:
        """The same lock with some models added, or in the place of what it said of them."""
        return replace(self, models={**self.models, **models})

    def without(self, *models: str) -> Lock:
        """The same lock without some models."""
        return replace(self, models={name: kept for name, kept in self.models.items() if name not in models})

    def write(self) -> Lock:
        """Put it on the disk, whole or not at all. Raises: OutputError."""
        plain = {"layerzoo_lock": _FORMAT, "models": {name: asdict(self.models[name]) for name in sorted(self.models)}}
        text = json.dumps(plain, indent=2) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}", path=self.path) from error
        return replace(self, sha256=hashlib.sha256(text.encode()).hexdigest())


def lock_path() -> Path:
    """Where the lock that counts here is, or would be: in the working directory where a registry.yaml or a lock is
    there, else in the user's configuration directory."""
    import platformdirs

    with contextlib.suppress(OSError):  # the working directory may have been removed
        here = Path.cwd()
        if (here / FILE_NAME).is_file() or (here / _BESIDE).is_file():
            return here / FILE_NAME
    return platformdirs.user_config_path("layerzoo") / FILE_NAME


def _models(path: Path, raw: bytes) -> Iterator[tuple[str, LockedModel]]:
    try:
        plain = json.loads(raw)
        if plain["layerzoo_lock"] != _FORMAT:
            raise LockError(
                f"{path} is of format {plain['layerzoo_lock']}, and this layerzoo reads {_FORMAT}. "
                "Next: pip install --upgrade layerzoo, or make the lock again: zoo lock"
            )
        for name, model in plain["models"].items():
            files = {each: LockedFile(_hex(facts["sha256"], 64), int(facts["size"])) for each, facts in _items(model)}
            revision = None if model["revision"] is None else _hex(model["revision"], 40)
            yield name, LockedModel(str(model["source"]), revision, files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = f"it has no {error}" if isinstance(error, KeyError) else error
        message = f"{path} is no valid lock ({told}). Next: take it from version control, or remove it and zoo lock"
        raise LockError(message) from error


def _items(model: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from model["files"].items()


def _hex(value: Any, digits: int) -> str:
    """A digest or a commit, which becomes part of file names. Raises: ValueError for anything else."""
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
        raise ValueError(f"{value!r} should be {digits} hex digits")
    return value
