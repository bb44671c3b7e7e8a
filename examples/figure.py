"""The demo as one picture: a panel for each kind of sample."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import matplotlib as mpl
import numpy as np
from examples.measures import grid_places
from examples.results import ClipResult, FloatArray, PictureResult, Results, Score, SoundResult, TweetResult
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from sklearn.metrics.pairwise import cosine_similarity

# From the palette of Okabe and Ito, which colour-blind people can tell apart.
BLUE, RED, GREY, INK = "#0072B2", "#D55E00", "#8C8C8C", "#222222"
STYLE = {
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
        top, body = figure.subfigures(2, 1, height_ratios=[0.07, 0.93])
        top.text(0.03, 0.32, "Name a model and a layer, get a feature matrix", size=22, weight="bold")
        (tweets, pictures), (sounds, clips) = body.subfigures(2, 2)
        draw_tweets(tweets, results.tweets)
        draw_pictures(pictures, results.pictures)
        draw_sounds(sounds, results.sounds)
        draw_clips(clips, results.clips)
        figure.savefig(path)


def draw_tweets(panel: SubFigure, result: TweetResult) -> None:
    """Accuracy by layer: two curves, and two lines for what needs no network."""
    best = max(range(len(result.layers)), key=lambda index: result.trained[index].mean)
    _head(
        panel,
        f"{result.count:,} tweets: negative, neutral or positive?",
        f"{result.model}, {len(result.layers)} layers in one pass",
        f"A classifier on each layer's vectors is right about {result.trained[best].mean:.0%} of the tweets at best "
        f"({result.layers[best]}), and about {max(score.mean for score in result.untrained):.0%} with random weights: "
        "what pays is what the network learnt, and how deep one cuts.",
    )
    axes = panel.add_axes((0.085, 0.11, 0.75, 0.64))
    _level(axes, result.words, "words counted, no network")
    _level(axes, result.majority, "always the same answer")
    _curve(axes, result.trained, "pretrained", BLUE)
    _curve(axes, result.untrained, "random weights", RED)
    axes.set_xticks(range(len(result.layers)), result.layers)
    axes.set_ylim(result.majority.mean - 0.03, result.trained[best].mean + 0.03)
    axes.set_ylabel("share of tweets classified right")
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.tick_params(length=0)
    axes.grid(axis="y", color="#E6E6E6")


def _curve(axes: Axes, scores: Sequence[Score], name: str, color: str) -> None:
    """A score for each layer with its standard error; the name and the last value stand at the end."""
    means = [score.mean for score in scores]
    axes.errorbar(range(len(scores)), means, [score.error for score in scores], color=color, marker="o", linewidth=2.5)
    end = (len(scores) - 1, means[-1])
    axes.annotate(
        f"{name}\n{means[-1]:.1%}", end, (12, 0), textcoords="offset points", color=color, va="center", weight="bold"
    )


def _level(axes: Axes, score: Score, name: str) -> None:
    axes.axhline(score.mean, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.annotate(
        f"{name} {score.mean:.1%}", (0, score.mean), (-6, 4), textcoords="offset points", color="#666666", size=8.5
    )


def draw_pictures(panel: SubFigure, result: PictureResult) -> None:
    """Thumbnails on a map; the frame tells whether the network recognised what is on it."""
    answers = [answer for answer in result.recognised if answer is not None]
    _head(
        panel,
        f"{len(result.names)} pictures: which are alike?",
        f"{result.model}, {result.layer} and head",
        f"Each picture lies among those with similar vectors. The network's own classifier, read in the same pass, names "
        f"{sum(answers)} of {len(answers)} right (blue) and {len(answers) - sum(answers)} wrong (red); the others have no label.",
    )
    axes = _map(panel, columns=9, rows=3, cell_height=1.22)
    for (row, column), image, name, right in zip(
        grid_places(result.vectors, 9), result.thumbnails, result.names, result.recognised, strict=True
    ):
        color = {True: BLUE, False: RED, None: GREY}[right]
        _tile(axes, image, column, row * 1.22, 0.92, name, color=color)


def draw_sounds(panel: SubFigure, result: SoundResult) -> None:
    """Spectrograms on a map; blue where the nearest neighbour is of the same kind."""
    _head(
        panel,
        f"{len(result.kinds)} sounds of games: is the nearest of the same kind?",
        f"{result.model}, {result.layer}",
        f"As the network hears them, similar ones near each other. For {sum(result.found)} (blue) the nearest of all is of "
        f"the same kind; by chance it would be {result.chance * len(result.kinds):.0f}. The network learnt from speech alone.",
    )
    axes = _map(panel, columns=11, rows=5, cell_height=1.05)
    for (row, column), sound, kind, found in zip(
        grid_places(result.vectors, 11), result.spectrograms, result.kinds, result.found, strict=True
    ):
        color = BLUE if found else GREY
        _tile(axes, _inked(sound, color), column, row * 1.05, 0.78, kind, color=color)


def draw_clips(panel: SubFigure, result: ClipResult) -> None:
    """The cosine of every frame with every other, beside some frames of each clip."""
    clips, frames, _ = result.frames.shape
    first, second = result.closest
    _head(
        panel,
        f"{clips} clips, {frames} frames of each: which are alike?",
        f"{result.model}, {result.layer}",
        f"Every frame against every other: frames of one clip are alike, and cuts show as edges. Of all pairs of clips, "
        f"{result.names[first]} and {result.names[second]} are the most alike (outlined; cosine of their means {result.similarity:.2f}).",
    )
    strip = panel.add_axes((0.145, 0.12, 0.33, 0.66))
    strip.imshow(_strips(result.thumbnails))
    size = result.thumbnails.shape[2]
    strip.set_yticks((np.arange(clips) + 0.5) * size, [_broken(name, 12) for name in result.names])
    strip.set_xticks([])
    matrix = panel.add_axes((0.48, 0.12, 0.40, 0.66))
    vectors = result.frames.reshape(clips * frames, -1)
    drawn = matrix.imshow(cosine_similarity(vectors), cmap="Blues", vmin=0, vmax=1)
    matrix.set_xticks(
        (np.arange(clips) + 0.5) * frames - 0.5, [_broken(name, 10) for name in result.names], size=7.5, va="top"
    )
    matrix.set_yticks([])
    for edge in range(1, clips):
        matrix.axhline(edge * frames - 0.5, color="white", linewidth=1.5)
        matrix.axvline(edge * frames - 0.5, color="white", linewidth=1.5)
    for row, column in ((first, second), (second, first)):
        matrix.add_patch(
            Rectangle(
                (column * frames - 0.5, row * frames - 0.5), frames, frames, fill=False, edgecolor=RED, linewidth=2
            )
        )
    for axes in (strip, matrix):
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
    panel.text(0.03, 0.885, _broken(caption, 118), size=9.5, color="#444444", va="top", linespacing=1.35)


def _map(panel: SubFigure, columns: int, rows: int, cell_height: float) -> Axes:
    """Empty axes for tiles: a cell is one unit wide, and y runs down."""
    axes = panel.add_axes((0.03, 0.03, 0.94, 0.76))
    axes.set_axis_off()
    axes.set_aspect("equal", anchor="NW")
    axes.set_xlim(0, columns)
    axes.set_ylim(rows * cell_height, 0)
    return axes


def _tile(axes: Axes, image: FloatArray, left: float, top: float, height: float, name: str, *, color: str) -> None:
    """An image in a frame, with its name below it."""
    left, width = left + 0.04, 0.92
    axes.imshow(image, extent=(left, left + width, top + height, top), interpolation="antialiased")
    axes.add_patch(Rectangle((left, top), width, height, fill=False, edgecolor=color, linewidth=1.8))
    axes.text(left + width / 2, top + height + 0.03, name, size=7, ha="center", va="top")


def _inked(spectrogram: FloatArray, color: str) -> FloatArray:
    """(mel band, time) → (mel band, time, 3) with low bands below: from white, where it is silent, to the colour."""
    quiet, loud = spectrogram.min(), spectrogram.max()
    share = ((spectrogram - quiet) / (loud - quiet))[::-1, :, None]
    return 1 - share * (1 - np.float32(to_rgb(color)))


def _broken(text: str, width: int) -> str:
    return "\n".join(wrap(text, width))
