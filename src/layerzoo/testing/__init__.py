"""Tests for plugins: ``BackboneConformance``; and :mod:`layerzoo.testing.toy`, a network to check by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerzoo.testing.kit import BackboneConformance

__all__ = ["BackboneConformance"]


def __getattr__(name: str) -> Any:
    """Import the kit when it is needed: the toy network in this package requires no pytest."""
    if name == "BackboneConformance":
        from layerzoo.testing.kit import BackboneConformance

        return BackboneConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
