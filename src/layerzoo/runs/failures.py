"""The samples of a run that failed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerzoo.features.parquet import ParquetFeatures
from layerzoo.features.part import FailedRow, read_facts
from layerzoo.runs.storage import part_name, storage


def failures(folder: str | os.PathLike[str]) -> Iterator[FailedRow]:
    """Yield the failed samples of a run, in the order of its inputs.

    Args:
        folder: of the run, or its URL.
    Raises: InputError for a part that is damaged.
    """
    files = storage(folder)
    for shard in files.parts():
        path = files.local(part_name(shard))
        if read_facts(path).failed:
            with ParquetFeatures(path) as stored:
                yield from (FailedRow(*failed) for failed in stored.rows()[1])
