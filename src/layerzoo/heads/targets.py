"""The targets of sweeps and heads: classes, several labels of a sample, or numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import MultiLabelBinarizer

from layerzoo.errors import InputError

SweepTask = Literal["auto", "classify", "multilabel", "regress", "cluster"]
METRICS = {"classify": "accuracy", "multilabel": "micro F1", "regress": "R²", "cluster": "silhouette"}
"""The score of each task."""
_SEPARATORS = "|;"
_LEAST = 3


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """The targets of all labelled samples."""

    task: str
    """``classify``, ``multilabel``, ``regress`` or ``cluster``."""
    values: NDArray[Any]
    """(sample,) numbers of classes or values; (sample, label) zeros and ones. Empty without labels."""
    names: tuple[str, ...] = ()
    """The classes, or the labels."""
    note: str | None = None
    """How the task was chosen."""


def targets_of(labels: Sequence[Any], task: SweepTask, ids: Sequence[str] | None = None) -> Targets:
    """Convert labels to targets.

    Args:
        labels: a class, a number, or a sequence of labels for each sample. For ``multilabel``, a text may hold several
            labels that are separated by ``|`` or ``;``. Empty: none, for ``cluster`` only.
        task: ``auto`` for several labels if they are sequences, for numbers if they have fractions or some class would
            have fewer than three samples, else for classes.
        ids: of the samples, for errors. None: their positions.
    Raises: InputError for labels that do not fit the task.
    """
    if not len(labels):
        if task not in ("auto", "cluster"):
            raise InputError(f"task={task!r} needs labels, and there are none")
        note = "the task is cluster, because there are no labels" if task == "auto" else None
        return Targets("cluster", np.empty(0), note=note)
    names_of = [str(row) for row in range(len(labels))] if ids is None else ids
    values = [_python_value(label) for label in labels]
    note = None
    if task == "auto":
        task = inferred_task(values)
        note = f"the task is {task}, according to the labels"
    if task == "multilabel":
        return _multilabel(values, note)
    for label, name in zip(values, names_of, strict=True):
        if isinstance(label, tuple):
            raise InputError(f"task={task!r} needs one label for each sample, and sample {name} has {label}")
    if task == "regress":
        return Targets(task, numbers_of(values, names_of), note=note)
    for label, name in zip(values, names_of, strict=True):
        if _is_missing(label):
            raise InputError(f"the label of sample {name} is missing. Next: leave it out, or label it")
    names, codes = np.unique([str(label) for label in values], return_inverse=True)
    if len(names) < 2 and task == "classify":
        raise InputError(f"all {len(values)} samples have the label {values[0]!r}, and a classifier needs two classes")
    return Targets(task, codes, tuple(names.tolist()), note)


def _python_value(label: Any) -> Any:
    if isinstance(label, np.generic):
        label = label.item()
    if isinstance(label, list | tuple | set | frozenset | np.ndarray):
        return tuple(str(item) for item in label)
    return label


def _is_missing(label: Any) -> bool:
    return label is None or label == "" or (isinstance(label, float) and math.isnan(label))


def inferred_task(labels: Sequence[Any]) -> Literal["classify", "multilabel", "regress"]:
    """Return the task of ``auto`` for some labels: see :func:`targets_of`."""
    labels = [_python_value(label) for label in labels]
    if any(isinstance(label, tuple) for label in labels):
        return "multilabel"
    try:
        numbers = [float(label) for label in labels]
    except (TypeError, ValueError):
        return "classify"
    if any(isinstance(label, bool) for label in labels):
        return "classify"
    has_fractions = any(not number.is_integer() for number in numbers)
    return "regress" if has_fractions or min(Counter(numbers).values()) < _LEAST else "classify"


def numbers_of(labels: Sequence[Any], ids: Sequence[str]) -> NDArray[np.float64]:
    """Convert labels to finite numbers.

    Args:
        labels: numbers, or texts that are written as numbers.
        ids: of the samples.
    Raises: InputError for a label that is no finite number, and for labels that are all equal.
    """
    numbers = np.array([_number(label) for label in labels])
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = wrong[0]
        more = f", and {len(wrong) - 1:,} more are none" if len(wrong) > 1 else ""
        raise InputError(
            f"task='regress' needs finite numbers, and the label of sample {ids[row]} is {labels[row]!r}{more}. Next: "
            "leave these samples out, or label them"
        )
    if np.ptp(numbers) == 0:
        raise InputError(f"all {len(labels)} samples have the label {labels[0]!r}, so that there is nothing to predict")
    return numbers


def _number(label: Any) -> float:
    try:
        return float(label)
    except (TypeError, ValueError):
        return math.nan


def _multilabel(labels: Sequence[Any], note: str | None) -> Targets:
    several = [label if isinstance(label, tuple) else _separated(label) for label in labels]
    if all(label == ("0",) or label == ("1",) or set(label) <= {"0", "1"} for label in several) and (
        len({len(label) for label in several}) == 1 and len(several[0]) > 1
    ):  # an array of zeros and ones
        matrix = np.array([[int(item) for item in label] for label in several])
        return Targets("multilabel", matrix, tuple(map(str, range(matrix.shape[1]))), note)
    binarizer = MultiLabelBinarizer()
    matrix = binarizer.fit_transform(several)
    if matrix.shape[1] == 0:
        raise InputError("no sample has a label")
    return Targets("multilabel", matrix, tuple(map(str, binarizer.classes_)), note)


def _separated(label: Any) -> tuple[str, ...]:
    if _is_missing(label):
        return ()
    text = str(label)
    for separator in _SEPARATORS:
        text = text.replace(separator, "\n")
    return tuple(part.strip() for part in text.split("\n") if part.strip())
