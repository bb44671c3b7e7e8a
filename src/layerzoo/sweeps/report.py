"""The report of a sweep: one HTML page that loads nothing else."""

from __future__ import annotations

from html import escape

from layerzoo.sweeps.result import Sweep


def report_page(sweep: Sweep, figure: str) -> str:
    """Return the page.

    Args:
        sweep: the result.
        figure: as SVG.
    """
    return f"<!doctype html><title>{escape(repr(sweep))}</title>{figure[figure.index('<svg') :]}"
