"""One row of the certificate of preprocessing: one processor class in one configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["equal", "refused", "unequal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A comparison of layerzoo's preprocessing, and its result."""

    kind: Literal["image processor", "video processor", "feature extractor", "tokenizer"]
    name: str
    """Name of the library's class, such as ``CLIPImageProcessor``."""
    configuration: str
    """``default`` for the constructor without arguments, else where the configuration comes from."""
    backend: str = ""
    """The backend that both sides ran: ``pil``, ``torchvision``, ``fast``, ``slow``; empty where there is one only."""
    inputs: int
    """Number of inputs that were compared."""
    verdict: Verdict
    """``equal``: to the bit on every input. ``refused``: layerzoo raises one of its errors, with ``reason``."""
    reason: str = ""
    """Why it was refused, or on which input the two differ and by how much."""
