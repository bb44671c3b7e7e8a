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
from layerzoo.cli.messages import say
from layerzoo.cli.options import (
    as_input,
    cache_option,
    divided_devices,
    extraction_options,
    inputs_argument,
    model_option,
    pooling_of,
    report_failures,
    report_passed_over,
    strict_option,
)
from layerzoo.cli.output import counted
from layerzoo.cli.progress import command_progress
from layerzoo.disk import fingerprint
from layerzoo.printable import printable
from layerzoo.stopping import what_is_kept

if TYPE_CHECKING:
    from layerzoo.errors import SampleError


@click.command("extract")
@inputs_argument
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="A .parquet, .npz or .safetensors file, or .csv or .npy for the numbers alone.",
)
@model_option
@extraction_options
@cache_option
@strict_option
@click.option(
    "--resume", is_flag=True, help="Keep finished parts in OUT.run until OUT is written, and continue from them."
)
def command(
    inputs: tuple[str, ...],
    out: Path,
    model: str | None,
    layers: tuple[str, ...],
    pools: tuple[str, ...],
    column: str | None,
    strict: bool,
    resume: bool,
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
      zoo extract photos/ --out features.parquet --resume
    """
    from layerzoo.cli.names import find_model_for
    from layerzoo.errors import EmptyResultError
    from layerzoo.features import FeatureWriter
    from layerzoo.media.kinds import kind_of_inputs
    from layerzoo.registry.lookup import registry

    if resume:
        if strict:
            raise click.UsageError("--strict stops at a failure, and --resume goes on: give one of them")
        if options.pop("cache"):
            raise click.UsageError("--cache keeps samples, and --resume keeps parts: give one of them")
        from layerzoo.cli.resumed import extract_resumably
        from layerzoo.cli.run import run_arguments

        arguments = run_arguments({"layers": layers, "pools": pools, "column": column, **options})
        extract_resumably(inputs, out, model, arguments)
        return
    pool = pooling_of(pools)
    options["device"] = divided_devices(options["device"])
    arguments = {name: options.pop(name) for name in _EXTRACTION_OPTIONS}
    arguments["special_tokens"] = not options.pop("no_special_tokens")
    state_before = _state_of(out)
    rows_done = 0
    failed: list[SampleError] = []
    passed_over: list[str] = []
    report: Counter[str] = Counter()
    try:
        with (
            what_is_kept(lambda: _describe_interrupted(rows_done + len(failed), out, state_before)),
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
            has_windows = arguments["window"] is not None and arguments["temporal_pool"] in (None, "none")
            noun = "window" if has_windows else "sample"
            with command_progress(spec.id, partial(counted, noun=noun)) as bar:
                arguments |= {"errors": "raise" if strict else "skip", "column": column, "progress": bar}
                for piece in stream(backbone, as_input(inputs), **arguments):
                    writer.write(piece)
                    rows_done += len(piece)
                    failed += piece.errors
                    passed_over += piece.passed_over
                    report.update(piece.report)
        pool_of = {layer.name: backbone.pools[layer.name] for layer in backbone.layers}
        tell_result(backbone.spec.id, pool_of, counted(rows_done, noun), out, report)
        report_passed_over(passed_over)
    except EmptyResultError:
        say(f"{out} is unchanged: no sample has features.")
    report_failures(failed, rows_done)


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


def _describe_interrupted(samples: int, out: Path, state_before: str | None) -> str:
    """Describe the work of an interrupted run."""
    progress = f"after {counted(samples, 'sample')}" if samples else "before the first sample was done"
    if (state_now := _state_of(out)) != state_before and state_now is not None:
        return f" {progress}; {printable(str(out))} was written, and is complete"
    return f" {progress}; nothing was written{f', {printable(str(out))} is unchanged' if state_before else ''}"


def tell_result(model: str, pools: Mapping[str, str], row_count: str, out: Path, report: Mapping[str, int]) -> None:
    """Print the lines at the end of an extraction.

    Args:
        model: its id.
        pools: the pooling of each layer.
        row_count: the number of rows of the file, with its noun.
        out: the file.
        report: the counts over the inputs: see :attr:`Features.report`.
    """
    layers = ", ".join(f"{layer} ({pool})" for layer, pool in pools.items())
    say(f"{row_count} through {model} at {layers} → {out}")
    if truncated := report.get("truncated", 0):
        say(
            f"{truncated} of them truncated, which dropped {report['left_out']} of {report['tokens']} tokens; "
            "--chunks keeps all tokens"
        )
    if chunked := report.get("chunked", 0):
        say(f"{chunked} of them split into chunks")
