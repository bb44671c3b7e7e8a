"""The task and the training data of a pretrained tag, which timm writes into its name: ``webli_ft_in21k_in1k``."""

from __future__ import annotations

from timm.models import PretrainedCfg

from layerzoo_timm.embedding import is_image_tower

_DATA = {
    "in1k": "imagenet-1k",
    "in12k": "imagenet-12k",
    "in21k": "imagenet-21k",
    "in22k": "imagenet-21k",
    "inw21k": "imagenet-21k",
    "laion2b": "laion-2b",
    "laion400m": "laion-400m",
    "webli": "webli",
    "openai": "openai-wit",
    "lvd142m": "lvd-142m",
    "lvd1689m": "lvd-1689m",
    "sat493m": "sat-493m",
    "cc12m": "cc12m",
    "yfcc15m": "yfcc-15m",
    "yfcc100m": "yfcc-100m",
    "ig1b": "instagram-1b",
    "swag": "instagram-3.6b",
    "jft": "jft-300m",
    "datacompxl": "datacomp-1b",
    "datacomp1b": "datacomp-1b",
    "dfn2b": "dfn-2b",
    "dfn5b": "dfn-5b",
    "dfndr2b": "dfndr-2b",
    "merged2b": "merged-2b",
    "sa1b": "sa-1b",
    "bamboo": "bamboo",
    "metaclip": "metaclip",
    "metaclip2": "metaclip-2",
}
"""The data set by its word in a tag. Other words of a tag name a recipe, an author or a size."""


def trained_on(tag: str) -> list[str]:
    """Return the data sets that a tag names, in the order of training; empty if it names none."""
    return list(dict.fromkeys(_DATA[word] for word in tag.split("_") if word in _DATA))


def tasks_of(name: str, config: PretrainedCfg) -> list[str]:
    """Return the task of the weights of a tag; none for the small networks that timm has for its own tests."""
    if name.startswith("test_"):
        return []
    if is_image_tower(name, config):
        return ["zero-shot-image-classification"]
    return ["image-classification" if config.num_classes else "image-feature-extraction"]
