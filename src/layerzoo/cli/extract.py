"""`zoo extract`: extract features into a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from layerzoo.cli.braces import expanded_by_shell
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.options import (
    allow_pickle_option,
    as_input,
    cache_option,
    chunks_option,
    column_option,
    inputs_argument,
    layer_option,
    model_option,
    normalize_option,
    partial_option,
    pool_option,
    pooling_of,
    report_failures,
    report_passed_over,
    strict_option,
    temporal_pool_option,
    weights_option,
)
from layerzoo.cli.output import counted
from layerzoo.cli.progress import command_progress
from layerzoo.disk import fingerprint
from layerzoo.printable import printable
from layerzoo.stopping import what_is_kept

if TYPE_CHECKING:
    from layerzoo.errors import SampleError
    from layerzoo.runtime import Backbone


class BatchSizeType(click.ParamType[Any]):
    """A number of rows, or ``auto``."""

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value in (None, "auto") else click.IntRange(min=1).convert(value, param, ctx)


@click.command("extract")
@inputs_argument
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .parquet, .npz or .safetensors file, or .csv or .npy for the numbers alone.",
)
@model_option
@layer_option
@pool_option
@temporal_pool_option
@weights_option
@column_option
@chunks_option
@click.option(
    "--overlap",
    type=click.IntRange(min=0),
    metavar="N",
    help="Tokens that chunks share. Default: an eighth of a chunk.",
)
@click.option(
    "--prompt", metavar="NAME|TEXT", help="A prompt of the model by name, or a text, to put before every text."
)
@click.option(
    "--sampling",
    metavar="HOW",
    help="The frames of a video: uniform:8, fps:2, every:10, keyframes, scenes, segments:8:SEED. "
    "Default: 16, uniformly in time.",
)
@click.option("--start", "start_s", type=float, metavar="SECONDS", help="Sample frames of a video from here on.")
@click.option("--end", "end_s", type=float, metavar="SECONDS", help="Sample frames of a video up to here.")
@click.option(
    "--clips",
    type=click.IntRange(min=1),
    metavar="N",
    help="Clips of a video, for a network that takes several frames at once.",
)
@click.option(
    "--window", metavar="DURATION", help="Cut recordings into windows, such as 10s or 500ms, with a row for each."
)
@click.option(
    "--hop", metavar="DURATION", help="From the start of a window to that of the next. Default: a window's length."
)
@normalize_option
@click.option(
    "--decode",
    type=WordChoice(["exact", "fast"]),
    default="exact",
    show_default=True,
    help="fast: decode large JPEGs at a reduced scale, on all cores.",
)
@click.option(
    "--no-special-tokens",
    is_flag=True,
    help="Do not pool the special tokens of a text, such as [CLS] and [SEP].",
)
@click.option(
    "--precision",
    type=WordChoice(["float32", "auto", "bfloat16", "float16", "library"]),
    default="float32",
    show_default=True,
    help="The dtype of the computation. auto: bfloat16 where this device computes it natively, else float32. library: "
    "the default of the model's library for this checkpoint.",
)
@click.option(
    "--device",
    default="cpu",
    show_default=True,
    metavar="DEVICE",
    help="A torch device: cpu, cuda, mps. Several, as in cuda:0,cuda:1, run replicas of the network.",
)
@click.option(
    "--batch-size",
    type=BatchSizeType(),
    metavar="N|auto",
    help="Rows per forward pass. auto: as many as fit into the free memory of the device.",
)
@cache_option
@partial_option
@allow_pickle_option
@click.option(
    "--trust-declaration",
    is_flag=True,
    help="Use declared axes, prefix tokens and shapes, even where a trace of the network contradicts them.",
)
@strict_option
def command(
    inputs: tuple[str, ...],
    out: Path,
    model: str | None,
    layers: tuple[str, ...],
    pools: tuple[str, ...],
    column: str | None,
    strict: bool,
    **options: Any,
) -> None:
    """Extract features from files, folders or globs.

    The input - reads lines from standard input. A text is such a line, a line of a file, or a cell of a table. Samples
    that fail are listed at the end, and the exit code is 1; the features of all others are written.

    The mean of a text includes its special tokens, as in sentence-transformers; --no-special-tokens excludes them.
    Padding is never pooled, and neither are the class and register tokens of an image.

    MODEL may be any repository of the hub, hf/ORG/REPO. Where its network takes several modalities, the part for these
    inputs is used; hf/ORG/REPO:text selects it explicitly.

    \b
    Examples:
      zoo extract photos/ --out features.parquet
      zoo extract tweets.txt --layer block.2 --layer block.5 --out tweets.npz
      cat tweets.txt | zoo extract - --model starter/minilm-l6 --out piped.parquet
      zoo extract tweets.txt --model hf/BAAI/bge-small-en --out e.parquet
      zoo extract talk.mp3 --window 10s --hop 5s --out windows.parquet
    """
    from layerzoo.cli.names import find_model_for
    from layerzoo.errors import EmptyResultError
    from layerzoo.features import FeatureWriter
    from layerzoo.media.kinds import kind_of_inputs
    from layerzoo.registry.lookup import registry

    pool = pooling_of(pools)
    options["device"] = options["device"].split(",") if "," in options["device"] else options["device"]
    how: dict[str, Any] = {name: options.pop(name) for name in _EXTRACTION_OPTIONS}
    how["special_tokens"] = not options.pop("no_special_tokens")
    before = _state_of(out)
    done = 0
    failed: list[SampleError] = []
    passed_over: list[str] = []
    report: Counter[str] = Counter()
    try:
        with (
            what_is_kept(lambda: _kept(done + len(failed), out, before)),
            FeatureWriter(out) as writer,  # first, so that a file that cannot be written is reported before the work
        ):
            zoo = registry()
            _check_braces(inputs, model, layers, pools)
            spec = find_model_for(model, inputs) if model else zoo.model(zoo.default_model(kind_of_inputs(inputs)))
            from layerzoo.runtime import (
                load,
                stream,
            )  # not sooner: an unknown model is reported without importing torch

            backbone = load(spec, layer=list(layers) or None, pool=pool, **options)
            has_windows = how["window"] is not None and how["temporal_pool"] in (None, "none")
            noun = "window" if has_windows else "sample"
            with command_progress(spec.id, partial(counted, noun=noun)) as bar:
                how |= {"errors": "raise" if strict else "skip", "column": column, "progress": bar}
                for piece in stream(backbone, as_input(inputs), **how):
                    writer.write(piece)
                    done += len(piece)
                    failed += piece.errors
                    passed_over += piece.passed_over
                    report.update(piece.report)
        _tell(backbone, counted(done, noun), out, report, passed_over)
    except EmptyResultError:
        say(f"{out} is unchanged: no sample has features.")
    report_failures(failed, done)


_EXTRACTION_OPTIONS = (
    *("chunks", "overlap", "batch_size", "normalize", "decode", "window", "hop", "temporal_pool"),
    *("sampling", "start_s", "end_s", "clips", "cache"),
)
"""The options that are arguments of an extraction, and not of loading a model."""


def _check_braces(inputs: tuple[str, ...], model: str | None, layers: Sequence[str], pools: Sequence[str]) -> None:
    """Raises: InputError where some inputs are layer names that a shell expanded from unquoted braces."""
    from layerzoo.cli.names import known_layers
    from layerzoo.errors import InputError
    from layerzoo.media import paths

    absent = [name for name in inputs if name != "-" and not paths.exists(name) and not paths.is_pattern(name)]
    if not absent:
        return
    names = known_layers(model)
    for option, values in (("--layer", layers), ("--pool", pools)):
        if message := expanded_by_shell(option, values, absent, names):
            raise InputError(message)


def _state_of(path: Path) -> str | None:
    """Return the fingerprint of a file; None if it does not exist."""
    with suppress(OSError):
        return fingerprint(path.stat())
    return None


def _kept(samples: int, out: Path, before: str | None) -> str:
    """Describe the work of an interrupted run."""
    after = f"after {counted(samples, 'sample')}" if samples else "before the first sample was done"
    if (now := _state_of(out)) != before and now is not None:
        return f" {after}; {printable(str(out))} was written, and is complete"
    return f" {after}; nothing was written{f', {printable(str(out))} is unchanged' if before else ''}"


def _tell(backbone: Backbone, done: str, out: Path, report: Mapping[str, int], passed_over: list[str]) -> None:
    layers = ", ".join(f"{layer.name} ({backbone.pools[layer.name]})" for layer in backbone.layers)
    say(f"{done} through {backbone.spec.id} at {layers} → {out}")
    if truncated := report.get("truncated", 0):
        say(
            f"{truncated} of them truncated, which dropped {report['left_out']} of {report['tokens']} tokens; "
            "--chunks keeps all tokens"
        )
    if chunked := report.get("chunked", 0):
        say(f"{chunked} of them split into chunks")
    report_passed_over(passed_over)
