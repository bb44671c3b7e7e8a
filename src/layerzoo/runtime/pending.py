"""Samples on their way through the network: decode their rows ahead, and collect the results in order."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from layerzoo.errors import EmptySampleError, LayerzooError, OutsideRepositoryError, SampleError
from layerzoo.features.cache import CachedVector
from layerzoo.media.limits import limits
from layerzoo.media.samples import Sample
from layerzoo.media.source import is_encoded
from layerzoo.plugins.failure import summary
from layerzoo.runtime.backbone import resolved_model
from layerzoo.runtime.batch import InputRow
from layerzoo.runtime.batching import PlacedRow, row_bytes
from layerzoo.runtime.plan import ExtractionPlan
from layerzoo.runtime.pool import PooledRow
from layerzoo.runtime.prefetch import THREADS, prefetch
from layerzoo.runtime.preprocess import Prepared

RowResult = Mapping[str, PooledRow] | SampleError
"""Layer name → pooled row; or the reason why there is none."""

_AHEAD = 4
"""Number of audio clips or videos that are decoded ahead."""


@dataclass(slots=True)
class PendingSample:
    """A sample with rows that have not been through the network yet. A sample that cannot be decoded has no rows."""

    id: str
    row_count: int | None
    """None until the last row was decoded."""
    report: Mapping[str, int]
    done: int = 0
    """Number of its rows that have been through the network."""
    pooled: dict[str, dict[int, PooledRow]] = field(default_factory=dict)
    """Layer name → number of the row → pooled row, with its weight among the rows of the sample."""
    times_s: dict[int, float] = field(default_factory=dict)
    """Number of the row → the time of a video frame."""
    frame_numbers: dict[int, int] = field(default_factory=dict)
    """Number of the row → the number of a video frame in its video."""
    clip_frames: tuple[int, ...] = ()
    """The numbers of the frames of a video that is one clip."""
    starts_s: dict[int, float] = field(default_factory=dict)
    """Number of the row → the start of a row of audio in its recording."""
    interval_s: tuple[float, float] | None = None
    """Start and end of the sample in its recording, if it is one of several windows."""
    is_first: bool = True
    """Whether it is the first window of its recording."""
    is_last: bool = True
    """Whether it is the last window of its recording. Not known before ``row_count`` is."""
    error: SampleError | None = None
    digest: bytes | None = None
    """The digest of its content, if its features are cached."""
    cached: Mapping[str, CachedVector] = field(default_factory=dict)
    """Layer name → its cached features; empty if they are computed."""

    @property
    def is_done(self) -> bool:
        return self.done == self.row_count


class PendingSamples:
    """The pending samples of one extraction, by their number among the inputs."""

    def __init__(self) -> None:
        self._samples: dict[int, PendingSample] = {}

    def add(self, index: int, sample: PendingSample) -> None:
        self._samples[index] = sample

    def id_of(self, placed: PlacedRow) -> str:
        """Return the id of a row's sample."""
        return self._samples[placed.sample].id

    def record(self, results: list[tuple[PlacedRow, RowResult]]) -> None:
        """Add the results of some rows to their samples."""
        for (index, number, row), result in results:
            sample = self._samples[index]
            sample.done += 1
            if row.time_s is not None:
                sample.times_s[number] = row.time_s
            if row.frame_number is not None:
                sample.frame_numbers[number] = row.frame_number
            sample.clip_frames = row.clip_frames
            sample.starts_s[number] = row.start_s
            if isinstance(result, SampleError):
                sample.error = result
                continue
            for name, (values, positions) in result.items():
                weight = row.weight if positions is None else positions
                sample.pooled.setdefault(name, {})[number] = PooledRow(values, weight)

    def take_done(self) -> list[PendingSample]:
        """Remove and return the finished samples up to the first unfinished one."""
        finished = []
        for index in list(self._samples):
            if not self._samples[index].is_done:
                break
            finished.append(self._samples.pop(index))
        return finished


class _PreparedSample(NamedTuple):
    """A sample that was decoded, failed, or has cached features."""

    id: str
    prepared: Prepared | SampleError
    digest: bytes | None = None
    cached: Mapping[str, CachedVector] = {}


