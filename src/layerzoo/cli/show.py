"""`zoo show`: the declaration of one model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.names import named_model
from layerzoo.cli.output import Format, PrintedRow, count, format_option, print_one, results_text
from layerzoo.spec import Batching, ImagePreprocess, ModelSpec, Preprocess, VideoPreprocess, to_plain


@click.command("show")
@click.argument("model", shell_complete=candidates.models)
@format_option(piped="json")
def command(model: str, format_: Format) -> None:
    """Show the declaration of a model.

    MODEL is an id, an alias, or the last part of an id where that is unique. json has the keys of a ModelSpec: id,
    modality, builder, args, weights {source, sha256, keys}, preprocess {kind, …}, layers [{name, module, …}],
    default {layer, pool}, base, summary, license, tasks, trained_on, languages, params, flops, metrics, training,
    unusable, plugin, aliases. A key without a value is omitted.

    \b
    Examples:
      zoo show starter/minilm-l6
      zoo show minilm-l6 --format json | jq .license
    """
    spec = named_model(model)
    cells = [pair for pair in _facts(spec) if pair[1]] if format_ == "table" else []
    print_one(PrintedRow(spec.id, spec.to_dict, cells), format_)


_BATCHING: dict[Batching | None, str] = {
    "exact": "exact: all rows have the same size",
    "tolerance": "tolerance: shorter rows are padded, with an attention mask",
    "equal_lengths": "equal sizes only: padding would change the features",
}


def _facts(spec: ModelSpec) -> Iterator[tuple[str, Any]]:
    yield "model", spec.id
    yield "summary", spec.summary
    yield "modality", spec.modality
    yield "unusable", spec.unusable
    yield "license", spec.license
    yield "tasks", ", ".join(spec.tasks)
    yield "trained on", ", ".join(spec.trained_on)
    yield "languages", ", ".join(spec.languages)
    yield "parameters", _params(spec)
    yield "builder", spec.builder
    yield "args", _listed(spec.args.to_dict())
    yield "base", spec.base
    yield "weights", spec.weights and spec.weights.source
    preprocess = spec.preprocess or _traced_preprocess(spec)
    yield "preprocess", _listed(_without_processor(to_plain(preprocess))) if preprocess else _unknown(spec)
    yield from _processor(preprocess)
    yield "metrics", results_text(spec.metrics)
    yield "training", _listed(spec.training.to_dict())
    yield "computes in", _dtypes(spec)
    yield "batching", preprocess and _BATCHING.get(preprocess.batching)
    yield "default", f"layer {spec.default.layer}, pool {spec.default.pool}"
    yield "layers", _layers(spec)
    yield "aliases", ", ".join(spec.aliases)
    yield "declared by", spec.plugin or "your own registry.yaml"


def _params(spec: ModelSpec) -> str | None:
    if spec.params is not None:
        return count(spec.params)
    from layerzoo.facts import traced_params

    traced = traced_params(spec)
    return f"unknown until traced: zoo layers --trace {spec.id}" if traced is None else f"{count(traced)}, as traced"


def _dtypes(spec: ModelSpec) -> str:
    """Return the dtype of the features, with the dtypes of the checkpoint and of the library."""
    from layerzoo.facts import traced_dtypes

    dtypes = traced_dtypes(spec)
    if dtypes is None:
        return "float32"
    library, stored = dtypes
    text = f"float32; the checkpoint is stored in {' and '.join(stored) or 'no floating-point format'}"
    if library == "float32":
        return text
    return (
        f"{text}, in which its library computes by default: --precision library"
        if (library,) == stored
        else (f"{text}, and its library computes in {library} by default: --precision library")
    )


_PROCESSOR = {"processor", "backend", "settings", "refused"}


def _traced_preprocess(spec: ModelSpec) -> Preprocess | None:
    """Return the preprocessing that the model's library reported in its last trace."""
    from layerzoo.facts import traced_preprocess

    return traced_preprocess(spec)


def _unknown(spec: ModelSpec) -> str:
    return f"none declared; a trace asks its library: zoo layers --trace {spec.id}"


def _processor(preprocess: Preprocess | None) -> Iterator[tuple[str, Any]]:
    """The processor of the model's library, which is called for every image; the values of `preprocess` describe it."""
    image = preprocess.image if isinstance(preprocess, VideoPreprocess) else preprocess
    if isinstance(image, ImagePreprocess) and image.processor is not None:
        yield "processor", f"{image.processor} of the library, backend {image.backend}: called for every input"
        yield "settings", _listed(image.settings.to_dict())
        yield "refused", image.refused


def _without_processor(fields: dict[str, Any]) -> dict[str, Any]:
    remaining = {key: value for key, value in fields.items() if key not in _PROCESSOR}
    return {key: _without_processor(value) if isinstance(value, dict) else value for key, value in remaining.items()}


def _layers(spec: ModelSpec) -> str:
    if not spec.layers:
        return f"none declared; a trace of the network lists them: zoo layers --trace {spec.id}"
    return f"{', '.join(layer.name for layer in spec.layers)} (more: zoo layers {spec.id})"


def _listed(fields: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_listed(value) if isinstance(value, dict) else value}" for key, value in fields.items())
