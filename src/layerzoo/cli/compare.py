"""`zoo compare`: models side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.messages import say
from layerzoo.cli.names import named_model
from layerzoo.cli.output import Format, count, format_option, print_json, print_lines, print_table
from layerzoo.facts import traced_layers
from layerzoo.layers import select
from layerzoo.pooling import parse_temporal_pool, width
from layerzoo.spec import (
    AudioPreprocess,
    Layer,
    ModelSpec,
    Preprocess,
    TextPreprocess,
    VideoPreprocess,
    reference_input,
)

_DIFFERS = "≠"
_LAYER_FACTS = ("depth", "params", "flops", "shape")


@dataclass(frozen=True, slots=True)
class Compared:
    """One fact or layer, with its value for each model."""

    kind: str
    """``fact`` or ``layer``."""
    name: str
    values: list[Any]
    """One per model; None where the value is unknown, or the model has no such layer."""
    shown: list[str | None]
    """The values as text for a table."""

    @property
    def is_known(self) -> bool:
        return any(value is not None for value in self.values)

    @property
    def differs(self) -> bool:
        return any(value != self.values[0] for value in self.values)

    @property
    def is_rounded(self) -> bool:
        """Whether different values are the same text."""
        return len({(text, repr(value)) for text, value in zip(self.shown, self.values, strict=True)}) > len(
            set(self.shown)
        )

    @property
    def cells(self) -> list[str | None]:
        """The values as text for a table: in full where different values would be the same text."""
        return list(map(_in_full, self.values)) if self.is_rounded else self.shown

    def to_dict(self) -> dict[str, Any]:
        return {self.kind: self.name, "values": self.values, "differs": self.differs}


_MOST_MODELS = 200
"""The largest number of models in one comparison. The time for its table grows with the square of it."""


@click.command("compare")
@click.argument("names", nargs=-1, required=True, metavar="MODEL MODEL…", shell_complete=candidates.models)
@click.option("--differing", is_flag=True, help="Only facts and layers that differ.")
@format_option(piped="json")
def command(names: tuple[str, ...], differing: bool, format_: Format) -> None:
    """Show models side by side: one column per model, one row per fact and per layer.

    Rows that differ are marked with ≠. Layers of the same name share a row, with their depth (the share of the FLOPs up
    to the layer), and the parameters and the FLOPs up to the layer.

    \b
    json is {"models": [ID, …],
             "facts": [{"fact": NAME, "values": VALUES, "differs": BOOL}, …],
             "layers": [{"layer": NAME, "values": VALUES, "differs": BOOL}, …]}

    VALUES has one value per model, in the order of "models"; null where it is unknown, or the model has no such layer.
    The value of a layer is {"depth", "params", "flops", "shape"}. jsonl has a line for the models, then one for each
    fact and each layer. ids are those of the models.

    \b
    Examples:
      zoo compare starter/minilm-l6 starter/whisper-tiny-en
      zoo compare timm/resnet18 timm/resnet50 --differing
    """
    if len(names) < 2:
        raise click.UsageError("a comparison requires two models or more")
    if len(names) > _MOST_MODELS:
        raise click.UsageError(f"a comparison has at most {_MOST_MODELS} models, not {len(names):,}")
    specs = [named_model(name) for name in names]
    layers = [traced_layers(spec) or spec.layers for spec in specs]
    rows = [
        row for row in (*_facts(specs, layers), *_layers(layers)) if row.is_known and (row.differs or not differing)
    ]
    _print([spec.id for spec in specs], rows, format_)


# ---------------------------------------------------------------- rows


def _facts(specs: Sequence[ModelSpec], layers: Sequence[Sequence[Layer]]) -> Iterator[Compared]:
    def fact(name: str, values: list[Any]) -> Compared:
        return Compared("fact", name, values, [None if value is None else str(value) for value in values])

    yield fact("modality", [spec.modality for spec in specs])
    yield fact("summary", [spec.summary or None for spec in specs])
    params = [spec.params for spec in specs]
    yield Compared("fact", "params", list(params), [count(number) for number in params])
    yield fact("license", [spec.license for spec in specs])
    yield fact("tasks", [", ".join(spec.tasks) or None for spec in specs])
    yield fact("trained on", [", ".join(spec.trained_on) or None for spec in specs])
    yield fact("languages", [", ".join(spec.languages) or None for spec in specs])
    yield fact("input", [spec.preprocess and _input(spec.preprocess) for spec in specs])
    yield fact("layers", [len(model_layers) or None for model_layers in layers])
    yield fact("default layer", [spec.default.layer for spec in specs])
    yield fact("default pool", [spec.default.pool for spec in specs])
    yield fact("features", [_width(spec, model_layers) for spec, model_layers in zip(specs, layers, strict=True)])
    for dataset, name in _metrics(specs):
        yield fact(f"{dataset} {name}", [_result(spec, dataset, name) for spec in specs])
    for name in dict.fromkeys(name for spec in specs for name in spec.training):
        yield fact(f"training {name}", [spec.training.get(name) for spec in specs])
    yield fact("unusable", [spec.unusable for spec in specs])
    yield fact("weights", [spec.weights and spec.weights.source for spec in specs])
    yield fact("builder", [spec.builder for spec in specs])
    yield fact("base", [spec.base for spec in specs])
    yield fact("plugin", [spec.plugin for spec in specs])


def _metrics(specs: Sequence[ModelSpec]) -> list[tuple[str, str]]:
    """Return the datasets and metrics of all models, in the order in which they are declared."""
    pairs = ((dataset, name) for spec in specs for dataset, results in spec.metrics.items() for name in results)
    return list(dict.fromkeys(pairs))


def _result(spec: ModelSpec, dataset: str, name: str) -> Any:
    return spec.metrics.get(dataset, {}).get(name)


def _input(preprocess: Preprocess) -> str:
    if isinstance(preprocess, TextPreprocess):
        return f"up to {preprocess.max_tokens} tokens"
    if isinstance(preprocess, AudioPreprocess):
        return f"{preprocess.sample_rate_hz} Hz"
    return reference_input(preprocess)


def _width(spec: ModelSpec, layers: Sequence[Layer]) -> int | None:
    """Return the number of features per sample at the default layer and pooling."""
    if not layers:
        return None
    selected = select(layers, spec.default.layer, model=spec.id)
    video = spec.preprocess if isinstance(spec.preprocess, VideoPreprocess) and not spec.preprocess.joint else None
    temporal = None if video is None else parse_temporal_pool(video.temporal_pool)
    widths = [width(spec.default.pool, layer, temporal) for layer in selected]
    return sum(filter(None, widths)) if all(widths) else None


def _layers(models: Sequence[Sequence[Layer]]) -> Iterator[Compared]:
    by_name = [{layer.name: layer for layer in layers} for layers in models]
    for name in _merged([[layer.name for layer in layers] for layers in models]):
        matching = [layers.get(name) for layers in by_name]
        yield Compared("layer", name, list(map(_costs, matching)), list(map(_cell_text, matching)))


def _merged(orders: Sequence[Sequence[str]]) -> list[str]:
    """Merge lists of names: a new name is inserted after its predecessor in its model."""
    merged: list[str] = []
    for order in orders:
        at = 0
        for name in order:
            if name not in merged:
                merged.insert(at, name)
            at = merged.index(name) + 1
    return merged


def _costs(layer: Layer | None) -> dict[str, Any] | None:
    if layer is None:
        return None
    return {name: list(value) if isinstance(value := getattr(layer, name), tuple) else value for name in _LAYER_FACTS}


def _cell_text(layer: Layer | None) -> str | None:
    if layer is None:
        return None
    depth = None if layer.depth is None else f"{layer.depth:.3f}"
    costs = (depth, count(layer.params), count(layer.flops))
    return " · ".join("?" if cost is None else cost for cost in costs) if any(costs) else "yes"


def _in_full(value: Any) -> str | None:
    """Return a value as text without rounding; of a layer, also the shape."""
    if isinstance(value, dict):
        costs = [_in_full(value[name]) or "?" for name in ("depth", "params", "flops")]
        return " · ".join([*costs, "×".join(map(str, value["shape"] or ()))]).removesuffix(" · ")
    return f"{value:,}" if isinstance(value, int) else None if value is None else str(value)


# ---------------------------------------------------------------- output


def _print(models: list[str], rows: list[Compared], format_: Format) -> None:
    if format_ == "ids":
        print_lines(models)
    elif format_ == "jsonl":
        for record in ({"models": models}, *(row.to_dict() for row in rows)):
            print_json(record)
    elif format_ == "json":
        facts, layers = ([row.to_dict() for row in rows if row.kind == kind] for kind in ("fact", "layer"))
        print_json({"models": models, "facts": facts, "layers": layers}, indent=2)
    else:
        _print_table(models, rows)


def _print_table(models: list[str], rows: list[Compared]) -> None:
    """Print one column per model, headed by its id, or by a number where the ids would be too wide."""
    from layerzoo.cli.table import terminal_width

    names = [f"{_DIFFERS if row.differs else ' '} {row.name}" for row in rows]
    room = terminal_width() - max(map(len, names), default=0)
    headings = models
    if sum(len(model) + 2 for model in models) > room:
        headings = [f"[{number}]" for number in range(1, len(models) + 1)]
        print_lines([*(f"{heading} {model}" for heading, model in zip(headings, models, strict=True)), ""])
    print_table([[name, *row.cells] for name, row in zip(names, rows, strict=True)], ["", *headings], squeeze=True)
    if any(row.kind == "layer" for row in rows):
        say("", "Layers: depth · parameters up to the layer · FLOPs up to the layer.")
    if any(row.is_rounded for row in rows):
        say("Values that are equal when rounded are in full, with the shape of a layer.")
