"""Videos as sampled frames: `builder: frames` with `base:` the image model through which every frame goes.

Layers, weights and the preprocessing of a frame are the image model's. The frames are sampled and their vectors pooled
as `preprocess: {frames: 16, temporal_pool: mean}` says.
"""

from __future__ import annotations

from torch import nn

import layerzoo
from layerzoo import ModelSpec, hookimpl
from layerzoo.errors import UsageError


@hookimpl
def layerzoo_build(spec: ModelSpec) -> nn.Module:
    if spec.base is None:
        raise UsageError(f"{spec.id}: the builder 'frames' needs `base:`, the image model that sees each frame")
    return layerzoo.build(spec.base)
