"""Create a run, or join one that exists: its manifest, its request, and the size of its shards."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from layerzoo.disk import is_same, lock
from layerzoo.errors import InputError
from layerzoo.features.features import Features, sample_shape
from layerzoo.features.part import DESCRIPTION, PartColumns
from layerzoo.media.samples import Item, Samples
from layerzoo.runs.description import RunDescription, check_same_request, check_versions, request_of
from layerzoo.runs.manifest import FoundInputs, Manifest, sample_of, write_manifest
from layerzoo.runs.shards import OpenRun
from layerzoo.runs.storage import MANIFEST, RunStorage
from layerzoo.spec import Modality
from layerzoo.weights.network.objects import is_url

if TYPE_CHECKING:
    from layerzoo.runtime.extraction import PreparedExtraction

_SHARD_S = 90.0
"""The time that a shard takes, about: the loss of a kill, and the time until a run shows progress."""
_LARGEST_SHARD = 100_000
_SHARD_BYTES = 256 << 20
_TIMED_S = 3.0
_TIMED_ROWS = 2048
_FIRST_ROWS = 8
_SHARDS_OF_A_WORKER = 4


@dataclass(frozen=True, slots=True)
class Creation:
    """The facts with which a run is created."""

    inputs: Sequence[str] | None
    arguments: Mapping[str, Any] | None
    passed_over: int
    shard_size: int | None
    """None: chosen from the time of some samples."""
    workers: int = 1
    column: str | None = None
    files: int | None = None
    """As in :class:`RunDescription`."""
    is_timed: bool = True
    """Whether some samples are computed first. False after a process ended while it did so."""


@contextmanager
def creation_lock(folder: Path) -> Iterator[None]:
    """Wait until no other process on this machine creates a run in a folder. Without locks, do not wait."""
    path = folder / ".creating"
    try:
        descriptor = _locked(path)
    except OSError:
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Open a file, and wait until this process has its lock. Raises: OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while lock(descriptor) is False:
                time.sleep(0.1)
            if is_same(path, os.fstat(descriptor)):  # it may have been removed by the process that held the lock before
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def named_inputs(inputs: Any, modality: Modality) -> list[str] | None:
    """Return the absolute paths, patterns and URLs of inputs; None for inputs in memory and on standard input."""
    names = inputs if isinstance(inputs, list | tuple) else [inputs]
    is_alone = names is not inputs
    if not all(
        isinstance(name, os.PathLike) or (isinstance(name, str) and (is_alone or modality != "text")) for name in names
    ):
        return None
    if any(os.fspath(name) == "-" for name in names):
        return None
    paths = map(os.fspath, names)
    return [str(name) if is_url(name) else os.path.abspath(name) for name in paths]  # noqa: PTH100


def write_inputs(storage: RunStorage, inputs: Any, modality: Modality, *, column: str | None, ids: Any) -> FoundInputs:
    """Write the manifest of a run that has none. Raises: InputError, OutputError."""
    with storage.publish(MANIFEST) as path:
        return write_manifest(path, inputs, modality, column=column, ids=ids)


def check_inputs(
    storage: RunStorage,
    description: RunDescription,
    inputs: Any,
    modality: Modality,
    *,
    column: str | None,
    ids: Any,
) -> None:
    """Compare inputs with those of a run. Raises: RunMismatchError."""
    names = named_inputs(inputs, modality)
    if names is not None and description.inputs is not None:
        request = {"inputs": list(description.inputs), "column": description.column}
        check_same_request(request, {"inputs": names, "column": column}, storage.label)
        return
    with tempfile.TemporaryDirectory(prefix="layerzoo-inputs-") as folder:
        path = Path(folder, MANIFEST)
        listed = write_manifest(path, inputs, modality, column=column, ids=ids)
        if _sha256(path) != description.manifest_sha256:
            counts = (f"{description.rows:,} samples", f"{listed.rows:,} samples, of which some differ")
            check_same_request({"inputs": counts[0]}, {"inputs": counts[1]}, storage.label)


def read_description(storage: RunStorage) -> RunDescription | None:
    """Return the description of the run in a folder; None where there is none. Raises: InputError."""
    try:
        return RunDescription.read(storage.local(DESCRIPTION))
    except FileNotFoundError:
        return None


def description_of(storage: RunStorage) -> RunDescription:
    """Return the description of the run in a folder. Raises: InputError where there is none."""
    description = read_description(storage)
    if description is None:
        if not is_url(storage.label) and not Path(storage.label).exists():
            raise InputError(f"there is no folder {storage.label}")
        raise InputError(f"{storage.label} is not the folder of a run: it has no {DESCRIPTION}")
    return description


def opened(storage: RunStorage, description: RunDescription) -> OpenRun:
    """Return a run, ready to work on. Raises: InputError where its manifest is missing or damaged."""
    try:
        path = storage.local(MANIFEST)
    except FileNotFoundError:
        raise InputError(f"{storage.label} has {DESCRIPTION} and no {MANIFEST}: the folder is damaged") from None
    manifest = Manifest(path)
    if len(manifest) != description.rows or _sha256(path) != description.manifest_sha256:
        raise InputError(
            f"{storage.label}: {MANIFEST} is not the one that {DESCRIPTION} describes. Next: run in a new folder"
        )
    return OpenRun(storage, description, manifest)


def joined(
    storage: RunStorage,
    extraction: PreparedExtraction,
    creation: Creation | None,
    *,
    accept_versions: bool,
    shard_size: int | None = None,
) -> OpenRun:
    """Return the run of a folder, created if there is none.

    Args:
        storage: the folder, which has a manifest.
        extraction: with the settings of the request.
        creation: with which to create the run; None where it exists.
        accept_versions: continue with other versions of libraries.
        shard_size: the requested size of shards; None: that of the run.
    Raises: RunMismatchError for a run of another request.
    """
    description = read_description(storage)
    if description is None:
        assert creation is not None
        description = _described(storage, extraction, creation)
        with storage.publish(DESCRIPTION, is_first=True) as path:
            description.write(path)
        description = description_of(storage)  # another process may have been first
    request = request_of(extraction.provenance)
    check_same_request(description.request, request, storage.label)
    if shard_size is not None and shard_size != description.shard_size:
        check_same_request({"shard_size": description.shard_size}, {"shard_size": shard_size}, storage.label)
    versions = extraction.provenance["versions"]
    if accept_versions and description.accepting(versions) is not description:
        description = description.accepting(versions)
        with storage.publish(DESCRIPTION) as path:
            description.write(path)
    check_versions(description, versions, storage.label)
    return opened(storage, description)


def _described(storage: RunStorage, extraction: PreparedExtraction, creation: Creation) -> RunDescription:
    path = storage.local(MANIFEST)
    manifest = Manifest(path)
    timed = _timed(extraction, manifest, is_complete=creation.shard_size is None) if creation.is_timed else _Timed()
    size = creation.shard_size or _chosen_size(timed, len(manifest), creation.workers)
    provenance = extraction.provenance
    plan = extraction.plan
    return RunDescription(
        request=request_of(provenance),
        provenance=provenance,
        versions=provenance["versions"],
        manifest_sha256=_sha256(path),
        rows=len(manifest),
        shard_size=size,
        columns=PartColumns(
            {name: width or timed.widths.get(name) for name, width in extraction.widths.items()},
            has_intervals=plan.windowing is not None,
        ),
        inputs=creation.inputs,
        column=creation.column,
        arguments=creation.arguments,
        passed_over=creation.passed_over,
        files=creation.files,
        seconds_of_sample=timed.seconds,
    )


@dataclass(frozen=True, slots=True)
class _Timed:
    """The measurement of some samples."""

    seconds: float | None = None
    """Per sample; None where it was not measured."""
    bytes_of_sample: float = 0.0
    widths: Mapping[str, int] = field(default_factory=dict)
    """Layer name → the number of features of a sample, where it is a vector."""


def _timed(extraction: PreparedExtraction, manifest: Manifest, *, is_complete: bool) -> _Timed:
    """Compute samples from several places of the manifest, twice as many each time, and measure the last time."""
    count, total, widths = _FIRST_ROWS, len(manifest), {}
    began = time.monotonic()
    while True:
        rows = _spread(total, count)
        start = time.monotonic()
        pieces = list(extraction.pieces(Samples(_items(manifest, rows), [])))
        seconds = (time.monotonic() - start) / len(rows)
        features = Features.join(pieces)
        if len(features):
            shapes = {name: sample_shape(array) for name, array in features.by_layer.items()}
            widths = {name: shape[0] for name, shape in shapes.items() if shape is not None and len(shape) == 1}
        is_enough = time.monotonic() - began > _TIMED_S or count >= min(total, _TIMED_ROWS)
        if is_enough or (len(features) and not is_complete):
            bytes_ = sum(
                array.nbytes if array.dtype != object else sum(sample.nbytes for sample in array)
                for array in features.by_layer.values()
            )
            return _Timed(seconds, bytes_ / max(1, len(features)), widths)
        count *= 2


def _spread(total: int, count: int) -> list[int]:
    """Return the numbers of rows at four places of a manifest."""
    rows_per_place = -(-count // 4)
    starts = [0, total // 4, total // 2, 3 * total // 4]
    return sorted({number for start in starts for number in range(start, min(total, start + rows_per_place))})[:count]


def _items(manifest: Manifest, rows: Sequence[int]) -> Iterator[Item]:
    first = 0
    while first < len(rows):
        stop = first
        while stop + 1 < len(rows) and rows[stop + 1] == rows[stop] + 1:
            stop += 1
        yield from (sample_of(number, row) for number, row in manifest.rows(rows[first], rows[stop] + 1).numbered())
        first = stop + 1


def _chosen_size(timed: _Timed, rows: int, workers: int) -> int:
    """Return the number of samples of a shard that takes about 90 s and fits in memory."""
    if not timed.seconds:
        return 1000
    size = min(_SHARD_S / timed.seconds, _LARGEST_SHARD, _SHARD_BYTES / max(1.0, timed.bytes_of_sample))
    if workers > 1:
        size = min(size, -(-rows // (_SHARDS_OF_A_WORKER * workers)))
    return _rounded(max(1, min(int(size), rows)))


def _rounded(number: int) -> int:
    """Return a number with two digits and zeros."""
    unit = int(10 ** max(0, len(str(number)) - 2))
    return number // unit * unit


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
