"""The report of a sweep: one HTML page that loads nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import confusion_matrix, f1_score

from layerzoo.sweeps.figure import COLORS
from layerzoo.sweeps.result import Sweep, SweepDetails, SweepRow

_POINTS = 1_000
"""The most points of the map: each has a preview of about 3 kB."""
_MISTAKES = 12
_CLASSES = 30
"""The most classes of a confusion matrix."""
_SIDE = 600
"""The side of the map, in its own units."""
_DARK = (0x56, 0xB4, 0xE9)
"""The colour of the largest value of a table of colours."""


def report_page(sweep: Sweep, figure: str) -> str:
    """Return the page.

    Args:
        sweep: the result, with the samples.
        figure: as SVG.
    """
    best = sweep.rows[sweep.best]
    title = f"Where to cut: {best.layer} of {best.model}"
    details = sweep.details
    parts = [
        f"<h1>{escape(title)}</h1>",
        _headline(sweep),
        _section("Score and cost over depth", f'<figure class="figure">{figure[figure.index("<svg") :]}</figure>'),
        _section("Extract these features", _commands(sweep)),
        _section("All candidates", _table(sweep)),
    ]
    points: list[dict[str, Any]] = []
    if details is not None:
        parts += _predictions(sweep, details)
        drawn, points = _map(sweep, details)
        parts.append(_section("Map of the samples", drawn))
        if details.similarity is not None and len(details.similar) > 1:
            parts.append(_section("Similarity of the layers", _similarity(details)))
    if sweep.notes:
        parts.append(_section("Notes", f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in sweep.notes)}</ul>"))
    data = json.dumps(points, ensure_ascii=False).replace("<", "\\u003c")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title><style>\n{_asset("report.css")}</style></head>\n'
        f'<body>{"".join(parts)}\n<div id="tip" role="status" hidden></div>\n'
        f'<script type="application/json" id="samples">{data}</script>\n<script>\n{_asset("report.js")}</script>\n'
        "</body></html>\n"
    )


def _asset(name: str) -> str:
    return files("layerzoo.sweeps").joinpath(name).read_text("utf-8")


def _section(title: str, content: str) -> str:
    return f"\n<section><h2>{escape(title)}</h2>{content}</section>"


def _headline(sweep: Sweep) -> str:
    best, cheapest = sweep.rows[sweep.best], sweep.rows[sweep.cheapest]
    folds = f"{sweep.folds} folds" + (f", {sweep.repeats} times" if sweep.repeats > 1 else "")
    lines = [
        f'<p class="score">{escape(sweep.metric)} {sweep.score:.3f} ± {sweep.spread:.3f}</p>',
        f'<p class="soft">{sweep.samples:,} samples, {folds}. The layer and the regularization were chosen inside the '
        "folds, so that no choice saw the samples that were scored.</p>",
    ]
    if sweep.task == "cluster":
        lines[1] = f'<p class="soft">{sweep.samples:,} samples, k-means.</p>'
    if sweep.baselines:
        listed = "".join(
            f"<li>{escape(baseline.name)}: {baseline.score:.3f} ± {baseline.spread:.3f}</li>"
            for baseline in sweep.baselines
        )
        lines.append(f"<p>For comparison:</p><ul>{listed}</ul>")
    if (comparison := sweep.comparison()) is not None:
        lines.append(f"<p>{escape(comparison[0].upper() + comparison[1:])}.</p>")
    if sweep.cheapest != sweep.best:
        lines.append(
            f"<p>Cheapest within one standard error of {escape(best.layer)}: <b>{escape(cheapest.layer)}</b> "
            f"({cheapest.score:.3f}).</p>"
        )
    return "".join(lines)


def _commands(sweep: Sweep) -> str:
    names = {"Best": sweep.best}
    if sweep.cheapest != sweep.best:
        names["Cheapest within one standard error"] = sweep.cheapest
    return "".join(f"<p>{name}:</p><pre>{escape(sweep.command(row))}</pre>" for name, row in names.items())


def _table(sweep: Sweep) -> str:
    headings = ("layer", "pool", sweep.metric, "±", "depth", "width", "parameters", "FLOPs", "ms", "MB")
    columns = [*headings, *(["model"] if len({row.model for row in sweep.rows}) > 1 else [])]

    def cells(row: SweepRow) -> list[str]:
        texts = [
            row.layer + (" (default)" if row.is_default else ""),
            row.pool,
            f"{row.score:.3f}",
            f"{row.spread:.3f}",
            "" if row.depth is None else f"{row.depth:.2f}",
            f"{row.width:,}",
            "" if row.params is None else f"{row.params:,}",
            "" if row.flops is None else f"{row.flops:.3g}",
            "" if row.milliseconds is None else f"{row.milliseconds:.3g}",
            "" if row.bytes is None else f"{row.bytes / 1e6:.3g}",
        ]
        return [*texts, row.model][: len(columns)]

    rows = ""
    for number, row in enumerate(sweep.rows):
        line = "".join(f"<td>{escape(cell)}</td>" for cell in cells(row))
        rows += f"<tr{' class=best' if number == sweep.best else ''}>{line}</tr>"
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _predictions(sweep: Sweep, details: SweepDetails) -> list[str]:
    """Return the sections about predictions of samples that were not used to fit or choose."""
    if details.predictions is None:
        return []
    targets, predictions = details.targets, details.predictions
    sections = []
    if sweep.task == "classify" and len(sweep.classes) <= _CLASSES:
        counts = confusion_matrix(targets, predictions, labels=range(len(sweep.classes)))
        table = _heat(
            counts, sweep.classes, [f"{value:,}" for value in counts.ravel()], counts / counts.sum(1)[:, None]
        )
        note = (
            '<p class="soft">A row for each class, a column for each prediction, of the first repetition of the folds. '
            "Each sample was predicted at the layer that was selected inside the folds, without this sample.</p>"
        )
        sections.append(_section("Confusion matrix", note + table))
    elif sweep.task == "regress":
        sections.append(_section("Predicted and actual values", _scatter(targets, predictions)))
    elif sweep.task == "multilabel":
        scores = f1_score(targets, predictions, average=None, zero_division=0.0)
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{score:.3f}</td><td>{count:,}</td></tr>"
            for name, score, count in zip(sweep.classes, scores, targets.sum(0), strict=True)
        )
        head = "<tr><th>label</th><th>F1</th><th>samples</th></tr>"
        sections.append(_section("Labels", f'<div class="scroll"><table>{head}{rows}</table></div>'))
    order, errors = _mistakes(sweep.task, details)
    listed = [row for row in order if errors[row] > 0][:_MISTAKES]
    if listed:
        items = "".join(_mistake(sweep, details, row) for row in listed)
        sections.append(_section("Worst mistakes", f'<ul class="mistakes">{items}</ul>'))
    return sections


def _scatter(targets: NDArray[Any], predictions: NDArray[Any]) -> str:
    """Return a figure with a point for each sample: its actual value to the right, the predicted one upwards."""
    low, high = float(min(targets.min(), predictions.min())), float(max(targets.max(), predictions.max()))
    places = (np.stack([targets, predictions], axis=1) - low) / (high - low or 1) * (_SIDE - 40) + 20
    points = "".join(
        f'<circle cx="{x:.1f}" cy="{_SIDE - y:.1f}" r="3" fill="{COLORS[0]}" fill-opacity="0.6"/>' for x, y in places
    )
    line = f'<path d="M20 {_SIDE - 20}L{_SIDE - 20} 20" stroke="#767676" stroke-dasharray="4"/>'
    caption = f"Actual values to the right, predicted values upwards, both from {low:.4g} to {high:.4g}."
    return (
        f'<figure class="map"><svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" aria-label="Predicted and actual values">'
        f"{line}{points}</svg><figcaption>{caption}</figcaption></figure>"
    )


def _mistakes(task: str, details: SweepDetails) -> tuple[list[int], NDArray[Any]]:
    """Return the samples by the size of their error, the largest first, and the errors."""
    targets, predictions = details.targets, details.predictions
    assert predictions is not None
    if task == "regress":
        errors = np.abs(targets - predictions)
    elif task == "multilabel":
        errors = (targets != predictions).sum(axis=1)
    else:
        sure = np.ones(len(targets)) if details.confidence is None else details.confidence
        errors = (targets != predictions) * sure
    return np.argsort(-errors, kind="stable").tolist(), errors


def _mistake(sweep: Sweep, details: SweepDetails, row: int) -> str:
    assert details.predictions is not None
    preview = details.previews[row] if details.previews else None
    image = f'<img src="{preview.image}" alt="">' if preview and preview.image else ""
    text = escape(preview.text if preview and preview.text else details.ids[row])
    sure = ""
    if sweep.task == "classify" and details.confidence is not None:
        sure = f" ({details.confidence[row]:.0%})"
    target, predicted = (_label(sweep, values[row]) for values in (details.targets, details.predictions))
    return f'<li>{image}{text}<div class="soft">{escape(target)} → {escape(predicted)}{sure}</div></li>'


def _label(sweep: Sweep, value: Any) -> str:
    """Return a target in words."""
    if sweep.task == "multilabel":
        return ", ".join(name for name, has in zip(sweep.classes, value, strict=True) if has) or "no label"
    if sweep.task == "regress":
        return f"{value:.4g}"
    return sweep.classes[int(value)] if sweep.classes else f"cluster {int(value)}"


def _map(sweep: Sweep, details: SweepDetails) -> tuple[str, list[dict[str, Any]]]:
    """Return a map in which similar samples are near each other, and the samples that it shows."""
    count = len(details.ids)
    rows = np.linspace(0, count - 1, min(count, _POINTS)).astype(int)
    places, method = _places(details.features[rows])
    groups = [_group(sweep, details, row) for row in rows]
    names = list(dict.fromkeys(sorted(groups)))
    color = {name: COLORS[number % len(COLORS)] for number, name in enumerate(names)}
    points = []
    circles = []
    for number, (row, (x, y)) in enumerate(zip(rows, places, strict=True)):
        preview = details.previews[row] if details.previews else None
        label = _label(sweep, details.targets[row]) if len(details.targets) else ""
        points.append(
            {
                "id": details.ids[row],
                "label": label,
                "text": preview.text if preview else None,
                "image": preview.image if preview else None,
            }
        )
        fill = color[groups[number]]
        circles.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{fill}" data-sample="{number}" tabindex="0">'
            f"<title>{escape(details.ids[row])}</title></circle>"
        )
    legend = "".join(f'<span><i style="background:{color[name]}"></i>{escape(name)}</span>' for name in names[:12])
    caption = f"{method} of {len(rows):,} samples at the best cut. Point at a sample to see it."
    drawn = (
        f'<p class="legend">{legend}</p><figure class="map"><svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" '
        f'aria-label="Map of the samples">{"".join(circles)}</svg><figcaption>{caption}</figcaption></figure>'
    )
    return drawn, points


def _group(sweep: Sweep, details: SweepDetails, row: int) -> str:
    """Return the value that the colour of a sample shows."""
    if not len(details.targets):
        return "samples"
    if sweep.task == "regress":
        return "above the median" if details.targets[row] > np.median(details.targets) else "up to the median"
    return _label(sweep, details.targets[row])


def _places(features: NDArray[np.float32]) -> tuple[NDArray[Any], str]:
    """Return (sample, 2) positions on the map: t-SNE, or principal components for few samples."""
    scale = features.std(axis=0)
    standardized = (features - features.mean(axis=0)) / np.where(scale > 0, scale, 1)
    count = min(50, *standardized.shape)
    reduced = PCA(count, svd_solver="full", random_state=0).fit_transform(standardized)
    places = np.pad(reduced, ((0, 0), (0, max(0, 2 - count))))[:, :2]
    method = "Principal components"
    if len(features) >= 30 and count > 2:
        places = TSNE(init="pca", perplexity=min(30.0, len(features) / 4), random_state=0).fit_transform(reduced)
        method = "t-SNE"
    low, high = places.min(axis=0), places.max(axis=0)
    margin = 12
    span = np.where(high > low, high - low, 1)
    return margin + (places - low) / span * (_SIDE - 2 * margin), method


def _similarity(details: SweepDetails) -> str:
    assert details.similarity is not None
    table = details.similarity
    note = '<p class="soft">Linear centred kernel alignment, from 0 to 1.</p>'
    return note + _heat(table, details.similar, [f"{value:.2f}" for value in table.ravel()], table)


def _heat(values: NDArray[Any], names: Sequence[str], texts: Iterable[str], shares: NDArray[Any]) -> str:
    """Return a square table whose cells are the darker the larger their share is."""
    cell_texts = iter(texts)
    rows = []
    for name, line in zip(names, np.nan_to_num(shares), strict=True):
        cells = "".join(
            f'<td style="background:rgb({_DARK[0]} {_DARK[1]} {_DARK[2]} / {share:.2f})">{next(cell_texts)}</td>'
            for share in np.clip(line, 0, 1)
        )
        rows.append(f"<tr><th>{escape(name)}</th>{cells}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f'<div class="scroll"><table class="heat"><tr><th></th>{head}</tr>{"".join(rows)}</table></div>'
