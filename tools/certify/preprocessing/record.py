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
    """``default`` for the constructor without arguments; otherwise the origin of the configuration."""
    backend: str = ""
    """The backend that both sides ran: ``pil``, ``torchvision``, ``fast``, ``slow``; empty for a single one."""
    inputs: int
    """The number of compared inputs."""
    verdict: Verdict
    """``equal``: to the bit on every input. ``refused``: layerzoo raises one of its errors, with ``reason``."""
    reason: str = ""
    """The reason for the refusal, or the input on which the two differ and the difference."""
