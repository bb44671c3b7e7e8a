"""The demo as one picture: a panel for each kind of sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import matplotlib as mpl
import numpy as np
from examples.measures import grid_places
from examples.results import ClipResult, FloatArray, PictureResult, Results, Score, SoundResult, TweetResult
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from matplotlib.typing import RcKeyType
from sklearn.metrics.pairwise import cosine_similarity

# From the palette of Okabe and Ito, which colour-blind people can tell apart.
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
"""How many frames of each clip are shown."""


def save_figure(results: Results, path: Path) -> None:
    """Draw all chapters into one picture of 1760 × 1100 pixels."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(16, 10), dpi=110, facecolor="white")
        [[top], [body]] = figure.subfigures(2, 1, squeeze=False, height_ratios=[0.07, 0.93])
        top.text(0.015, 0.3, "layerzoo: name a model and a layer, get a feature matrix", size=22, weight="bold")
        [[tweets, pictures], [sounds, clips]] = body.subfigures(2, 2, squeeze=False)
        draw_tweets(tweets, results.tweets)
        draw_pictures(pictures, results.pictures)
        draw_sounds(sounds, results.sounds)
        draw_clips(clips, results.clips)
        figure.savefig(path)


def draw_tweets(panel: SubFigure, result: TweetResult) -> None:
    """Accuracy by layer: two curves, and two lines for what needs no network."""
    trained, untrained = ([score.mean for score in scores] for scores in (result.trained, result.untrained))
    best = int(np.argmax(trained))
    _head(
        panel,
        f"{result.count:,} tweets: negative, neutral or positive?",
        f"{result.model}, {len(result.layers)} layers",
        f"A classifier on the vectors of {result.layers[best]} is right about {trained[best]:.0%} of the tweets it has "
        f"not seen; with random weights it is {untrained[best]:.0%}. Where to cut is found by experiment: "
        "all layers come from one pass.",
    )
    axes = panel.add_axes((0.085, 0.11, 0.745, 0.64))
    layers = range(len(result.layers))
    _area(axes, untrained, trained, "what training adds", BLUE)
    _area(axes, [result.majority.mean] * len(layers), untrained, "what the architecture alone gives", RED)
    _level(axes, result.words, "words counted, no network")
    _level(axes, result.majority, "always the same answer")
    _curve(axes, result.trained, "pretrained", BLUE)
    _curve(axes, result.untrained, "random weights", RED)
    axes.set_xticks(layers, result.layers)
    axes.set_ylim(result.majority.mean - 0.03, max(trained) + 0.03)
    axes.set_ylabel("tweets classified right")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.tick_params(length=0)


def _area(axes: Axes, low: Sequence[float], high: Sequence[float], name: str, color: str) -> None:
    """What lies between two curves; the name stands at the right, in the middle."""
    axes.fill_between(range(len(low)), low, high, color=color, alpha=0.1, linewidth=0)
    axes.text(len(low) - 1.15, (low[-1] + high[-1]) / 2, name, color=color, ha="right", va="center")


def _curve(axes: Axes, scores: Sequence[Score], name: str, color: str) -> None:
    """A score for each layer with its standard error; the name and the last value stand at the end."""
    means = [score.mean for score in scores]
    axes.errorbar(range(len(scores)), means, [score.error for score in scores], color=color, marker="o", linewidth=2.5)
    end, text = (len(scores) - 1, means[-1]), f"{name}\n{means[-1]:.1%}"
    axes.annotate(text, end, (12, 0), textcoords="offset points", color=color, va="center", weight="bold")


def _level(axes: Axes, score: Score, name: str) -> None:
    axes.axhline(score.mean, color=INK, linestyle=(0, (4, 3)), linewidth=1)
    axes.annotate(f"{name} {score.mean:.1%}", (0, score.mean), (-4, 4), textcoords="offset points", size=8.5)


def draw_pictures(panel: SubFigure, result: PictureResult) -> None:
    """A map of pictures; the frame tells whether the network recognised what is on it."""
    answers = [answer for answer in result.recognised if answer is not None]
    _head(
        panel,
        f"{len(result.names)} pictures: which are alike?",
        f"{result.model}, {result.layer} and head",
        "Each picture lies among those with similar vectors. The network's own classifier, read in the same pass, "
        f"names {sum(answers)} of {len(answers)} right (blue) and {len(answers) - sum(answers)} wrong (red); "
        "the others have no label.",
    )
    colors = [{True: BLUE, False: RED, None: GREY}[answer] for answer in result.recognised]
    _map(panel, result.vectors, result.thumbnails, result.names, colors, columns=9, tile_height=0.92, cell_height=1.36)


