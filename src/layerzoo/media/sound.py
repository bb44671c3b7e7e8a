"""A sound in memory."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray


class Sound(NamedTuple):
    """Samples and their rate: without its rate an array of samples is no sound.

    samples: (time,) or (time, channel); floating point from -1 to 1, or integers over the whole range of their type.
    """

    samples: NDArray[Any]
    sample_rate_hz: int
