"""`zoo search`: find models by words."""

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
    """Search ids, summaries, tasks, training data and languages, the best match first.

    Every word must match the beginning of a word there, or of an alias, modality, builder or license, or of another
    word for these (sbert, speaker, embedding); words such as "for" and "models" are ignored. A model of exactly that
    name comes first, then default models, then models with such a task, the smallest first. Matches in the id rank
    above matches in the summary, and whole words above beginnings; documented checkpoints and shorter ids come first.
    Where no model matches all words, those that match most are printed, with a note on standard error. resnet50,
    resnet-50 and ResNet 50 are equivalent.

    \b
    Examples:
      zoo search speech english
      zoo search --all whisper --max-params 100M
    """
    text = " ".join(words)
    if not any(letter.isalnum() for letter in text):
        raise UsageError(f"'{text}' has no word to search for: a word has letters or digits")
    print_models(format_, text=text, **options)
