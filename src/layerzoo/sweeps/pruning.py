"""Leave out candidates by an estimate, before any is measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from layerzoo.sweeps.candidates import Candidate
from layerzoo.sweeps.estimates import log_me, outputs_of
from layerzoo.sweeps.evaluation import Plan


def promising(plan: Plan, candidates: Sequence[Candidate], *, most: int, rows: int, seed: int) -> NDArray[np.bool_]:
    """Choose the candidates with the highest LogME in each outer fold, from its rows to fit on.

    Args:
        plan: the folds.
        candidates: all of them.
        most: the number of candidates in a fold. Default layers, and those without an estimate, are chosen in addition.
        rows: of a fold, from which LogME is computed, at most.
        seed: of the choice of these rows.
    Returns: (outer fold, candidate) whether it is chosen. All are for several labels, which have no estimate.
    """
    is_chosen = np.ones((len(plan.outer), len(candidates)), bool)
    estimated = [number for number, candidate in enumerate(candidates) if not candidate.source.reduce]
    if plan.task == "multilabel" or len(estimated) <= most:
        return is_chosen
    random = np.random.default_rng(seed)
    for fold, (fit, _) in enumerate(plan.outer):
        some = np.sort(random.permutation(fit)[:rows])
        outputs = outputs_of(plan.targets[some], plan.task)
        evidence = [log_me(candidates[number].matrix()[some], outputs) for number in estimated]
        for position in np.argsort(evidence)[:-most]:
            number = estimated[position]
            is_chosen[fold, number] = candidates[number].is_default
    return is_chosen
