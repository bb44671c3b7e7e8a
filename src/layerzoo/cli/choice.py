"""A choice of a few words that says which one was probably meant."""

from __future__ import annotations

from typing import Any

import click

from layerzoo.errors import nearest


class OneOf(click.Choice[str]):
    """One of a few words, as :class:`click.Choice`."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        words = list(map(str, self.choices))
        close = nearest(str(value), words)
        hint = f" Nearest: {', '.join(close)}." if close else ""
        return f"'{value}' is not one of {', '.join(words)}.{hint}"
