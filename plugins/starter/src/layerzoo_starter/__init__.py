"""The starter models are declarations; the only code is a reader for the one checkpoint in a foreign format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from layerzoo import ModelSpec, hookimpl
from layerzoo.weights import Files

if TYPE_CHECKING:
    from torch import Tensor


@hookimpl
def layerzoo_read_weights(spec: ModelSpec, files: Files) -> Mapping[str, Tensor] | None:
    path = files.checkpoint
    if path is None or path.name != "model.bin":
        return None
    from layerzoo_starter.ctranslate2 import read_model, whisper_encoder

    return whisper_encoder(read_model(path))
