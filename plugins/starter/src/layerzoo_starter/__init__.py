"""The starter models are declarations; the only code is a reader for the one checkpoint in a foreign format."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from layerzoo import ModelSpec, hookimpl
from layerzoo.weights import Files
from layerzoo_starter.ctranslate2 import read_model, whisper_encoder


@hookimpl
def layerzoo_read_weights(spec: ModelSpec, files: Files) -> Mapping[str, Tensor] | None:
    path = files.checkpoint
    if path is None or path.name != "model.bin":
        return None
    return whisper_encoder(read_model(path))
