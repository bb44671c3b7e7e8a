"""`zoo list`: list models."""

from __future__ import annotations

from typing import Any

import click

from layerzoo.cli.models import JSON_SHAPE, filter_options, print_models
from layerzoo.cli.output import Format, format_option


@click.command("list", epilog=JSON_SHAPE)
@click.argument("pattern", required=False)
@filter_options
@format_option(piped="ids")
def command(format_: Format, **options: Any) -> None:
    """List models by id, by default the installed ones.

    PATTERN selects ids and aliases, or their ends after a slash: 'vit*tiny*' with the wildcards *, ? and [ab]; without
    a wildcard, it is a name. A filter omits models that do not declare the filtered value, and says how many. A table
    that is longer than the terminal is shown in the pager, which PAGER names.

    \b
    Examples:
      zoo list 'vit*tiny*'
      zoo list --task image-classification --trained-on imagenet-21k --sort params
      zoo list --modality vision --max-params 30M --sort -params
      zoo list --all --columns id,width,install
    """
    print_models(format_, **options)
