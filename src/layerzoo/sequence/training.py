"""Train a network over sequences with skorch, and run it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from skorch.helper import predefined_split
from torch import Tensor, nn
from torch.utils.data import Dataset

from layerzoo.progress import ProgressMeter
from layerzoo.sequence.data import SequenceArray
from layerzoo.sequence.networks import SequenceNetwork, make_network, padded, ready


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How a network is trained."""

    network: Mapping[str, Any]
    """Arguments of :func:`layerzoo.sequence.networks.make_network`."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """Returns the loss of each sequence from (sequence, output) and the targets."""
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    patience: int
    """The number of epochs without a lower loss on the validation samples after which training ends."""
    seed: int
    device: str


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Sequences with their targets and weights."""

    sequences: SequenceArray
    targets: NDArray[Any]
    weights: NDArray[np.float32]

    def taken(self, rows: NDArray[np.intp]) -> TrainingData:
        """Return some of the samples."""
        return TrainingData(self.sequences[rows], self.targets[rows], self.weights[rows])


@dataclass(slots=True)
class Trained:
    """A trained network, and how its training went."""

    network: SequenceNetwork
    """In evaluation mode, in float64 if its device computes it."""
    losses: list[dict[str, float]] = field(default_factory=list)
    """For each epoch ``train_loss``, and ``valid_loss`` if there are validation samples."""
    is_interrupted: bool = False
    """Whether Ctrl-C ended the training."""


class _SequenceDataset(Dataset[Any]):
    """Sequences as skorch takes them: a list of arrays that differ in shape would be read as several inputs."""

    def __init__(self, data: TrainingData, network: SequenceNetwork) -> None:
        self._sequences = network.scaled(data.sequences)
        self._data = data

    def __len__(self) -> int:
        return len(self._sequences)

    def __getitem__(self, row: int) -> tuple[NDArray[np.float32], Any, Any]:
        return self._sequences[row], self._data.weights[row], self._data.targets[row]


def _collate(rows: list[tuple[NDArray[np.float32], Any, Any]]) -> tuple[dict[str, Tensor], Tensor]:
    """Pad sequences to a batch, with their weights; and their targets."""
    sequences, weights, targets = zip(*rows, strict=True)
    values, lengths = padded(sequences)
    return (
        {"values": values, "lengths": lengths, "weights": torch.as_tensor(np.array(weights))},
        torch.as_tensor(np.array(targets)),
    )


class _SequenceNet(NeuralNet):  # type: ignore[misc]  # skorch is untyped
    """skorch's training loop with a weight for each sample."""

    is_interrupted = False

    def infer(self, x: Any, **_: Any) -> Any:
        return self.module_(x["values"].to(self.device), x["lengths"].to(self.device))

    def get_loss(self, y_pred: Tensor, y_true: Tensor, X: Any, *_: Any, **__: Any) -> Tensor:
        weights = X["weights"].to(self.device)
        losses = self.criterion_(y_pred, y_true.to(self.device))
        weighted: Tensor = (losses * weights).sum() / weights.sum().clamp(min=1e-12)
        return weighted

    def fit_loop(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().fit_loop(*args, **kwargs)
        except KeyboardInterrupt:  # skorch ends the training at it, and its early stopping raises it, too
            stopping = dict(self.callbacks_).get("stopping")
            self.is_interrupted = stopping is None or getattr(stopping, "misses_", 0) < stopping.patience
            raise


class _Loss(nn.Module):
    """A function of predictions and targets as a module."""

    def __init__(self, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._loss = loss

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        return self._loss(predicted, target)


class _Progress(Callback):  # type: ignore[misc]  # skorch is untyped
    """Count epochs."""

    def __init__(self, meter: ProgressMeter) -> None:
        self._meter = meter

    def on_epoch_end(self, net: Any, **kwargs: Any) -> None:
        self._meter.advance(1)


def train(
    settings: TrainingSettings, data: TrainingData, validation: TrainingData | None, meter: ProgressMeter
) -> Trained:
    """Train a network.

    The random numbers depend on the seed only, and the generators of the caller are left as they are.

    Args:
        settings: how it is trained.
        data: the samples to learn from.
        validation: samples that only decide when training ends; the network of the best epoch is returned. None: train
            all epochs.
        meter: counts the epochs.
    Raises: KeyboardInterrupt for Ctrl-C in the first epoch. After it, the network so far is returned.
    """
    device = torch.device(settings.device)
    accelerators = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=accelerators):
        torch.manual_seed(settings.seed)
        network = make_network(**settings.network)
        network.set_scale(data.sequences)
        callbacks: list[tuple[str, Any]] = [("clipping", GradientNormClipping(1.0)), ("progress", _Progress(meter))]
        if validation is not None:
            stopping = EarlyStopping("valid_loss", patience=settings.patience, sink=lambda _: None, load_best=True)
            callbacks.append(("stopping", stopping))
        net = _SequenceNet(
            network,
            criterion=_Loss(settings.loss),
            optimizer=torch.optim.AdamW,
            optimizer__weight_decay=settings.weight_decay,
            lr=settings.learning_rate,
            max_epochs=settings.epochs,
            batch_size=settings.batch_size,
            iterator_train__shuffle=True,
            iterator_train__collate_fn=_collate,
            iterator_valid__collate_fn=_collate,
            train_split=None if validation is None else predefined_split(_SequenceDataset(validation, network)),
            callbacks=callbacks,
            callbacks__print_log=None,
            device=settings.device,
            verbose=0,
        )
        net.fit(_SequenceDataset(data, network))
    losses = [
        {name: float(epoch[name]) for name in ("train_loss", "valid_loss") if name in epoch}
        for epoch in net.history
        if "train_loss" in epoch
    ]
    if net.is_interrupted and not losses:
        raise KeyboardInterrupt
    return Trained(ready(net.module_), losses, net.is_interrupted)
