"""Copy the features of a run into the form that another program reads."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from layerzoo.disk import sync
from layerzoo.errors import OutputError, UsageError
from layerzoo.extras import needs
from layerzoo.features.features import INTERVAL
from layerzoo.features.parquet import ParquetFeatures
from layerzoo.features.part import part_name, read_facts
from layerzoo.features.writer import FeatureWriter, disk_failure
from layerzoo.runs.creation import description_of
from layerzoo.runs.description import RunDescription
from layerzoo.runs.loading import check_finished, parts_of
from layerzoo.runs.storage import RunStorage, storage

Kind = Literal["hf", "npy", "lance", "csv"]


def export(folder: str | os.PathLike[str], kind: Kind, out: str | os.PathLike[str]) -> int:
    """Write a copy of the features of a finished run. It appears whole, or not at all.

    Args:
        folder: of the run, or its URL.
        kind: ``hf``: a folder with the parts and a dataset card; ``npy``: a folder with an array of each layer, and
            ``ids.parquet`` with the ids and the times of windows; ``lance``: a LanceDB database with the table
            ``features``; ``csv``: a file.
        out: the folder or file, which must not exist.
    Returns: the number of rows that were written.
    Raises: UnfinishedRunError while parts are missing; UsageError for layers that the form cannot hold; OutputError
        where it cannot be written; MissingLibraryError without LanceDB.
    """
    files = storage(folder)
    description = description_of(files)
    check_finished(files, description)
    target = Path(out).absolute()
    if target.exists():
        raise OutputError(f"{target} exists already: remove it, or name another", path=target)
    if not target.parent.is_dir():
        raise OutputError(f"cannot write {target}: there is no folder {target.parent}", path=target)
    if kind == "csv":
        return _to_csv(files, description, target)
    write = _WRITERS.get(kind)
    if write is None:
        raise UsageError(f"'{kind}' is not a form of export. Possible: hf, npy, lance, csv")
    with disk_failure(target):
        scratch = target.with_name(f".{target.name}-{os.urandom(8).hex()}")
        scratch.mkdir()
        try:
            rows = write(files, description, scratch)
            for path in (scratch, *scratch.rglob("*")):
                sync(path)
            scratch.rename(target)
            sync(target.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return rows


def _to_csv(files: RunStorage, description: RunDescription, target: Path) -> int:
    if target.suffix.lower() != ".csv":
        raise UsageError(f"{target.name}: name a file that ends in .csv")
    rows = 0
    with FeatureWriter(target) as writer:
        for part in parts_of(files, description):
            writer.write(part)
            rows += len(part)
    return rows


def _to_hf(files: RunStorage, description: RunDescription, folder: Path) -> int:
    """Copy the parts, and write the card."""
    (folder / "data").mkdir()
    rows, failed = 0, 0
    for name in map(part_name, range(description.shards)):
        copy = folder / "data" / name
        with files.fetched(name) as path:
            shutil.copyfile(path, copy)
        rows += int(pq.read_metadata(copy).num_rows)
        failed += read_facts(copy).failed
    (folder / "README.md").write_text(_card(description, rows, failed), encoding="utf-8")
    return rows


def _card(description: RunDescription, rows: int, failed: int) -> str:
    """Return the dataset card: the settings that ``datasets`` reads, and the provenance for people."""
    layers = "\n".join(
        f"| `{layer}` | {'arrays of any shape: values and shape' if width is None else f'{width} float32'} |"
        for layer, width in description.columns.widths.items()
    )
    provenance = {"request": dict(description.request), "versions": dict(description.versions)}
    intervals = "| `start_s`, `end_s` | the window in its recording, in seconds |\n"
    return f"""---
tags:
- layerzoo
- embeddings
configs:
- config_name: default
  data_files: "data/*.parquet"
---
# Features of {description.request["model"]}

