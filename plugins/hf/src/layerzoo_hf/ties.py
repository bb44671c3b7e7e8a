"""Tied parameters: transformers ties them after loading, unless the checkpoint has different values for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def untie_on_load(network: nn.Module) -> None:
    """Let a network with tied parameters untie those that its state dict has different values for, as
    ``PreTrainedModel.tie_weights`` does in ``from_pretrained``."""
    if len(list(network.named_parameters(remove_duplicate=False))) > len(list(network.parameters())):
        network.register_load_state_dict_pre_hook(_untie)


def _untie(network: nn.Module, state: dict[str, Tensor], prefix: str, *_arguments: Any) -> None:
    groups: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if f"{prefix}{name}" in state:
            groups.setdefault(id(parameter), []).append(name)
    for first, *duplicates in groups.values():
        for name in duplicates:
            if not torch.equal(state[f"{prefix}{first}"], state[f"{prefix}{name}"]):
                path, _, leaf = name.rpartition(".")
                owner = network.get_submodule(path)
                setattr(owner, leaf, nn.Parameter(torch.empty_like(getattr(owner, leaf))))
