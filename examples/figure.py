"""The figure of the demo: one panel for each kind of sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
from examples.measures import grid_positions
from examples.results import AudioResult, FloatArray, ImageResult, Results, Score, TweetResult, VideoResult
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from matplotlib.typing import RcKeyType
from sklearn.metrics.pairwise import cosine_similarity

# From the palette of Okabe and Ito, whose colours colour-blind people can distinguish.
BLUE, RED, GREY, INK = "#0072B2", "#D55E00", "#8C8C8C", "#222222"
STYLE: dict[RcKeyType, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
}
STRIP = 4
"""The number of frames shown per video."""


def save_figure(results: Results, path: Path) -> None:
    """Draw all results into an image of 1760 × 1100 pixels."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(16, 10), dpi=110, facecolor="white")
        [[top], [body]] = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.07, 0.93])
        top.text(0.015, 0.3, "layerzoo: name a model and a layer, get a feature matrix", size=22, weight="bold")
        [[tweets, images], [audio, videos]] = body.subfigures(2, 2, squeeze=False)
        draw_tweets(tweets, results.tweets)
        draw_images(images, results.images)
        draw_audio(audio, results.audio)
        draw_videos(videos, results.videos)
        figure.savefig(path)


def draw_tweets(panel: SubFigure, result: TweetResult) -> None:
    """Draw the accuracy by layer: a curve for each kind of weights, and lines for the baselines without a network."""
    trained, untrained = ([score.mean for score in scores] for scores in (result.trained, result.untrained))
    best = int(np.argmax(trained))
    _head(
        panel,
        f"{result.count:,} tweets: negative, neutral or positive?",
        f"{result.model}, {len(result.layers)} layers",
        f"A classifier on the vectors of {result.layers[best]} is right for {trained[best]:.0%} of the tweets in the "
        f"test folds; with random weights it is right for {untrained[best]:.0%}. The best layer to cut at is found by "
        "experiment: one forward pass gives all layers.",
    )
    axes = panel.add_axes((0.085, 0.11, 0.745, 0.64))
    layers = range(len(result.layers))
    _area(axes, untrained, trained, "gain from training", BLUE)
    _area(axes, [result.majority.mean] * len(layers), untrained, "gain from the architecture alone", RED)
    _baseline(axes, result.words, "word counts, no network")
    _baseline(axes, result.majority, "most frequent class")
    _curve(axes, result.trained, "pretrained", BLUE)
    _curve(axes, result.untrained, "random weights", RED)
    axes.set_xticks(layers, result.layers)
    axes.set_ylim(result.majority.mean - 0.03, max(trained) + 0.03)
    axes.set_ylabel("accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(length=0)


def _area(axes: Axes, low: Sequence[float], high: Sequence[float], name: str, color: str) -> None:
    """Shade the area between two curves, and label it at the right."""
    axes.fill_between(range(len(low)), low, high, color=color, alpha=0.1, linewidth=0)
    axes.text(len(low) - 1.15, (low[-1] + high[-1]) / 2, name, color=color, ha="right", va="center")


def _curve(axes: Axes, scores: Sequence[Score], name: str, color: str) -> None:
    """Draw a score and its standard error for each layer, and write the name and the last value at the end."""
    means = [score.mean for score in scores]
    axes.errorbar(range(len(scores)), means, [score.error for score in scores], color=color, marker="o", linewidth=2.5)
    end, text = (len(scores) - 1, means[-1]), f"{name}\n{means[-1]:.1%}"
    axes.annotate(text, end, (12, 0), textcoords="offset points", color=color, va="center", weight="bold")


def _baseline(axes: Axes, score: Score, name: str) -> None:
    axes.axhline(score.mean, color=INK, linestyle=(0, (4, 3)), linewidth=1)
    axes.annotate(f"{name} {score.mean:.1%}", (0, score.mean), (-4, 4), textcoords="offset points", size=8.5)


def draw_images(panel: SubFigure, result: ImageResult) -> None:
    """Draw a map of the images. The colour of a border shows whether the classifier was correct."""
    answers = [answer for answer in result.correct if answer is not None]
    _head(
        panel,
        f"{len(result.names)} images: which are similar?",
        f"{result.model}, {result.layer} and head",
        "Images with similar vectors are near each other. The network's own classifier, read in the same pass, labels "
        f"{sum(answers)} of {len(answers)} correctly (blue) and {len(answers) - sum(answers)} wrongly (red); "
        "the others have no label.",
    )
    colors = [{True: BLUE, False: RED, None: GREY}[answer] for answer in result.correct]
    _map(panel, result.vectors, result.thumbnails, result.names, colors, columns=9, tile_height=0.92, cell_height=1.36)


def draw_audio(panel: SubFigure, result: AudioResult) -> None:
    """Draw a map of spectrograms, in blue if the nearest neighbour has the same class."""
    _head(
        panel,
        f"{len(result.classes)} audio clips from games: which are similar?",
        f"{result.model}, {result.layer} (best of {len(result.shares)} layers)",
        f"Clips with similar vectors are near each other. For {sum(result.matches)} of {len(result.classes)} (blue) "
        f"the nearest vector has the same class; by chance {result.chance * len(result.classes):.0f} would. "
        "The network was trained on speech only.",
    )
    colors = [BLUE if is_match else GREY for is_match in result.matches]
    tiles = [_tinted(spectrogram, color) for spectrogram, color in zip(result.spectrograms, colors, strict=True)]
    _map(panel, result.vectors, tiles, result.classes, colors, columns=11, tile_height=0.78, cell_height=1.05)


def draw_videos(panel: SubFigure, result: VideoResult) -> None:
    """Draw some frames of each video, and the cosine of every pair of frames."""
    count, frames, _ = result.frames.shape
    first, second = result.closest
    _head(
        panel,
        f"{count} videos, {frames} frames each: which are similar?",
        f"{result.model}, {result.layer}",
        "The cosine of every pair of frames; a scene change shows as an edge. By the mean over all frames, "
        f"“{result.names[first]}” and “{result.names[second]}” are most similar (outlined, cosine "
        f"{result.similarity:.2f}).",
    )
    strips = panel.add_axes((0.145, 0.12, 0.33, 0.66))
    strips.imshow(_strips(result.thumbnails))
    size_px = result.thumbnails.shape[2]
    strips.set_yticks((np.arange(count) + 0.5) * size_px, [_wrapped(name, 12) for name in result.names])
    strips.set_xticks([])
    matrix = panel.add_axes((0.48, 0.12, 0.40, 0.66))
    similarity = cosine_similarity(result.frames.reshape(count * frames, -1))
    heatmap = matrix.imshow(similarity, cmap="Blues", vmin=0, vmax=1, extent=(0, count, count, 0))
    matrix.set_xticks(np.arange(count) + 0.5, [_wrapped(name, 10) for name in result.names], size=7.5)
    matrix.set_yticks([])
    for edge in range(1, count):
        matrix.axhline(edge, color="white", linewidth=1.5)
        matrix.axvline(edge, color="white", linewidth=1.5)
    for corner in (result.closest, result.closest[::-1]):
        matrix.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=RED, linewidth=2.5, zorder=3, clip_on=False))
    for axes in (strips, matrix):
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
    scale = panel.add_axes((0.90, 0.12, 0.012, 0.66))
    panel.colorbar(heatmap, cax=scale, label="cosine").outline.set_visible(False)


