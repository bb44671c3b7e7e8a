"""Small networks with tensors that no checkpoint holds, each created differently in its constructor."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm


class Network(nn.Module):
    """A convolution whose output is shifted by a constant, and another convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.change()
        self.body = nn.Conv2d(8, 8, 1)

    def change(self) -> None:
        """Create the constant."""

    def shift(self) -> Tensor | float:
        """Return the constant to add: a number, or (8,)."""
        return 0.0

    def forward(self, x: Tensor) -> Tensor:
        shift = self.shift()
        x = self.first(x) + (shift[:, None, None] if isinstance(shift, Tensor) else shift)
        return self.body(x)


class InitialisedBuffer(Network):
    """``torch.nn.init`` initialises a buffer."""

    def change(self) -> None:
        self.register_buffer("constant", nn.init.constant_(torch.empty(8), 1 / 9), persistent=False)

    def shift(self) -> Tensor:
        return self.constant


class InitialisedInPlace(Network):
    """A buffer is initialised after it was registered."""

    def change(self) -> None:
        self.register_buffer("constant", torch.empty(8), persistent=False)
        nn.init.trunc_normal_(self.constant)
        with torch.no_grad():
            self.constant[:4].fill_(2)

    def shift(self) -> Tensor:
        return self.constant


class FromParameter(Network):
    """A buffer is computed from a parameter that was initialised."""

    def change(self) -> None:
        nn.init.constant_(self.first.bias, 0.5)
        self.register_buffer("constant", self.first.bias.detach().clone() * 2, persistent=False)

    def shift(self) -> Tensor:
        return self.constant


class FromData(Network):
    """An attribute is computed from the data of a parameter, with its graph and through several steps."""

    def change(self) -> None:
        self.first.weight.data.normal_(0, 0.1)
        self.constant = (self.first.weight.sum((1, 2, 3)).exp() + 1).detach()

    def shift(self) -> Tensor:
        return self.constant


class InList(Network):
    """Constants are in a list and in a dictionary."""

    def change(self) -> None:
        self.constants = [{"bias": self.first.bias.data.clone()}]

    def shift(self) -> Tensor:
        return self.constants[0]["bias"]


class InClosure(Network):
    """A closure holds a constant."""

    def change(self) -> None:
        self.add = partial(torch.mul, self.first.bias.detach() * 3)

    def shift(self) -> Tensor:
        return self.add(torch.ones(8))


class WrittenTo(Network):
    """The values of a parameter are written into a buffer."""

    def change(self) -> None:
        self.register_buffer("constant", torch.zeros(8), persistent=False)
        self.constant[2:] = self.first.bias.detach()[2:]

    def shift(self) -> Tensor:
        return self.constant


class AsNumber(Network):
    """The value of a parameter becomes a Python number."""

    def change(self) -> None:
        self.number = float(self.first.weight.detach().mean().abs() * 100)

    def shift(self) -> float:
        return self.number


class AsNumbers(Network):
    """The values of a parameter become a Python list."""

    def change(self) -> None:
        self.numbers = self.first.bias.tolist()

    def shift(self) -> Tensor:
        return torch.tensor(self.numbers)


class ThroughNumpy(Network):
    """A constant is computed by NumPy."""

    def change(self) -> None:
        self.register_buffer("constant", torch.from_numpy(self.first.bias.detach().numpy() * 2 + 1), persistent=False)

    def shift(self) -> Tensor:
        return self.constant


class Branches(Network):
    """A value of a parameter decides which module is built."""

    def change(self) -> None:
        self.number = 3.0 if self.first.bias.abs().max() < 1 else 7.0

    def shift(self) -> float:
        return self.number


class Random(Network):
    """A random constant is drawn after an initialisation."""

    def change(self) -> None:
        self.register_buffer("constant", torch.randn(8), persistent=False)

    def shift(self) -> Tensor:
        return self.constant


class RandomNumber(Network):
    """A random number becomes a Python number."""

    def change(self) -> None:
        self.number = torch.rand(1).item()

    def shift(self) -> float:
        return self.number


class View(Network):
    """An attribute is a view of a parameter, and shows the loaded values."""

    def change(self) -> None:
        self.constant = self.first.bias.data

    def shift(self) -> Tensor:
        return self.constant


class ViewInList(Network):
    """A list holds slices of a parameter."""

    def change(self) -> None:
        self.constants = [self.first.weight.detach()[:, 0, 0], self.first.weight.detach()[:, 1, 1]]

    def shift(self) -> Tensor:
        return torch.cat(self.constants, 1).sum(1)


class SameObject(Network):
    """A list holds a parameter itself."""

    def change(self) -> None:
        self.held = [self.first.bias]

    def shift(self) -> Tensor:
        return self.held[0] * 2


