"""The results of the demo, as the figure draws them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Score:
    """An accuracy, with its standard error over the folds of a cross-validation."""

    mean: float
    error: float


@dataclass(frozen=True)
class TweetResult:
    """The accuracy of sentiment classification at each layer."""

    model: str
    count: int
    layers: Sequence[str]
    trained: Sequence[Score]
    """Per layer, with the network's pretrained weights."""
    untrained: Sequence[Score]
    """Per layer, with random weights."""
    words: Score
    """From word counts, without a network."""
    majority: Score
    """From the most frequent sentiment."""


@dataclass(frozen=True)
class ImageResult:
    """Images as vectors, and the predictions of the network's own classifier."""

    model: str
    layer: str
    names: Sequence[str]
    thumbnails: FloatArray
    """The network's input: (image, height, width, 3), 0 to 1."""
    vectors: FloatArray
    """(image, channel)"""
    correct: Sequence[bool | None]
    """Whether the predicted class is the label; None for an image without a label."""


@dataclass(frozen=True)
class AudioResult:
    """Audio clips as vectors, at the layer where most clips have a nearest neighbour of the same class."""

    model: str
    shares: Mapping[str, float]
    """By layer, the share of clips whose nearest neighbour has the same class."""
    chance: float
    """The same share for a neighbour drawn at random."""
    layer: str
    classes: Sequence[str]
    spectrograms: Sequence[FloatArray]
    """The network's input per clip: (mel band, time), without padding."""
    vectors: FloatArray
    """(clip, channel) at ``layer``"""
    matches: Sequence[bool]
    """Per clip, whether its nearest neighbour at ``layer`` has the same class."""


@dataclass(frozen=True)
class VideoResult:
    """Videos as sequences of vectors, one per frame."""

    model: str
    layer: str
    names: Sequence[str]
    thumbnails: FloatArray
    """The network's input: (video, frame, height, width, 3), 0 to 1."""
    frames: FloatArray
    """(video, frame, channel)"""
    closest: tuple[int, int]
    """The two videos whose mean vectors are most similar."""
    similarity: float
    """The cosine of these two."""


@dataclass(frozen=True)
class Results:
    """The results of all four parts."""

    tweets: TweetResult
    images: ImageResult
    audio: AudioResult
    videos: VideoResult