def decoded_rows(
    plan: ExtractionPlan, samples: Iterable[Sample | SampleError], pending: PendingSamples, ahead: int
) -> Generator[PlacedRow]:
    """Yield the rows of all samples, decoded ahead of the network. Adds each sample to ``pending``.

    Raises: SampleError for the first sample that cannot be decoded, if the plan is strict.
    """
    preprocess, decoder, model = plan.backbone.preprocess, plan.decoder, plan.backbone.spec.id
    hooks = resolved_model(plan.backbone).hooks

    def prepare(sample: Sample | SampleError) -> _PreparedSample:
        if isinstance(sample, SampleError):
            return _PreparedSample(sample.id, sample)
        digest, cached = (None, {}) if plan.reuse is None else plan.reuse.lookup(sample.source)
        if cached:
            report = next(iter(cached.values())).report
            return _PreparedSample(sample.id, Prepared([], report), digest, cached)
        try:
            with hooks.without_network(model):
                return _PreparedSample(sample.id, preprocess.rows(sample.source, decoder), digest)
        except OutsideRepositoryError:
            raise  # a plugin that does this does it for every sample
        except Exception as error:  # noqa: BLE001 - a plugin's preprocessing may raise anything
            return _PreparedSample(sample.id, _sample_error(sample.id, error))

    def is_in_memory(sample: Sample | SampleError) -> bool:
        if isinstance(sample, SampleError):
            return True
        if preprocess.modality == "text":
            return isinstance(sample.source, str | bytes)
        return not is_encoded(sample.source)

    prepared_samples = prefetch(
        samples,
        prepare,
        ahead=_AHEAD if preprocess.modality in ("audio", "video") else ahead,
        size=_prepared_bytes,
        most=limits().prepared_bytes,
        threads=max(THREADS, decoder.processes),
        late=decoder.want_more,
        stop=decoder.close,
        may_be_short=is_in_memory,
    )
    with contextlib.closing(prepared_samples):
        yield from _placed_rows(plan, prepared_samples, pending)


def _placed_rows(
    plan: ExtractionPlan, prepared_samples: Iterable[_PreparedSample], pending: PendingSamples
) -> Iterator[PlacedRow]:
    indices = count()
    for sample_id, prepared, digest, cached in prepared_samples:
        if isinstance(prepared, SampleError):
            if plan.strict:
                raise prepared
            report = {"empty": 1} if isinstance(prepared, EmptySampleError) else {}
            pending.add(next(indices), PendingSample(sample_id, 0, report, error=prepared))
            continue
        rows = prepared.rows
        sample = PendingSample(sample_id, _row_count(rows), prepared.report, digest=digest, cached=cached)
        index, number = next(indices), 0
        pending.add(index, sample)
        try:
            for row in rows:
                if number and row.interval_s != sample.interval_s:
                    sample.is_last, sample.row_count = False, number
                    sample = PendingSample(sample_id, None, {}, is_first=False)
                    index, number = next(indices), 0
                    pending.add(index, sample)
                sample.interval_s = row.interval_s
                number += 1
                yield PlacedRow(index, number - 1, row if plan.special_tokens else row.without_special())
        except Exception as error:
            if isinstance(rows, Sequence):
                raise
            sample.error = _sample_error(sample_id, error)
            if plan.strict:
                raise sample.error from error.__cause__
        sample.row_count = number


def _row_count(rows: Iterable[InputRow]) -> int | None:
    """Return the number of rows of a sample, if it is known: each window of a recording is a sample."""
    is_known = isinstance(rows, Sequence) and all(row.interval_s is None for row in rows)
    return len(rows) if is_known and isinstance(rows, Sequence) else None


def failed_sample(id: str, step: str, error: Exception) -> SampleError:
    """Return the error for a sample on which code outside of layerzoo fails. step: the one that failed."""
    failure = SampleError(id, f"{step}: {summary(error)}")
    failure.__cause__ = error
    return failure


def _sample_error(id: str, error: Exception) -> SampleError:
    """Convert an error of preprocessing to that of one sample. Raises: an error that concerns all samples."""
    if isinstance(error, EmptySampleError):
        return EmptySampleError(id, error.reason)
    if isinstance(error, SampleError):
        return SampleError(id, error.reason)
    if isinstance(error, LayerzooError):
        raise error
    return failed_sample(id, "its preprocessing fails", error)


def _prepared_bytes(prepared: _PreparedSample) -> int:
    """Return the size of a prepared sample; 0 for an iterator, whose rows do not exist yet."""
    sample = prepared.prepared
    if isinstance(sample, SampleError) or not isinstance(sample.rows, Sequence):
        return 0
    return sum(map(row_bytes, sample.rows))
