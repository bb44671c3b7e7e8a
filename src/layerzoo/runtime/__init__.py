"""Cut networks and extract features. The only package that imports torch."""

from layerzoo.extras import needs
from layerzoo.notices import logger

with needs("torch"):
    from layerzoo.runtime.backbone import Backbone
    from layerzoo.runtime.batch import Batch
    from layerzoo.runtime.extraction import extract, stream
    from layerzoo.runtime.loading import build, load, load_preprocess, pull, trace_layers
    from layerzoo.runtime.network import CutNetwork
    from layerzoo.runtime.preprocess import Preprocessor
    from layerzoo.runtime.wrapping import wrap

__all__ = [
    "Backbone",
    "Batch",
    "CutNetwork",
    "Preprocessor",
    "build",
    "extract",
    "load",
    "load_preprocess",
    "pull",
    "stream",
    "trace_layers",
    "wrap",
]

logger()  # messages that are logged from here on are single lines without terminal control sequences
