"""A trained head with the settings of its backbone: from an input to a prediction."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import UsageError
from layerzoo.features import Features
from layerzoo.features.features import ragged
from layerzoo.features.origin import joined_provenance
from layerzoo.heads.linear import LinearHead, Task
from layerzoo.progress import ProgressChoice
from layerzoo.sequence.estimators import SequenceClassifier, SequenceRegressor
from layerzoo.sequence.storage import read_model, write_model

KIND = "head"
_KINDS: dict[str, Any] = {
    "linear": LinearHead,
    "SequenceClassifier": SequenceClassifier,
    "SequenceRegressor": SequenceRegressor,
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction of a head for one sample."""

    id: str
    """The id of the sample."""
    label: str | float
    """The most probable class, or the number of a regressor."""
    probabilities: Mapping[str, float] = field(default_factory=dict)
    """The probability of each class; empty for a regressor."""


@dataclass(frozen=True, slots=True, eq=False)
class TrainedHead:
    """A model on the features of a backbone, with everything that is needed to use it on new inputs."""

    model: str
    """The id of the backbone."""
    extraction: Mapping[str, Any]
    """Arguments of :func:`layerzoo.extract`: layer, pool, temporal_pool and others."""
    estimator: LinearHead | SequenceClassifier | SequenceRegressor
    """The fitted model."""
    task: Task
    score: Mapping[str, Any] = field(default_factory=dict)
    """The cross-validated score: see :func:`layerzoo.heads.train_head`."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """That of the features that the head was fitted on."""

    def predict(
        self,
        inputs: Any,
        *,
        device: str = "cpu",
        errors: Literal["raise", "skip"] = "raise",
        column: str | None = None,
        progress: ProgressChoice = None,
    ) -> tuple[list[Prediction], Features]:
        """Predict the labels of new inputs.

        Args:
            inputs: as for :func:`layerzoo.extract`.
            device: a torch device for the backbone.
            errors: ``"raise"`` stops at the first sample that fails; ``"skip"`` continues.
            column: the column of a table that holds the samples.
            progress: as for :func:`layerzoo.extract`.
        Returns: a prediction for each sample, in the order of the inputs; and the features, whose ``errors`` are the
            samples that failed.
        Raises: the errors of :func:`layerzoo.extract`; UsageError where the backbone now has other weights.
        """
        from layerzoo.runtime import extract

        features = extract(
            self.model, inputs, **self.extraction, device=device, errors=errors, column=column, progress=progress
        )
        return self.predict_features(features), features

    def predict_features(self, features: Features) -> list[Prediction]:
        """Predict the labels of samples from their features.

        Args:
            features: extracted with :attr:`extraction`.
        Raises: UsageError for features of another model, layer, pooling or checkpoint.
        """
        joined_provenance(self.provenance, features.provenance)
        ids, values = head_input(features)
        if not ids:
            return []
        labels = self.estimator.predict(values)
        rows = self.estimator.predict_proba(values) if self.task == "classify" else [()] * len(labels)
        return [
            Prediction(sample, label, dict(zip(map(str, self.classes), map(float, row), strict=True)))
            for sample, label, row in zip(ids, labels.tolist(), rows, strict=True)
        ]

    @property
    def classes(self) -> Sequence[Any]:
        """The labels of a classifier; empty for a regressor."""
        if self.task == "regress":
            return []
        classes = self.estimator.classes if isinstance(self.estimator, LinearHead) else self.estimator.classes_
        labels: list[Any] = np.asarray(classes).tolist()
        return labels

    @property
    def kind(self) -> str:
        """``linear``, or the network of a sequence model: ``gru``, ``conv`` or ``transformer``."""
        return "linear" if isinstance(self.estimator, LinearHead) else str(self.estimator.network)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the head to one file: its numbers as safetensors, everything else as JSON in the file's metadata.

        Args:
            path: the file to write.
        Raises: OutputError.
        """
        class_name = next(name for name, kind in _KINDS.items() if isinstance(self.estimator, kind))
        facts = {
            "model": self.model,
            "extraction": dict(self.extraction),
            "task": self.task,
            "score": dict(self.score),
            "provenance": dict(self.provenance),
            "estimator": {"class": class_name, **self.estimator.to_plain()},
        }
        write_model(path, KIND, facts, self.estimator.to_arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "cpu") -> Self:
        """Read a head that :meth:`save` wrote. No code of the file is run.

        Args:
            path: the file.
            device: a torch device for the head.
        Raises: InputError.
        """
        facts, arrays = read_model(path, KIND)
        estimator_fields = facts["estimator"]
        estimator = _KINDS[estimator_fields["class"]].from_plain(estimator_fields, arrays, device=device)
        return cls(facts["model"], facts["extraction"], estimator, facts["task"], facts["score"], facts["provenance"])

    def __repr__(self) -> str:
        score = f": {self.score['metric']} {self.score['mean']:.3f}" if self.score else ""
        return f"<TrainedHead {self.kind} on {self.model}{score}>"


def head_input(features: Features) -> tuple[Sequence[str], NDArray[Any]]:
    """Return the ids of the samples, and the input of a head.

    The input is the sequence of the only layer, or the vectors of all layers side by side. Of recordings that were cut
    into windows, it is the sequence of the windows; a recording of which a window failed is left out.

    Raises: UsageError for layers that are neither vectors nor sequences of vectors.
    """
    if not len(features):
        return (), np.empty(0)
    windows = features.provenance.get("windows")
    if windows is not None and windows["temporal_pool"] == "none":
        return _recordings(features)
    arrays: Iterable[NDArray[Any]] = features.by_layer.values()
    if all(array.ndim == 2 for array in arrays):
        return features.ids, features.concat()
    values = features.values
    samples = list(values)
    if any(sample.ndim != 2 for sample in samples):
        raise UsageError(
            f"a head takes vectors, or sequences (time, channel), and these samples have the shape {samples[0].shape}. "
            "Next: choose another pool="
        )
    return features.ids, ragged(samples)


def _recordings(features: Features) -> tuple[Sequence[str], NDArray[Any]]:
    """Return the windows of each recording as a sequence."""
    windows: dict[str, list[int]] = {}
    for row, sample in enumerate(features.ids):
        windows.setdefault(sample, []).append(row)
    for failed in features.errors:
        windows.pop(failed.id, None)
    values = features.values
    if values.ndim != 2:
        raise UsageError("a head takes one vector of each window: choose another pool=")
    return tuple(windows), ragged([values[rows] for rows in windows.values()])
