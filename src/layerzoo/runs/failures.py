"""The samples of a run that failed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerzoo.features.parquet import ParquetFeatures
from layerzoo.features.part import FailedRow, part_name
from layerzoo.runs.creation import description_of
from layerzoo.runs.loading import own_facts
from layerzoo.runs.storage import storage


def failures(folder: str | os.PathLike[str]) -> Iterator[FailedRow]:
    """Yield the failed samples of a run, in the order of its inputs.

    Args:
        folder: of the run, or its URL.
    Raises: InputError for a part that is damaged, or another part.
    """
    files = storage(folder)
    description = description_of(files)
    for shard in files.parts():
        if shard < description.shards and own_facts(files, description, shard).failed:
            with files.fetched(part_name(shard)) as path, ParquetFeatures(path) as features:
                yield from (FailedRow(*failed) for failed in features.rows()[1])
