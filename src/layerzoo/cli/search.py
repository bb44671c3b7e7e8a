"""`zoo search`: which models are about some words."""

from __future__ import annotations

from typing import Any

import click

from layerzoo.cli.models import filter_options, print_models
from layerzoo.cli.output import Format, format_option


@click.command("search")
@click.argument("words", nargs=-1, required=True, metavar="WORDS…")
@filter_options
@format_option(piped="ids")
def command(words: tuple[str, ...], format_: Format, **filters: Any) -> None:
    """Search ids and summaries, the best match first.

    Every word must begin a word of the id, the summary, the modality, the builder or the license.
    """
    print_models(format_, text=" ".join(words), **filters)
