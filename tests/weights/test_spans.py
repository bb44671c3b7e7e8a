"""Spans of bytes: the missing ones, requested with few requests."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from layerzoo.weights.spans import Span, bridged, joined, missing, pieces

spans = st.lists(st.builds(lambda start, size: Span(start, start + size), st.integers(0, 60), st.integers(0, 20)))


def bytes_of(found: list[Span]) -> set[int]:
    return {at for span in found for at in range(span.start, span.stop)}


def are_apart(found: list[Span]) -> bool:
    return all(before.stop < after.start for before, after in pairwise(found))


@given(spans)
def test_joined_spans_cover_the_same_bytes_separated_and_in_order(some: list[Span]) -> None:
    found = joined(some)
    assert bytes_of(found) == bytes_of(some)
    assert are_apart(found)


@given(spans, spans)
def test_missing_spans_are_the_requested_ones_without_the_available_ones(wanted: list[Span], there: list[Span]) -> None:
    found = missing(wanted, there)
    assert bytes_of(found) == bytes_of(wanted) - bytes_of(there)
    assert sum(span.size for span in found) == len(bytes_of(found))


@given(spans, st.sampled_from([0.0, 0.01, 0.5, 3.0]))
def test_bridged_gaps_stay_within_their_limit(some: list[Span], waste: float) -> None:
    wanted, found = bytes_of(some), bytes_of(bridged(some, waste=waste))
    assert wanted <= found
    assert len(found - wanted) <= waste * len(wanted)


def test_the_smallest_gaps_are_bridged_first() -> None:
    tensors = [Span(0, 1000), Span(1004, 2000), Span(2050, 3000), Span(9000, 9001)]
    assert bridged(tensors, waste=0.01) == [Span(0, 2000), Span(2050, 3000), Span(9000, 9001)]


@given(spans, st.integers(1, 30))
def test_split_spans_cover_the_same_bytes_and_respect_the_limit(some: list[Span], size: int) -> None:
    found = list(pieces(joined(some), size))
    assert joined(found) == joined(some)
    assert all(0 < piece.size <= size for piece in found)
