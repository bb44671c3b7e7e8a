"""Read the features of a finished run, wherever its folder is."""

from __future__ import annotations

import os
from collections.abc import Iterator

from layerzoo.errors import InputError
from layerzoo.features.features import Features
from layerzoo.features.folder import check_complete, check_own
from layerzoo.features.formats import load as load_part
from layerzoo.features.part import PartFacts, part_name
from layerzoo.runs.creation import description_of
from layerzoo.runs.description import RunDescription
from layerzoo.runs.storage import RunStorage, facts_of, storage
from layerzoo.weights.network.objects import is_url


def load(folder: str | os.PathLike[str]) -> Features:
    """Return the features of all samples of a run, in the order of its inputs.

    Args:
        folder: of the run, or its URL, whose parts are copied to this machine, one after the other.
    Raises: as :meth:`Features.load`.
    """
    path = os.fspath(folder)
    if not is_url(path):
        return Features.load(path)
    files = storage(path)
    description = description_of(files)
    check_finished(files, description)
    return Features.join(parts_of(files, description))


def check_finished(files: RunStorage, description: RunDescription) -> None:
    """Raises: UnfinishedRunError while parts are missing; InputError where one is damaged, or another part."""
    shards = range(description.shards)
    check_complete(files.label, missing=len(set(shards).difference(files.parts())), shards=len(shards))
    for shard in shards:
        own_facts(files, description, shard)


def own_facts(files: RunStorage, description: RunDescription, shard: int) -> PartFacts:
    """Return the facts of the part of a shard. Raises: InputError where it is damaged, or another part."""
    facts = facts_of(files, shard)
    first, stop = description.rows_of(shard)
    check_own(files.label, shard, facts, run=description.fingerprint, samples=stop - first)
    return facts


def parts_of(files: RunStorage, description: RunDescription) -> Iterator[Features]:
    """Yield the features of each part of a finished run, in order. Raises: InputError where one is damaged."""
    for shard in range(description.shards):
        with files.fetched(part_name(shard)) as path:
            try:
                part = load_part(path)
            except InputError as error:  # of a copy on this machine
                raise InputError(str(error).replace(str(path.parent), files.label)) from error
            yield part
