"""Compute the part of one shard."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from layerzoo.errors import SampleError
from layerzoo.features.features import Features
from layerzoo.features.part import FailedRow, PartFacts, PartWriter, part_name, read_part
from layerzoo.media.samples import Item, Samples
from layerzoo.runs.description import RunDescription
from layerzoo.runs.manifest import Manifest, ManifestRows, changed_since, sample_of
from layerzoo.runs.storage import RunStorage, facts_of

if TYPE_CHECKING:
    from layerzoo.runtime.extraction import PreparedExtraction

Report = Callable[[int, int], object]
"""Called with the numbers of samples that were just finished and that failed."""


def crashed_name(shard: int) -> str:
    """Return the name of the file that lists the samples of a shard on which the process ended."""
    return f"crashed-{shard:06d}.json"


@dataclass(slots=True)
class OpenRun:
    """A run that this process works on."""

    storage: RunStorage
    description: RunDescription
    manifest: Manifest

    def compute(
        self, extraction: PreparedExtraction, shard: int, report: Report = lambda done, failed: None
    ) -> PartFacts:
        """Compute a shard, and write its part.

        Args:
            extraction: with the settings of the run.
            shard: its number.
            report: see :data:`Report`.
        Raises: OutputError when the part cannot be written.
        """
        first, stop = self.description.rows_of(shard)
        rows = self.manifest.rows(first, stop)
        crashed = self.crashed(shard)
        with self.storage.publish(part_name(shard)) as path:
            writer = PartWriter(path, self.description.columns)
            try:
                for batch in _batches(extraction, rows, crashed):
                    writer.write(*batch)
                    report(batch.samples, len(batch.failed))
                return writer.finish(self._provenance(extraction), run=self.description.fingerprint, shard=shard)
            finally:
                writer.close()

    def retry(
        self, extraction: PreparedExtraction, shard: int, report: Report = lambda done, failed: None
    ) -> PartFacts:
        """Compute the failed samples of a part again, and write the part with both. For arguments, see :meth:`compute`.

        Files are taken as they are now.
        """
        facts = facts_of(self.storage, shard)
        with self.storage.fetched(part_name(shard)) as path:
            features, numbers, failed = read_part(path)
        retried_rows = {failure.row for failure in failed}
        first, stop = self.description.rows_of(shard)
        batches = list(_batches(extraction, self.manifest.rows(first, stop), {}, retried=retried_rows))
        added = [number for batch in batches for number in batch.rows]
        still = [failure for batch in batches for failure in batch.failed]
        lost = retried_rows - {*added, *(failure.row for failure in still)}
        still += [failure for failure in failed if failure.row in lost]
        positions = [
            at for at, number in enumerate(numbers) if number not in retried_rows - lost
        ]  # not windows of a failed sample
        all_numbers = [*(numbers[at] for at in positions), *added]
        order = sorted(range(len(all_numbers)), key=all_numbers.__getitem__)
        parts = [part for part in (features[positions], *(batch.features for batch in batches)) if len(part)]
        merged = _without_errors(Features.join(parts))[order] if parts else Features((), {})
        counts = Counter({name: count for name, count in features.report.items() if name != "empty"})
        for batch in batches:  # an empty sample is a failed one, and is counted again
            counts.update(batch.features.report)
        merged = replace(merged, report=dict(counts))
        with self.storage.publish(part_name(shard)) as path:
            writer = PartWriter(path, self.description.columns)
            try:
                writer.write(merged, [all_numbers[at] for at in order], still)
                report(len(retried_rows), len(still))
                return writer.finish(
                    self._provenance(extraction),
                    run=self.description.fingerprint,
                    shard=shard,
                    tries=facts.tries + 1,
                )
            finally:
                writer.close()

    def crashed(self, shard: int) -> dict[int, str]:
        """Return the samples of a shard that crashed a process, with the reasons."""
        try:
            text = self.storage.local(crashed_name(shard)).read_text(encoding="utf-8")
            return {int(number): str(reason) for number, reason in json.loads(text).items()}
        except (FileNotFoundError, ValueError):
            return {}

    def _provenance(self, extraction: PreparedExtraction) -> Mapping[str, Any]:
        """Return the provenance of a part: that of the run, with the versions and the device of this process."""
        provenance = extraction.provenance
        return {**self.description.provenance, "versions": provenance["versions"], "device": provenance["device"]}


@dataclass(frozen=True, slots=True)
class _FinishedRows:
    """Some finished samples. Unpacks to the arguments of :meth:`PartWriter.write`."""

    features: Features
    rows: list[int]
    failed: list[FailedRow]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.features, self.rows, self.failed))

    @property
    def samples(self) -> int:
        return len(set(self.rows)) + len(self.failed)


def _batches(
    extraction: PreparedExtraction,
    rows: ManifestRows,
    crashed: Mapping[int, str],
    *,
    retried: Collection[int] | None = None,
) -> Iterator[_FinishedRows]:
    """Compute some rows of the manifest, in order. A file that changes while it is read is a failure.

    Args:
        extraction: with the settings of the run.
        rows: the rows.
        crashed: those on which the process ended, with the reasons.
        retried: compute only these, with their files as they are now. None: all rows.
    """
    is_retry = retried is not None

    def items() -> Iterator[Item]:
        for number, row in rows.numbered():
            if retried is not None and number not in retried:
                continue
            if number in crashed:
                yield SampleError(str(number), crashed[number])
            else:
                yield sample_of(number, row, is_retry=is_retry)

    for piece in extraction.pieces(Samples(items(), [])):
        numbers = [int(name) for name in piece.ids]
        failed = [FailedRow(int(error.id), rows[int(error.id)].id, error.reason) for error in piece.errors]
        changed = {} if is_retry else _changed(numbers, rows)
        if changed:
            positions = [at for at, number in enumerate(numbers) if number not in changed]
            failed += [FailedRow(number, rows[number].id, reason) for number, reason in changed.items()]
            piece, numbers = replace(piece[positions], report=piece.report), [numbers[at] for at in positions]
        yield _FinishedRows(_with_ids(piece, rows.ids(numbers)), numbers, failed)


def _changed(numbers: Collection[int], rows: ManifestRows) -> dict[int, str]:
    """Return the samples whose files have changed since the manifest was written, with the reasons."""
    files = rows.files(dict.fromkeys(numbers))
    return {number: reason for number in files if (reason := changed_since(rows[number])) is not None}


def _with_ids(features: Features, ids: tuple[str, ...]) -> Features:
    return replace(features, ids=ids, errors=(), passed_over=(), provenance={})


def _without_errors(features: Features) -> Features:
    return replace(features, errors=(), provenance={})
