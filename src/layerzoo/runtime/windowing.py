"""Windows of a recording: their length and hop, and how their vectors become one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import UsageError
from layerzoo.media.limits import limits
from layerzoo.pooling import TemporalChoice, parse_temporal_pool
from layerzoo.temporal import pool_sequence

FloatArray = NDArray[np.float32]
Duration = str | float
"""Seconds as a number, or a text such as ``"10s"``, ``"500ms"`` or ``"2min"``."""

_UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min|h|)\s*")


@dataclass(frozen=True, slots=True)
class Windowing:
    """How recordings are cut into windows."""

    window_s: float
    hop_s: float
    """From the start of a window to the start of the next."""
    temporal_pool: str = "none"
    """``none``: each window is a sample. Otherwise: how the vectors of a recording's windows are pooled."""

    def in_samples(self, rate_hz: int) -> dict[str, int]:
        """Return ``window`` and ``hop`` in samples at a sample rate."""
        return {"window": round(self.window_s * rate_hz), "hop": round(self.hop_s * rate_hz)}

    def check(self, rate_hz: int, channels: int) -> None:
        """Raises: UsageError for a window or a hop of less than one sample, or a window that is not held at once."""
        for name, samples in self.in_samples(rate_hz).items():
            if samples < 1:
                raise UsageError(f"{name}= is shorter than one sample at {rate_hz} Hz ({1000 / rate_hz:.3g} ms)")
        most = limits().audio_s or limits().whole_samples / (rate_hz * channels)
        if self.window_s > most:
            raise UsageError(f"window= is {self.window_s:,.0f} s, and a window has at most {most:,.0f} s")


def windowing_of(window: Duration | None, hop: Duration | None, temporal_pool: str | None) -> Windowing | None:
    """Return the windows that the arguments of a caller describe; None without a window.

    Args:
        window: the length of a window.
        hop: from the start of a window to the start of the next. None: the length of a window.
        temporal_pool: see :class:`Windowing`. None: ``none``.
    Raises: UsageError; PoolingError, a UsageError, for an unknown temporal pooling.
    """
    if window is None:
        if hop is not None:
            raise UsageError(f"hop={hop!r} is about the windows of a recording: give window=, too")
        return None
    pool = "none" if temporal_pool is None else str(parse_temporal_pool(temporal_pool))
    window_s = _seconds(window, "window")
    return Windowing(window_s, window_s if hop is None else _seconds(hop, "hop"), pool)


def _seconds(value: object, name: str) -> float:
    """Parse a duration. Raises: UsageError."""
    seconds = math.nan
    if isinstance(value, str):
        if match := _WRITTEN.fullmatch(value):
            seconds = float(match[1]) * _UNITS_S[match[2]]
    elif isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        seconds = float(value)
    if not (math.isfinite(seconds) and seconds > 0):
        raise UsageError(
            f"{name}={value!r} is not a duration: give seconds, more than 0, as a number or as a text such as '10s', "
            "'500ms' or '2min'"
        )
    return seconds


@dataclass(slots=True)
class RunningPool:
    """Pool the vectors of a recording's windows one after the other.

    For ``mean`` and ``max``, the memory does not grow with their number. The other poolings keep the vectors.
    """

    pool: TemporalChoice
    count: int = 0
    _pooled: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    _window_vectors: dict[str, list[FloatArray]] = field(default_factory=dict)

    def add(self, vectors: Mapping[str, FloatArray]) -> None:
        """Add the vectors of the next window, by layer."""
        for name, vector in vectors.items():
            if self.pool.name not in ("mean", "max"):
                self._window_vectors.setdefault(name, []).append(vector)
            elif name not in self._pooled:
                self._pooled[name] = vector.astype(np.float64)
            elif self.pool.name == "max":
                np.maximum(self._pooled[name], vector, out=self._pooled[name])
            else:
                self._pooled[name] += vector
        self.count += 1

    def result(self) -> dict[str, FloatArray]:
        """Return the pooled vector of each layer. At least one window must have been added."""
        if self._window_vectors:
            return {name: pool_sequence(np.stack(vectors), self.pool) for name, vectors in self._window_vectors.items()}
        share = self.count if self.pool.name == "mean" else 1
        return {name: (values / share).astype(np.float32) for name, values in self._pooled.items()}
