"""Networks from padded sequences to one vector of outputs each. Padding does not change what they return."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from layerzoo.sequence.data import SequenceArray

NetworkName = Literal["gru", "conv", "transformer"]
NETWORKS: tuple[NetworkName, ...] = get_args(NetworkName)


class SequenceNetwork(nn.Module):
    """A network over sequences.

    A subclass turns them into one vector each, and a linear layer turns that into the outputs.
    """

    def __init__(self, channels: int, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("scale", torch.ones(channels))
        self.mean: Tensor
        self.scale: Tensor
        self.center = False
        """Whether the mean of each sequence is subtracted, so that only changes remain."""
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden, outputs)

    def forward(self, values: Tensor, lengths: Tensor) -> Tensor:
        """Return the outputs of a batch.

        Args:
            values: (sequence, time, channel), as :meth:`scaled` returns them, padded with zeros on the right.
            lengths: (sequence,) the number of vectors of each sequence.
        Returns: (sequence, output).
        """
        mask = torch.arange(values.shape[1], device=values.device)[None, :] < lengths[:, None]
        outputs: Tensor = self.output(self.dropout(self.summary(values, lengths, mask)))
        return outputs

    def set_scale(self, sequences: Iterable[NDArray[np.float32]]) -> None:
        """Set the mean and the standard deviation of each channel over all vectors of some sequences."""
        vectors = np.concatenate([self._centered(sequence) for sequence in sequences])
        deviation = vectors.std(axis=0, dtype=np.float64)
        self.mean.copy_(torch.from_numpy(vectors.mean(axis=0, dtype=np.float64)))
        self.scale.copy_(torch.from_numpy(np.where(deviation > 1e-12, deviation, 1)))

    def scaled(self, sequences: Iterable[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return sequences with the mean 0 and the standard deviation 1 of each channel."""
        mean, scale = (tensor.float().cpu().numpy() for tensor in (self.mean, self.scale))
        return [(self._centered(sequence) - mean) / scale for sequence in sequences]

    def _centered(self, sequence: NDArray[np.float32]) -> NDArray[np.float32]:
        if not self.center:
            return sequence
        centered: NDArray[np.float32] = sequence - sequence.mean(axis=0, dtype=np.float64).astype(np.float32)
        return centered

    def summary(self, values: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        """Return (sequence, hidden): a vector of each sequence. mask: (sequence, time), False for padding."""
        raise NotImplementedError


class GruNetwork(SequenceNetwork):
    """A gated recurrent unit; its state after the last vector is the summary.

    Source: Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014.
    """

    def __init__(self, channels: int, hidden: int, outputs: int, dropout: float, layers: int) -> None:
        super().__init__(channels, hidden, outputs, dropout)
        self.gru = nn.GRU(channels, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0)

    def summary(self, values: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        packed = pack_padded_sequence(values, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, state = self.gru(packed)
        last: Tensor = state[-1]
        return last


class ConvNetwork(SequenceNetwork):
    """Residual convolutions over time, dilated by 1, 2, 4, …; the mean over time is the summary.

    Source: Bai et al., "An Empirical Evaluation of Generic Convolutional and Recurrent Networks for Sequence Modeling",
    2018, with convolutions that also see later vectors.
    """

    def __init__(self, channels: int, hidden: int, outputs: int, dropout: float, layers: int) -> None:
        super().__init__(channels, hidden, outputs, dropout)
        self.input = nn.Linear(channels, hidden)
        self.norms = nn.ModuleList(nn.LayerNorm(hidden) for _ in range(layers))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden, hidden, 3, padding=1 << number, dilation=1 << number) for number in range(layers)
        )

    def summary(self, values: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        hidden = self.input(values)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            inside = norm(hidden).masked_fill(~mask[..., None], 0)
            hidden = hidden + self.dropout(torch.relu(convolution(inside.transpose(1, 2)).transpose(1, 2)))
        return _mean(hidden, lengths, mask)


class TransformerNetwork(SequenceNetwork):
    """A transformer encoder with sinusoidal positions; the mean over time is the summary.

    Source: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, sec. 3.
    """

    def __init__(self, channels: int, hidden: int, outputs: int, dropout: float, layers: int) -> None:
        super().__init__(channels, hidden, outputs, dropout)
        self.input = nn.Linear(channels, hidden)
        heads = next(count for count in (4, 2, 1) if hidden % count == 0)
        layer = nn.TransformerEncoderLayer(hidden, heads, 2 * hidden, dropout, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)

    def summary(self, values: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
        hidden = self.input(values)
        hidden = hidden + _positions(hidden.shape[1], hidden.shape[2]).to(hidden)
        return _mean(self.encoder(hidden, src_key_padding_mask=~mask), lengths, mask)


def _positions(length: int, width: int) -> Tensor:
    """Return (time, width): the sine and cosine of the time at falling frequencies (Vaswani et al., sec. 3.5)."""
    time = torch.arange(length, dtype=torch.float64)[:, None]
    channel = torch.arange(width)
    angle = time * torch.exp(-math.log(10_000) * (channel - channel % 2) / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def _mean(hidden: Tensor, lengths: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(~mask[..., None], 0).sum(1) / lengths[:, None]


_CLASSES: dict[NetworkName, type[GruNetwork | ConvNetwork | TransformerNetwork]] = {
    "gru": GruNetwork,
    "conv": ConvNetwork,
    "transformer": TransformerNetwork,
}


def make_network(
    name: NetworkName, *, channels: int, hidden: int, outputs: int, dropout: float, layers: int, center: bool = False
) -> SequenceNetwork:
    """Return a network with random weights.

    Args:
        name: its kind.
        channels: of the vectors of a sequence.
        hidden: the width of its state.
        outputs: the number of outputs.
        dropout: the share of values that are set to zero while training.
        layers: the number of layers.
        center: whether to subtract the mean of each sequence.
    """
    network = _CLASSES[name](channels, hidden, outputs, dropout, layers)
    network.center = center
    return network


_ROWS_AT_ONCE = 256
"""The number of sequences in one forward pass, when a network is only run."""


def padded(sequences: Any) -> tuple[Tensor, Tensor]:
    """Return (sequence, time, channel), padded with zeros on the right, and the length of each sequence."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return pad_sequence([torch.from_numpy(sequence) for sequence in sequences], batch_first=True), lengths


def ready(network: SequenceNetwork) -> SequenceNetwork:
    """Return a network for predictions, in float64 where the device computes it.

    In float32, the sums of a sequence would depend on the size of its batch in the last digits.
    """
    device = next(network.parameters()).device
    return network.eval() if device.type == "mps" else network.double().eval()


def run(network: SequenceNetwork, sequences: SequenceArray) -> NDArray[np.float64]:
    """Return (sequence, output) of a network. Sequences of similar length share a batch.

    Padding does not change the result: a sequence alone has the same outputs as in any batch.
    """
    parameter = next(network.parameters())
    outputs = np.empty((len(sequences), network.output.out_features), np.float64)
    order = np.argsort([len(sequence) for sequence in sequences], kind="stable")
    with torch.no_grad():
        for start in range(0, len(order), _ROWS_AT_ONCE):
            rows = order[start : start + _ROWS_AT_ONCE]
            values, lengths = padded(network.scaled(sequences[rows]))
            values = values.to(device=parameter.device, dtype=parameter.dtype)
            outputs[rows] = network(values, lengths.to(parameter.device)).double().cpu().numpy()
    return outputs
