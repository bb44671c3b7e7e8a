"""Which frames are sampled from a video: the strategies, and how they are written. Standard library only."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, NamedTuple

from layerzoo.errors import UsageError, nearest
from layerzoo.spec import VideoPreprocess

STRATEGIES: Mapping[str, str] = {
    "uniform": "uniform[:N]: the frames on display in the middles of N equal parts of the time",
    "fps": "fps:RATE: the frames on display at 0, 1/RATE, 2/RATE, … seconds after the start",
    "every": "every:N: the first frame, and every N-th after it",
    "keyframes": "keyframes: the frames that are stored without reference to others",
    "scenes": "scenes[:THRESHOLD]: the frame in the middle of each scene, cut as PySceneDetect's ContentDetector does",
    "segments": "segments[:N[:SEED]]: one frame of each of N equal parts of the time, the middle one or a random one",
}
"""How each strategy is written, and the frames that it samples. N is by default the number of frames of the model."""

MOST_FRAMES = 1 << 20
"""Frames that may be sampled from one video: a frame per second for twelve days."""
_FORM = re.compile(r"(?P<name>[a-z]+)(:(?P<number>[0-9.]+(/[0-9.]+)?)(:(?P<seed>\d{1,18}))?)?")
_WHOLE = ("uniform", "every", "segments")
_REQUIRED = ("fps", "every")
SCENE_THRESHOLD = 27.0
"""The default of PySceneDetect's ContentDetector."""


class Strategy(NamedTuple):
    """A parsed strategy."""

    name: str
    number: Fraction | None
    seed: int | None


def parse_strategy(text: str) -> Strategy:
    """Parse a strategy such as ``fps:2``.

    Raises: UsageError, which lists all strategies.
    """
    match = _FORM.fullmatch(text) if isinstance(text, str) else None
    name = match["name"] if match else str(text).partition(":")[0]
    if match is None or name not in STRATEGIES:
        close = nearest(name, list(STRATEGIES)) if name not in STRATEGIES else []
        hint = f" Nearest: {close[0]}." if close else ""
        raise UsageError(
            f"sampling={text!r} is not a sampling of frames.{hint} Possible: {'; '.join(STRATEGIES.values())}"
        )
    number = _number(match["number"])
    seed = None if match["seed"] is None else int(match["seed"])
    is_wrong = (
        (number is None) != (match["number"] is None)
        or (number is None and name in _REQUIRED)
        or (number is not None and (name == "keyframes" or not 0 < number <= MOST_FRAMES))
        or (number is not None and name in _WHOLE and number.denominator != 1)
        or (seed is not None and name != "segments")
    )
    if is_wrong:
        raise UsageError(f"sampling={text!r} is not of the form {STRATEGIES[name]}")
    return Strategy(name, number, seed)


def _number(text: str | None) -> Fraction | None:
    try:
        return None if text is None else Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameSampling:
    """Which frames of a video go through a network.

    Raises: UsageError for values that are impossible, or do not fit each other.
    """

    sampling: str = "uniform"
    """The strategy, one of :data:`STRATEGIES`."""
    frames: int = 16
    """The number of frames of a clip; of `uniform` and `segments`, where they state none."""
    start_s: float = 0.0
    """Start of the sampled interval, in seconds after the first frame."""
    end_s: float | None = None
    """End of the interval; its frames are displayed before. None: the end of the video."""
    clips: int = 1
    """The number of clips of a video."""
    joint: bool = False
    """Whether the network takes the frames of a clip at once."""

    def __post_init__(self) -> None:
        strategy = self.strategy
        if not _is_time(self.start_s) or not (self.end_s is None or _is_time(self.end_s)):
            raise UsageError(f"start_s={self.start_s!r} and end_s={self.end_s!r} are seconds after the first frame")
        if self.end_s is not None and self.end_s <= self.start_s:
            raise UsageError(f"end_s={self.end_s:g} is not after start_s={self.start_s:g}")
        if not _is_count(self.clips) or not _is_count(self.frames):
            raise UsageError(f"clips={self.clips!r} and frames={self.frames!r} are numbers from 1 to {MOST_FRAMES:,}")
        if self.clips > 1 and not self.joint:
            raise UsageError(
                f"clips={self.clips} is for networks that take several frames at once. This one takes frames one by "
                "one. Next: sample more frames, as in sampling='uniform:32'"
            )
        if self.joint and strategy.name in ("uniform", "segments") and strategy.number not in (None, self.frames):
            raise UsageError(
                f"sampling={self.sampling!r} does not fit a network that takes {self.frames} frames at once"
            )

    @classmethod
    def of(cls, declared: VideoPreprocess) -> FrameSampling:
        """Return the declared sampling of a model."""
        return cls(
            sampling=declared.sampling,
            frames=declared.frames,
            start_s=declared.start_s,
            end_s=declared.end_s,
            clips=declared.clips,
            joint=declared.joint,
        )

    @property
    def strategy(self) -> Strategy:
        """The parsed strategy. Raises: UsageError."""
        return parse_strategy(self.sampling)

    @property
    def count(self) -> int:
        """The number of frames that `uniform` and `segments` sample, of a video or of each clip."""
        return int(self.strategy.number or self.frames)

    def to_plain(self) -> dict[str, Any]:
        """Serialize to numbers and strings."""
        return asdict(self)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_FRAMES
