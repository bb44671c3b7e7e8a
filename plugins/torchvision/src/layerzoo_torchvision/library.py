"""Build torchvision's networks as the library builds them for given weights, without loading these weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from unittest import mock

from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights

Loaded = dict[str, Mapping[str, Tensor]]
"""What a builder of torchvision passed to ``load_state_dict`` of the network, under the key ``state``."""

_loaded: ContextVar[Loaded | None] = ContextVar("_loaded", default=None)
_one_patch = threading.Lock()


class _Provided:
    """Weights of the library whose tensors are given rather than downloaded.

    A builder of torchvision checks the class of the weights, compares them with members of their class, and reads their
    URL and metadata. All of this is answered by the weights themselves.
    """

    def __init__(self, weights: WeightsEnum, tensors: Mapping[str, Tensor]) -> None:
        self._weights = weights
        self._tensors = tensors

    @property
    def __class__(self) -> type:  # isinstance() in the builder asks for the class of the weights
        return type(self._weights)

    @__class__.setter
    def __class__(self, value: type) -> None:
        raise TypeError("the class of weights is fixed")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._weights, name)

    def __eq__(self, other: object) -> bool:
        return bool(self._weights == other)

    def __hash__(self) -> int:
        return hash(self._weights)

    def get_state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the given tensors, in the place of a download."""
        return dict(self._tensors)


def weights_of(architecture: str) -> list[WeightsEnum]:
    """Return all weights of an architecture, the default first. Raises: ValueError for an unknown architecture."""
    members = get_model_weights(architecture)
    default = getattr(members, "DEFAULT", None)
    return sorted(members, key=lambda each: each is not default)


def build(architecture: str, weights: WeightsEnum | None, arguments: Mapping[str, Any]) -> nn.Module:
    """Build a network as for some weights: with the classes, the input size and the normalization that they imply.

    Args:
        architecture: name of the model in torchvision.
        weights: weights of the architecture; None for the network that the arguments alone describe.
        arguments: arguments of the builder.
    Returns: the network, with its initial parameters.
    """
    return _built(architecture, weights, arguments, {})[0]


def loaded(
    architecture: str, weights: WeightsEnum, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return the tensors that torchvision loads into a network for a checkpoint of some weights, by their keys.

    The library renames the keys of some published checkpoints.
    """
    return _built(architecture, weights, arguments, tensors)[1].get("state", tensors)


def _built(
    architecture: str, weights: WeightsEnum | None, arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[nn.Module, Loaded]:
    if weights is None:
        return get_model(architecture, weights=None, **_without_backbone(architecture), **arguments), {}
    with _recorded() as record:
        return get_model(architecture, weights=_Provided(weights, tensors), **arguments), record


def _without_backbone(architecture: str) -> dict[str, None]:
    """Return the argument that keeps a detector or a segmentation network from downloading a backbone."""
    import inspect

    from torchvision.models import get_model_builder

    parameters = inspect.signature(get_model_builder(architecture)).parameters
    return {"weights_backbone": None} if "weights_backbone" in parameters else {}


@contextmanager
def _recorded() -> Iterator[Loaded]:
    """Record what this thread passes to ``load_state_dict`` of a network, and load nothing.

    The patch is removed at the end. Other threads load as usual.
    """
    record: Loaded = {}
    load = nn.Module.load_state_dict

    def note(network: nn.Module, state: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        noted = _loaded.get()
        if noted is None:
            return load(network, state, *args, **kwargs)
        noted["state"] = state
        return None

    with _one_patch, mock.patch.object(nn.Module, "load_state_dict", note):
        token = _loaded.set(record)
        try:
            yield record
        finally:
            _loaded.reset(token)
