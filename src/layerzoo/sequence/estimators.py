"""Estimators of scikit-learn that learn from sequences of vectors."""

from __future__ import annotations

import os
import warnings
from abc import abstractmethod
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit, StratifiedGroupKFold, StratifiedShuffleSplit
from sklearn.utils import Tags, check_random_state, compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data
from torch import Tensor
from torch.nn import functional

from layerzoo.errors import SequenceDataError, UsageError
from layerzoo.extras import needs
from layerzoo.progress import ProgressChoice, metered
from layerzoo.sequence.data import SequenceArray, as_sequences, single_steps
from layerzoo.sequence.networks import NETWORKS, NetworkName, make_network, ready, run
from layerzoo.sequence.storage import labels_from_plain, plain_labels, read_model, write_model

if TYPE_CHECKING:
    from layerzoo.sequence.training import TrainingData

_NOT_STORED = {"class_weight", "device", "progress"}
"""Parameters that a saved estimator does not keep."""


@dataclass(eq=False, repr=False)
class _SequenceEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """The common part of the classifier and the regressor."""

    network: NetworkName = "gru"
    _: KW_ONLY
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.1
    center: bool = False
    epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1e-4
    early_stopping: bool = False
    validation_fraction: float = 0.2
    patience: int = 8
    random_state: int | np.random.RandomState | None = None
    device: str = "cpu"
    progress: ProgressChoice = None

    def _fit(
        self, sequences: SequenceArray, targets: NDArray[Any], weights: NDArray[Any], strata: Any, groups: Any
    ) -> Self:
        """Train the network. strata: the labels by which the validation samples are stratified, or None."""
        with needs("sequence"):  # a trained estimator predicts without skorch
            from layerzoo.sequence.training import TrainingData, TrainingSettings, train

        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.n_features_in_ = sequences[0].shape[1]
        self._outputs = self._output_count(targets)
        data = TrainingData(sequences, targets, weights.astype(np.float32))
        training, validation = self._split(data, strata, groups, seed)
        settings = TrainingSettings(
            network=self._network_arguments(),
            loss=self._loss,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
            seed=seed,
            device=str(self.device),
        )
        with metered(self.progress, unit="epochs", label=type(self).__name__, total=self.epochs) as meter:
            trained = train(settings, training, validation, meter)
        self.network_, self.losses_ = trained.network, trained.losses
        self.n_iter_, self.interrupted_ = len(trained.losses), trained.is_interrupted
        if self.interrupted_:
            warnings.warn(
                f"the training was interrupted after {self.n_iter_} of {self.epochs} epochs; the estimator is what was "
                "learned until then",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _network_arguments(self) -> dict[str, Any]:
        if self.network not in NETWORKS:
            raise UsageError(f"network={self.network!r} is not one of {', '.join(NETWORKS)}")
        return {
            "name": self.network, "channels": self.n_features_in_, "hidden": self.hidden, "outputs": self._outputs,
            "dropout": self.dropout, "layers": self.layers,
            "center": self.center,
        }  # fmt: skip

    def _split(
        self, data: TrainingData, strata: Any, groups: Any, seed: int
    ) -> tuple[TrainingData, TrainingData | None]:
        """Divide samples into those to learn from and those that decide when the training ends."""
        if not self.early_stopping:
            return data, None
        count, fraction = len(data.sequences), self.validation_fraction
        try:
            rows, held_out = next(_splitter(strata, groups, fraction, seed).split(np.empty(count), strata, groups))
        except ValueError as error:
            raise SequenceDataError(
                f"early_stopping=True holds out validation_fraction={fraction} of {count} samples, and that is not "
                f"possible: {error}. Next: early_stopping=False, or more samples of each class and group"
            ) from error
        return data.taken(rows), data.taken(held_out)

    def _outputs_of(self, X: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        return run(self.network_, self._sequences(X, reset=False))

    def _sequences(self, X: Any, *, reset: bool) -> SequenceArray:
        """Return the sequences of some samples. Rows of an array of two axes are sequences of one vector."""
        sequences = as_sequences(X)
        if sequences is None:
            matrix = validate_data(self, X, reset=reset, dtype=[np.float64, np.float32])
            sequences = single_steps(matrix)
            if not all(np.isfinite(sequence).all() for sequence in sequences):
                raise SequenceDataError("the input holds values that are too large for float32")
        elif not reset and (width := sequences[0].shape[1]) != self.n_features_in_:
            raise SequenceDataError(
                f"these sequences have {width} channels, and {type(self).__name__} was fitted on {self.n_features_in_}"
            )
        return sequences

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted estimator to a safetensors file, with its settings as JSON in the file's metadata.

        Args:
            path: the file to write.
        Raises: OutputError; NotFittedError of scikit-learn; TypeError for labels that JSON cannot hold.
        """
        check_is_fitted(self)
        write_model(path, type(self).__name__, self.to_plain(), self.to_arrays())

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str = "cpu") -> Self:
        """Read an estimator that :meth:`save` wrote. No code of the file is run.

        Args:
            path: the file.
            device: the torch device of its network.
        Raises: InputError.
        """
        return cls.from_plain(*read_model(path, cls.__name__), device=device)

    def to_plain(self) -> dict[str, Any]:
        """Return the settings of the fitted estimator as JSON-able data."""
        settings = {name: value for name, value in self.get_params(deep=False).items() if name not in _NOT_STORED}
        if not isinstance(settings["random_state"], int | None):
            settings["random_state"] = None
        arguments = {name: value for name, value in self._network_arguments().items() if name != "name"}
        return {"settings": settings, "network": arguments, "losses": self.losses_, "fitted": self._fitted_facts()}

    def to_arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights of the network, by name."""
        return {name: tensor.float().cpu().numpy() for name, tensor in self.network_.state_dict().items()}

    @classmethod
    def from_plain(cls, facts: dict[str, Any], arrays: dict[str, NDArray[Any]], *, device: str = "cpu") -> Self:
        """Return the estimator of :meth:`to_plain` and :meth:`to_arrays`."""
        self = cls(**facts["settings"], device=device)
        self.n_features_in_, self._outputs = facts["network"]["channels"], facts["network"]["outputs"]
        self._restore(facts["fitted"])
        network = make_network(**self._network_arguments())
        network.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
        self.network_ = ready(network.to(device))
        self.losses_, self.interrupted_ = facts["losses"], False
        self.n_iter_ = len(self.losses_)
        return self

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = False
        return tags

    @abstractmethod
    def _output_count(self, targets: NDArray[Any]) -> int:
        """Return the number of outputs of the network."""

    @abstractmethod
    def _loss(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Return the loss of each sample."""

    @abstractmethod
    def _fitted_facts(self) -> dict[str, Any]:
        """Return what was learned from the targets, as JSON-able data."""

    @abstractmethod
    def _restore(self, facts: dict[str, Any]) -> None:
        """Set what :meth:`_fitted_facts` returned."""


def _splitter(strata: Any, groups: Any, fraction: float, seed: int) -> Any:
    """Return a splitter of scikit-learn: no group is on both sides, and the classes have the same shares."""
    if groups is not None:
        if strata is None:
            return GroupShuffleSplit(1, test_size=fraction, random_state=seed)
        return StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=seed)
    kind = ShuffleSplit if strata is None else StratifiedShuffleSplit
    return kind(1, test_size=fraction, random_state=seed)


@dataclass(eq=False, repr=False)
class SequenceClassifier(ClassifierMixin, _SequenceEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A classifier of sequences: a small network over the vectors of each sample, in their order.

    Sequences may differ in length. Padding changes no prediction: a sequence alone has the same as in any batch. Each
    channel is standardized with its mean and standard deviation over the training data.

    Parameters:
        network: ``gru``, a gated recurrent unit; ``conv``, residual convolutions over time; or ``transformer``, a small
            transformer encoder.
        hidden: the width of its state.
        layers: the number of its layers.
        dropout: the share of values that are set to zero while training, 0 to 1.
        center: whether to subtract the mean over time of each sequence. The network then reads only changes, which it
            learns from fewer samples where the content of a sequence says nothing about its label.
        epochs: the number of passes over the training data, at most.
        batch_size: sequences per training step.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        early_stopping: whether to hold out some samples, stratified by class and grouped, and to stop when their loss
            no longer falls. The network of the best epoch is kept.
        validation_fraction: the share of samples that early stopping holds out.
        patience: the number of epochs without a lower loss after which training stops early.
        class_weight: weights by class, ``"balanced"``, or None.
        random_state: the seed. None: another one at each call.
        device: a torch device: cpu, cuda, mps.
        progress: True for a bar of epochs, or as in :func:`layerzoo.extract`.

    Ctrl-C during ``fit`` ends the training with a warning, and keeps what was learned in the finished epochs.

    >>> rising, falling = [[0.0], [1.0], [2.0]], [[2.0], [1.0], [0.0]]
    >>> model = SequenceClassifier(random_state=0).fit([rising, falling] * 4, ["up", "down"] * 4)
    >>> model.predict([[[0.5], [1.0], [1.5], [2.0]]]).tolist()
    ['up']
    """

    _: KW_ONLY
    class_weight: dict[Any, float] | Literal["balanced"] | None = None

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Self:
        """Learn from labelled sequences.

        Args:
            X: a list or object array of arrays (time, channel); an array (sample, time, channel); or
                :class:`layerzoo.Features` of one layer, extracted with ``temporal_pool="none"``. An array (sample,
                channel) holds sequences of one vector.
            y: (sample,) labels, or (sample, label) zeros and ones for several labels of each sample.
            sample_weight: (sample,) weights in the loss. None: all equal.
            groups: (sample,) names of sources. Early stopping holds out whole groups.
        Raises: SequenceDataError, a ValueError, for unusable sequences, labels or weights.
        """
        sequences = self._sequences(X, reset=True)
        target = _checked_target(y, len(sequences), multi="binary")
        check_classification_targets(target)
        self._is_multilabel = type_of_target(target) == "multilabel-indicator"
        targets: NDArray[Any]
        if self._is_multilabel:
            self.classes_, targets = np.arange(target.shape[1]), target.astype(np.float32)
        else:
            self.classes_, targets = np.unique(np.ravel(target), return_inverse=True)
            if len(self.classes_) < 2:
                raise SequenceDataError("a classifier needs at least two classes, and y has one class")
        weights = _check_sample_weight(sample_weight, np.empty((len(sequences), 1)))
        if self.class_weight is not None:
            weights = weights * compute_sample_weight(self.class_weight, target)
        return self._fit(sequences, targets, weights, None if self._is_multilabel else targets, groups)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (sample, class) probabilities, in the order of ``classes_``; for several labels that of each label.

        Args:
            X: see :meth:`fit`.
        """
        outputs = torch.from_numpy(self._outputs_of(X))
        probabilities = outputs.sigmoid() if self._is_multilabel else outputs.softmax(1)
        return probabilities.numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (sample,) labels, or (sample, label) zeros and ones.

        Args:
            X: see :meth:`fit`.
        """
        outputs = self._outputs_of(X)
        if self._is_multilabel:
            return (outputs > 0).astype(int)
        labels: NDArray[Any] = self.classes_[outputs.argmax(axis=1)]
        return labels

    def _output_count(self, targets: NDArray[Any]) -> int:
        return len(self.classes_)

    def _loss(self, predicted: Tensor, target: Tensor) -> Tensor:
        if self._is_multilabel:
            return functional.binary_cross_entropy_with_logits(predicted, target, reduction="none").mean(1)
        return functional.cross_entropy(predicted, target, reduction="none")

    def _fitted_facts(self) -> dict[str, Any]:
        return {"classes": plain_labels(self.classes_), "multilabel": bool(self._is_multilabel)}

    def _restore(self, facts: dict[str, Any]) -> None:
        self.classes_, self._is_multilabel = labels_from_plain(facts["classes"]), facts["multilabel"]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class SequenceRegressor(RegressorMixin, _SequenceEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A regressor of sequences: a small network over the vectors of each sample, in their order.

    The parameters are those of :class:`SequenceClassifier`, without ``class_weight``. Targets are standardized for
    training.

    >>> import numpy as np
    >>> sequences = [np.linspace(0, end, 4)[:, None] for end in range(8)]
    >>> model = SequenceRegressor(random_state=0).fit(sequences, range(8))
    >>> model.predict(sequences).shape
    (8,)
    """

    def fit(
        self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> Self:
        """Learn from sequences with numbers.

        Args:
            X: see :meth:`SequenceClassifier.fit`.
            y: (sample,) or (sample, output) numbers.
            sample_weight: (sample,) weights in the loss. None: all equal.
            groups: (sample,) names of sources. Early stopping holds out whole groups.
        Raises: SequenceDataError, a ValueError, for unusable sequences, targets or weights.
        """
        sequences = self._sequences(X, reset=True)
        target = _checked_target(y, len(sequences), multi="numeric").astype(np.float64)
        weights = _check_sample_weight(sample_weight, np.empty((len(sequences), 1)))
        self._is_vector = target.ndim == 1
        targets = target.reshape(len(target), -1)
        deviation = targets.std(axis=0)
        self._target_mean, self._target_scale = targets.mean(axis=0), np.where(deviation > 0, deviation, 1)
        scaled = ((targets - self._target_mean) / self._target_scale).astype(np.float32)
        return self._fit(sequences, scaled, weights, None, groups)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return (sample,) or (sample, output) numbers.

        Args:
            X: see :meth:`SequenceClassifier.fit`.
        """
        outputs: NDArray[np.float64] = self._outputs_of(X) * self._target_scale + self._target_mean
        return outputs[:, 0] if self._is_vector else outputs

    def _output_count(self, targets: NDArray[Any]) -> int:
        return int(targets.shape[1])

    def _loss(self, predicted: Tensor, target: Tensor) -> Tensor:
        return (predicted - target).square().mean(1)

    def _fitted_facts(self) -> dict[str, Any]:
        return {
            "mean": self._target_mean.tolist(),
            "scale": self._target_scale.tolist(),
            "vector": bool(self._is_vector),
        }

    def _restore(self, facts: dict[str, Any]) -> None:
        self._target_mean, self._target_scale = np.array(facts["mean"]), np.array(facts["scale"])
        self._is_vector = facts["vector"]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _checked_target(y: Any, count: int, *, multi: Literal["binary", "numeric"]) -> NDArray[Any]:
    """Return targets as an array. Raises: SequenceDataError for another number of samples."""
    if y is None:
        raise SequenceDataError("requires y to be passed, but the target y is None")
    array: NDArray[Any] = check_array(
        y, ensure_2d=False, dtype="numeric" if multi == "numeric" else None, input_name="y"
    )
    if array.ndim == 2 and array.shape[1] == 1:
        from sklearn.utils import column_or_1d

        array = column_or_1d(array, warn=True)
    if array.ndim not in (1, 2):
        raise SequenceDataError(f"y has the shape {array.shape}, and (sample,) or (sample, output) is needed")
    if len(array) != count:
        raise SequenceDataError(f"{count} sequences and {len(array)} targets: inconsistent numbers of samples")
    return array
