"""Write a part of a run: the rows of one shard, with the samples that failed as rows among them.

Columns: ``id``; ``row`` (int64, the number of the sample in the manifest of the run); ``error`` (the reason why a
sample has no features, else null); for the windows of recordings ``start_s`` and ``end_s``; and one per layer, of the
types of :mod:`layerzoo.features.parquet`, null where there is an error. All parts of a run have the same columns.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from layerzoo.errors import InputError, OutputError
from layerzoo.features.digests import RunningDigests
from layerzoo.features.features import INTERVAL, Features, LayerArray, sample_shape, storable
from layerzoo.features.parquet import PART_KEY, ParquetFeatures, column_type, encoded
from layerzoo.features.summary import Shape, Summary
from layerzoo.features.writer import RunningTimes

DESCRIPTION = "run.json"
"""The file of a run that describes it, next to its parts."""
_ROW_GROUP_BYTES = 8 << 20


def part_name(shard: int) -> str:
    """Return the name of the file with the features of a shard."""
    return f"part-{shard:06d}.parquet"


def shard_of(name: str) -> int | None:
    """Return the shard of a file; None for another file."""
    digits = name.removeprefix("part-").removesuffix(".parquet")
    return int(digits) if digits.isdecimal() and name == part_name(int(digits)) else None


def next_step(folder: str) -> str:
    """Return the advice for a part that cannot be used. folder: of the run, or its URL."""
    return f"Next: remove it, and zoo run --out {shlex.quote(folder)} computes it again"


class FailedRow(NamedTuple):
    """A sample without features."""

    row: int
    """Its number in the manifest."""
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class PartColumns:
    """The columns of all parts of a run."""

    widths: Mapping[str, int | None]
    """Layer name → the number of features of a sample; None for arrays of any shape."""
    has_intervals: bool = False
    """Whether rows are windows of recordings."""

    def schema(self) -> pa.Schema:
        """Return the schema of the Parquet files."""
        fields = [
            pa.field("id", pa.string(), nullable=False),
            pa.field("row", pa.int64(), nullable=False),
            pa.field("error", pa.string()),
        ]
        fields += [pa.field(name, pa.float64()) for name in INTERVAL if self.has_intervals]
        return pa.schema(fields + [pa.field(layer, column_type(width)) for layer, width in self.widths.items()])


@dataclass(frozen=True, slots=True)
class PartFacts:
    """The facts of a part that are read without its rows."""

    run: str
    """The fingerprint of the run."""
    shard: int
    """The number of the shard, from 0."""
    samples: int
    """The number of samples: rows of the manifest."""
    failed: int
    """The number of samples without features."""
    tries: int = 1
    """1, and one more for each time that failed samples were tried again."""

    def mismatch(self, *, run: str, shard: int, samples: int) -> str | None:
        """Return the reason why these are not the facts of the part of a shard; None where they are.

        Args:
            run: the fingerprint of the run.
            shard: the number in the name of the part.
            samples: the number of samples of that shard.
        """
        if self.run != run:
            return f"it is shard {self.shard} of another run ({self.run[:12]}, not {run[:12]})"
        if self.shard != shard:
            return f"it is shard {self.shard} of this run under the name of shard {shard}"
        if self.samples != samples:
            return f"it has {self.samples:,} samples, and its shard has {samples:,}"
        return None


class PartWriter:
    """Writes the rows of one shard batch by batch, in the order of the manifest."""

    def __init__(self, path: Path, columns: PartColumns) -> None:
        """Open the file. path: an empty file, which is written in place. Raises: OSError."""
        self._path = path
        self._columns = columns
        self._schema = columns.schema()
        self._writer = pq.ParquetWriter(
            path,
            self._schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._shapes: dict[str, Shape] = {}
        self._report: Counter[str] = Counter()
        self._times = RunningTimes()
        self._digests = RunningDigests()
        self._samples: set[int] = set()
        self._failed = 0

    def write(self, features: Features, rows: Sequence[int], failed: Sequence[FailedRow]) -> None:
        """Add some samples.

        Args:
            features: of the samples that have some.
            rows: for each of them, its number in the manifest.
            failed: the samples that have none.
        Raises: OSError; OutputError where the columns cannot hold the features.
        """
        self._report.update(features.report)
        if not (len(features) or failed):
            return
        self._times.add(features)
        self._samples.update(rows, (failure.row for failure in failed))  # windows of one sample may be in both
        self._failed += len(failed)
        if len(features):
            self._digests.update(features)
            self._fit(features)
        table = self._table(features, rows, failed)
        self._waiting.append(table)
        self._waiting_bytes += table.nbytes
        if self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def finish(self, provenance: Mapping[str, Any], *, run: str, shard: int, tries: int = 1) -> PartFacts:
        """End the file.

        Args:
            provenance: of the features.
            run: the fingerprint of the run.
            shard: its number.
            tries: the number of times it was computed.
        Raises: OSError.
        """
        self._flush()
        times = self._times
        shapes = {layer: self._shapes.get(layer, _shape_of(width)) for layer, width in self._columns.widths.items()}
        summary = Summary(
            shapes,
            provenance,
            (),
            self._report,
            (),
            frame_numbers=times.frame_numbers if any(times.frame_numbers) else (),
            times_s=times.times_s if any(times.times_s) else (),
            start_s=times.start_s if times.has_intervals else (),
            end_s=times.end_s if times.has_intervals else (),
            times_by_layer={name: layer_times for name, layer_times in times.by_layer.items() if any(layer_times)},
            digests=self._digests.result(shapes),
        )
        facts = PartFacts(run, shard, len(self._samples), self._failed, tries)
        self._writer.add_key_value_metadata({**summary.to_metadata(), PART_KEY: json.dumps(asdict(facts))})
        self._writer.close()
        return facts

    def close(self) -> None:
        """Close the file; without :meth:`finish` it is not a part."""
        if self._writer.is_open:
            self._writer.close()

    def _fit(self, features: Features) -> None:
        """Check that the features fit in the columns, and update the shapes of the layers."""
        if set(features.layers) != set(self._columns.widths):
            raise OutputError(
                f"the run has the layers {', '.join(self._columns.widths)}, and these features have "
                f"{', '.join(features.layers)}",
                path=self._path,
            )
        for layer, width in self._columns.widths.items():
            shape = sample_shape(features[layer])
            if width is not None and shape != (width,):
                raise OutputError(
                    f"layer {layer} has {width} features a sample in this run, and a sample of shape {shape} followed. "
                    "Choose a pooling that gives vectors of one width",
                    path=self._path,
                )
            previous = self._shapes.setdefault(layer, shape)
            self._shapes[layer] = previous if previous == shape else None

    def _table(self, features: Features, rows: Sequence[int], failed: Sequence[FailedRow]) -> pa.Table:
        count = len(features)
        numbers = np.array([*rows, *(failure.row for failure in failed)], np.int64)
        order = np.argsort(numbers, kind="stable")
        is_failed = order >= count
        ids = pa.array([*features.ids, *(storable(failure.id) for failure in failed)], pa.string())
        reasons = pa.nulls(count, pa.string())
        if failed:
            reasons = pa.concat_arrays(
                [reasons, pa.array([storable(failure.reason) for failure in failed], pa.string())]
            )
        columns = [ids.take(order), pa.array(numbers[order]), reasons.take(order)]
        for name in INTERVAL if self._columns.has_intervals else ():
            seconds = [*getattr(features, name), *([None] * len(failed))]
            columns.append(pa.array([seconds[at] for at in order], pa.float64()))
        for layer, width in self._columns.widths.items():
            array = features[layer] if count else None
            columns.append(_with_nulls(array, width, order, is_failed))
        return pa.table(columns, schema=self._schema)

    def _flush(self) -> None:
        if self._waiting:
            table = pa.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._waiting, self._waiting_bytes = [], 0


def _with_nulls(array: LayerArray | None, width: int | None, order: Any, is_failed: Any) -> Any:
    """Return the column of a layer, with a null for each failed row."""
    kind = column_type(width)
    if array is None:
        return pa.nulls(len(order), kind)
    if not is_failed.any():
        return encoded(array[order], width)
    if width is not None:
        values = np.zeros((len(order), width), np.float32)
        values[~is_failed] = array[order[~is_failed]]
        return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), type=kind, mask=pa.array(is_failed))
    encoded_rows = encoded(array, None)
    return encoded_rows.take(pa.array(order, mask=is_failed))


def _shape_of(width: int | None) -> Shape:
    return None if width is None else (width,)


def read_facts(path: str | Path, file: BinaryIO | None = None) -> PartFacts:
    """Return the facts of a part from the end of its file.

    Args:
        path: of the file, or its URL.
        file: the open file, where it is not at that path.
    Raises: InputError for a file that is not a part of a run. Its cause has the reason alone.
    """
    try:
        return _facts_in(pq.read_metadata(path if file is None else file).metadata or {})
    except (pa.ArrowException, OSError, InputError) as error:
        folder = os.path.dirname(path)  # noqa: PTH120 - of a URL, too
        raise InputError(f"{path} is not a part of a run that can be read: {error}. {next_step(folder)}") from error


def _facts_in(metadata: Mapping[bytes, bytes]) -> PartFacts:
    """Return the facts that the metadata of a part hold. Raises: InputError."""
    text = metadata.get(PART_KEY.encode())
    if text is None:
        raise InputError(f"it has no '{PART_KEY}' metadata, so another program wrote it, or wrote it anew")
    try:
        return PartFacts(**json.loads(text))
    except (TypeError, ValueError) as error:
        raise InputError(f"its '{PART_KEY}' metadata are damaged") from error


def read_part(path: Path) -> tuple[Features, list[int], list[FailedRow]]:
    """Return the features of a part, their numbers in the manifest, and the samples without features.

    Raises: InputError for a file that is damaged, or no part.
    """
    from layerzoo.features.formats import load

    features = load(path)
    with ParquetFeatures(path) as stored:
        rows, failed = stored.rows()
    return features, rows, [FailedRow(*each) for each in failed]
