"""The local files of one model, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from layerzoo.errors import WeightsError
from layerzoo.spec import FrozenMap
from layerzoo.weights.digests import sha256

_PICKLED = {".bin", ".pth", ".pt", ".ckpt"}
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
    """The names of the files whose sha256 was declared, and found to be right."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "paths", FrozenMap(self.paths))

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

        It is the file that the source names, else ``model.safetensors``, else the only ``*.safetensors``, else
        ``pytorch_model.bin``, else the only file of another checkpoint suffix.
        Raises: WeightsError naming the candidates when that leaves several, or when it is split into parts.
        """
        name = self.named or _checkpoint_of(self.paths)
        return None if name is None else self.paths[name]

    @property
    def digests(self) -> dict[str, str]:
        """The sha256 of every file by name, in hex: reads those that were not verified already. Raises: OSError."""
        return {name: sha256(path) for name, path in self.paths.items()}

    def with_checkpoint(self, path: Path) -> Files:
        """The same files with another checkpoint in place of the present one."""
        others = {name: kept for name, kept in self.paths.items() if not _is_checkpoint(name)}
        return Files(others | {path.name: path}, self.folder, path.name, self.verified & others.keys() - {path.name})


def _is_checkpoint(name: str) -> bool:
    suffix = PurePosixPath(name).suffix
    return "/" not in name and (suffix == ".safetensors" or (suffix in _PICKLED and name not in _NO_CHECKPOINTS))


def _checkpoint_of(names: Mapping[str, Path]) -> str | None:
    """The name of a folder's main checkpoint."""
    if index := next((name for name in names if name.endswith((".safetensors.index.json", ".bin.index.json"))), None):
        raise WeightsError(
            f"the checkpoint is split into parts ({index}), and only one in a single file can be read. "
            "Saved again with save_pretrained(FOLDER, max_shard_size='1TB') it is one file"
        )
    safe = [name for name in names if _is_checkpoint(name) and name.endswith(".safetensors")]
    pickled = [name for name in names if _is_checkpoint(name) and name not in safe]
    for usual, candidates in (("model.safetensors", safe), ("pytorch_model.bin", pickled)):
        if usual in candidates:
            return usual
        if len(candidates) > 1:
            raise WeightsError(
                f"which of these is the checkpoint? {', '.join(sorted(candidates))}. Name the file itself"
            )
        if candidates:
            return candidates[0]
    return None
