"""Audio that a program holds in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from layerzoo.media.dataset import is_tensor, to_numpy
from layerzoo.media.sample import UnusableError

MAX_CHANNELS = 64


class Audio(NamedTuple):
    """Audio samples with their sample rate.

    Attributes:
        samples: an array (time,) or (time, channel), or a torch tensor (time,) or (channel, time), as torchaudio.load
            returns it; floating point from -1 to 1, or integers over the full range of their type.
        sample_rate_hz: samples per second and channel.

    >>> layerzoo.Audio(numpy.zeros(16_000, dtype=numpy.float32), 16_000).sample_rate_hz
    16000
    """

    samples: NDArray[Any]
    sample_rate_hz: int


def with_array(source: Any) -> Any:
    """Return a torch tensor with its sample rate as an Audio with an array; any other source as it is.

    Args:
        source: of a sample. A tensor is (time,) or (channel, time).
    Raises: UnusableError for a tensor whose axes are in the order of an array.
    """
    if not is_tensor_with_rate(source):
        return source
    samples = to_numpy(source[0])
    if samples.ndim == 2 and samples.shape[0] > MAX_CHANNELS >= samples.shape[1]:
        raise UnusableError(
            f"samples of shape {samples.shape}: a tensor of audio is (channel, time), as torchaudio.load returns it. "
            "Next: transpose it"
        )
    return Audio(samples.T if samples.ndim == 2 else samples, source[1])


def is_tensor_with_rate(value: Any) -> bool:
    """Return whether a value is (tensor, number)."""
    is_pair = isinstance(value, tuple) and len(value) == 2
    return is_pair and is_tensor(value[0]) and isinstance(value[1], int | float | np.number)
