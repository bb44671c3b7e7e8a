"""The progress of a run, from the files in its folder alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from layerzoo.errors import InputError
from layerzoo.features.part import PartFacts, part_name
from layerzoo.runs.creation import read_description
from layerzoo.runs.description import RunDescription
from layerzoo.runs.leases import Leases, leased_shards
from layerzoo.runs.loading import own_facts
from layerzoo.runs.storage import RunStorage, storage


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The progress of a run."""

    folder: str
    """Its folder, or the URL of that."""
    model: str | None
    """The id of the model; None where no run has begun."""
    samples: int
    """The number of inputs."""
    done: int
    """The number of samples whose shard has a part; failed ones included."""
    failed: int
    """The number of samples without features, among those that are done."""
    left: int
    """The number of samples whose shard has no part."""
    shards: int
    """The number of shards."""
    shards_done: int
    """The number of shards with a part."""
    at_work: int
    """The number of shards that processes on this machine compute now."""
    samples_per_s: float | None
    """The rate of the processes that compute on this machine now, each since it began. None without any, and during
    their first seconds."""
    seconds_left: float | None
    """The remaining time at that rate."""
    damaged: Sequence[str]
    """The parts that cannot be read, or that are not the parts of their shards: see ``zoo features verify``."""


def status(folder: str | os.PathLike[str]) -> RunStatus:
    """Return the progress of a run, also while it runs.

    Args:
        folder: of the run, or its URL.
    Raises: InputError where ``run.json`` is damaged.
    """
    files = storage(folder)
    description = read_description(files)
    if description is None:
        return RunStatus(files.label, None, 0, 0, 0, 0, 0, 0, 0, None, None, ())
    facts, damaged = _facts(files, description)
    done = sum(part.samples for part in facts.values())
    failed = sum(part.failed for part in facts.values())
    left = max(0, description.rows - done)
    leases = Leases(files.lease_folder)
    workers = [work for at in leased_shards(files.lease_folder) if (work := leases.progress_at(at)) is not None]
    rate = sum(work.samples_per_s for work in workers) or None
    return RunStatus(
        folder=files.label,
        model=str(description.request["model"]),
        samples=description.rows,
        done=done,
        failed=failed,
        left=left,
        shards=description.shards,
        shards_done=len(facts),
        at_work=len(workers),
        samples_per_s=rate,
        seconds_left=left / rate if rate and left else (0.0 if not left else None),
        damaged=tuple(damaged),
    )


def _facts(files: RunStorage, description: RunDescription) -> tuple[dict[int, PartFacts], list[str]]:
    """Return the facts of the parts, and the names of those that are damaged."""
    facts: dict[int, PartFacts] = {}
    damaged: list[str] = []
    for shard in files.parts():
        if shard >= description.shards:
            continue
        try:
            facts[shard] = own_facts(files, description, shard)
        except InputError:
            damaged.append(part_name(shard))
    return facts, damaged
