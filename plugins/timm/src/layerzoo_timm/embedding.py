"""Detect networks of timm that are the image tower of a dual encoder: their output is an embedding, not class
scores."""

from __future__ import annotations

import re

from timm.data import infer_imagenet_subset
from timm.models import PretrainedCfg

DEFAULT = {"layer": "embedding", "pool": "mean"}
"""What is extracted of such a network when nothing else is asked for."""
_CONTRASTIVE = re.compile(r"clip|siglip|pe_core")
"""What timm calls the weights that were trained to match images with texts, in an architecture or a tag."""


def is_image_tower(name: str, config: PretrainedCfg) -> bool:
    """Return whether the output of a network is an embedding that is compared with embeddings of texts.

    A CLIP tower ends in a projection, which timm implements as the classifier: its width is not the number of classes
    of any label set. A SigLIP tower has no classifier, and ends in its attention pooling.

    Args:
        name: the architecture, with its pretrained tag or without.
        config: the pretrained configuration of its weights.
    """
    if not _CONTRASTIVE.search(f"{name}.{config.tag or ''}"):
        return False
    if config.num_classes == 0:
        return re.search(r"siglip(?!_gap)", name) is not None  # `gap` is not the pooling of the training
    labels = {"num_classes": config.num_classes, "tag": config.tag or ""}
    return infer_imagenet_subset(labels) is None and not (config.label_names or config.label_descriptions)