def draw_sounds(panel: SubFigure, result: SoundResult) -> None:
    """A map of spectrograms; blue where the nearest neighbour is of the same kind."""
    _head(
        panel,
        f"{len(result.kinds)} sounds of games: which are alike?",
        f"{result.model}, {result.layer} (best of {len(result.shares)} layers)",
        "Each sound lies among those with similar vectors, drawn as the network hears it. "
        f"For {sum(result.found)} of {len(result.kinds)} (blue) the nearest vector is of the same kind; "
        f"by chance it would be {result.chance * len(result.kinds):.0f}. The network has learnt from speech alone.",
    )
    colors = [BLUE if found else GREY for found in result.found]
    spectrograms = [_inked(sound, color) for sound, color in zip(result.spectrograms, colors, strict=True)]
    _map(panel, result.vectors, spectrograms, result.kinds, colors, columns=11, tile_height=0.78, cell_height=1.05)


def draw_clips(panel: SubFigure, result: ClipResult) -> None:
    """The cosine of every frame with every other, beside some frames of each clip."""
    count, frames, _ = result.frames.shape
    first, second = result.closest
    _head(
        panel,
        f"{count} clips, {frames} frames of each: which are alike?",
        f"{result.model}, {result.layer}",
        "Every frame against every other: frames of one clip are alike, and a cut shows as an edge. The means over all "
        f"frames put “{result.names[first]}” and “{result.names[second]}” closest "
        f"(outlined, cosine {result.similarity:.2f}).",
    )
    strips = panel.add_axes((0.145, 0.12, 0.33, 0.66))
    strips.imshow(_strips(result.thumbnails))
    size_px = result.thumbnails.shape[2]
    strips.set_yticks((np.arange(count) + 0.5) * size_px, [_broken(name, 12) for name in result.names])
    strips.set_xticks([])
    matrix = panel.add_axes((0.48, 0.12, 0.40, 0.66))
    similarity = cosine_similarity(result.frames.reshape(count * frames, -1))
    drawn = matrix.imshow(similarity, cmap="Blues", vmin=0, vmax=1, extent=(0, count, count, 0))
    matrix.set_xticks(np.arange(count) + 0.5, [_broken(name, 10) for name in result.names], size=7.5)
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
    panel.colorbar(drawn, cax=scale, label="cosine").outline.set_visible(False)


def _strips(thumbnails: FloatArray) -> FloatArray:
    """(clip, frame, height, width, 3) → one picture: a row for each clip, of STRIP frames at even distances."""
    chosen = np.linspace(0, thumbnails.shape[1] - 1, STRIP).round().astype(int)
    return np.concatenate([np.concatenate(list(clip[chosen]), axis=1) for clip in thumbnails], axis=0)


def _head(panel: SubFigure, title: str, source: str, caption: str) -> None:
    panel.text(0.03, 0.93, title, size=14, weight="bold", va="center")
    panel.text(0.97, 0.93, source, size=8, family="monospace", color="#666666", va="center", ha="right")
    panel.text(0.03, 0.885, _broken(caption, 108), size=9.5, color="#444444", va="top", linespacing=1.35)


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
    """Framed images with their names below, similar vectors near each other. Heights are in widths of a cell."""
    places = grid_places(vectors, columns)
    axes = panel.add_axes((0.03, 0.02, 0.94, 0.76))
    for (row, column), image, name, color in zip(places, images, names, colors, strict=True):
        left, right, top = column + 0.04, column + 0.96, row * cell_height
        axes.imshow(image, extent=(left, right, top + tile_height, top))
        axes.add_patch(Rectangle((left, top), right - left, tile_height, fill=False, edgecolor=color, linewidth=1.8))
        axes.text(column + 0.5, top + tile_height + 0.15, name, size=7.5, ha="center")
    axes.set_axis_off()
    axes.set_aspect("equal", anchor="N")
    axes.set_xlim(0, columns)
    axes.set_ylim((places[:, 0].max() + 1) * cell_height, -0.02)


def _inked(spectrogram: FloatArray, color: str) -> FloatArray:
    """(mel band, time) → (mel band, time, 3) with low bands below: from white, where it is silent, to the colour."""
    quiet, loud = spectrogram.min(), spectrogram.max()
    share = ((spectrogram - quiet) / (loud - quiet))[::-1, :, None]
    inked: FloatArray = 1 - share * (1 - np.asarray(to_rgb(color), np.float32))
    return inked


def _broken(text: str, width: int) -> str:
    return "\n".join(wrap(text, width))
