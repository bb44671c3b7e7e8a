"""Cut and extract. The only place that imports torch."""

from layerzoo.extras import needs
from layerzoo.notices import logger

with needs("torch"):
    from layerzoo.runtime.backbone import Backbone
    from layerzoo.runtime.batch import Batch
    from layerzoo.runtime.extract import extract, stream
    from layerzoo.runtime.load import build, load, load_preprocess, pull, trace_layers
    from layerzoo.runtime.network import CutNetwork
    from layerzoo.runtime.preprocess import Preprocessor

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
]

logger()  # from here on, whatever is logged to it is one line that cannot drive a terminal
