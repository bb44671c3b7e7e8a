"""Videos as sampled frames: `builder: frames` with `base:` the image model through which every frame goes.

Layers, weights and the preprocessing of a frame are the image model's. The frames are sampled and their vectors pooled
as `preprocess: {frames: 16, temporal_pool: mean}` says.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

import layerzoo
from layerzoo import ModelSpec, hookimpl
from layerzoo.errors import UsageError
from layerzoo.spec import VideoPreprocess


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    if spec.base is None:
        raise UsageError(f"{spec.id}: the builder 'frames' needs `base:`, the image model that sees each frame")
    return layerzoo.build(_base(spec, layerzoo.model(spec.base)))


def _base(spec: ModelSpec, base: ModelSpec) -> ModelSpec | str:
    """Return the image model, at the size that the video model states for its frames where the user declared both."""
    image = spec.preprocess.image if isinstance(spec.preprocess, VideoPreprocess) else None
    if base.plugin is not None or image is None or image.processor is not None:
        return base.id  # a repository is found by its id, and is made for the size of its configuration
    return replace(base, preprocess=image)
