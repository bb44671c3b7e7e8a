"""Audio that a program holds in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray


class Audio(NamedTuple):
    """Audio samples with their sample rate.

    Attributes:
        samples: (time,) or (time, channel); floating point from -1 to 1, or integers over the full range of
            their type.
        sample_rate_hz: samples per second and channel.

    >>> layerzoo.Audio(numpy.zeros(16_000, dtype=numpy.float32), 16_000).sample_rate_hz
    16000
    """

    samples: NDArray[Any]
    sample_rate_hz: int
