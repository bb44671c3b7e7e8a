"""The modalities, in a module that imports nothing else of layerzoo: browsing needs them before any spec."""

from __future__ import annotations

from typing import Literal, get_args

Modality = Literal["text", "vision", "audio", "video"]
"""The kind of input that a model takes."""
MODALITIES: tuple[Modality, ...] = get_args(Modality)
