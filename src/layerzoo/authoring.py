"""Types that the hooks of a plugin return, and helpers for hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from layerzoo.bounds import check_counts, check_pixels
from layerzoo.errors import nearest, nearest_hint
from layerzoo.media.inputs import AudioInputs, ImageInputs
from layerzoo.media.prompts import KnowsPrompts, Prompts
from layerzoo.media.text import KnowsUnknown, TensorTokenizer, TextArguments, Tokenizer
from layerzoo.plugins.chain import Chain
from layerzoo.plugins.hookspecs import HOOKS_VERSION, hookimpl
from layerzoo.plugins.pooling import PluginPooling
from layerzoo.registry.index.query import metric_name
from layerzoo.runtime.clip_lengths import (
    is_padding,
    lengths_of,
    mask_group_norms,
    pass_lengths,
    use_lengths,
    zero_padded_frames,
)
from layerzoo.runtime.construct import WithoutInitialisation
from layerzoo.runtime.quantised import holds_quantised, is_packed, refuse_scaled
from layerzoo.runtime.stored import Safetensors

if TYPE_CHECKING:
    import torch

    from layerzoo.weights import Files

__all__ = [
    "HOOKS_VERSION",
    "AudioInputs",
    "Chain",
    "ImageInputs",
    "KnowsPrompts",
    "KnowsUnknown",
    "PluginPooling",
    "Prompts",
    "TensorTokenizer",
    "TextArguments",
    "Tokenizer",
    "WithoutInitialisation",
    "check_counts",
    "check_pixels",
    "holds_quantised",
    "hookimpl",
    "is_packed",
    "is_padding",
    "lengths_of",
    "mask_group_norms",
    "meta_tensors",
    "metric_name",
    "nearest",
    "nearest_hint",
    "pass_lengths",
    "refuse_scaled",
    "use_lengths",
    "zero_padded_frames",
]


def meta_tensors(files: Files, checkpoint: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors checkpoint on the meta device, by checkpoint key. No value is read.

    Args:
        files: the model's local files.
        checkpoint: name of a safetensors file among them, or of the index of several such files.
    Raises: WeightsError if a file is missing or damaged, or if the index and a file disagree.
    """
    return Safetensors.of(files, checkpoint).meta()
