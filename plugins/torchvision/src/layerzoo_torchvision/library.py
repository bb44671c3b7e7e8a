"""Build torchvision's networks as the library builds them for given weights, without loading these weights.

A builder of torchvision chooses layers, the input size and the normalization by the weights that it is asked for, and
it renames the keys of some published checkpoints. It is therefore called with these weights, and only the download and
the loading are left out.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.models import WeightsEnum, get_model, get_model_builder

from layerzoo.authoring import WithoutInitialisation
from layerzoo_torchvision.arguments import Arguments

_StateDict = Mapping[str, Tensor]

_recording: ContextVar[list[_StateDict] | None] = ContextVar("_recording", default=None)
_one_patch = threading.RLock()


class _Provided:
    """Weights of the library whose tensors are given, rather than downloaded.

    A builder checks the class of its weights, compares them with members of that class, and reads their metadata. The
    weights themselves answer all of this.
    """

    def __init__(self, weights: WeightsEnum, tensors: _StateDict) -> None:
        self._weights = weights
        self._tensors = tensors

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # isinstance() in a builder asks for it
        return type(self._weights)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._weights, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._weights == other)

    def __hash__(self) -> int:
        return hash(self._weights)

    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the given tensors."""
        return dict(self._tensors)


class _WidthsWithValues(TorchFunctionMode):
    """Compute the widths of a RegNet on the CPU: its constructor reads them, also on the meta device.

    They are computed from a range and a list. Parameters are created by other functions.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return func(*args, **{**(kwargs or {}), **({"device": "cpu"} if func in (torch.arange, torch.tensor) else {})})


def whole_network(arguments: Arguments) -> nn.Module:
    """Build a network as the library builds it for its weights, with its initial parameters."""
    return _built(arguments, {})[0]


def loaded_tensors(arguments: Arguments, tensors: _StateDict) -> _StateDict:
    """Return the tensors that torchvision loads into the network for a checkpoint, by the keys of the network."""
    if arguments.weights is None:
        return tensors
    with torch.device("meta"), WithoutInitialisation():
        _, loaded = _built(arguments, tensors)
    return loaded[-1] if loaded else tensors


def _built(arguments: Arguments, tensors: _StateDict) -> tuple[nn.Module, list[_StateDict]]:
    """Return the network, and what the builder passed to its ``load_state_dict``."""
    widths = _WidthsWithValues() if arguments.family == "regnet" else nullcontext()
    if arguments.weights is None:
        parameters = inspect.signature(get_model_builder(arguments.name)).parameters
        backbone = {"weights_backbone": None} if "weights_backbone" in parameters else {}
        with widths:
            return get_model(arguments.name, weights=None, **backbone, **arguments.options), []
    with widths, _without_loading() as loaded:
        network = get_model(arguments.name, weights=_Provided(arguments.weights, tensors), **arguments.options)
    return network, loaded


@contextmanager
def _without_loading() -> Iterator[list[_StateDict]]:
    """Record what this thread passes to ``load_state_dict`` of a network, and load nothing.

    Other threads load as usual, and the method is restored at the end.
    """
    recorded: list[_StateDict] = []
    load = nn.Module.load_state_dict

    def record(network: nn.Module, state_dict: _StateDict, *args: Any, **kwargs: Any) -> Any:
        recording = _recording.get()
        if recording is None:
            return load(network, state_dict, *args, **kwargs)
        recording.append(state_dict)
        return None

    with _one_patch, mock.patch.object(nn.Module, "load_state_dict", record):
        token = _recording.set(recorded)
        try:
            yield recorded
        finally:
            _recording.reset(token)
