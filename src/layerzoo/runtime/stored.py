"""Tensors by checkpoint key: on disk, partially on a server, or in memory."""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from layerzoo.errors import WeightsError
from layerzoo.weights import Files
from layerzoo.weights.partial import PartialFile
from layerzoo.weights.progress import FileProgress, of_file
from layerzoo.weights.shards import read_index
from layerzoo.weights.spans import Span
from layerzoo.weights.tensors import (
    DamagedTensorError,
    TensorData,
    TensorEntry,
    check_digest,
    fetch_header,
    read_digests,
    read_header,
)

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
THREADS = 2
"""How many threads read tensors and compute their digests: both are limited by one core each."""


class Stored(Protocol):
    """Tensors by checkpoint key."""

    @property
    def label(self) -> str:
        """Name of the checkpoint in messages."""

    def meta(self) -> dict[str, Tensor]:
        """Return all tensors on the meta device: names, shapes and dtypes, without values."""

    def fetch(self, names: Iterable[str], progress: FileProgress | None = None) -> None:
        """Download some tensors, if they are not on disk."""

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Read some tensors. Each owns its memory."""


_HASHED_BYTES = 1 << 22
"""Bytes that are read before they are hashed: few enough to be in the processor's cache, and enough for threads to wait
rarely for the interpreter's lock."""


@dataclass(frozen=True, slots=True)
class HashedTensor:
    """A tensor that was read.

    values: owns its memory. sha256: the digest of its bytes; None where it was read without hashing.
    """

    values: Tensor
    sha256: bytes | None


@dataclass(frozen=True, slots=True)
class _SafetensorsFile:
    """One safetensors file."""

    name: str
    path: Path
    entries: Mapping[str, TensorEntry]
    partial: PartialFile | None = None
    """The source of the bytes that are not on disk."""
    digests: Mapping[str, str] | None = None
    """The sha256 of each tensor, in a file that layerzoo wrote."""


