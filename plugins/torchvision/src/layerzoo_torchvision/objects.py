"""The vector of each object that a two-stage detector of torchvision finds."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import clip_boxes_to_image

from layerzoo_torchvision.arguments import Arguments

Sizes = list[tuple[int, int]]
Maps = OrderedDict[str, Tensor]


def has_objects(arguments: Arguments) -> bool:
    """Return whether a network is a detector that computes a vector for each object: Faster, Mask or Keypoint R-CNN."""
    return arguments.kind == "detection" and arguments.family.endswith("_rcnn")


class ObjectNetwork(nn.Module):
    """A two-stage detector up to the vectors of the objects that it finds, which are the output of ``objects``.

    Its box head computes a vector for each region that the first stage proposes. The library's post-processing then
    selects the objects among the classes of these regions.

    Args:
        detector: the whole detector, a ``FasterRCNN``.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.backbone = detector.backbone
        self.rpn = detector.rpn
        self.roi_heads = detector.roi_heads
        self.objects = nn.Identity()

    def forward(self, pixels: Tensor, image_size: Tensor | None = None) -> Tensor:
        """Return the vectors of the objects, (batch, object, channel), the best score first.

        Images have different numbers of objects: the rows after the last one are NaN.

        Args:
            pixels: (batch, channel, height, width), as the detector's own transform makes them.
            image_size: (batch, 2) the height and width of each image without its padding; None: not padded.
        """
        maps: Maps = self.backbone(pixels)
        height, width = pixels.shape[-2:]
        if pixels.is_meta:
            return self._without_values(pixels, maps)
        sizes = [(height, width)] * len(pixels) if image_size is None else [(h, w) for h, w in image_size.tolist()]
        proposals, _ = self.rpn(ImageList(pixels, sizes), maps)
        vectors = self.roi_heads.box_head(self.roi_heads.box_roi_pool(maps, proposals, sizes))
        logits, boxes = self.roi_heads.box_predictor(vectors)
        regions = self._regions_of_objects(logits, boxes, proposals, sizes)
        by_image = vectors.split([len(proposal) for proposal in proposals])
        vectors_by_image = [rows[numbers] for rows, numbers in zip(by_image, regions, strict=True)]
        padded: Tensor = self.objects(pad_sequence(vectors_by_image, batch_first=True, padding_value=torch.nan))
        return padded

    def _regions_of_objects(self, logits: Tensor, boxes: Tensor, proposals: list[Tensor], sizes: Sizes) -> list[Tensor]:
        """Return, for each image, the number of the region of each object.

        The library returns the boxes, scores and classes of the objects without these numbers. An object belongs to the
        region that has its score and its box for its class.

        Args:
            logits: (region, class) of all images.
            boxes: (region, 4 · class) of all images, relative to the regions.
            proposals: (region, 4) of each image.
            sizes: height and width of each image.
        """
        detected = self.roi_heads.postprocess_detections(logits, boxes, proposals, sizes)
        counts = [len(proposal) for proposal in proposals]
        decoded = self.roi_heads.box_coder.decode(boxes, proposals).split(counts)
        scores = logits.softmax(-1).split(counts)
        numbers = []
        for candidate_boxes, scored, size, *objects in zip(decoded, scores, sizes, *detected, strict=True):
            box, score, label = objects
            if len(label) == 0:  # without any region, the decoded boxes have another shape
                numbers.append(label)
                continue
            is_same = (clip_boxes_to_image(candidate_boxes, size)[:, label] == box).all(-1) & (
                scored[:, label] == score
            )
            numbers.append(is_same.int().argmax(0))
        return numbers

    def _without_values(self, pixels: Tensor, maps: Maps) -> Tensor:
        """Run the same modules for the largest number of regions and objects, which do not depend on values."""
        height, width = pixels.shape[-2:]
        levels = list(maps.values())
        self.rpn.head(levels)
        self.rpn.anchor_generator(ImageList(pixels, [(height, width)] * len(pixels)), levels)
        proposals = [pixels.new_zeros(self.rpn.post_nms_top_n(), 4) for _ in pixels]
        name, level = next(iter(maps.items()))
        with torch.device("cpu"):  # it computes the scale of a map from a tensor
            regions = self.roi_heads.box_roi_pool({name: level}, proposals, [(height, width)] * len(pixels))
        vectors = self.roi_heads.box_head(regions)
        self.roi_heads.box_predictor(vectors)
        by_image = vectors.unflatten(0, (len(pixels), -1))
        most = self.roi_heads.detections_per_img  # a region may have objects of several classes
        objects: Tensor = self.objects(by_image.repeat(1, -(-most // by_image.shape[1]), 1)[:, :most])
        return objects
