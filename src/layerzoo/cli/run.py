"""`zoo run`: extract features into a folder of parts, which can be stopped and continued."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.options import as_input, divided_devices, extraction_options, model_option, pooling_of
from layerzoo.cli.output import Format, PrintedRow, counted, format_option, print_one
from layerzoo.cli.progress import command_progress
from layerzoo.errors import UsageError
from layerzoo.printable import printable
from layerzoo.progress import duration
from layerzoo.stopping import what_is_kept

_LISTED = 10


class ShareType(click.ParamType[Any]):
    """``I/N``: the shards whose number is I modulo N."""

    name = "I/N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple) or value is None:
            return value
        index, separator, count = str(value).partition("/")
        if not (separator and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
            self.fail(f"{value!r} is not I/N with I from 0 to N - 1, such as 0/4", param, ctx)
        return int(index), int(count)


@click.command("run")
@click.argument("inputs", nargs=-1, metavar="[INPUT…]", shell_complete=candidates.files)
@click.option("--out", metavar="DIR", help="The folder of the run, or its URL.")
@model_option
@extraction_options
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes, which divide the cores or GPUs.")
@click.option(
    "--shard",
    type=ShareType(),
    help="Compute the shards whose number is I modulo N. Default in a Slurm array: its task.",
)
@click.option(
    "--shard-size", type=click.IntRange(min=1), metavar="N", help="Samples in a shard. Default: one to two minutes."
)
@click.option("--sample-timeout", type=float, metavar="SECONDS", help="How long decoding one sample may take.")
@click.option("--retry-failed", is_flag=True, help="Compute the samples that failed again.")
@click.option("--accept-versions", is_flag=True, help="Continue with other versions of the libraries.")
@click.option(
    "--engine",
    type=WordChoice(["processes", "ray"]),
    default="processes",
    show_default=True,
    help="ray: distribute the shards over a Ray cluster.",
)
@click.option("--address", metavar="ADDRESS", help="The Ray cluster. Default: one on this machine.")
@click.option("--status", "status_of", metavar="DIR", help="Show the progress of a run, and end.")
@format_option(piped="json")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    inputs: tuple[str, ...],
    out: str | None,
    model: str | None,
    status_of: str | None,
    format_: Format,
    **options: Any,
) -> None:
    """Extract features into a folder of parts. It can be stopped at any time; the same command continues it.

    DIR gets manifest.parquet with the inputs, run.json with the request, and part-000000.parquet, … with the features.
    A sample that fails is a row with the reason in the column error; the exit code is then 1. Without INPUT, the run in
    DIR is continued.

    \b
    Examples:
      zoo run photos/ --model timm/resnet50 --layer stage.2 --out photos-run
      zoo run --out photos-run --retry-failed
      zoo run --status photos-run
      zoo run s3://bucket/photos/ --out s3://bucket/features --workers 4
      zoo features export photos-run --to hf --out photos-dataset
    """
    from layerzoo.runs.status import status

    if status_of is not None:
        if inputs or out is not None:
            raise click.UsageError("--status DIR takes neither INPUT nor --out")
        _print_status(status_of, format_)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    from layerzoo.runs.run import run

    shard = options.pop("shard") or _slurm_share()
    own = {name: options.pop(name) for name in ("workers", "shard_size", "retry_failed", "accept_versions", "engine")}
    own |= {"address": options.pop("address"), "sample_timeout_s": options.pop("sample_timeout"), "shard": shard}
    arguments = run_arguments(options)
    with what_is_kept(lambda: _describe_interrupted(out)):
        if not inputs:
            _check_alone(ctx)
            run_model, label = None, status(out).model or "run"
        else:
            run_model = label = model_of(inputs, model)
        with command_progress(label, partial(counted, noun="sample")) as bar:
            result = run(
                run_model,
                as_input(inputs) if inputs else None,
                out=out,
                progress=bar,
                **own,
                **(arguments if inputs else {}),
            )
    remaining = f"; {counted(result.left, 'sample')} left for other workers" if result.left else ""
    say(f"{counted(result.samples, 'sample')} done, {result.failed:,} failed{remaining} → {out}")
    if result.failed:
        _list_failures(out, result.failed)
        ctx.exit(1)


def model_of(inputs: tuple[str, ...], model: str | None) -> str:
    """Return the id of the model for some inputs. Raises: InputError for inputs that are not all of one kind."""
    from layerzoo.registry.lookup import registry
    from layerzoo.weights.network.objects import is_url

    if model is not None:
        from layerzoo.cli.names import find_model, find_model_for

        return (find_model(model) if any(map(is_url, inputs)) else find_model_for(model, inputs)).id
    if any(map(is_url, inputs)):
        raise UsageError("the kind of a URL is not known before it is read: name a model with --model")
    from layerzoo.media.kinds import kind_of_inputs

    return registry().default_model(kind_of_inputs(inputs))


def run_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Return the values of the extraction options as arguments of :func:`layerzoo.run`."""
    layers, pools = options.pop("layers"), options.pop("pools")
    return {
        "layer": list(layers) or None,
        "pool": pooling_of(pools),
        "special_tokens": not options.pop("no_special_tokens"),
        "device": divided_devices(options.pop("device")),
        **options,
    }