@dataclass(frozen=True, slots=True)
class Safetensors:
    """A checkpoint of one or several safetensors files. Only requested tensors are downloaded or read."""

    label: str
    homes: Mapping[str, _SafetensorsFile]
    """By the name of the tensor."""

    @classmethod
    def open(cls, path: Path, label: str | None = None) -> Safetensors:
        """Open a single file that layerzoo wrote. Each tensor is compared with its digest when it is read.

        Raises: WeightsError when it is damaged.
        """
        part = _SafetensorsFile(path.name, path, read_header(path), digests=read_digests(path))
        return cls(label or path.name, dict.fromkeys(part.entries, part))

    @classmethod
    def of(cls, files: Files, checkpoint: str) -> Safetensors:
        """Open the checkpoint of a model's files: a safetensors file, or the index of several.

        Raises: WeightsError when a file is missing or damaged, or when the index contradicts a file.
        """
        if checkpoint.endswith(".safetensors"):
            part = _part(files, checkpoint)
            return cls(checkpoint, dict.fromkeys(part.entries, part))
        index = read_index(files[checkpoint])
        parts = {name: _part(files, name) for name in sorted(set(index.values()))}
        for tensor, name in index.items():
            if tensor not in parts[name].entries:
                raise WeightsError(f"{checkpoint} says that '{tensor}' is in {name}, and it is not")
        return cls(checkpoint, {tensor: parts[name] for tensor, name in index.items()})

    @property
    def entries(self) -> dict[str, TensorEntry]:
        """The tensors by name, with their positions in their files."""
        return {name: part.entries[name] for name, part in self.homes.items()}

    @property
    def is_on_disk(self) -> bool:
        """Whether no part of the files is on a server."""
        return all(part.partial is None for part in self.homes.values())

    def meta(self) -> dict[str, Tensor]:
        return {
            name: torch.empty(entry.shape, dtype=_DTYPES.get(entry.dtype, torch.float32), device="meta")
            for name, entry in self.entries.items()
        }

    def fetch(self, names: Iterable[str], progress: FileProgress | None = None) -> None:
        for part, part_names in self._by_part(names):
            if part.partial is not None:
                part.partial.ensure(_spans(part, part_names), of_file(progress, part.name))

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        requested = list(names)
        self.fetch(requested)
        return {
            name: tensor
            for part, part_names in self._by_part(requested)
            for name, tensor in _read(part, part_names).items()
        }

    def chunks(self, names: Iterable[str], size: int) -> list[list[str]]:
        """Divide names into groups for :meth:`read_hashed`: consecutive tensors of one file.

        size: the number of bytes from which a group is complete.
        """
        return [chunk for part, part_names in self._by_part(names) for chunk in _chunks(part, part_names, size)]

    def read_hashed(self, chunk: Sequence[str]) -> dict[str, HashedTensor]:
        """Read and hash some tensors of one file on disk, in this thread. Raises: WeightsError, OSError."""
        return _read_chunk(self.homes[chunk[0]], chunk, is_hashed=True)

    def _by_part(self, names: Iterable[str]) -> list[tuple[_SafetensorsFile, list[str]]]:
        by_part: dict[str, tuple[_SafetensorsFile, list[str]]] = {}
        for name in names:
            part = self.homes[name]
            by_part.setdefault(part.name, (part, []))[1].append(name)
        return list(by_part.values())


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted checkpoint in the cache. A damaged one is converted again before it is used."""

    file: Safetensors
    make_again: Callable[[], Stored]
    """Raises: as the conversion does."""

    @property
    def label(self) -> str:
        return self.file.label

    def meta(self) -> dict[str, Tensor]:
        return self.file.meta()

    def fetch(self, names: Iterable[str], progress: FileProgress | None = None) -> None:
        """Do nothing: all tensors are on disk."""

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        requested = list(names)
        try:
            return self.file.read(requested)
        except DamagedTensorError as error:
            logging.getLogger("layerzoo").warning("%s. The checkpoint %s is converted again", error, self.label)
            return self.make_again().read(requested)


@dataclass(frozen=True, slots=True)
class InMemory:
    """A checkpoint made by a plugin, or one that could not be kept on disk."""

    tensors: Mapping[str, Tensor]
    label: str

    def meta(self) -> dict[str, Tensor]:
        return {name: torch.empty_like(tensor, device="meta") for name, tensor in self.tensors.items()}

    def fetch(self, names: Iterable[str], progress: FileProgress | None = None) -> None:
        """Do nothing: all tensors are in memory."""

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        return {name: self.tensors[name].detach().clone() for name in names}


@dataclass(frozen=True, slots=True)
class Joined:
    """A checkpoint, and the tensors of the modules that run after its network.

    modules: checkpoints by the folder of their module. Their tensors have names such as ``2_Dense/linear.weight``.
    """

    main: Stored
    modules: Mapping[str, Stored]

    @property
    def label(self) -> str:
        return self.main.label

    def meta(self) -> dict[str, Tensor]:
        tensors = self.main.meta()
        for folder, stored in self.modules.items():
            tensors |= {f"{folder}/{name}": tensor for name, tensor in stored.meta().items()}
        return tensors

    def fetch(self, names: Iterable[str], progress: FileProgress | None = None) -> None:
        for _, stored, own_names in self._by_file(names):
            stored.fetch(own_names, progress)

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        parts = [(prefix, stored.read(own_names)) for prefix, stored, own_names in self._by_file(names)]
        return {f"{prefix}{name}": tensor for prefix, tensors in parts for name, tensor in tensors.items()}

    def _by_file(self, names: Iterable[str]) -> list[tuple[str, Stored, list[str]]]:
        """Group names by file, with the prefix that they have here."""
        by_folder: dict[str, list[str]] = {}
        for name in names:
            folder = name.rpartition("/")[0]
            home = folder if folder in self.modules else ""
            by_folder.setdefault(home, []).append(name.removeprefix(f"{home}/") if home else name)
        return [
            (f"{prefix}/" if prefix else "", self.modules.get(prefix, self.main), by_folder[prefix])
            for prefix in by_folder
        ]


def _part(files: Files, name: str) -> _SafetensorsFile:
    path, partial = files[name], files.partial.get(name)
    if partial is not None:
        fetch_header(partial)
    return _SafetensorsFile(name, path, read_header(path), partial)


def _read(part: _SafetensorsFile, names: Iterable[str]) -> dict[str, Tensor]:
    """Read tensors into their own memory, in a few threads, each in the order of the file.

    A mapping of the file would keep all of it alive, and end the process when another program truncates the file.
    """
    requested = list(names)
    share = -(-sum(part.entries[name].size_bytes for name in requested) // THREADS)
    with ThreadPoolExecutor(THREADS) as threads:
        chunks = threads.map(lambda chunk: _read_chunk(part, chunk, is_hashed=False), _chunks(part, requested, share))
        return {name: tensor.values for chunk in chunks for name, tensor in chunk.items()}


def _chunks(part: _SafetensorsFile, names: Iterable[str], size: int) -> list[list[str]]:
    """Divide names into groups of consecutive tensors. size: the number of bytes from which a group is complete."""
    chunks: list[list[str]] = []
    size = filled = max(size, 1)
    for name in sorted(names, key=lambda name: part.entries[name].start):
        if filled >= size:
            chunks.append([])
            filled = 0
        chunks[-1].append(name)
        filled += part.entries[name].size_bytes
    return chunks


def _read_chunk(part: _SafetensorsFile, names: Sequence[str], *, is_hashed: bool) -> dict[str, HashedTensor]:
    """Read consecutive tensors of a file. Without ``is_hashed``, only a tensor with a known digest is hashed."""
    tensors: dict[str, HashedTensor] = {}
    with _opened(part, names) as file:
        for name in names:
            entry = part.entries[name]
            if (dtype := _DTYPES.get(entry.dtype)) is None:
                raise WeightsError(f"'{name}' in {part.path} is of type {entry.dtype}, which this torch does not have")
            tensor = torch.empty(entry.shape, dtype=dtype)
            memory = bytes_of(tensor)
            digest = hashlib.sha256() if is_hashed or part.digests is not None else None
            file.seek(entry.start)
            while memory:
                if not (count := file.readinto(memory[:_HASHED_BYTES])):
                    raise WeightsError(
                        f"{part.path} ends in the middle of '{name}': it was cut short while it was read"
                    )
                if digest is not None:
                    digest.update(memory[:count])
                memory = memory[count:]
            if digest is not None and part.digests is not None:
                check_digest(part.path, name, digest.hexdigest(), part.digests)
            tensors[name] = HashedTensor(tensor, None if digest is None else digest.digest())
    return tensors


def sha256_of(tensors: Mapping[str, Tensor], known_digests: Mapping[str, bytes] | None = None) -> str:
    """Return a digest of names and values: sha256 over the name and the sha256 of the bytes of each tensor, by name.

    known_digests: the sha256 of some tensors, from when they were read.
    """
    return combined_digest(tensor_digests(tensors, known_digests))


def tensor_digests(tensors: Mapping[str, Tensor], known_digests: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """Return the sha256 of the bytes of each tensor. Arguments: :func:`sha256_of`."""

    def digest(tensor: Tensor) -> bytes:
        return hashlib.sha256(bytes_of(tensor.detach().contiguous())).digest()

    digests = {name: known_digests[name] for name in tensors if name in known_digests} if known_digests else {}
    unhashed = [name for name in tensors if name not in digests]
    with ThreadPoolExecutor(THREADS) as threads:
        digests |= zip(unhashed, threads.map(digest, (tensors[name] for name in unhashed)), strict=True)
    return digests


def combined_digest(digests: Mapping[str, bytes]) -> str:
    """Return the digest of names and values, in hex. digests: the sha256 of each tensor, by name."""
    total = hashlib.sha256()
    for name in sorted(digests):
        total.update(f"{name}\0".encode() + digests[name])
    return total.hexdigest()


def bytes_of(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor on the CPU."""
    memory: memoryview = tensor.reshape(-1).view(torch.uint8).numpy().data
    return memory


def tensor_data(tensor: Tensor) -> TensorData:
    """Return the written form of a contiguous tensor on the CPU. Raises: WeightsError for an unsupported dtype."""
    if tensor.dtype not in _NAMES:
        raise WeightsError(f"a tensor of type {tensor.dtype} cannot be kept as safetensors")
    return TensorData(_NAMES[tensor.dtype], tuple(tensor.shape), bytes_of(tensor))


@contextlib.contextmanager
def _opened(part: _SafetensorsFile, names: Iterable[str]) -> Iterator[io.FileIO]:
    """Open a file that another process may complete, move or remove in the meantime."""
    try:
        with io.FileIO(part.path) as file:
            yield file
    except FileNotFoundError as error:
        raise WeightsError(f"{part.path} was moved or removed while it was being read. Next: try again") from error
    if part.partial is not None:
        part.partial.require(_spans(part, names))


def _spans(part: _SafetensorsFile, names: Iterable[str]) -> list[Span]:
    return [Span(part.entries[name].start, part.entries[name].stop) for name in names]
