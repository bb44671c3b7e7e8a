"""The samples of a sweep, with their labels and groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import InputError, SampleError
from layerzoo.heads.duplicates import groups_with_duplicates
from layerzoo.heads.labels import Labels
from layerzoo.heads.listing import list_samples
from layerzoo.heads.targets import SweepTask, Targets, targets_of
from layerzoo.media.sample import Sample
from layerzoo.modalities import Modality
from layerzoo.runtime.loading import load_preprocess
from layerzoo.spec import ModelSpec

LabelChoice = Callable[[Sequence[str]], Labels] | Sequence[Any] | None
"""A label for each sample, a function from the ids of the samples to their labels, or None for a clustering."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledData:
    """The labelled samples of a sweep."""

    samples: Sequence[Sample]
    modality: Modality
    targets: Targets
    groups: NDArray[Any] | None
    notes: Sequence[str]

    def taken(self, rows: NDArray[np.intp]) -> LabelledData:
        """Return some of the samples."""
        values = self.targets.values
        return replace(
            self,
            samples=[self.samples[row] for row in rows],
            targets=replace(self.targets, values=values[rows] if len(values) else values),
            groups=None if self.groups is None else self.groups[rows],
        )


def find_samples(
    model: str | ModelSpec, inputs: Any, column: str | None, errors: str
) -> tuple[tuple[list[Sample], Modality], list[SampleError]]:
    """Find the samples of some inputs.

    Args:
        model: that takes them.
        inputs: as for :func:`layerzoo.extract`.
        column: the column of a table that holds the samples.
        errors: ``raise`` or ``skip``.
    Returns: the samples and their modality; and those that were not found.
    Raises: SampleError, InputError.
    """
    preprocess = load_preprocess(model)
    listed = list_samples(preprocess, inputs, column, errors)
    return (listed.samples, preprocess.modality), listed.failed


def labelled(
    inputs: tuple[list[Sample], Modality], labels: LabelChoice, task: SweepTask, groups: Sequence[Any] | None
) -> LabelledData:
    """Return samples with their labels and groups; those without a label are left out.

    Args:
        inputs: samples and their modality.
        labels: of the samples.
        task: see :func:`layerzoo.sweep`.
        groups: the source of each sample; those of a function of labels have precedence.
    Raises: InputError.
    """
    samples, modality = inputs
    notes: list[str] = []
    ids = [sample.id for sample in samples]
    if not samples:
        raise InputError("none of the samples can be used")
    if labels is None:
        rows: Sequence[int] = range(len(samples))
        values: Sequence[Any] = ()
    elif callable(labels):
        sample_labels = labels(ids)
        rows, values, groups = sample_labels.rows, sample_labels.values, sample_labels.groups or groups
        if sample_labels.unlabelled:
            examples = ", ".join(sample_labels.unlabelled[:3])
            notes.append(
                f"{counted(len(sample_labels.unlabelled), 'sample')} without a label left out, such as {examples}"
            )
        if sample_labels.unused:
            examples = ", ".join(sample_labels.unused[:3])
            notes.append(f"{counted(len(sample_labels.unused), 'row')} of the labels for no sample, such as {examples}")
    else:
        if len(labels) != len(samples):
            raise InputError(f"{len(labels)} labels for {len(samples)} samples")
        rows, values = range(len(samples)), list(labels)
    if groups is not None and len(groups) != len(rows):
        raise InputError(f"{len(groups)} groups for {len(rows)} samples")
    labelled_samples = [samples[row] for row in rows]
    targets = targets_of(values, task, [sample.id for sample in labelled_samples])
    if targets.note:
        notes.append(targets.note)
    joined: NDArray[Any] | None = None
    if targets.task != "cluster":  # clusters have no folds
        joined, note = groups_with_duplicates(labelled_samples, groups or None, values)
        notes += [note] if note else []
    return LabelledData(labelled_samples, modality, targets, joined, notes)


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: 1 sample, 2 samples."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