def _check_alone(ctx: click.Context) -> None:
    """Raises: UsageError for options of an extraction without inputs: the run in the folder has its own."""
    options = [
        parameter.opts[0]
        for parameter in ctx.command.params
        if parameter.name not in _OF_ANY_CALL
        and ctx.get_parameter_source(str(parameter.name)) is click.core.ParameterSource.COMMANDLINE
    ]
    if options:
        raise click.UsageError(
            f"{', '.join(options)}: give INPUT, too. Without it, the run in DIR is continued as it began"
        )


def _slurm_share() -> tuple[int, int] | None:
    """Return the share of this task of a Slurm array; None outside of one. Raises: UsageError for odd variables."""
    if "SLURM_ARRAY_TASK_ID" not in os.environ:
        return None
    try:
        task, count = int(os.environ["SLURM_ARRAY_TASK_ID"]), int(os.environ["SLURM_ARRAY_TASK_COUNT"])
        first, step = (
            int(os.environ.get(f"SLURM_ARRAY_TASK_{name}", default)) for name, default in (("MIN", "0"), ("STEP", "1"))
        )
        index = (task - first) // step
    except (KeyError, ValueError, ZeroDivisionError):
        raise UsageError(
            "SLURM_ARRAY_TASK_ID is set without SLURM_ARRAY_TASK_COUNT, so that the share of this task is not known. "
            "Next: give --shard I/N"
        ) from None
    if not 0 <= index < count:
        raise UsageError(
            f"task {task} of a Slurm array of {count} tasks from {first} has no share. Next: give --shard I/N"
        )
    return index, count


def _describe_interrupted(out: str) -> str:
    from layerzoo.runs.status import status

    current = status(out)
    return (
        f"; {current.done:,} of {counted(current.samples, 'sample')} are done. "
        f"The same command continues in {printable(out)}"
    )


def _list_failures(folder: str, failed: int) -> None:
    """List the first failed samples of a run."""
    from itertools import islice

    from layerzoo.runs.failures import failures

    for failure in islice(failures(folder), _LISTED):
        say(f"failed: {failure.id}: {failure.reason}")
    if failed > _LISTED:
        say(f"and {failed - _LISTED:,} more: they are the rows of {folder} with a text in the column error")
    say(f"Next: zoo run --out {folder} --retry-failed")


def _print_status(folder: str, format_: Format) -> None:
    from dataclasses import asdict

    from layerzoo.runs.status import status

    current = status(folder)
    if current.model is None:
        raise UsageError(f"there is no run in {folder}")
    facts = asdict(current) | {"damaged": list(current.damaged)}
    time_left = None if current.seconds_left is None else duration(current.seconds_left)
    rate = None if current.samples_per_s is None else f"{current.samples_per_s:,.3g} samples/s"
    cells = (
        ("folder", current.folder),
        ("model", current.model),
        (
            "done",
            f"{current.done:,} of {counted(current.samples, 'sample')}, "
            f"{current.shards_done:,} of {counted(current.shards, 'shard')}",
        ),
        ("failed", f"{current.failed:,}"),
        ("left", f"{current.left:,}"),
        ("at work", counted(current.at_work, "shard") if current.at_work else None),
        ("rate", rate),
        ("time left", time_left),
        ("damaged", ", ".join(current.damaged) or None),
    )
    print_one(PrintedRow(current.folder, lambda: facts, [cell for cell in cells if cell[1] is not None]), format_)


_OF_ANY_CALL = frozenset(
    {"inputs", "out", "workers", "shard", "sample_timeout", "retry_failed", "accept_versions", "engine", "address"}
    | {"shard_size", "status_of", "format_"}
)
"""The parameters that do not belong to the request of a run."""
