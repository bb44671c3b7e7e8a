"""Check every part of a run: its rows against the manifest, its digests, and its fingerprint."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from layerzoo.errors import InputError
from layerzoo.features import formats
from layerzoo.features.parquet import ParquetFeatures
from layerzoo.features.part import part_name, read_facts
from layerzoo.runs.creation import description_of, opened
from layerzoo.runs.shards import OpenRun
from layerzoo.runs.storage import MANIFEST, storage


@dataclass(frozen=True, slots=True)
class PartCheck:
    """The result of checking one file of a run."""

    name: str
    state: Literal["ok", "damaged", "missing"]
    detail: str | None = None


def verify(folder: str | os.PathLike[str]) -> Iterator[PartCheck]:
    """Yield the check of the manifest, and of the part of every shard.

    Args:
        folder: of the run, or its URL.
    Raises: InputError where the folder holds no run.
    """
    files = storage(folder)
    description = description_of(files)
    try:
        run = opened(files, description)
    except InputError as error:
        yield PartCheck(MANIFEST, "damaged", str(error))
        return
    yield PartCheck(MANIFEST, "ok")
    present = set(files.parts())
    for shard in range(description.shards):
        name = part_name(shard)
        if shard not in present:
            first, stop = description.rows_of(shard)
            yield PartCheck(name, "missing", f"samples {first:,} to {stop - 1:,} are still to be computed")
            continue
        with files.fetched(name) as path:
            reason = _damage(run, shard, path)
        yield PartCheck(name, "ok" if reason is None else "damaged", reason)
    for shard in sorted(present - set(range(description.shards))):
        yield PartCheck(part_name(shard), "damaged", f"the run has {description.shards:,} shards")


def _damage(run: OpenRun, shard: int, path: Path) -> str | None:
    """Return the damage of the part of a shard; None if it has none."""
    first, stop = run.description.rows_of(shard)
    try:
        facts = read_facts(path)
        reason = facts.mismatch(run=run.description.fingerprint, shard=shard, samples=stop - first)
        if reason is not None:
            return reason
        formats.verify(path)
        with ParquetFeatures(path) as features:
            numbers, failed = features.rows()
    except InputError as error:
        return str(error.__cause__ or error)
    rows = {*numbers, *(row for row, _, _ in failed)}
    expected = set(range(first, stop))
    if rows != expected:
        return f"{len(expected - rows):,} samples are missing, and {len(rows - expected):,} belong elsewhere"
    if not run.description.columns.has_intervals and len(numbers) + len(failed) != len(expected):
        return f"{len(numbers) + len(failed):,} rows for {len(expected):,} samples: some occur twice"
    if facts.failed != len(failed):
        return "its counts are not those of its rows"
    return None
