"""The result of an extraction: one matrix per layer, and how it is kept on disk. Numpy, no torch."""

from layerzoo.features.features import FeatureRow, Features
from layerzoo.features.writer import FeatureWriter

__all__ = ["FeatureRow", "FeatureWriter", "Features"]
