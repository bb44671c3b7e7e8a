"""`zoo layers`: list the layers at which a model can be cut."""

from __future__ import annotations

import json

import click

from layerzoo.cli import candidates
from layerzoo.cli.messages import say
from layerzoo.cli.names import find_model, named_model
from layerzoo.cli.output import Format, PrintedRow, count, format_option, paged, print_lines, print_rows
from layerzoo.facts import traced_layers, traced_notices
from layerzoo.spec import Layer, ModelSpec, reference_input, to_plain

COLUMNS = ("layer", "axes", "shape", "prefix", "depth", "params", "FLOPs", "module")


@click.command("layers")
@click.argument("model", shell_complete=candidates.models)
@click.argument("pattern", required=False, shell_complete=candidates.layers)
@click.option(
    "--trace", is_flag=True, help="Trace the network without data to find unknown shapes and costs, and cache them."
)
@click.option("--trust-declaration", is_flag=True, help="With --trace: keep declared values, even contradicted ones.")
@click.option("--declare", is_flag=True, help="Print the `layers:` of a registry.yaml, with all known values.")
@format_option(piped="ids")
def command(
    model: str, pattern: str | None, trace: bool, trust_declaration: bool, declare: bool, format_: Format
) -> None:
    """List the layers of a model, and the cost up to each.

    Layers are listed in execution order. PATTERN selects some: block.-1, 'block.*', block.{3..6}, last, @0.5.
    Axes and shapes omit the batch axis where it is the first; prefix is the number of tokens before those that cover
    the input; depth is the share of the FLOPs; parameters and FLOPs are sums up to the layer, for one
    sample at the model's input size. `address#2` is the third call of a module, `address<` its input, `address[1]` its
    second output; a registry.yaml and the selector module:ADDRESS accept the same forms. --trace accepts any repository
    of the hub, hf/ORG/REPO, and downloads none of its weights.

    json has the keys of a Layer: name, module, call, output, at, axes, shape, prefix_tokens,
    suffix_tokens, last_tokens, depth, params, flops. A key without a value is omitted.

    \b
    Examples:
      zoo layers starter/minilm-l6
      zoo layers starter/minilm-l6 'block.*' --format jsonl
      zoo layers --trace mine/shelf-v2
      zoo layers --trace hf/openai/clip-vit-base-patch32
    """
    spec = find_model(model) if trace else named_model(model)
    layers = _layers(spec, trace, trust_declaration)
    if pattern is not None:
        from layerzoo.layers import select

        layers = tuple(select(layers, pattern, model=spec.id))
    if declare:
        print_lines(["layers:", *map(_declaration, layers)])
        return
    with paged(len(layers), format_):
        print_rows(map(_row, layers), format_, COLUMNS, wrap=False)
    if format_ == "table" and spec.preprocess is not None and any(layer.flops is not None for layer in layers):
        say("", f"Shapes and FLOPs: for {reference_input(spec.preprocess)}.")
    for notice in traced_notices(spec):
        say(notice)


def _layers(spec: ModelSpec, trace: bool, trust_declaration: bool) -> tuple[Layer, ...]:
    if trace:
        from layerzoo.runtime import trace_layers

        return trace_layers(spec, trust_declaration=trust_declaration)
    layers = traced_layers(spec) or spec.layers
    if not layers or any(layer.shape is None or layer.flops is None for layer in layers):
        hint = "Some shapes and costs are unknown" if layers else "The layers are not declared"
        say(f"{hint}. To determine them: zoo layers --trace {spec.id}")
    return layers


def _declaration(layer: Layer) -> str:
    """Return a layer as one line of YAML, in the long form."""
    import re

    fields = to_plain(layer)
    name, module = fields.pop("name"), fields.pop("module")
    if "axes" in fields:
        fields["axes"] = " ".join(fields["axes"])
    if isinstance(fields.get("output"), str):
        fields["output"] = json.dumps(fields["output"])
    module = module if re.fullmatch(r"\.|[A-Za-z_][\w.-]*", module or ".") else json.dumps(module)
    facts = "".join(f", {key}: {value}" for key, value in fields.items())
    return f"  {name}: {{module: {module or '.'}{facts}}}"


def _row(layer: Layer) -> PrintedRow:
    cells = (
        layer.name,
        None if layer.axes is None else " ".join(layer.axes[layer.axes[:1] == ("batch",) :]),
        None if layer.shape is None else "×".join(map(str, layer.shape)),
        layer.prefix_tokens,
        None if layer.depth is None else f"{layer.depth:.3f}",
        count(layer.params),
        count(layer.flops),
        layer.address if layer.module else f".{layer.address}",
    )
    return PrintedRow(layer.name, lambda: to_plain(layer), cells)
