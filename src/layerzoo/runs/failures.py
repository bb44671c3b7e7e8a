"""The samples of a run that failed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerzoo.features.parquet import ParquetFeatures
from layerzoo.features.part import FailedRow
from layerzoo.runs.storage import facts_of, part_name, storage


def failures(folder: str | os.PathLike[str]) -> Iterator[FailedRow]:
    """Yield the failed samples of a run, in the order of its inputs.

    Args:
        folder: of the run, or its URL.
    Raises: InputError for a part that is damaged.
    """
    files = storage(folder)
    for shard in files.parts():
        if facts_of(files, shard).failed:
            with files.fetched(part_name(shard)) as path, ParquetFeatures(path) as stored:
                yield from (FailedRow(*failed) for failed in stored.rows()[1])
