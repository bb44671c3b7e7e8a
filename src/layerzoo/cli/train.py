"""`zoo train`: train a head on the features of labelled files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerzoo.cli.choice import WordChoice
from layerzoo.cli.labels import groups_option, label_function
from layerzoo.cli.messages import say
from layerzoo.cli.options import (
    as_input,
    chunks_option,
    column_option,
    device_option,
    few,
    inputs_argument,
    layer_option,
    model_option,
    normalize_option,
    pool_option,
    pooling_of,
    report_failures,
    report_passed_over,
    sample_options,
    strict_option,
    temporal_pool_option,
    weights_option,
    window_options,
)
from layerzoo.cli.output import Format, PrintedRow, counted, format_option, print_one
from layerzoo.cli.progress import command_progress

if TYPE_CHECKING:
    from layerzoo.heads import Labels


@click.command("train")
@inputs_argument
@click.option(
    "--labels",
    "labels",
    required=True,
    metavar="FILE|folders|COLUMN",
    help="A table with a label for each sample; folders: the label is the folder of the file; or, if the input is a "
    "table, its column of labels.",
)
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The file of the head.")
@model_option
@layer_option
@pool_option
@temporal_pool_option
@click.option(
    "--sequence",
    type=WordChoice(["gru", "conv", "transformer"]),
    help="A network over the sequence of each sample, instead of a linear head on pooled features.",
)
@click.option(
    "--task",
    type=WordChoice(["auto", "classify", "regress"]),
    default="auto",
    show_default=True,
    help="Whether labels are classes or numbers. auto: according to the labels.",
)
@click.option("--label-column", metavar="NAME", help="The column of the labels. Default: label.")
@groups_option
@click.option(
    "--folds", type=click.IntRange(min=2), default=5, show_default=True, help="Folds of the cross-validation, at most."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the folds and the network.")
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="Passes over the data, for --sequence.")
@click.option("--center", is_flag=True, help="Subtract the mean of each sequence, for --sequence.")
@weights_option
@column_option
@chunks_option
@sample_options
@window_options
@normalize_option
@device_option
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Rows per forward pass.")
@strict_option
@format_option(piped="json")
def command(
    inputs: tuple[str, ...],
    labels: str,
    out: Path,
    model: str | None,
    layers: tuple[str, ...],
    pools: tuple[str, ...],
    label_column: str | None,
    groups: str | None,
    epochs: int | None,
    center: bool,
    no_special_tokens: bool,
    strict: bool,
    format_: Format,
    **options: Any,
) -> None:
    """Train a head on the features of labelled files.

    Features are extracted as by `zoo extract`. The score is the mean over the folds of a cross-validation in which the
    samples of one source are in one fold. The head is then fitted on all samples, and `zoo predict` applies it.

    A table of labels (.csv, .tsv, .jsonl, .parquet) names each file in a column id, file, path, filename, file_name or
    name, and has its label in the column label.

    json has the keys head, model, layers, kind, task, metric, mean, std, folds, samples, groups, chance; those of the
    score are null if there are too few samples. chance is the share of the most frequent class.

    \b
    Examples:
      zoo train photos/ --labels folders --out photos.head
      zoo train clips/ --labels folders --sequence gru --out clips.head
      zoo train calls/ --labels folders --sequence gru --window 2s --out c.head
      zoo train clips/ --labels clips.csv --temporal-pool dct:4 --out clips.head
    """
    from layerzoo.cli.names import find_model_for
    from layerzoo.errors import OutputError, UsageError
    from layerzoo.media.kinds import kind_of_inputs
    from layerzoo.registry.lookup import registry

    settings: dict[str, Any] = {**({"epochs": epochs} if epochs else {}), **({"center": True} if center else {})}
    if settings and not options["sequence"]:
        raise UsageError("--epochs and --center are for a network: choose one with --sequence")
    if not out.parent.is_dir():  # before the work
        raise OutputError(f"{out} cannot be written: there is no folder {out.parent}", path=out)
    zoo = registry()
    spec = find_model_for(model, inputs) if model else zoo.model(zoo.default_model(kind_of_inputs(inputs)))
    label = label_function(labels, inputs, label_column, groups)
    assert label is not None  # labels are required
    from layerzoo.heads import train_head  # late: this imports torch

    labelled: list[Labels] = []

    def label_all(ids: Sequence[str]) -> Labels:
        labelled.append(label(ids))
        return labelled[-1]

    has_windows = options["window"] is not None and options["temporal_pool"] in (None, "none")
    with command_progress(spec.id, partial(counted, noun="window" if has_windows else "sample")) as bar:
        head, features = train_head(
            spec.id,
            as_input(inputs),
            label_all,
            layer=list(layers) or None,
            pool=pooling_of(pools),
            errors="raise" if strict else "skip",
            settings=settings,
            special_tokens=not no_special_tokens,
            progress=bar,
            **options,
        )
    head.save(out)
    score = {name: head.score.get(name) for name in _SCORE}
    fields = {
        "head": str(out),
        "model": head.model,
        "layers": list(features.layers),
        "kind": head.kind,
        "task": head.task,
        **score,
    }
    print_one(PrintedRow(str(out), lambda: fields, list(_facts(fields).items())), format_)
    if options["task"] == "auto":
        say(f"the task is {head.task}, according to the labels")
    if not head.score:
        say("There are too few samples of a class, or too few sources, for a cross-validation: no score.")
    for labelling in labelled:
        if labelling.unlabelled:
            say(f"{counted(len(labelling.unlabelled), 'sample')} without a label: {few(labelling.unlabelled)}")
        if labelling.unused:
            say(f"{counted(len(labelling.unused), 'row')} of {labels} without a sample: {few(labelling.unused)}")
    report_passed_over(features.passed_over)
    report_failures(features.errors, len(features))


_SCORE = ("metric", "mean", "std", "folds", "samples", "groups", "chance")


def _facts(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a table: the score in one line."""
    facts = {
        "head": fields["head"],
        "model": fields["model"],
        "layers": ", ".join(fields["layers"]),
        "kind": fields["kind"],
    }
    facts |= {name: fields[name] for name in ("samples", "groups") if fields[name] is not None}
    if fields["metric"]:
        facts[fields["metric"]] = f"{fields['mean']:.3f} ± {fields['std']:.3f} over {fields['folds']} folds"
    if fields["chance"]:
        facts["chance"] = f"{fields['chance']:.3f}, the share of the most frequent class"
    return facts
