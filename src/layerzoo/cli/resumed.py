"""`zoo extract --resume`: extract by way of a run, and join its parts at the end."""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from layerzoo.cli.extract import tell_result
from layerzoo.cli.messages import say
from layerzoo.cli.options import as_input, report_failures
from layerzoo.cli.output import counted
from layerzoo.cli.progress import command_progress
from layerzoo.errors import EmptyResultError, SampleError
from layerzoo.printable import printable
from layerzoo.stopping import what_is_kept


def extract_resumably(inputs: tuple[str, ...], out: Path, model: str | None, options: dict[str, Any]) -> None:
    """Extract features into a file, and keep finished parts in a folder next to it until it is written.

    Args:
        inputs: of the command line.
        out: the file.
        model: as it was given.
        options: further arguments of :func:`layerzoo.run`.
    Raises: the errors of :func:`layerzoo.run`.
    """
    from layerzoo.cli.run import model_of
    from layerzoo.features import FeatureWriter
    from layerzoo.features.folder import part_features
    from layerzoo.features.formats import format_of
    from layerzoo.runs.creation import description_of
    from layerzoo.runs.failures import failures
    from layerzoo.runs.removal import remove_run
    from layerzoo.runs.run import run
    from layerzoo.runs.storage import storage

    format_of(out)
    folder = out.absolute().with_name(f"{out.name}.run")
    with what_is_kept(lambda: _describe_interrupted(folder)):
        id_ = model_of(inputs, model)
        with command_progress(id_, partial(counted, noun="sample")) as bar:
            result = run(id_, as_input(inputs), out=folder, progress=bar, **options)
        request, rows, report, is_written = description_of(storage(folder)).request, 0, Counter[str](), True
        try:
            with FeatureWriter(out) as writer:
                for part in part_features(folder):
                    writer.write(part)
                    rows += len(part)
                    report.update(part.report)
        except EmptyResultError:
            is_written = False
    failed = [SampleError(failure.id, failure.reason) for failure in failures(folder)]
    with contextlib.suppress(OSError):
        remove_run(folder)
    if is_written:
        noun = "window" if (request["windows"] or {}).get("temporal_pool") == "none" else "sample"
        tell_result(id_, request["pooling"], counted(rows, noun), out, report)
    else:
        say(f"{printable(str(out))} is unchanged: no sample has features.")
    report_failures(failed, result.samples - len(failed))


def _describe_interrupted(folder: Path) -> str:
    from layerzoo.runs.status import status

    current = status(folder)
    return f"; {current.done:,} of {counted(current.samples, 'sample')} are kept in {printable(str(folder))}"
