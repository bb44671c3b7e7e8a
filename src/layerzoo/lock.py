"""``layerzoo.lock`` pins the weights of models, so that a name means the same weights later and elsewhere.

It is a JSON file next to the user's registry.yaml, and should be committed with it. For each model it has the
declared source, its commit, and the size and sha256 of each file. Standard library only, so that browsing can read it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from layerzoo.disk import atomic_path
from layerzoo.errors import LockError, OutputError
from layerzoo.local_files import local_folder
from layerzoo.paths import LOCK_NAME, REGISTRY_NAME, user_folder
from layerzoo.printable import shorten
from layerzoo.small_files import read_small

FILE_NAME = LOCK_NAME
MAX_BYTES = 4_000_000
"""The size of a lock that is still read. The 2,046 models of timm's catalogue make one of 1.1 MB."""
_FORMAT = 1
_MAX_SIZE = 2**63
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class LockedFile:
    """One file of a model."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class LockedModel:
    """The locked weights of one model."""

    source: str
    """As declared when it was locked."""
    revision: str | None
    """The commit of a repository of the hub, 40 hex digits; None for any other source."""
    files: Mapping[str, LockedFile]


@dataclass(frozen=True, slots=True)
class Lock:
    """The content of a lock file."""

    path: Path
    models: Mapping[str, LockedModel] = field(default_factory=dict)
    sha256: str | None = None
    """The sha256 of the lock file; None if it does not exist."""

    @classmethod
    def read(cls, path: Path | None = None) -> Lock:
        """Read a lock. path: None reads the one in use, see :func:`lock_path`. A missing file is an empty lock.

        Raises: LockError when the file is not valid.
        """
        path = path or lock_path()
        try:
            raw = read_small(path, MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError) as error:
            if path.is_symlink():
                raise LockError(f"{path} cannot be read: it is a link to nothing. {_mend(path)}") from error
            return cls(path)
        except OSError as error:
            raise LockError(
                f"{path} cannot be read: {error.strerror}. Without it no model is pinned by it. {_mend(path)}"
            ) from error
        return cls(path, dict(_models(path, raw)), _sha256(raw))

    def with_models(self, models: Mapping[str, LockedModel]) -> Lock:
        """Return a copy with some models added or replaced."""
        return replace(self, models={**self.models, **models})

    def without(self, *models: str) -> Lock:
        """Return a copy without some models."""
        return replace(self, models={name: locked for name, locked in self.models.items() if name not in models})

    def write(self) -> Lock:
        """Write the lock atomically. Raises: OutputError."""
        fields = {"layerzoo_lock": _FORMAT, "models": {name: asdict(self.models[name]) for name in sorted(self.models)}}
        text = json.dumps(fields, indent=2) + "\n"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self.path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written: {error.strerror}", path=self.path) from error
        return replace(self, sha256=_sha256(text.encode()))


def _sha256(raw: bytes) -> str:
    import hashlib  # loads OpenSSL, which takes 3 ms

    return hashlib.sha256(raw).hexdigest()


def lock_path() -> Path:
    """Return the path of the lock in use. It may not exist.

    That is in the working directory where a registry.yaml or a lock is there, else in the user's configuration
    directory. Anything of that name counts: what is not a file is an error when it is read.
    """
    folder = local_folder()
    if folder is not None and (os.path.lexists(folder / LOCK_NAME) or os.path.lexists(folder / REGISTRY_NAME)):
        return folder / LOCK_NAME
    return user_folder() / LOCK_NAME


def _models(path: Path, raw: bytes) -> Iterator[tuple[str, LockedModel]]:
    try:
        data = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_distinct)
        if not isinstance(data, dict):
            raise ValueError("it is not an object")
        if data["layerzoo_lock"] != _FORMAT:
            raise LockError(
                f"{path} is of format {_show(data['layerzoo_lock'])}, and this layerzoo reads {_FORMAT}. "
                "Next: pip install --upgrade layerzoo, or make the lock again: zoo lock"
            )
        for name, model in _object(data["models"], "models").items():
            files = {file: _file(facts) for file, facts in _object(model["files"], "files").items()}
            revision = None if model["revision"] is None else _hex(model["revision"], 40)
            yield _text(name), LockedModel(_text(model["source"]), revision, files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"it has no {_show(error.args[0])}" if isinstance(error, KeyError) else shorten(str(error), _SHOWN)
        raise LockError(f"{path} is not a valid lock ({reason}). {_mend(path)}") from error


def _mend(path: Path) -> str:
    local = "; or ignore the files of this folder: --no-local-files" if path.parent == local_folder() else ""
    return f"Next: take it from version control, or remove it and zoo lock{local}"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object. A reader may see one value of a duplicate key and Python use the other."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names: set[str] = set()
        twice = next(name for name, _ in pairs if name in names or names.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"{_show(twice)} is a duplicate key")
    return fields


def _file(facts: Any) -> LockedFile:
    size = facts["size"]
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _MAX_SIZE:
        raise ValueError(f"the size {_show(size)} is not a number of bytes")
    return LockedFile(_hex(facts["sha256"], 64), size)


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is {_show(value)} and not an object")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError(f"{_show(value)} should be printable text")
    return value


def _hex(value: Any, digits: int) -> str:
    """Return a digest or a commit, which becomes part of file names. Raises: ValueError for anything else."""
    if not isinstance(value, str) or not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
        raise ValueError(f"{_show(value)} should be {digits} hex digits")
    return value


def _show(value: Any) -> str:
    return shorten(repr(value), _SHOWN)
