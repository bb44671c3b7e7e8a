"""The local files of one model, by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from layerzoo.errors import WeightsError
from layerzoo.spec import FrozenMap
from layerzoo.weights.digests import sha256
from layerzoo.weights.partial import PartialFile

_PICKLED = {".bin", ".pth", ".pt", ".ckpt"}
INDEX = ".safetensors.index.json"
"""How the name of an index of a checkpoint in shards ends."""
_INDICES = (INDEX, ".bin.index.json")
_SHARD = re.compile(r"-\d+-of-\d+\.")
_LARGEST_COMPANION_BYTES = 50_000_000
# What a builder may read beside a checkpoint: configurations, vocabularies, tokenizers. Never code.
_COMPANIONS = {".codes", ".json", ".jinja", ".model", ".spm", ".tiktoken", ".txt", ".yaml"}
# What sentence-transformers does after the network stands in folders of their own, by number: 1_Pooling, 2_Dense.
_STEP = re.compile(r"\d_[A-Za-z]+/config\.json")
# What transformers' Trainer leaves beside a checkpoint under the same suffixes.
_NO_CHECKPOINTS = {
    "training_args.bin",
    "optimizer.pt",
    "optimizer.bin",
    "scheduler.pt",
    "scheduler.bin",
    "rng_state.pth",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """What a repository's branch or tag stood for when the files were taken."""

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
    """Those that are here in part: what is asked of them is fetched then."""
    stated: Mapping[str, str] = FrozenMap()
    """The sha256 of those in part, in hex, by name: of the whole file, as its server or its declaration states it."""
    origin: Origin | None = None
    """For files of a repository of the hub."""

    def __post_init__(self) -> None:
        for field in ("paths", "partial", "stated"):
            object.__setattr__(self, field, FrozenMap(getattr(self, field)))

    def __getitem__(self, name: str) -> Path:
        """The path of a file. Raises: WeightsError naming the files there are."""
        if name not in self.paths:
            there = f"There are: {', '.join(self.paths)}" if self.paths else "It has no files at all"
            raise WeightsError(
                f"the model's files have no {name!r}. {there}. A folder that holds it can be given as weights=FOLDER"
            )
        return self.paths[name]

    def get(self, name: str) -> Path | None:
        """The path of a file, or None when the model has no such file."""
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

        It is the file that the source names, else ``model.safetensors``, else the index of a checkpoint in shards
        (``model.safetensors.index.json``), else the only ``*.safetensors``, else ``pytorch_model.bin``, else the only
        file of another checkpoint suffix.
        Raises: WeightsError naming the candidates when that leaves several, or when a pickle is split into parts.
        """
        name = self.checkpoint_name
        return None if name is None else self.paths[name]

    @property
    def checkpoint_name(self) -> str | None:
        """What :attr:`checkpoint` is called. Raises: as there."""
        return self.named or checkpoint_of(self.paths)

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

    def with_checkpoint(self, path: Path, shards: Iterable[str] = ()) -> Files:
        """The same files with another checkpoint in place of the present one. shards: the names of files beside it."""
        others = {name: kept for name, kept in self.paths.items() if not is_checkpoint(name)}
        return replace(
            self,
            paths=others | {name: path.with_name(name) for name in shards} | {path.name: path},
            named=path.name,
            verified=self.verified & others.keys() - {path.name},
            partial=FrozenMap(),
            stated={name: digest for name, digest in self.stated.items() if name in others and name != path.name},
        )


def _can_be_read_in_part(name: str) -> bool:
    return name.endswith(".safetensors")


def is_checkpoint(name: str) -> bool:
    """Whether a file of a model, by its name, holds tensors or says which files do."""
    if "/" in name or name in _NO_CHECKPOINTS:
        return False
    return PurePosixPath(name).suffix in {".safetensors", *_PICKLED} or name.endswith(_INDICES)


def is_companion(name: str, size: int) -> bool:
    """Whether a file of a model, by its name and its number of bytes, is one that a builder may read beside the
    checkpoint."""
    if size > _LARGEST_COMPANION_BYTES or is_checkpoint(name):
        return False
    return bool(_STEP.fullmatch(name)) if "/" in name else PurePosixPath(name).suffix in _COMPANIONS


def checkpoint_of(names: Iterable[str]) -> str | None:
    """The name of the main checkpoint among the files of a folder; None when there is none. Raises: WeightsError."""
    present = {name for name in names if is_checkpoint(name)}
    safe = sorted(name for name in present if name.endswith(".safetensors") and not _SHARD.search(name))
    pickled = sorted(name for name in present if PurePosixPath(name).suffix in _PICKLED and not _SHARD.search(name))
    index = next((name for name in sorted(present) if name.endswith(INDEX)), None)
    if "model.safetensors" in safe:
        return "model.safetensors"
    if index is not None and len(safe) != 1:
        return index
    for usual, candidates in (("model.safetensors", safe), ("pytorch_model.bin", pickled)):
        if usual in candidates:
            return usual
        if len(candidates) > 1:
            raise WeightsError(f"which of these is the checkpoint? {', '.join(candidates)}. Name the file itself")
        if candidates:
            return candidates[0]
    if in_parts := next((name for name in sorted(present) if name.endswith(_INDICES[1])), None):
        raise WeightsError(
            f"the checkpoint is a pickle in parts ({in_parts}), and a pickle can only be read from a single file. "
            "Saved again with save_pretrained(FOLDER) it is safetensors"
        )
    return None