def _strips(thumbnails: FloatArray) -> FloatArray:
    """(video, frame, height, width, 3) → one image: a row for each video, with STRIP frames at equal distances."""
    chosen = np.linspace(0, thumbnails.shape[1] - 1, STRIP).round().astype(int)
    return np.concatenate([np.concatenate(list(video[chosen]), axis=1) for video in thumbnails], axis=0)


def _head(panel: SubFigure, title: str, source: str, caption: str) -> None:
    panel.text(0.03, 0.93, title, size=14, weight="bold", va="center")
    panel.text(0.97, 0.93, source, size=8, family="monospace", color="#666666", va="center", ha="right")
    panel.text(0.03, 0.885, _wrapped(caption, 108), size=9.5, color="#444444", va="top", linespacing=1.35)


def _map(
    panel: SubFigure,
    vectors: FloatArray,
    images: Iterable[FloatArray],
    names: Sequence[str],
    colors: Sequence[str],
    *,
    columns: int,
    tile_height: float,
    cell_height: float,
) -> None:
    """Draw framed images with their names on a grid, similar vectors near each other. Heights are in cell widths."""
    positions = grid_positions(vectors, columns)
    axes = panel.add_axes((0.03, 0.02, 0.94, 0.76))
    for (row, column), image, name, color in zip(positions, images, names, colors, strict=True):
        left, right, top = column + 0.04, column + 0.96, row * cell_height
        axes.imshow(image, extent=(left, right, top + tile_height, top))
        axes.add_patch(Rectangle((left, top), right - left, tile_height, fill=False, edgecolor=color, linewidth=1.8))
        axes.text(column + 0.5, top + tile_height + 0.15, name, size=7.5, ha="center")
    axes.set_axis_off()
    axes.set_aspect("equal", anchor="N")
    axes.set_xlim(0, columns)
    axes.set_ylim((positions[:, 0].max() + 1) * cell_height, -0.02)


def _tinted(spectrogram: FloatArray, color: str) -> FloatArray:
    """(mel band, time) → (mel band, time, 3), low bands at the bottom, from white (silence) to the colour."""
    quiet, loud = spectrogram.min(), spectrogram.max()
    share = ((spectrogram - quiet) / (loud - quiet))[::-1, :, None]
    tinted: FloatArray = 1 - share * (1 - np.asarray(to_rgb(color), np.float32))
    return tinted


def _wrapped(text: str, width: int) -> str:
    return "\n".join(wrap(text, width))
