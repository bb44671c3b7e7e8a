"""Train a head: extract features, cross-validate, fit."""

from __future__ import annotations

import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_score

from layerzoo.errors import InputError, SampleError, UsageError
from layerzoo.features import Features
from layerzoo.heads.duplicates import groups_with_duplicates
from layerzoo.heads.folds import kind_of_folds, most_folds
from layerzoo.heads.head import TrainedHead, head_input
from layerzoo.heads.labels import Labels
from layerzoo.heads.linear import LinearHead, Task, linear_estimator
from layerzoo.heads.listing import list_samples, numbered_error
from layerzoo.heads.targets import METRICS, inferred_task, numbers_of
from layerzoo.media.sample import Sample
from layerzoo.progress import ProgressChoice
from layerzoo.runtime import Backbone, extract, load
from layerzoo.sequence.estimators import SequenceClassifier, SequenceRegressor
from layerzoo.sequence.networks import NETWORKS, NetworkName

_KEPT = (
    "layer",
    "pool",
    "temporal_pool",
    "weights",
    "precision",
    "chunks",
    "overlap",
    "normalize",
    "special_tokens",
    "prompt",
    "decode",
    "sampling",
    "start_s",
    "end_s",
    "clips",
    "window",
    "hop",
)
"""Arguments of an extraction that a head keeps, so that new inputs get the same features."""


def train_head(
    model: str,
    inputs: Any,
    labels: Callable[[Sequence[str]], Labels] | Sequence[str | float],
    *,
    sequence: NetworkName | None = None,
    task: Literal["auto", "classify", "regress"] = "auto",
    folds: int = 5,
    seed: int = 0,
    groups: Sequence[str] | None = None,
    device: str = "cpu",
    errors: Literal["raise", "skip"] = "raise",
    column: str | None = None,
    batch_size: int | None = None,
    progress: ProgressChoice = None,
    settings: Mapping[str, Any] | None = None,
    **extraction: Any,
) -> tuple[TrainedHead, Features]:
    """Train a head on the features of some labelled inputs, and measure it by cross-validation.

    Without ``sequence``, the head is a linear model on pooled vectors: logistic regression or ridge regression on
    standardized features. With it, a small network reads the sequence of each sample: the frames of a video, the
    windows or frames of audio, the chunks or tokens of a text.

    Args:
        model: the id of a backbone.
        inputs: as for :func:`layerzoo.extract`.
        labels: a label for each input; or a function from the ids of the samples to their labels, such as
            :func:`layerzoo.heads.labels_of_folders`.
        sequence: the network over sequences: ``gru``, ``conv`` or ``transformer``. None: a linear head.
        task: ``classify``, ``regress`` for numbers, or ``auto`` according to the labels, as for
            :func:`layerzoo.sweep`.
        folds: the number of folds of the cross-validation; fewer if a class has fewer samples or groups.
        seed: of the folds and of the network.
        groups: the source of each input; the samples of one source are in one fold, and so are samples with the same
            content. Of labels from a function, its own groups are used.
        device: a torch device for the backbone and the network.
        errors: ``"raise"`` stops at the first sample that fails; ``"skip"`` leaves it out.
        column: the column of a table that holds the samples.
        batch_size: rows in one forward pass.
        progress: as for :func:`layerzoo.extract`.
        settings: parameters of the estimator of sequences, such as ``{"epochs": 60}``.
        **extraction: ``layer``, ``pool``, ``temporal_pool``, ``weights``, ``precision``, ``chunks``, ``overlap``,
            ``normalize``, ``special_tokens``, ``prompt``, ``decode``, ``sampling``, ``start_s``, ``end_s``, ``clips``,
            ``window`` and ``hop``, as for :func:`layerzoo.extract`. The windows of a recording are one sequence; a
            linear head needs a ``temporal_pool`` for them.
    Returns: the head, fitted on all samples, and the features. Its ``score`` has ``metric`` (``accuracy`` or ``R²``),
        ``mean`` and ``std`` over the folds (divided by their number less one), ``folds``, ``samples``, ``groups``, and
        for classes ``chance``, the share of the most frequent class. It is empty if there are too few samples for two
        folds.
    Raises: the errors of :func:`layerzoo.extract`; InputError for labels that do not fit; UsageError.
    """
    if unknown := sorted(set(extraction) - set(_KEPT)):
        raise UsageError(f"{', '.join(unknown)}: a head keeps only the arguments {', '.join(_KEPT)}")
    if task not in ("auto", "classify", "regress"):
        raise UsageError(f"task={task!r} is not one of auto, classify, regress")
    if sequence is not None and sequence not in NETWORKS:
        raise UsageError(f"sequence={sequence!r} is not one of {', '.join(NETWORKS)}")
    backbone, arguments = _loaded(model, sequence, device, extraction)
    samples, values, features = _extracted(
        backbone, inputs, column, errors, {**arguments, "batch_size": batch_size, "progress": progress}
    )
    if not samples:
        raise InputError(f"none of the {len(features.errors)} samples could be used, such as {features.errors[0]}")
    ids = [sample.id for sample in samples]
    sample_labels = labels(ids) if callable(labels) else _labels_of_caller(ids, features.errors, labels, groups)
    labelled_samples = [samples[row] for row in sample_labels.rows]
    joined, note = groups_with_duplicates(labelled_samples, sample_labels.groups or None, sample_labels.values)
    if note is not None:
        logging.getLogger("layerzoo").warning("%s", note)
    values = values[list(sample_labels.rows)]
    resolved_task = _resolve_task(sample_labels.values, task)
    targets = _targets(sample_labels.values, resolved_task, [sample.id for sample in labelled_samples])
    estimator = _estimator(sequence, resolved_task, seed, device, settings or {})
    score = _cross_validated(
        estimator, values, targets, () if joined is None else joined.tolist(), resolved_task, folds, seed
    )
    with _without_warnings_of_sklearn():
        fitted = LinearHead.fit(values, targets, resolved_task) if sequence is None else estimator.fit(values, targets)
    stored = {name: value for name, value in arguments.items() if value is not None}
    for name in ("weights", "precision"):
        if extraction.get(name) is not None:
            stored[name] = os.fspath(extraction[name])
    stored["layer"] = list(features.layers)
    stored["pool"] = dict(features.provenance["pooling"])
    return TrainedHead(backbone.spec.id, stored, fitted, resolved_task, score, features.provenance), features


