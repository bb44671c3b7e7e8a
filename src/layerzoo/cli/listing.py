"""`zoo list`: which models there are."""

from __future__ import annotations

from typing import Any

import click

from layerzoo.cli.models import filter_options, print_models
from layerzoo.cli.output import Format, format_option


@click.command("list")
@filter_options
@format_option(piped="ids")
def command(format_: Format, **filters: Any) -> None:
    """List the models that are installed, by id.

    json and jsonl print each model as `zoo show` does.
    """
    print_models(format_, **filters)