{rows:,} rows, of which {failed:,} have no features and a reason in `error`. Computed by
[layerzoo](https://pypi.org/project/layerzoo/) {description.versions.get("layerzoo", "")}.

| column | content |
|---|---|
| `id` | the path or name of the sample |
| `row` | the number of the sample among the inputs |
| `error` | the reason why a sample has no features, else null |
{intervals if description.columns.has_intervals else ""}{layers}

## Provenance

```json
{json.dumps(provenance, indent=2, ensure_ascii=False)}
```
"""


def _to_npy(files: RunStorage, description: RunDescription, folder: Path) -> int:
    """Write an array for each layer, written part by part through a memory map, and the ids."""
    for layer, width in description.columns.widths.items():
        if width is None:
            raise UsageError(
                f"the samples of layer {layer} are arrays that may differ in shape, and an .npy file holds vectors of "
                "one width. Pool the layer, as in --pool mean"
            )
    counts = [_good_rows(files, shard) for shard in range(description.shards)]
    names = {layer: f"{_file_name(layer)}.npy" for layer in description.columns.widths}
    _check_distinct(names)
    arrays = {
        layer: np.lib.format.open_memmap(folder / names[layer], "w+", np.float32, (sum(counts), int(width or 0)))
        for layer, width in description.columns.widths.items()
        if sum(counts)
    }
    start = 0
    intervals = INTERVAL if description.columns.has_intervals else ()
    schema = pa.schema([pa.field("id", pa.string()), *(pa.field(name, pa.float64()) for name in intervals)])
    with pq.ParquetWriter(folder / "ids.parquet", schema, compression="zstd") as ids:
        for part in parts_of(files, description):
            for layer, array in arrays.items():
                array[start : start + len(part)] = part[layer] if len(part) else 0
            seconds = [pa.array(getattr(part, name), pa.float64()) for name in intervals]
            ids.write_table(pa.table([pa.array(part.ids, pa.string()), *seconds], schema=schema))
            start += len(part)
    for array in arrays.values():
        array.flush()
    return start


def _to_lance(files: RunStorage, description: RunDescription, folder: Path) -> int:
    """Write a table of LanceDB, which refuses dots in names of columns."""
    with needs("lancedb"):
        import lancedb

    names = {layer: re.sub(r"\W", "_", layer) for layer in description.columns.widths}
    _check_distinct(names)
    intervals = INTERVAL if description.columns.has_intervals else ()
    rows = 0

    def batches() -> Iterator[Any]:
        nonlocal rows
        for part in parts_of(files, description):
            table = part.to_arrow() if len(part) else None
            if table is not None:
                rows += len(part)
                table = table.select(["id", *intervals, *names])
                renamed = table.rename_columns([names.get(name, name) for name in table.column_names])
                yield from renamed.cast(schema).to_batches()

    schema = pa.schema(
        pa.field(names.get(field.name, field.name), field.type)
        for field in description.columns.schema()
        if field.name not in ("row", "error")
    )
    lancedb.connect(str(folder)).create_table("features", data=batches(), schema=schema)
    return rows


def _good_rows(files: RunStorage, shard: int) -> int:
    """Return the number of rows of a part that have features."""
    with files.fetched(part_name(shard)) as path, ParquetFeatures(path) as features:
        return len(features)


def _file_name(layer: str) -> str:
    """Return a layer's name as that of a file."""
    return re.sub(r"[^\w.\-]", "_", layer)


def _check_distinct(names: Mapping[str, str]) -> None:
    """Raises: UsageError where two layers get one name."""
    for layer, name in names.items():
        conflicts = [
            other_layer for other_layer, other_name in names.items() if other_name == name and other_layer != layer
        ]
        if conflicts:
            raise UsageError(
                f"layers {layer} and {conflicts[0]} would both be called {name}: export hf, or run one layer"
            )


_WRITERS: Mapping[str, Callable[[RunStorage, RunDescription, Path], int]] = {
    "hf": _to_hf,
    "npy": _to_npy,
    "lance": _to_lance,
}