def _loaded(
    model: str, sequence: str | None, device: str, extraction: Mapping[str, Any]
) -> tuple[Backbone, dict[str, Any]]:
    """Load a backbone, and return the arguments of its extraction."""
    of_load = {name: extraction[name] for name in ("layer", "weights", "precision") if extraction.get(name) is not None}
    arguments = {name: value for name, value in extraction.items() if name not in ("layer", "weights", "precision")}
    temporal_pool, pool = arguments.pop("temporal_pool", None), arguments.pop("pool", None)
    backbone = load(model, **of_load, device=device, **({} if pool is None else {"pool": pool}))
    if sequence is None:
        if temporal_pool == "none" or "none" in backbone.pools.values():
            raise UsageError(
                "a linear head takes one vector of each sample: choose a network with sequence=, or a pooling"
            )
        if arguments.get("window") is not None and temporal_pool is None:
            raise UsageError(
                "window= gives a vector of each window, and a linear head takes one of each sample: choose a network "
                "with sequence=, or a temporal_pool="
            )
        return backbone, {**arguments, "temporal_pool": temporal_pool}
    if temporal_pool not in (None, "none"):
        raise UsageError(
            f"temporal_pool={temporal_pool!r} pools the sequence that sequence={sequence!r} reads: leave out one"
        )
    if len(backbone.layers) > 1:
        raise UsageError(
            f"sequence={sequence!r} reads the sequence of one layer, and {len(backbone.layers)} are chosen"
        )
    is_split = arguments.get("chunks") or arguments.get("window") is not None
    if temporal_pool == "none" or backbone.preprocess.rows_are_samples or is_split:
        return backbone, {**arguments, "temporal_pool": "none"}
    layer = backbone.layers[0]
    axes = [axis for axis in layer.axes or () if axis != "batch"]
    if len(axes) != 2 or axes[1] != "channel":
        raise UsageError(
            f"{backbone.spec.id}, layer {layer.name}: its axes are '{' '.join(layer.axes or ('unknown',))}', and "
            f"sequence={sequence!r} reads (time, channel). Next: another layer, or no sequence="
        )
    return backbone, {**arguments, "pool": "none"}


