"""The local files of one model, by name."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Literal

from layerzoo.errors import WeightsError
from layerzoo.plugins.formats import format_of
from layerzoo.spec import FrozenMap
from layerzoo.weights.conventions import FileConventions, file_conventions
from layerzoo.weights.digests import sha256
from layerzoo.weights.limits import largest_bytes
from layerzoo.weights.partial import PartialFile

_PICKLED = {".bin", ".pth", ".pt", ".ckpt"}
INDEX = ".safetensors.index.json"
"""How the name of an index of a checkpoint in shards ends."""
_USUAL = "model.safetensors"
_USUAL_INDEX = f"model{INDEX}"
_USUAL_PICKLE = "pytorch_model.bin"
"""The names that huggingface_hub gives to a checkpoint; see its ``constants``."""
TENSOR_FILES = (_USUAL, _USUAL_PICKLE)
"""Names of the file with the tensors of a folder; the first that exists applies."""
_INDICES = (INDEX, ".bin.index.json")
_TRAINING = ".pth.tar"
"""The ending of a pickle in training scripts such as torch's example for ImageNet."""
_SHARD = re.compile(r"-\d+-of-\d+\.")
# The files next to a checkpoint that a builder may read: configurations, vocabularies, tokenizers. Never code.
_COMPANIONS = {".codes", ".json", ".jinja", ".model", ".spm", ".tiktoken", ".txt", ".yaml"}


@dataclass(frozen=True, slots=True)
class Origin:
    """The commit of a repository that files were taken from."""

    revision: str
    """The commit, 40 hex digits."""
    pinned_by: Literal["declaration", "lock"] | None
    """None: nothing keeps it from being another commit tomorrow."""
    lock_sha256: str | None = None
    """Of the ``layerzoo.lock`` that pins it."""


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a model that are on this machine, by their names: ``files["config.json"]`` is a path.

    Names are relative to the model's folder, with forward slashes. Iterating gives the names.
    """

    paths: Mapping[str, Path] = FrozenMap()
    folder: Path | None = None
    """The folder that holds them; None for a lone file, or none at all. It may hold files that belong to no model and
    were not verified; a checkpoint put in place of the declared one may lie elsewhere."""
    named: str | None = None
    """The name of the checkpoint, where the source says which file it is."""
    verified: frozenset[str] = frozenset()
    """The names of the files whose sha256 was declared or locked, and found to be right."""
    partial: Mapping[str, PartialFile] = FrozenMap()
    """The files that were fetched in part: further parts are fetched when they are read."""
    stated: Mapping[str, str] = FrozenMap()
    """The sha256 of those in part, in hex, by name: of the whole file, as its server or its declaration states it."""
    origin: Origin | None = None
    """For files of a repository of the hub."""

    def __post_init__(self) -> None:
        for field in ("paths", "partial", "stated"):
            object.__setattr__(self, field, FrozenMap(getattr(self, field)))

    def __getitem__(self, name: str) -> Path:
        """Return the path of a file. Raises: WeightsError naming the files there are."""
        if name not in self.paths:
            existing = f"There are: {', '.join(self.paths)}" if self.paths else "It has no files at all"
            raise WeightsError(
                f"the model's files have no {name!r}. {existing}. A folder that holds it can be given as weights=FOLDER"
            )
        return self.paths[name]

    def get(self, name: str) -> Path | None:
        """Return the path of a file, or None if the model has no such file."""
        return self.paths.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def checkpoint(self) -> Path | None:
        """The file with the network's tensors; None when the model has no such file.

        It is the file that the source names, else the one that :func:`checkpoint_of` chooses. Raises: as there.
        """
        name = self.checkpoint_name
        return None if name is None else self.paths[name]

    @property
    def checkpoint_name(self) -> str | None:
        """The file name of :attr:`checkpoint`. Raises: as there."""
        return self.named or checkpoint_of(self.paths, file_conventions())

    @property
    def module_weights(self) -> tuple[str, ...]:
        """The names of the files with tensors of modules that run after the network: ``2_Dense/model.safetensors``."""
        return tuple(name for name in self.paths if "/" in name and PurePosixPath(name).name in TENSOR_FILES)

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of files by name, in hex: reads those whose digest is not known already.

        Of a checkpoint that can be read in part it is there only where it is declared, locked or stated by a server: to
        read all of a file for it is what a cut is there to spare. Raises: OSError.
        """
        return {
            name: self.stated.get(name) or sha256(path)
            for name, path in self.paths.items()
            if name in self.stated or name in self.verified or not _can_be_read_in_part(name)
        }

    @property
    def all_digests(self) -> dict[str, str]:
        """The sha256 of all files by name, in hex. A file whose digest is not known is read, once until it changes.

        Raises: OSError.
        """
        return {name: self.stated.get(name) or sha256(path) for name, path in self.paths.items()}

    def with_checkpoint(self, path: Path, shards: Iterable[str] = ()) -> Files:
        """Return a copy with another checkpoint.

        Args:
            path: of the checkpoint.
            shards: the names of the files next to it that hold its tensors, if it is an index.
        """
        conventions = file_conventions()
        remaining = {
            name: stored_path for name, stored_path in self.paths.items() if not is_checkpoint(name, conventions)
        }
        return replace(
            self,
            paths=remaining | {name: path.with_name(name) for name in shards} | {path.name: path},
            named=path.name,
            verified=self.verified & remaining.keys() - {path.name},
            partial=FrozenMap(),
            stated={name: digest for name, digest in self.stated.items() if name in remaining and name != path.name},
        )


