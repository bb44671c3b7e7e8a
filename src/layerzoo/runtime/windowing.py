"""Windows of a recording: their length and hop, and how their vectors become one."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from layerzoo.errors import UsageError
from layerzoo.media.limits import limits

FloatArray = NDArray[np.float32]
Duration = str | float
"""Seconds as a number, or a text such as ``"10s"``, ``"500ms"`` or ``"2min"``."""
TemporalPool = Literal["none", "mean", "max"]

_TEMPORAL_POOLS = ("none", "mean", "max")
_UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s|min|h|)\s*")


@dataclass(frozen=True, slots=True)
class Windowing:
    """How recordings are cut into windows."""

    window_s: float
    hop_s: float
    """From the start of a window to the start of the next."""
    temporal_pool: TemporalPool = "none"
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
    Raises: UsageError.
    """
    if window is None:
        for name, value in (("hop", hop), ("temporal_pool", temporal_pool)):
            if value is not None:
                raise UsageError(f"{name}={value!r} is about the windows of a recording: give window=, too")
        return None
    pool: TemporalPool = "none"
    if temporal_pool is not None:
        if temporal_pool not in _TEMPORAL_POOLS:
            raise UsageError(f"temporal_pool={temporal_pool!r} is none of {', '.join(_TEMPORAL_POOLS)}")
        pool = temporal_pool  # type: ignore[assignment]
    window_s = _seconds(window, "window")
    return Windowing(window_s, window_s if hop is None else _seconds(hop, "hop"), pool)


def _seconds(value: object, name: str) -> float:
    """Parse a duration. Raises: UsageError."""
    seconds = math.nan
    if isinstance(value, str):
        if written := _WRITTEN.fullmatch(value):
            seconds = float(written[1]) * _UNITS_S[written[2]]
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
    """Pool the vectors of a recording's windows as they come, in memory that does not grow with their number."""

    pool: TemporalPool
    count: int = 0
    _pooled: dict[str, NDArray[np.float64]] = field(default_factory=dict)

    def add(self, vectors: Mapping[str, FloatArray]) -> None:
        """Add the vectors of the next window, by layer."""
        for name, vector in vectors.items():
            if name not in self._pooled:
                self._pooled[name] = vector.astype(np.float64)
            elif self.pool == "max":
                np.maximum(self._pooled[name], vector, out=self._pooled[name])
            else:
                self._pooled[name] += vector
        self.count += 1

    def result(self) -> dict[str, FloatArray]:
        """Return the pooled vector of each layer. At least one window must have been added."""
        share = self.count if self.pool == "mean" else 1
        return {name: (values / share).astype(np.float32) for name, values in self._pooled.items()}