def _extracted(
    backbone: Backbone,
    inputs: Any,
    column: str | None,
    errors: Literal["raise", "skip"],
    arguments: Mapping[str, Any],
) -> tuple[list[Sample], NDArray[Any], Features]:
    """Extract features, and return them with the samples, whose contents are compared with each other.

    Args:
        backbone: reads the layers.
        inputs: as for :func:`layerzoo.extract`.
        column: the column of a table that holds the samples.
        errors: ``raise`` or ``skip``.
        arguments: further arguments of :func:`layerzoo.extract`.
    Returns: the samples that have features, the input of a head for each of them, and the features.
    Raises: the errors of :func:`layerzoo.extract`.
    """
    found_samples, failed, passed_over = list_samples(backbone.preprocess, inputs, column, errors)
    if failed and not found_samples:
        raise failed[0]
    numbers = [str(number) for number in range(len(found_samples))]  # ids of a table may occur several times
    try:
        features = extract(
            backbone, [sample.source for sample in found_samples], ids=numbers, errors=errors, **arguments
        )
    except SampleError as error:
        raise numbered_error(error, found_samples) from error.__cause__
    rows, values = head_input(features)
    features = replace(
        features,
        ids=tuple(found_samples[int(number)].id for number in features.ids),
        errors=(*failed, *(numbered_error(error, found_samples) for error in features.errors)),
        passed_over=(*passed_over, *features.passed_over),
    )
    return [found_samples[int(number)] for number in rows], values, features


def _labels_of_caller(
    ids: Sequence[str], errors: Sequence[SampleError], labels: Sequence[str | float], groups: Sequence[str] | None
) -> Labels:
    """Return the labels of a caller. Raises: InputError for another number of labels than samples."""
    for name, values in (("labels", labels), ("groups", groups)):
        if values is not None and len(values) != len(ids):
            failed = f", and {len(errors)} failed" if errors else ""
            raise InputError(f"{len(values)} {name} for {len(ids)} samples{failed}")
    return Labels(tuple(range(len(labels))), tuple(labels), tuple(groups or ()))


@contextmanager
def _without_warnings_of_sklearn() -> Iterator[None]:
    """Hide warnings that name no sample and no option, such as that a class is rare."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="sklearn")
        yield


def _resolve_task(values: Sequence[str | float], task: Literal["auto", "classify", "regress"]) -> Task:
    """Return the task of some labels. Raises: InputError for several labels of a sample."""
    if task != "auto":
        return task
    inferred = inferred_task(values)
    if inferred == "multilabel":
        raise InputError(
            "a head predicts one label of a sample, and these labels are lists. Next: a head for each label"
        )
    return inferred


def _targets(values: Sequence[str | float], task: Task, ids: Sequence[str]) -> NDArray[Any]:
    """Return labels as an array. Raises: InputError."""
    if task == "regress":
        return numbers_of(values, ids)
    labels = np.array([str(value) for value in values])
    if len(set(labels.tolist())) < 2:
        raise InputError(f"all {len(labels)} samples have the label {values[0]!r}, and a classifier needs two classes")
    return labels


def _estimator(sequence: NetworkName | None, task: Task, seed: int, device: str, settings: Mapping[str, Any]) -> Any:
    if sequence is None:
        return linear_estimator(task)
    kind = SequenceClassifier if task == "classify" else SequenceRegressor
    return kind(sequence, random_state=seed, device=device, **settings)


def _cross_validated(
    estimator: Any,
    values: NDArray[Any],
    targets: NDArray[Any],
    groups: Sequence[Any],
    task: Task,
    folds: int,
    seed: int,
) -> dict[str, Any]:
    """Return the score of an estimator: see :func:`train_head`. Empty where there are too few samples for two folds."""
    folds = min(folds, most_folds(task, targets, groups or None))
    if folds < 2:
        return {}
    kind = kind_of_folds(task, are_grouped=bool(groups))
    is_shuffled = task == "classify" or not groups
    cv = kind(folds, shuffle=True, random_state=seed) if is_shuffled else kind(folds)
    scoring = "accuracy" if task == "classify" else "r2"
    with _without_warnings_of_sklearn():
        scores = cross_val_score(
            estimator, values, targets, groups=list(groups) or None, cv=cv, scoring=scoring, error_score="raise"
        )
    if not np.isfinite(scores).all():  # R² of a fold with one sample
        return {}
    result: dict[str, Any] = {
        "metric": METRICS[task],
        "mean": float(scores.mean()),
        "std": float(scores.std(ddof=1)),
        "folds": folds,
        "samples": len(targets),
        "groups": len(set(groups)) or None,
    }
    if task == "classify":
        result["chance"] = max(Counter(targets.tolist()).values()) / len(targets)
    return result
