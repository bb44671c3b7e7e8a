"""`zoo sweep`: find the layer at which to cut."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.labels import groups_option, label_function
from layerzoo.cli.messages import say
from layerzoo.cli.options import (
    as_input,
    cache_option,
    chunks_option,
    column_option,
    device_option,
    inputs_argument,
    normalize_option,
    report_failures,
    sample_options,
    strict_option,
    temporal_pool_option,
)
from layerzoo.cli.output import Format, PrintedRow, count, counted, format_option, print_rows, size
from layerzoo.cli.progress import command_progress

if TYPE_CHECKING:
    from layerzoo.sweeps import Sweep
    from layerzoo.sweeps.result import SweepRow

_EXTRACTION: dict[str, Any] = {
    **dict.fromkeys(("chunks", "normalize"), False),
    **dict.fromkeys(("temporal_pool", "overlap", "prompt", "sampling", "start_s", "end_s", "clips")),
    "decode": "exact",
}
"""The options that are arguments of an extraction, and their defaults."""
COLUMNS = ("layer", "pool", "score", "depth", "width", "parameters", "FLOPs", "ms", "load", "model")


@click.command("sweep")
@inputs_argument
@click.option(
    "--labels",
    metavar="FILE|folders|COLUMN",
    help="A table with a label for each sample; folders: the label is the folder of the file; or, if the input is a "
    "table, its column of labels. Not needed for --task cluster.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    shell_complete=candidates.models,
    help="A model id. Repeatable. Default: the starter model for this kind of input.",
)
@click.option(
    "--layers",
    multiple=True,
    metavar="L",
    shell_complete=candidates.layers,
    help="A layer or selector, as 'block.*', or fine. Repeatable; of several models, each uses those that it has. "
    "Default: all blocks, stages and what follows them.",
)
@click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="P",
    shell_complete=candidates.poolings,
    help="A pooling for all layers. Repeatable: each layer is measured with each. Default: that of each layer.",
)
@temporal_pool_option
@click.option(
    "--task",
    type=WordChoice(["auto", "classify", "multilabel", "regress", "cluster"]),
    default="auto",
    show_default=True,
    help="What to predict. auto: according to the labels.",
)
@click.option("--label-column", metavar="NAME", help="The column of the labels in the table. Default: label.")
@groups_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="A folder for sweep.json and the report.")
@click.option("--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Folds, at most.")
@click.option("--repeats", type=click.IntRange(min=1), default=2, show_default=True, help="Repetitions of the folds.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the folds.")
@click.option("--clusters", type=click.IntRange(min=2), metavar="N", help="The number of clusters, for --task cluster.")
@click.option("--no-baselines", "baselines", is_flag=True, flag_value=False, default=True, help="Skip the baselines.")
@click.option(
    "--no-combined", "combine", is_flag=True, flag_value=False, default=True, help="Skip combinations of layers."
)
@column_option
@chunks_option
@sample_options
@normalize_option
@device_option
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Rows per forward pass.")
@cache_option
@strict_option
@format_option(piped="json")
def command(
    inputs: tuple[str, ...],
    labels: str | None,
    models: tuple[str, ...],
    layers: tuple[str, ...],
    pools: tuple[str, ...],
    label_column: str | None,
    groups: str | None,
    out: Path | None,
    no_special_tokens: bool,
    strict: bool,
    format_: Format,
    **options: Any,
) -> None:
    """Find the layer at which to cut a model, by experiment.

    All layers are read in one pass. For each, a linear model is cross-validated; its regularization, and the layer, are
    chosen inside the folds, so that the score of the selected layer is that of new samples. The baselines show what is
    possible without the network, with random weights, and with the last layer.

    A table of labels (.csv, .tsv, .jsonl, .parquet) names each file in a column id, file, path, filename, file_name or
    name, and has its label in the column label. Several labels of a sample are separated by | (--task multilabel).

    json is an array with a row for each candidate: see docs/sweep.md. --out also writes sweep.json, with everything.

    \b
    Examples:
      zoo sweep photos/ --labels folders --out swept
      zoo sweep tweets.csv --labels sentiment --pool mean --pool max
      zoo sweep photos/ --labels ages.csv --task regress --groups person
    """
    from layerzoo.cli.names import find_model_for
    from layerzoo.errors import OutputError, UsageError
    from layerzoo.media.kinds import kind_of_inputs
    from layerzoo.registry.lookup import registry

    if out is not None and not out.absolute().parent.is_dir():  # before the work
        raise OutputError(f"{out} cannot be written: there is no folder {out.parent}", path=out)
    if labels is None and options["task"] not in ("auto", "cluster"):
        raise UsageError(f"--task {options['task']} needs --labels")
    zoo = registry()
    model_ids = [find_model_for(model, inputs).id for model in models]
    model_ids = model_ids or [zoo.default_model(kind_of_inputs(inputs))]
    label = label_function(labels, inputs, label_column, groups)
    from layerzoo.sweeps import sweep  # late: this imports torch

    extraction = {name: value for name in _EXTRACTION if (value := options.pop(name)) != _EXTRACTION[name]}
    if no_special_tokens:
        extraction["special_tokens"] = False
    with command_progress(", ".join(model_ids), partial(counted, noun="sample")) as bar:
        result = sweep(
            model_ids,
            as_input(inputs),
            label,
            layers=list(layers) or None,
            pool=list(pools) or None,
            errors="raise" if strict else "skip",
            progress=bar,
            **options,
            **extraction,
        )
    result = replace(result, inputs=inputs)
    rows = result.to_dict()["rows"]
    print_rows([_printed(row) for row in rows], format_, COLUMNS)
    if out is not None:
        result.save(out)
    for line in _summary(result):
        say(line)
    if out is not None:
        say(f"Report: {out / 'sweep.html'}")
    report_failures(result.errors, result.samples)


def _printed(row: dict[str, Any]) -> PrintedRow:
    cells = [
        row["layer"] + (" (default)" if row["is_default"] else ""),
        row["pool"],
        f"{row['score']:.3f}±{row['spread']:.3f}",
        None if row["depth"] is None else f"{row['depth']:.2f}",
        str(row["width"]),
        count(row["params"]),
        count(row["flops"]),
        None if row["milliseconds"] is None else f"{row['milliseconds']:.3g}",
        None if row["bytes"] is None else size(row["bytes"]),
        row["model"],
    ]
    return PrintedRow(f"{row['model']} {row['layer']} {row['pool']}", lambda: row, cells)


def _summary(result: Sweep) -> list[str]:
    """Return the conclusions of a sweep, a line each: the best cut first, then the cheapest one."""
    best, cheapest = result.rows[result.best], result.rows[result.cheapest]
    folds = f"{result.folds} folds" + (f", {result.repeats} times" if result.repeats > 1 else "")
    lines = [*result.notes]
    if result.task != "cluster":
        lines.append(
            f"{result.metric} {result.score:.3f} ± {result.spread:.3f} with the layer selected inside the folds "
            f"({counted(result.samples, 'sample')}, {folds})"
        )
    lines += [
        f"baseline {baseline.name}: {baseline.score:.3f} ± {baseline.spread:.3f}" for baseline in result.baselines
    ]
    if (comparison := result.comparison()) is not None:
        lines.append(comparison)
    lines += [
        f"rank correlation of {name} with the score: {value:.2f}" for name, value in result.rank_correlation.items()
    ]
    lines.append(f"best: {_cut(result.metric, best)}")
    if "ari" in best.estimates:
        lines.append(f"its clusters and the labels: ARI {best.estimates['ari']:.3f}, NMI {best.estimates['nmi']:.3f}")
    lines.append(f"  {result.command()}")
    if result.cheapest != result.best:
        lines.append(f"cheapest within one standard error: {_cut(result.metric, cheapest)}")
        lines.append(f"  {result.command(result.cheapest)}")
    return lines


def _cut(metric: str, row: SweepRow) -> str:
    return f"{row.model} {row.layer} {row.pool}, {metric} {row.score:.3f} ± {row.spread:.3f}"
