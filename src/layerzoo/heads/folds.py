"""The folds of a cross-validation: how many are possible, and how rows are divided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold


def most_folds(task: str, targets: NDArray[Any], groups: Sequence[Any] | None) -> int:
    """Return the most folds in which each has enough samples to score.

    Args:
        task: ``classify``: each fold has a source of each class. Others: each fold has two samples.
        targets: (sample,) or (sample, label).
        groups: the source of each sample. None: each sample is a separate source.
    """
    sources: Sequence[Any] = range(len(targets)) if groups is None else groups
    if task != "classify":
        sizes = Counter(sources)
        return len(sizes) // (2 if min(sizes.values()) == 1 else 1)
    pairs = set(zip(targets.tolist(), sources, strict=True))
    return min(Counter(label for label, _ in pairs).values())


def kind_of_folds(task: str, *, are_grouped: bool) -> Any:
    """Return the splitter of scikit-learn for a task.

    Args:
        task: ``classify``: the folds have equal shares of each class.
        are_grouped: whether the samples of a group are in one fold.
    """
    if task == "classify":
        return StratifiedGroupKFold if are_grouped else StratifiedKFold
    return GroupKFold if are_grouped else KFold
