"""Heads: small models on the features of a backbone, trained with labels and kept in one file.

``train_head`` extracts features, cross-validates and fits a head; ``TrainedHead.load(PATH).predict(INPUTS)`` uses it.
Both require scikit-learn; heads over sequences are trained with the extra ``layerzoo[sequence]``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerzoo.heads.head import Prediction, TrainedHead
    from layerzoo.heads.labels import Labels, labels_of_folders, read_labels
    from layerzoo.heads.linear import LinearHead
    from layerzoo.heads.training import train_head

__all__ = ["Labels", "LinearHead", "Prediction", "TrainedHead", "labels_of_folders", "read_labels", "train_head"]

_HOMES = {
    "layerzoo.heads.head": ("Prediction", "TrainedHead"),
    "layerzoo.heads.labels": ("Labels", "labels_of_folders", "read_labels"),
    "layerzoo.heads.linear": ("LinearHead",),
    "layerzoo.heads.training": ("train_head",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

if not TYPE_CHECKING:  # a type checker that saw it would take any name for one of this module's

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from layerzoo.extras import needs

        with needs("sequence"):
            return getattr(import_module(_HOME_OF[name]), name)
