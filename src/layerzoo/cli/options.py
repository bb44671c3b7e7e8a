"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.output import counted

if TYPE_CHECKING:
    from layerzoo.errors import SampleError

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

inputs_argument = click.argument("inputs", nargs=-1, required=True, metavar="INPUT…", shell_complete=candidates.files)
model_option = click.option(
    "--model",
    metavar="MODEL",
    shell_complete=candidates.models,
    help="A model id. Default: the starter model for this kind of input.",
)
layer_option = click.option(
    "--layer",
    "layers",
    multiple=True,
    metavar="L",
    shell_complete=candidates.layers,
    help="A layer or selector. Repeatable.",
)
pool_option = click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="P",
    shell_complete=candidates.poolings,
    help="A pooling for all layers, or LAYER=POOLING for one.",
)
temporal_pool_option = click.option(
    "--temporal-pool",
    metavar="P",
    shell_complete=candidates.temporal_poolings,
    help="A pooling over the frames of a video, windows of audio or chunks of text, such as dct:4.",
)
weights_option = click.option(
    "--weights",
    metavar="PATH|random:SEED",
    shell_complete=candidates.weights,
    help="Another checkpoint for the same architecture, or random weights.",
)
column_option = click.option("--column", metavar="NAME", help="The column of a table that has the text.")
chunks_option = click.option("--chunks", is_flag=True, help="Split long texts into chunks instead of truncating them.")
normalize_option = click.option("--normalize", is_flag=True, help="Scale every vector to unit length.")
device_option = click.option(
    "--device", default="cpu", show_default=True, metavar="DEVICE", help="A torch device: cpu, cuda, mps."
)
partial_option = click.option(
    "--partial", is_flag=True, help="Download only the part of the weights that the layers require."
)
allow_pickle_option = click.option(
    "--allow-pickle", is_flag=True, help="Load a pickled checkpoint even without a declared sha256."
)
cache_option = click.option(
    "--cache", is_flag=True, help="Keep the features of each sample, and use those of earlier runs: see zoo cache."
)
strict_option = click.option("--strict", is_flag=True, help="Stop at the first sample that fails.")


class BatchSizeType(click.ParamType[Any]):
    """A number of rows, or ``auto``."""

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in (None, "auto") else click.IntRange(min=1).convert(value, param, ctx)


_SAMPLE_OPTIONS = (
    click.option(
        "--overlap",
        type=click.IntRange(min=0),
        metavar="N",
        help="Tokens that chunks share. Default: an eighth of a chunk.",
    ),
    click.option(
        "--prompt", metavar="NAME|TEXT", help="A prompt of the model by name, or a text, to put before every text."
    ),
    click.option(
        "--sampling",
        metavar="HOW",
        help="The frames of a video: uniform:8, fps:2, every:10, keyframes, scenes, segments:8:SEED. "
        "Default: 16, uniformly in time.",
    ),
    click.option("--start", "start_s", type=float, metavar="SECONDS", help="Sample frames of a video from here on."),
    click.option("--end", "end_s", type=float, metavar="SECONDS", help="Sample frames of a video up to here."),
    click.option(
        "--clips",
        type=click.IntRange(min=1),
        metavar="N",
        help="Clips of a video, for a network that takes several frames at once.",
    ),
)
"""The options that say which part of a sample is read."""
_WINDOW_OPTIONS = (
    click.option(
        "--window", metavar="DURATION", help="Cut recordings into windows, such as 10s or 500ms, with a row for each."
    ),
    click.option(
        "--hop", metavar="DURATION", help="From the start of a window to that of the next. Default: a window's length."
    ),
)
_INPUT_OPTIONS = (
    click.option(
        "--decode",
        type=WordChoice(["exact", "fast"]),
        default="exact",
        show_default=True,
        help="fast: decode large JPEGs at a reduced scale, on all cores.",
    ),
    click.option(
        "--no-special-tokens",
        is_flag=True,
        help="Do not pool the special tokens of a text, such as [CLS] and [SEP].",
    ),
    click.option(
        "--precision",
        type=WordChoice(["float32", "auto", "bfloat16", "float16", "library"]),
        default="float32",
        show_default=True,
        help="The dtype of the computation. auto: bfloat16 where this device computes it natively, else float32. "
        "library: the default of the model's library for this checkpoint.",
    ),
)
"""The options that say how the input of the network is made, and in which precision it computes."""

