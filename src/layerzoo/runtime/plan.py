"""The settings of one extraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from layerzoo.media.decoder import Workers
from layerzoo.runtime.backbone import Backbone, resolved_model
from layerzoo.runtime.frame_times import FrameGrid
from layerzoo.runtime.request import choose_pools
from layerzoo.runtime.windowing import Windowing
from layerzoo.spec import Layer


@dataclass(frozen=True, slots=True)
class ExtractionPlan:
    """The settings of one extraction."""

    backbone: Backbone
    pools: Mapping[str, str]
    """Layer name → pooling, as requested."""
    row_pools: Mapping[str, str]
    """Layer name → pooling of each row. Where the frames of a video stay a sequence, the pooling of each image."""
    special_tokens: bool
    """Whether the special tokens of a text are pooled."""
    normalize: bool
    """Whether vectors are divided by their length."""
    strict: bool
    """Whether the first failed sample ends the extraction."""
    decoder: Workers
    """Decodes samples that are files or bytes."""
    provenance: Mapping[str, Any]
    """That of the backbone when the extraction began."""
    windowing: Windowing | None = None
    """How recordings are cut into windows; None: not at all."""
    frame_grids: Mapping[str, FrameGrid] = field(default_factory=dict)
    """Layer name → times of the frames of audio, at layers that are not pooled."""

    @property
    def keeps_frames(self) -> bool:
        """Whether the frames of a video stay a sequence at some layer."""
        return self.pools != self.row_pools

    @property
    def pools_windows(self) -> bool:
        """Whether the vectors of a recording's windows become one."""
        return self.windowing is not None and self.windowing.temporal_pool != "none"

    @property
    def layers(self) -> list[Layer]:
        """The layers that are pooled."""
        return [layer for layer in self.backbone.layers if layer.name in self.pools]


def image_pools(backbone: Backbone, pools: Mapping[str, str]) -> dict[str, str]:
    """Choose the pooling of each row. Frames that go through the network one by one are images.

    ``none`` keeps the sequence of frame vectors; each image then gets its default pooling.
    Raises: PoolingError when that does not fit the layer.
    """
    sequences = [layer for layer in backbone.layers if pools.get(layer.name) == "none"]
    if not sequences or not backbone.preprocess.rows_are_samples:
        return dict(pools)
    has_default = backbone.spec.default.pool != "none"
    return {**pools, **choose_pools(resolved_model(backbone), sequences, None if has_default else "mean")}
