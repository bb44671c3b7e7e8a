"""The loop of a worker: take a shard that has no part, compute it, until none is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from layerzoo.features.part import part_name
from layerzoo.runs.crashes import find_crashing
from layerzoo.runs.leases import Lease, Leases
from layerzoo.runs.shards import OpenRun, Report
from layerzoo.runs.storage import RunStorage, facts_of

if TYPE_CHECKING:
    from layerzoo.runtime.extraction import PreparedExtraction

_WAIT_S = 0.5
_CRASHES = 2
"""After so many processes that ended in one shard, the sample that causes it is searched."""


@dataclass(frozen=True, slots=True)
class Share:
    """The shards that a worker takes: those whose number is ``index`` modulo ``count``."""

    index: int = 0
    count: int = 1

    def of(self, shards: int) -> range:
        """Return the shards of this worker. shards: the number of all shards."""
        return range(self.index, shards, self.count)


def work(
    run: OpenRun,
    extraction: PreparedExtraction,
    *,
    share: Share,
    retry_failed: bool,
    report: Report,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Compute the shards of a share that have no part, or failed samples, until all are done.

    Args:
        run: the run.
        extraction: with the settings of the run.
        share: the shards of this worker.
        retry_failed: also compute the failed samples of parts that exist now.
        report: is called after each batch.
        sleep: waits while other workers compute the last shards.
    Raises: OutputError when a part cannot be written.
    """
    leases = Leases(run.storage.lease_folder)
    shards = share.of(run.description.shards)

    def reported(done: int, failed: int) -> None:
        leases.count(done)
        report(done, failed)

    present = set(run.storage.parts())
    retried = failed_parts(run.storage, [shard for shard in shards if shard in present]) if retry_failed else {}
    waiting = [shard for shard in shards if shard not in present or shard in retried]
    while waiting:
        busy = []
        for shard in waiting:
            with leases.taken(shard) as lease:
                if lease is None:
                    busy.append(shard)
                else:
                    work_on(run, extraction, lease, retried.get(shard), reported)
        if len(busy) == len(waiting):
            sleep(_WAIT_S)
        waiting = [shard for shard in busy if shard in retried or not run.storage.exists(part_name(shard))]


def work_on(run: OpenRun, extraction: PreparedExtraction, lease: Lease, tries: int | None, report: Report) -> None:
    """Compute a shard, unless another worker has done so since this one looked.

    Args:
        run: the run.
        extraction: with the settings of the run.
        lease: of the shard.
        tries: how often the failed samples of its part were tried when this worker looked; None: there was no part.
        report: is called after each batch.
    Raises: OutputError when the part cannot be written.
    """
    shard = lease.shard
    if tries is not None:
        if facts_of(run.storage, shard).tries == tries:
            run.retry(extraction, shard, report)
        return
    if run.storage.exists(part_name(shard)):
        return
    if lease.crashes >= _CRASHES:
        find_crashing(run, shard)
    run.compute(extraction, shard, report)


def failed_parts(files: RunStorage, shards: Sequence[int]) -> dict[int, int]:
    """Return the shards with failed samples, and how often they were tried."""
    facts = ((shard, facts_of(files, shard)) for shard in shards)
    return {shard: part.tries for shard, part in facts if part.failed}
