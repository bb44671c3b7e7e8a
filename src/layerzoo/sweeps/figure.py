"""The figure of a sweep: score and cost over depth."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from layerzoo.sweeps.result import Sweep, SweepRow

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""The palette of Okabe and Ito, whose colours colour-blind people can distinguish."""
_GREY = "#767676"
_STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "layerzoo",
}


def figure_bytes(sweep: Sweep) -> tuple[bytes, bytes]:
    """Draw the score and the cost of each layer over its depth.

    Args:
        sweep: the result.
    Returns: the figure as SVG and as PNG.
    """
    with rc_context(_STYLE):
        figure = _figure(sweep)
        files = []
        for format_, options in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 150})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=format_, **options)
            files.append(buffer.getvalue())
    return files[0], files[1]


def _figure(sweep: Sweep) -> Figure:
    figure = Figure(figsize=(7, 5), layout="constrained")
    scores, costs = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    lines: dict[tuple[str, str], list[SweepRow]] = defaultdict(list)
    for row in sweep.rows:
        if len(row.layers) == 1 and row.depth is not None:
            lines[row.model, row.pool].append(row)
    several = len({model for model, _ in lines}) > 1
    for (model, pool), color in zip(lines, COLORS * (1 + len(lines) // len(COLORS)), strict=False):
        rows = sorted(lines[model, pool], key=lambda row: row.depth or 0.0)
        depths = [row.depth for row in rows]
        label = f"{model}, {pool}" if several else pool
        scores.errorbar(
            depths, [row.score for row in rows], [row.spread for row in rows],
            color=color, marker="o", markersize=4, capsize=2, linewidth=1.4, elinewidth=0.8, label=label,
        )  # fmt: skip
        milliseconds = [row.milliseconds for row in rows]
        if None not in milliseconds:
            costs.plot(depths, milliseconds, color=color, marker="o", markersize=3, linewidth=1.2)
    best = sweep.rows[sweep.best]
    if best.depth is not None:
        text = f"best: {best.layer}"
        scores.annotate(text, (best.depth, best.score), (0, 12), textcoords="offset points", ha="center", weight="bold")
    _lines(scores, sweep)
    scores.set_ylabel(sweep.metric)
    costs.set_ylabel("ms per sample")
    costs.set_xlabel("depth: share of the network's FLOPs")
    costs.set_ylim(bottom=0)
    if len(lines) > 1:
        scores.legend(frameon=False, fontsize=8)
    return figure


def _lines(axes: Any, sweep: Sweep) -> None:
    """Draw the baselines as horizontal lines, labelled at the right."""
    baselines: Sequence[Any] = [baseline for baseline in sweep.baselines if baseline.name != "last layer"]
    for baseline in baselines:
        axes.axhline(baseline.score, color=_GREY, linewidth=0.8, linestyle=":")
        axes.annotate(
            baseline.name, (1, baseline.score), (3, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", va="center", fontsize=7.5, color=_GREY, annotation_clip=False,
        )  # fmt: skip
