"""Where weights come from. The only package that may open a network connection."""

from layerzoo.notices import logger
from layerzoo.weights.files import Files, Origin
from layerzoo.weights.resolver import resolve

__all__ = ["Files", "Origin", "resolve"]

logger()  # from here on, each record is logged as one line without control characters
