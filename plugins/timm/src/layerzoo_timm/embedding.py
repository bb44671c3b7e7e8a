"""Which of timm's networks are the image tower of a dual encoder: their output is an embedding, not class scores."""

from __future__ import annotations

import re

from timm.data import infer_imagenet_subset
from timm.models import PretrainedCfg

DEFAULT = {"layer": "embedding", "pool": "mean"}
"""What is extracted of such a network when nothing else is asked for."""
_CONTRASTIVE = re.compile(r"clip|siglip|pe_core")
"""What timm calls the weights that were trained to match images with texts, in an architecture or a tag."""


def is_image_tower(name: str, known: PretrainedCfg) -> bool:
    """Return whether what a network returns is an embedding that texts are compared with.

    A CLIP tower ends in a projection, which timm has as its classifier: its width is the number of classes of no set of
    labels. A SigLIP tower has no classifier, and ends in its attention pooling.

    Args:
        name: the architecture, with its pretrained tag or without.
        known: what timm says of its weights.
    """
    if not _CONTRASTIVE.search(f"{name}.{known.tag or ''}"):
        return False
    if known.num_classes == 0:
        return re.search(r"siglip(?!_gap)", name) is not None  # `gap` pools otherwise than the weights were trained to
    labels = {"num_classes": known.num_classes, "tag": known.tag or ""}
    return infer_imagenet_subset(labels) is None and not (known.label_names or known.label_descriptions)
