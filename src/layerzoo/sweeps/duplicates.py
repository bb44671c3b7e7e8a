"""Find samples that occur several times, so that none is in the rows to fit and in those to score."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from layerzoo.media.sample import Sample


def groups_with_duplicates(
    samples: Sequence[Sample], groups: Sequence[Any] | None
) -> tuple[NDArray[Any] | None, str | None]:
    """Return the group of each sample, in which equal samples are in one group.

    Args:
        samples: the inputs.
        groups: the source of each; None: each is a separate source.
    Returns: (sample,) numbers of groups, None if each sample is a separate one; and a note if samples are equal.
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
        "Equal samples are kept in one fold"
    )
    numbers = np.arange(len(samples)) if groups is None else _numbers(groups)
    pairs = [(numbers[rows[0]], numbers[row]) for rows in equal for row in rows[1:]]
    count = int(numbers.max()) + 1
    left, right = zip(*pairs, strict=True)
    links = coo_array((np.ones(len(pairs)), (left, right)), shape=(count, count))
    components: NDArray[Any] = connected_components(links, directed=False)[1]
    return components[numbers], note


def _numbers(groups: Sequence[Any]) -> NDArray[np.intp]:
    return np.unique([str(group) for group in groups], return_inverse=True)[1]


def _contents(samples: Sequence[Sample]) -> list[Hashable | None]:
    """Return a value for each sample that is equal for equal samples; None for one whose content is not compared.

    Only files of equal size are read.
    """
    sizes: dict[int, list[int]] = defaultdict(list)
    contents: list[Hashable | None] = [None] * len(samples)
    for row, sample in enumerate(samples):
        source = sample.source
        if isinstance(source, Path):
            try:
                sizes[source.stat().st_size].append(row)
            except OSError:
                continue
        elif isinstance(source, str | bytes):
            contents[row] = source
        elif isinstance(source, np.ndarray):
            contents[row] = (source.shape, hashlib.sha256(np.ascontiguousarray(source).tobytes()).digest())
    for rows in sizes.values():
        for row in rows if len(rows) > 1 else ():
            try:
                with samples[row].source.open("rb") as file:
                    contents[row] = hashlib.file_digest(file, "sha256").digest()
            except OSError:
                continue
    return contents
