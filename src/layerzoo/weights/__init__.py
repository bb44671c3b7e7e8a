"""Where weights come from. The only package that may open a network connection."""

from layerzoo.weights.cache import converted_path, make_once
from layerzoo.weights.files import Files
from layerzoo.weights.resolver import resolve
from layerzoo.weights.sources import Source, parse_source
from layerzoo.weights.tensors import TensorEntry, read_header

__all__ = ["Files", "Source", "TensorEntry", "converted_path", "make_once", "parse_source", "read_header", "resolve"]
