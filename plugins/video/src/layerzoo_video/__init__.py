"""Videos as sampled frames: each frame goes through an image model.

Every image model of the zoo is one of these models, as `video/ID`. A registry.yaml declares others with fixed settings:
`builder: frames`, with `base:` the image model. Layers, weights and the preprocessing of a frame are those of the image
model. The frames are sampled and their vectors pooled as `preprocess: {frames: 16, sampling: uniform}` says.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import layerzoo
from layerzoo import ModelSpec, hookimpl
from layerzoo.errors import UsageError
from layerzoo.runtime import load_preprocess
from layerzoo.spec import ImagePreprocess, VideoPreprocess

if TYPE_CHECKING:
    from torch import nn


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    if spec.base is None:
        raise UsageError(f"{spec.id}: the builder 'frames' needs `base:`, the image model that sees each frame")
    return layerzoo.build(_base(spec, layerzoo.model(spec.base)))


def _base(spec: ModelSpec, base: ModelSpec) -> ModelSpec | str:
    """Return the image model, at the size that the video model states for its frames where that differs."""
    image = spec.preprocess.image if isinstance(spec.preprocess, VideoPreprocess) else None
    if image is None:
        return base.id
    if base.plugin is None and image.processor is None:
        return replace(base, preprocess=image)
    declared = getattr(load_preprocess(base.id), "declared", None)
    # A repository is made for the size of its configuration. A trace enlarges the image, to find the axes of layers.
    is_other_size = isinstance(declared, ImagePreprocess) and declared.size_px != image.size_px
    return replace(base, args=spec.args, preprocess=image) if is_other_size else base.id
