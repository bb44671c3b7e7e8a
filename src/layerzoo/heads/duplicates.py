"""Find samples that occur several times, so that none is in the rows to fit and in those to score."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from layerzoo.media.content import sample_digest
from layerzoo.media.sample import Sample


def groups_with_duplicates(
    samples: Sequence[Sample], groups: Sequence[Any] | None, labels: Sequence[Any] = ()
) -> tuple[NDArray[Any] | None, str | None]:
    """Return the group of each sample, in which equal samples are in one group.

    Args:
        samples: the inputs.
        groups: the source of each; None: each is a separate source.
        labels: of each sample, to compare those of equal samples; empty: none.
    Returns: (sample,) numbers of groups, None if each sample is a separate one; and a note for the user if samples are
        equal.
    """
    contents = _contents(samples)
    by_content: dict[Hashable, list[int]] = defaultdict(list)
    for row, content in enumerate(contents):
        by_content[("alone", row) if content is None else content].append(row)
    equal = [rows for rows in by_content.values() if len(rows) > 1]
    if not equal:
        return (None if groups is None else _numbers(groups)), None
    first, second = equal[0][:2]
    note = (
        f"{sum(map(len, equal)):,} samples occur several times, such as {samples[first].id} and {samples[second].id}. "
        f"Equal samples are kept in one fold{_contradictions(samples, labels, equal)}"
    )
    numbers = np.arange(len(samples)) if groups is None else _numbers(groups)
    pairs = [(numbers[rows[0]], numbers[row]) for rows in equal for row in rows[1:]]
    count = int(numbers.max()) + 1
    left, right = zip(*pairs, strict=True)
    links = coo_array((np.ones(len(pairs)), (left, right)), shape=(count, count))
    components: NDArray[Any] = connected_components(links, directed=False)[1]
    return components[numbers], note


def _contradictions(samples: Sequence[Sample], labels: Sequence[Any], equal: Sequence[Sequence[int]]) -> str:
    """Return a sentence about equal samples with unequal labels; empty if there are none.

    Args:
        samples: the inputs.
        labels: of each sample.
        equal: the positions of equal samples.
    """
    contradictions = []
    for rows in equal if len(labels) else ():
        second_row = next((row for row in rows if _comparable(labels[row]) != _comparable(labels[rows[0]])), None)
        if second_row is not None:
            contradictions.append((rows[0], second_row))
    if not contradictions:
        return ""
    first_row, second_row = contradictions[0]
    cases = "1 case" if len(contradictions) == 1 else f"{len(contradictions):,} cases"
    return (
        f", and the labels of equal samples contradict each other in {cases}, such as {labels[first_row]!r} of "
        f"{samples[first_row].id} and {labels[second_row]!r} of {samples[second_row].id}"
    )


def _comparable(label: Any) -> Any:
    """Return a value that is equal for equal labels: several labels of a sample have no order."""
    return sorted(map(str, label)) if isinstance(label, list | tuple | set | frozenset) else str(label)


def _numbers(groups: Sequence[Any]) -> NDArray[np.intp]:
    return np.unique([str(group) for group in groups], return_inverse=True)[1]


def _contents(samples: Sequence[Sample]) -> list[Hashable | None]:
    """Return a value for each sample that is equal for equal samples; None for one whose content is not compared.

    Only files of equal size are read.
    """
    sizes = [_file_size(sample.source) for sample in samples]
    counts = Counter(sizes)
    return [
        sample_digest(sample.source) if size is None or counts[size] > 1 else None
        for sample, size in zip(samples, sizes, strict=True)
    ]


def _file_size(source: Any) -> int | None:
    """Return the size of a file; None for other samples, and for a file that is not there."""
    try:
        return source.stat().st_size if isinstance(source, Path) else None
    except OSError:
        return None
