"""`zoo list`: list models."""

from __future__ import annotations

from typing import Any

import click

from layerzoo.cli.models import JSON_SHAPE, filter_options, print_models
from layerzoo.cli.output import Format, format_option


@click.command("list", epilog=JSON_SHAPE)
@filter_options
@format_option(piped="ids")
def command(format_: Format, **options: Any) -> None:
    """List models by id, by default the installed ones.

    A filter omits models that do not declare the filtered value.

    \b
    Examples:
      zoo list --modality vision --max-params 30M --sort -params
      zoo list --all --columns id,width,install
    """
    print_models(format_, **options)
