"""The example on order: a mean over time is at chance, and what respects order is not."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerzoo.sequence import SequenceClassifier, TemporalPooler

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))


def test_the_direction_of_a_zoom_is_only_in_the_order_of_its_frames() -> None:
    from order import task

    sequences, labels, groups = task("zoom", count=20, clips=1, frames=5)

    def accuracy(model: object) -> float:
        return float(cross_val_score(model, sequences, labels, groups=groups, cv=GroupKFold(5)).mean())

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pooled = {
        pool: accuracy(make_pipeline(TemporalPooler(pool), StandardScaler(), LogisticRegression()))
        for pool in ("mean", "delta")
    }
    gru = accuracy(SequenceClassifier(center=True, random_state=0))
    torch.set_num_threads(threads)
    assert pooled["mean"] == 0.5
    assert pooled["delta"] >= 0.8
    assert gru >= 0.8
    backwards = [sequence[::-1] for sequence in sequences]
    assert np.allclose(np.mean(sequences[0], axis=0), np.mean(backwards[0], axis=0), atol=1e-6)
