"""Models of sequences: estimators of scikit-learn over the frames of videos, windows of audio or chunks of texts.

``layerzoo.extract(…, temporal_pool="none")`` returns such sequences, and ``docs/sequences.md`` shows a whole task. The
estimators require the extra ``layerzoo[sequence]``; :func:`pool_sequence` requires numpy only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerzoo.sequence.estimators import SequenceClassifier, SequenceRegressor
    from layerzoo.sequence.pooler import TemporalPooler
    from layerzoo.temporal import pool_sequence

__all__ = ["SequenceClassifier", "SequenceRegressor", "TemporalPooler", "pool_sequence"]

_HOMES = {
    "SequenceClassifier": "layerzoo.sequence.estimators",
    "SequenceRegressor": "layerzoo.sequence.estimators",
    "TemporalPooler": "layerzoo.sequence.pooler",
    "pool_sequence": "layerzoo.temporal",
}

if not TYPE_CHECKING:  # a type checker that saw it would take any name for one of this module's

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from layerzoo.extras import needs

        with needs("sequence"):
            return getattr(import_module(_HOMES[name]), name)
