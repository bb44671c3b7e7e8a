"""`zoo search`: which models are about some words."""

from __future__ import annotations

from typing import Any

import click

from layerzoo.cli.models import JSON_SHAPE, filter_options, print_models
from layerzoo.cli.output import Format, format_option
from layerzoo.errors import UsageError


@click.command("search", epilog=JSON_SHAPE)
@click.argument("words", nargs=-1, required=True, metavar="WORDS…")
@filter_options
@format_option(piped="ids")
def command(words: tuple[str, ...], format_: Format, **options: Any) -> None:
    """Search ids, summaries, modalities, builders and licenses, the best match first.

    Every word must begin a word there. Words of the id count more than those of the summary, and whole words more than
    beginnings; of ids, the shorter comes first. resnet50, resnet-50 and ResNet 50 are all the same.

    \b
    Examples:
      zoo search speech english
      zoo search --all whisper --max-params 100M
    """
    text = " ".join(words)
    if not any(letter.isalnum() for letter in text):
        raise UsageError(f"there is nothing to search for in '{text}': words need letters or digits")
    print_models(format_, text=text, **options)
