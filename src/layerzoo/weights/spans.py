"""Spans of the bytes of a file: which are missing, and how to fetch them in few requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The bytes from ``start`` up to, and without, ``stop``."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def joined(spans: Iterable[Span]) -> list[Span]:
    """Merge spans that overlap or touch, and sort them."""
    merged: list[Span] = []
    for span in sorted(spans):
        if span.size <= 0:
            continue
        if merged and span.start <= merged[-1].stop:
            merged[-1] = Span(merged[-1].start, max(merged[-1].stop, span.stop))
        else:
            merged.append(span)
    return merged


def missing(wanted: Iterable[Span], fetched: Iterable[Span]) -> list[Span]:
    """Return the wanted bytes that were not fetched."""
    gaps: list[Span] = []
    present = joined(fetched)
    for span in joined(wanted):
        start = span.start
        for have in present:
            if have.stop <= start or have.start >= span.stop:
                continue
            if have.start > start:
                gaps.append(Span(start, have.start))
            start = max(start, have.stop)
        if start < span.stop:
            gaps.append(Span(start, span.stop))
    return gaps


def bridged(spans: Iterable[Span], *, waste: float = 0.01) -> list[Span]:
    """Merge spans across gaps, the smallest first, while these add at most a fraction ``waste`` of the wanted bytes.

    A request costs a round trip, in which many small tensors could be transferred.
    """
    apart = joined(spans)
    budget = int(waste * sum(span.size for span in apart))
    gaps = sorted(Span(before.stop, after.start) for before, after in pairwise(apart))
    bridges: list[Span] = []
    for gap in sorted(gaps, key=lambda gap: gap.size):
        if (budget := budget - gap.size) < 0:
            break
        bridges.append(gap)
    return joined([*apart, *bridges])


def pieces(spans: Iterable[Span], size: int) -> Iterator[Span]:
    """Split spans into pieces of at most ``size`` bytes, so that several connections can share them."""
    for span in spans:
        for start in range(span.start, span.stop, size):
            yield Span(start, min(start + size, span.stop))
