"""The facts about one model of torchaudio that the hooks return."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from layerzoo.authoring import Chain
from layerzoo.weights import Files

Tensors = Mapping[str, Tensor]
BASE_URL = "https://download.pytorch.org/torchaudio/"
"""The address from which the library downloads the files of its pipelines."""


def unchanged(tensors: Tensors) -> Tensors:
    """Return the tensors of a checkpoint whose keys are those of the network."""
    return tensors


def without_files(tensors: Tensors, files: Files) -> Tensors:
    """Return the tensors of a checkpoint that needs no other file."""
    return tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchaudioModel:
    """One model: its network, its input and its checkpoint."""

    build: Callable[[], nn.Module]
    """Build the backbone with torchaudio's own initialisation."""
    preprocess: Mapping[str, Any]
    """The keys of registry.yaml's ``preprocess``."""
    chain: Chain
    transform: Any = None
    """A picklable function from samples at the model's rate to the network's input, or a tokenizer; None: the samples
    themselves."""
    select_tensors: Callable[[Tensors], Tensors] = unchanged
    """Select and rename the tensors of a published checkpoint; the values are not read."""
    add_tensors: Callable[[Tensors, Files], Tensors] = without_files
    """Add the tensors that the library has in other files than the checkpoint."""
    default: Mapping[str, Any] = field(default_factory=dict)
    """The keys of registry.yaml's ``default``."""
