"""The conclusions of a sweep from the measured candidates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from layerzoo.sweeps.candidates import Candidate
from layerzoo.sweeps.estimates import linear_cka
from layerzoo.sweeps.evaluation import Measured, Plan
from layerzoo.sweeps.labelled import LabelledData
from layerzoo.sweeps.previews import Preview
from layerzoo.sweeps.result import SweepDetails, SweepRow

_RANKED = 5
"""The fewest candidates for a rank correlation: those of four have too few orders to say anything."""
_SIMILAR_ROWS = 2_000
"""Rows for the similarity of layers."""


def row_of(candidate: Candidate, measured: Measured, guess: Mapping[str, float]) -> SweepRow:
    """Return the row of a candidate.

    Args:
        candidate: the candidate.
        measured: its scores.
        guess: its estimates.
    """
    matrix = candidate.source.matrices[0]
    width = sum(matrix.shape[1] for matrix in candidate.source.matrices)
    constant = 0 if candidate.source.reduce else int((np.ptp(matrix, axis=0) == 0).sum())
    notes = (f"{constant} of {width} features are constant",) if constant else ()
    return SweepRow(
        model=candidate.model,
        layer=candidate.layer,
        pool=candidate.pool,
        layers=candidate.layers,
        score=measured.mean,
        spread=measured.std,
        scores=tuple(measured.scores.tolist()),
        width=width,
        is_default=candidate.is_default,
        estimates=dict(guess),
        notes=notes,
        **candidate.facts,
    )


def cheapest(candidates: Sequence[Candidate], measured: Sequence[Measured], least: float) -> int:
    """Return the candidate with the fewest FLOPs of those with at least a score; of equal ones, the best.

    Args:
        candidates: all of them.
        measured: the scores of each.
        least: the lowest score.
    Returns: its number.
    """
    eligible = [number for number, result in enumerate(measured) if result.mean >= least]
    return min(
        eligible,
        key=lambda number: (
            math.inf if (flops := candidates[number].facts.get("flops")) is None else flops,
            len(candidates[number].layers),
            -measured[number].mean,
        ),
    )


def selection_counts(candidates: Sequence[Candidate], numbers: Sequence[int]) -> dict[str, int]:
    """Return in how many folds each candidate was selected, by its name.

    Args:
        candidates: all of them.
        numbers: the number of the selected candidate in each fold.
    """
    names = [f"{candidates[number].model} {candidates[number].layer} {candidates[number].pool}" for number in numbers]
    return dict(Counter(names).most_common())


def rank_correlation(rows: Sequence[SweepRow]) -> dict[str, float]:
    """Return Spearman's rank correlation of each estimate with the score; empty for fewer than five candidates.

    Args:
        rows: the candidates.
    """
    correlations = {}
    for name in ("logme", "h_score", "nearest_centroid"):
        pairs = [(row.estimates[name], row.score) for row in rows if name in row.estimates]
        if len(pairs) >= _RANKED and all(len(set(side)) > 1 for side in zip(*pairs, strict=True)):
            correlations[name] = round(float(spearmanr(*zip(*pairs, strict=True)).statistic), 4)
    return correlations


def details_of(
    data: LabelledData,
    plan: Plan | None,
    selected: Measured,
    candidates: Sequence[Candidate],
    best: int,
    small: Sequence[Preview],
) -> SweepDetails:
    """Return the details of the samples for a report.

    Args:
        data: the samples.
        plan: the folds; None for a clustering.
        selected: the predictions of the layers that were selected inside the folds; the clusters of the best candidate.
        candidates: all of them.
        best: the number of the best one.
        small: a preview of each sample.
    """
    targets, predictions = data.targets.values, None
    confidence: NDArray[np.float64] | None = None
    if plan is None:
        targets = targets if len(targets) else selected.predictions[0]
    else:
        predictions = np.zeros_like(targets, dtype=float if plan.task == "regress" else None)
        for (_, score), part in zip(plan.outer[: plan.folds], selected.predictions, strict=False):
            predictions[score] = part
        if selected.confidence:
            confidence = np.zeros(len(targets))
            for (_, score), part in zip(plan.outer[: plan.folds], selected.confidence, strict=False):
                confidence[score] = part
    layers = [
        candidate
        for candidate in candidates
        if candidate.model == candidates[best].model and len(candidate.layers) == 1
    ]
    rows = np.linspace(0, len(data.samples) - 1, min(len(data.samples), _SIMILAR_ROWS)).astype(int)
    similarity = linear_cka([layer.matrix()[rows] for layer in layers])
    return SweepDetails(
        ids=tuple(sample.id for sample in data.samples),
        targets=targets,
        predictions=predictions,
        features=candidates[best].matrix(),
        confidence=confidence,
        previews=small,
        similarity=similarity,
        similar=tuple(f"{layer.layer} {layer.pool}" for layer in layers),
    )
