"""Where weights come from. The only package that may open a network connection."""

from layerzoo.weights.files import Files, Origin
from layerzoo.weights.resolver import resolve

__all__ = ["Files", "Origin", "resolve"]
