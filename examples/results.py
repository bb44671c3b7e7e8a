"""What each chapter of the demo finds, ready to be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """A share of right answers, with its standard error over the folds of a cross-validation."""

    mean: float
    error: float


@dataclass(frozen=True)
class TweetResult:
    """How well the sentiment of tweets can be learnt from each layer."""

    model: str
    count: int
    layers: Sequence[str]
    trained: Sequence[Score]
    """Per layer, with the network's pretrained weights."""
    untrained: Sequence[Score]
    """Per layer, with random weights."""
    words: Score
    """From the counts of words, without a network."""
    majority: Score
    """From nothing: always the most frequent sentiment."""


@dataclass(frozen=True)
class PictureResult:
    """Pictures as vectors, and what the network's own classifier takes them for."""

    model: str
    layer: str
    names: Sequence[str]
    thumbnails: FloatArray
    """(picture, height, width, 3), 0 to 1: what the network received."""
    vectors: FloatArray
    """(picture, channel)"""
    recognised: Sequence[bool | None]
    """Whether the classifier's first answer is the label; None where a picture has no label."""


@dataclass(frozen=True)
class SoundResult:
    """Sounds as vectors, at the layer where most have a sound of their own kind nearest to them."""

    model: str
    shares: Mapping[str, float]
    """Per layer that was tried, the share of sounds whose nearest neighbour is of their kind."""
    chance: float
    """The same share, were the neighbour drawn at random."""
    layer: str
    kinds: Sequence[str]
    spectrograms: Sequence[FloatArray]
    """Per sound (mel band, time): what the network received, without the padding."""
    vectors: FloatArray
    """(sound, channel) at ``layer``"""
    found: Sequence[bool]
    """Per sound, whether its nearest neighbour at ``layer`` is of its kind."""


@dataclass(frozen=True)
class ClipResult:
    """Video clips as sequences of vectors, one a frame."""

    model: str
    layer: str
    names: Sequence[str]
    thumbnails: FloatArray
    """(clip, frame, height, width, 3), 0 to 1: what the network received."""
    frames: FloatArray
    """(clip, frame, channel)"""
    closest: tuple[int, int]
    """The two clips whose mean vectors are most similar."""
    similarity: float
    """The cosine of those two."""


@dataclass(frozen=True)
class Results:
    """All chapters."""

    tweets: TweetResult
    pictures: PictureResult
    sounds: SoundResult
    clips: ClipResult