class Unsaved(Network):
    """A parameter is not saved."""

    def change(self) -> None:
        self.unsaved = nn.Parameter(torch.empty(8))
        nn.init.ones_(self.unsaved)
        self.register_state_dict_post_hook(_without_unsaved)

    def shift(self) -> Tensor:
        return self.unsaved


def _without_unsaved(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: object) -> None:
    del state[f"{prefix}unsaved"]


class Unregistered(Network):
    """A parameter is in a list that is not a ``nn.ParameterList``."""

    def change(self) -> None:
        self.held = [nn.Parameter(torch.empty(8))]
        nn.init.normal_(self.held[0])

    def shift(self) -> Tensor:
        return self.held[0]


class Copied(Network):
    """A constant is copied after it was computed."""

    def change(self) -> None:
        self.constant = copy.deepcopy(self.first.bias.detach() + 1)

    def shift(self) -> Tensor:
        return self.constant


class Aliased(Network):
    """A buffer shares its memory with a parameter."""

    def change(self) -> None:
        self.register_buffer("constant", torch.zeros(8), persistent=False)
        self.scale = nn.Parameter(self.constant)
        nn.init.ones_(self.scale)

    def shift(self) -> Tensor:
        return self.constant + self.scale


class FromComputedParameter(Network):
    """A parameter is computed from another, and a constant from it."""

    def change(self) -> None:
        self.second = nn.Parameter(self.first.bias.clone() + 1)
        self.register_buffer("constant", torch.outer(self.second.detach(), torch.ones(2))[:, 0], persistent=False)

    def shift(self) -> Tensor:
        return self.constant * self.second


class Orthogonal(Network):
    """A constant is the orthogonal initialisation of a buffer; a parameter has a separate one."""

    def change(self) -> None:
        nn.init.orthogonal_(self.first.weight)
        self.register_buffer("constant", nn.init.orthogonal_(torch.empty(8, 8))[0], persistent=False)

    def shift(self) -> Tensor:
        return self.constant


class OldWeightNorm(Network):
    """The weight is an attribute that is computed from two parameters."""

    def change(self) -> None:
        self.first = weight_norm(self.first)
        self.constant = self.first.weight.detach().flatten(1)[:, 0]

    def shift(self) -> Tensor:
        return self.constant


class WeightNorm(Network):
    def change(self) -> None:
        self.first = parametrizations.weight_norm(self.first)


class OldSpectralNorm(Network):
    def change(self) -> None:
        self.first = spectral_norm(self.first)


class SpectralNorm(Network):
    def change(self) -> None:
        self.first = parametrizations.spectral_norm(self.first)


class Recurrent(nn.Module):
    """An LSTM keeps its parameters in a list too."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.LSTM(3, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x[:, :, 0].transpose(1, 2))[0]  # a trace runs every step: 16 of them, not 256


class ShapeOnly(Network):
    """A constant has the shape of a parameter and none of its values: nothing needs initialisation."""

    def change(self) -> None:
        self.register_buffer("constant", torch.ones_like(self.first.bias) + self.first.bias.new_zeros(8), False)

    def shift(self) -> Tensor:
        return F.relu(self.constant)


class Pickled(Network):
    """The values of a parameter are copied by pickling it."""

    def change(self) -> None:
        self.register_buffer("copied", pickle.loads(pickle.dumps(self.first.bias.detach())) * 2, persistent=False)

    def shift(self) -> Tensor:
        return self.get_buffer("copied")


class InThread(Network):
    """A buffer is computed in another thread."""

    def change(self) -> None:
        def compute() -> None:
            self.register_buffer("computed", self.first.bias.detach() * 2, persistent=False)

        thread = threading.Thread(target=compute)
        thread.start()
        thread.join()

    def shift(self) -> Tensor:
        return self.get_buffer("computed")


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind
    for kind in (
        Network, InitialisedBuffer, InitialisedInPlace, FromParameter, FromData, InList, InClosure, WrittenTo, AsNumber,
        AsNumbers, ThroughNumpy, Branches, Random, RandomNumber, View, ViewInList, SameObject, Unsaved, Unregistered,
        Copied, Aliased, FromComputedParameter, Orthogonal, OldWeightNorm, WeightNorm, OldSpectralNorm, SpectralNorm,
        Recurrent, ShapeOnly, Pickled, InThread,
    )
}  # fmt: skip
WITHOUT_INITIALISATION = [
    "Network", "InitialisedBuffer", "View", "ViewInList", "SameObject", "Aliased", "WeightNorm", "OldSpectralNorm",
    "SpectralNorm", "Recurrent", "ShapeOnly",
]  # fmt: skip
"""Networks without a tensor that depends on an initialisation that a checkpoint overwrites."""
