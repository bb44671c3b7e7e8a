"""Option types whose errors list the valid values and the nearest ones."""

from __future__ import annotations

from typing import Any

import click

from layerzoo.errors import nearest, nearest_hint


class WordChoice(click.Choice[str]):
    """One of a few words, as :class:`click.Choice`."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        words = list(map(str, self.choices))
        close = nearest(str(value), words)
        return f"'{value}' is not one of {', '.join(words)}. {nearest_hint(close)}".rstrip()


class WholeNumber(click.IntRange):
    """A whole number in a range, as :class:`click.IntRange`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return int(super().convert(int(value), param, ctx))
        except ValueError:
            self.fail(f"'{value}' is not a whole number", param, ctx)
