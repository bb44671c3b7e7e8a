"""`zoo predict`: apply a trained head to new files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.options import (
    as_input,
    column_option,
    device_option,
    inputs_argument,
    report_failures,
    report_passed_over,
    strict_option,
)
from layerzoo.cli.output import Format, PrintedRow, counted, format_option, print_rows
from layerzoo.cli.progress import command_progress

if TYPE_CHECKING:
    from layerzoo.heads import Prediction

COLUMNS = ("sample", "label", "probability")


@click.command("predict")
@click.argument("head", type=click.Path(dir_okay=False, path_type=Path), shell_complete=candidates.files)
@inputs_argument
@column_option
@device_option
@strict_option
@format_option(piped="jsonl")
def command(head: Path, inputs: tuple[str, ...], strict: bool, format_: Format, **options: Any) -> None:
    """Predict labels with a trained head, as `zoo train` writes it.

    The features are extracted with the model, layer and poolings that the head was trained with. A backbone with other
    weights is refused.

    json has the keys id, label and probabilities (by class; empty for a regression).

    \b
    Examples:
      zoo predict photos.head new/
      zoo predict clips.head new.mp4 --format json
    """
    from layerzoo.heads import TrainedHead

    trained = TrainedHead.load(head, device=options["device"])
    with command_progress(trained.model, partial(counted, noun="sample")) as bar:
        predictions, features = trained.predict(
            as_input(inputs), errors="raise" if strict else "skip", progress=bar, **options
        )
    print_rows(map(_row, predictions), format_, COLUMNS)
    report_passed_over(features.passed_over)
    report_failures(features.errors, len(predictions))


def _row(prediction: Prediction) -> PrintedRow:
    label, probabilities = prediction.label, prediction.probabilities
    text = f"{label:.6g}" if isinstance(label, float) else label
    cells = [prediction.id, text, f"{probabilities[str(label)]:.3f}" if probabilities else None]
    fields = {"id": prediction.id, "label": label, "probabilities": dict(probabilities)}
    return PrintedRow(f"{prediction.id} {text}", lambda: fields, cells)