def _can_be_read_in_part(name: str) -> bool:
    return name.endswith(".safetensors")


def is_checkpoint(name: str, conventions: FileConventions) -> bool:
    """Return whether a file, by its name, holds tensors or is the index of files that do."""
    if "/" in name or conventions.is_other(name):
        return False
    if PurePosixPath(name).suffix in {".safetensors", *_PICKLED} or name.endswith((*_INDICES, _TRAINING)):
        return True
    return format_of(name, "weights") is not None


def is_companion(name: str, size: int, conventions: FileConventions, folders: Collection[str] = ()) -> bool:
    """Return whether a builder may read a file of a model next to the checkpoint.

    Args:
        name: its name, with forward slashes.
        size: its number of bytes.
        conventions: the names that libraries use.
        folders: those of the modules that run after the network: see :mod:`layerzoo.weights.modules`.
    """
    if size > largest_bytes(name, conventions) or is_checkpoint(name, conventions):
        return False
    folder, _, _ = name.rpartition("/")
    return (not folder or folder in folders) and PurePosixPath(name).suffix in _COMPANIONS


def checkpoint_of(names: Iterable[str], conventions: FileConventions) -> str | None:
    """Return the name of the main checkpoint among the files of a folder; None if there is none.

    It is the first of: ``model.safetensors``; the index of a checkpoint in shards; the only other ``*.safetensors``;
    ``pytorch_model.bin``; the only other pickle; the only file of a format that a plugin reads. A secondary
    checkpoint counts only where there is nothing else. Safetensors files that are passed over are announced.

    Args:
        names: of all files in the folder.
        conventions: the names that libraries use.
    Raises: WeightsError when several are left, for a pickle in parts, and for a checkpoint that a plugin refuses.
    """
    present = {name for name in names if is_checkpoint(name, conventions)}
    for name in sorted(present):
        if reason := conventions.refusal(name):
            raise WeightsError(f"the folder holds {name}, {reason}")
    indices = sorted((name for name in present if name.endswith(INDEX)), key=lambda name: (name != _USUAL_INDEX, name))
    unsharded = sorted(name for name in present if not _SHARD.search(name) and not name.endswith(_INDICES))
    safe = [name for name in unsharded if name.endswith(".safetensors")]
    pickled = [name for name in unsharded if PurePosixPath(name).suffix in _PICKLED or name.endswith(_TRAINING)]
    of_plugins = [name for name in unsharded if name not in safe and name not in pickled]
    chosen = _USUAL if _USUAL in safe else next(iter(indices), None)
    chosen = (
        chosen
        or _only(safe, conventions)
        or (_USUAL_PICKLE if _USUAL_PICKLE in pickled else _only(pickled, conventions))
        or _only(of_plugins, conventions)
    )
    if chosen is None and (in_parts := next((name for name in sorted(present) if name.endswith(_INDICES[1])), None)):
        raise WeightsError(
            f"the checkpoint is a pickle in parts ({in_parts}), and a pickle can only be read from a single file. "
            "Saved again with save_pretrained(FOLDER) it is safetensors"
        )
    if chosen is not None and (unread := [name for name in (*safe, *indices[1:]) if name != chosen]):
        _announce_choice(chosen, tuple(unread))
    return chosen


def _only(names: list[str], conventions: FileConventions) -> str | None:
    """Return the only one of several checkpoints; None where there is none. Raises: WeightsError naming them."""
    main = [name for name in names if not conventions.is_secondary(name)] or names
    if len(main) > 1:
        raise WeightsError(f"which of these is the checkpoint? {', '.join(main)}. Name the file itself")
    return next(iter(main), None)


@lru_cache(maxsize=256)
def _announce_choice(chosen: str, unread: tuple[str, ...]) -> None:
    """Once a process."""
    message = "the checkpoint is %s; next to it, and not read: %s. weights=FILE names another one"
    logging.getLogger("layerzoo").warning(message, chosen, ", ".join(unread))
