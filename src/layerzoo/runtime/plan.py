"""The settings of one extraction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from layerzoo.errors import UsageError
from layerzoo.media.decoder import Workers
from layerzoo.pooling import TemporalChoice, parse_temporal_pool
from layerzoo.runtime.backbone import Backbone, resolved_model
from layerzoo.runtime.frame_times import FrameGrid
from layerzoo.runtime.preprocess.image import DecodeChoice
from layerzoo.runtime.request import choose_pools
from layerzoo.runtime.reuse import FeatureReuse
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
    temporal: Mapping[str, TemporalChoice]
    """Layer name → pooling of the sequence of the rows of a sample. Layers without one pool all positions together."""
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
    decode: DecodeChoice = "exact"
    """How large JPEG files are decoded."""
    windowing: Windowing | None = None
    """How recordings are cut into windows; None: not at all."""
    frame_grids: Mapping[str, FrameGrid] = field(default_factory=dict)
    """Layer name → times of the frames of audio, at layers that are not pooled."""
    reuse: FeatureReuse | None = None
    """The cached features of samples; None: all are computed."""
    layer: Mapping[str, Layer] = field(init=False)
    """Layer name → layer of the backbone. It is read for each sample."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "layer", {layer.name: layer for layer in self.backbone.layers})

    @property
    def keeps_frames(self) -> bool:
        """Whether the rows of a sample, such as the frames of a video, stay a sequence at some layer."""
        return any(choice.name == "none" for choice in self.temporal.values())

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


def temporal_pools(backbone: Backbone, pools: Mapping[str, str], requested: str | None) -> dict[str, TemporalChoice]:
    """Choose the pooling of the sequence of the rows of a sample, by layer name.

    Args:
        pools: layer name → pooling, as requested. ``none`` keeps the frames of a video.
        requested: the temporal pooling that the caller requests; None: the one that the model declares.
    Raises: PoolingError for an unknown temporal pooling; UsageError for samples that are no sequences, and for layers
        whose rows are not vectors.
    """
    preprocess = backbone.preprocess
    if requested is not None:
        choice: TemporalChoice | None = parse_temporal_pool(requested)
        if not preprocess.splits_samples:
            raise UsageError(
                f"temporal_pool={requested!r} pools a sequence, and {backbone.spec.id} {_WHOLE[preprocess.modality]}"
            )
    elif preprocess.temporal_pool is None or not preprocess.splits_samples:
        return {}
    else:
        choice = parse_temporal_pool(preprocess.temporal_pool)
    assert choice is not None
    unpooled = [name for name, pool in pools.items() if pool == "none"]
    if requested is not None and unpooled and choice.name != "none":
        raise UsageError(
            f"temporal_pool={requested!r} pools a sequence of vectors over time, and pool='none' keeps layer "
            f"{', '.join(unpooled)} as it is. Leave out one of them"
        )
    frame_choices = {name: TemporalChoice("none") for name in unpooled if preprocess.rows_are_samples}
    return {name: choice for name in pools if name not in unpooled} | frame_choices


_WHOLE = {
    "text": "takes a text in one piece: give chunks=True, too",
    "audio": "takes a recording in one piece: give window=, too",
    "vision": "takes images",
    "video": "takes all frames of a video at once",
}
"""Why a sample is no sequence, by modality."""
