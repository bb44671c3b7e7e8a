"""The task and the training data of weights: from their architecture, name, results and documentation."""

from __future__ import annotations

import re
from math import isnan

from torchvision import datasets
from torchvision.models import WeightsEnum

from layerzoo_torchvision.arguments import Arguments

_DATA = {
    "IMAGENET22K": "imagenet-21k",
    "SWAG": "instagram-3.6b",
    "IMAGENET1K": "imagenet-1k",
    "COCO": "coco",
    "KINETICS400": "kinetics-400",
}
"""The data set by its word in the name of weights, in the order of training, named as timm does."""
_TASKS = {"detection": "object-detection", "segmentation": "image-segmentation", "video": "video-classification"}
_PARTS = {"mask_rcnn": "image-segmentation", "keypoint_rcnn": "keypoint-detection"}
"""The second task of a detector, by its model file."""


def tasks_of(arguments: Arguments) -> list[str]:
    """Return the tasks of weights. arguments: with the weights."""
    kind, file = arguments.kind, arguments.family.rpartition(".")[2]
    if kind in ("classification", "quantization"):
        is_classifier = not all(map(isnan, _results(arguments.described_by)))
        return ["image-classification" if is_classifier else "image-feature-extraction"]
    own = _TASKS.get(kind, kind.replace("_", "-"))
    return [own, *([_PARTS[file]] if file in _PARTS else [])]


def trained_on(weights: WeightsEnum) -> list[str]:
    """Return the data sets of weights, in the order of training.

    Names of weights state them, as in ``KINETICS400_IMAGENET22K_V1``. Those for optical flow abbreviate them, and the
    documentation has the names of their classes in ``torchvision.datasets``.
    """
    words = weights.name.split("_")
    if names := [name for word, name in _DATA.items() if word in words]:
        return names
    documented = re.findall(r"\w+", weights.meta.get("_docs", ""))
    return list(dict.fromkeys(name.lower() for name in documented if name in datasets.__all__))


def _results(weights: WeightsEnum) -> list[float]:
    return [value for values in weights.meta["_metrics"].values() for value in values.values()]
