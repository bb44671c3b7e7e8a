"""`zoo export`: write a network up to a layer as ONNX, or as a program of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from layerzoo.cli import candidates
from layerzoo.cli.choice import WordChoice
from layerzoo.cli.messages import say
from layerzoo.cli.names import find_model
from layerzoo.cli.options import allow_pickle_option, layer_option, partial_option, weights_option
from layerzoo.cli.output import size


@click.command("export")
@click.argument("model", metavar="MODEL", shell_complete=candidates.models)
@layer_option
@click.option("--to", type=WordChoice(["onnx", "pt2"]), help="The format. Default: the suffix of the file.")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write.",
)
@weights_option
@partial_option
@allow_pickle_option
def command(model: str, layers: tuple[str, ...], to: Any, out: Path, **options: Any) -> None:
    """Export a network up to a layer, for programs without layerzoo.

    onnx runs in onnxruntime; pt2 is loaded with torch.export.load. The file takes preprocessed inputs, and returns the
    activation of each layer. The batch size may vary, and the length of texts. Before it is written, the file is run
    and compared with the network; a file that differs is not written.

    \b
    Examples:
      zoo export starter/efficientnet-lite0 --layer stage.2 --out cut.onnx
      zoo export starter/minilm-l6 --layer block.3 --to pt2 --out cut.pt2
    """
    spec = find_model(model)
    from layerzoo.runtime import load  # not sooner: an unknown model is reported without importing torch
    from layerzoo.runtime.export import export

    exported = export(load(spec, layer=list(layers) or None, **options), out, to)
    inputs = ", ".join(f"{name} ({', '.join(map(str, sizes))})" for name, sizes in exported.inputs.items())
    say(f"{out}: {size(exported.bytes)}, {inputs} → {', '.join(exported.outputs)}")
    say(
        f"Compared with the network on {len(exported.batches)} batches: the largest difference is "
        f"{exported.largest_difference:.1e} of the largest value."
    )