_EXTRACTION_OPTIONS = (
    layer_option,
    pool_option,
    temporal_pool_option,
    weights_option,
    column_option,
    chunks_option,
    *_SAMPLE_OPTIONS,
    *_WINDOW_OPTIONS,
    normalize_option,
    *_INPUT_OPTIONS,
    click.option(
        "--device",
        default="cpu",
        show_default=True,
        metavar="DEVICE",
        help="A torch device: cpu, cuda, mps. Several, as in cuda:0,cuda:1, run replicas of the network.",
    ),
    click.option(
        "--batch-size",
        type=BatchSizeType(),
        metavar="N|auto",
        help="Rows per forward pass. auto: as many as fit into the free memory of the device.",
    ),
    partial_option,
    allow_pickle_option,
    click.option(
        "--trust-declaration",
        is_flag=True,
        help="Use declared axes, prefix tokens and shapes, even where a trace of the network contradicts them.",
    ),
)
"""The options that say which features are computed, and how."""


def sample_options(command: CommandT) -> CommandT:
    """Add the options that say which part of a sample is read, and how: for commands that go on from features."""
    for option in reversed((*_SAMPLE_OPTIONS, *_INPUT_OPTIONS)):
        command = option(command)
    return command


def window_options(command: CommandT) -> CommandT:
    """Add ``--window`` and ``--hop``."""
    for option in reversed(_WINDOW_OPTIONS):
        command = option(command)
    return command


def extraction_options(command: CommandT) -> CommandT:
    """Add the options that say which features are computed, and how: those of `zoo extract` and `zoo run`."""
    for option in reversed(_EXTRACTION_OPTIONS):
        command = option(command)
    return command


def divided_devices(device: str) -> str | list[str]:
    """Return the value of ``--device``: a device, or a list of several."""
    return device.split(",") if "," in device else device


def as_input(inputs: tuple[str, ...]) -> str | Path | list[Path]:
    """Return arguments as inputs: paths, patterns or -, never texts themselves."""
    from layerzoo.media import paths

    if len(inputs) != 1:
        return [Path(name) for name in inputs]
    name = inputs[0]
    is_missing = name != "-" and not (paths.exists(name) or paths.is_pattern(name) or paths.is_url(name))
    return Path(name) if is_missing else name  # the error for a string would explain a list of Python


def pooling_of(pools: tuple[str, ...]) -> str | dict[str, str] | None:
    """Parse `--pool mean`, or any number of `--pool block.3=max`."""
    by_layer = dict(pool.rsplit("=", 1) for pool in pools if "=" in pool)
    for_all = [pool for pool in pools if "=" not in pool]
    if len(for_all) > 1 or (for_all and by_layer):
        raise click.UsageError("give one --pool for all layers, or one --pool LAYER=POOLING for each")
    return for_all[0] if for_all else by_layer or None


def few(names: Sequence[str]) -> str:
    """List the first three names of several."""
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def report_passed_over(files: Sequence[str]) -> None:
    """List the files of a folder that were skipped."""
    if files:
        many = "files of another kind were" if len(files) > 1 else "file of another kind was"
        say(f"{len(files):,} {many} skipped: {few(files)}")


def report_failures(failed: Sequence[SampleError], succeeded: int) -> None:
    """List the samples that failed, and exit with 1 if there are any. succeeded: the number of all others."""
    for error in failed:
        say(f"failed: {error}")
    if failed:
        say(f"{len(failed):,} of {counted(succeeded + len(failed), 'sample')} failed.")
        sys.exit(1)
