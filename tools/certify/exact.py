"""Whether cuts of a network give what the whole network gives: bit for bit, in float32, on the same batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

import layerzoo
from layerzoo.runtime.backbone import lay_out, memory_format
from layerzoo.runtime.network import meant
from layerzoo.spec import Layer, ModelSpec, Weights

_NOISE = 0.03
"""Added to every parameter, uniformly from -0.03 to 0.03: as much as a usual initialisation, and more than the zeros
and the 1e-6 with which heads and scales of residual branches begin, behind which anything would be equal."""
_MEMORY = Path("/dev/shm")
"""A folder in memory: checkpoints of hundreds of networks need not go through a disk."""

Sample = Callable[[layerzoo.Batch], layerzoo.Batch]


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass of a cut network, beside the whole one."""

    layers: tuple[str, ...]
    differing: Mapping[str, str]
    """Layer name → in what it differs; empty where all are equal to the bit."""
    share_read: float
    """Of the bytes of the checkpoint."""


def disturb(network: nn.Module, seed: int = 0) -> None:
    """Move everything that is learned away from where it was initialised, in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.is_floating_point():
                parameter.add_(torch.empty_like(parameter).uniform_(-_NOISE, _NOISE, generator=generator))
        for module in network.modules():
            if isinstance(module, _NormBase) and module.running_mean is not None and module.running_var is not None:
                module.running_mean.uniform_(-0.1, 0.1, generator=generator)
                module.running_var.uniform_(0.5, 1.5, generator=generator)


def save(network: nn.Module, path: Path) -> None:
    """The network's state dict as safetensors; a tensor with several names is saved under each."""
    state = network.state_dict()
    save_file({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}, path)


@contextmanager
def checkpointed(spec: ModelSpec, network: nn.Module) -> Iterator[ModelSpec]:
    """The spec with a checkpoint of the network, which is there for as long as the context lasts."""
    with tempfile.TemporaryDirectory(prefix="certify-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        path = Path(folder) / "weights.safetensors"
        save(network, path)
        yield replace(spec, weights=Weights(source=f"file:{path}"))


def noise_like(batch: layerzoo.Batch, seed: int = 0) -> layerzoo.Batch:
    """A batch of the same shapes, whose samples are noise, and differ."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in batch.inputs.items()}
    return layerzoo.Batch(inputs=inputs)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole network, what it gives at its layers, and cuts of it beside."""

    spec: ModelSpec
    backbone: layerzoo.Backbone
    """Cut at all layers, in the order in which they run."""
    network: nn.Module
    batch: layerzoo.Batch
    given: Mapping[str, Tensor]
    """Layer name → what the network gives there, read by plain forward hooks."""

    @classmethod
    def of(cls, spec: ModelSpec, network: nn.Module, sample: Sample | None = None) -> Whole:
        """spec: with its layers, and a checkpoint with the weights of the network.

        network: the whole one; it is brought into the memory format of the product.
        sample: what the network is run on, made of an example of its input; noise where it is not given.
        """
        backbone = _cut(spec, *(layer.name for layer in spec.layers))
        example = backbone.preprocess.example(2)
        assert example is not None
        layout = memory_format(backbone.preprocess)
        batch = (sample or noise_like)(example).to("cpu", layout)
        network = lay_out(network.eval(), layout)
        return cls(spec, backbone, network, batch, hooked(network, backbone.layers, batch))

    def beside(self, backbone: layerzoo.Backbone) -> Pass:
        """What a cut gives, beside what the whole network gives."""
        found = backbone.activations(self.batch)
        differences = {name: _difference(tensor, self.given[name]) for name, tensor in found.items()}
        loaded = backbone.provenance["loaded"]
        return Pass(
            layers=tuple(found),
            differing={name: told for name, told in differences.items() if told is not None},
            share_read=loaded["bytes"] / loaded["of_bytes"],
        )

    def passes(self) -> Iterator[Pass]:
        """All layers in one pass; then the first, the middle and the last alone, each loaded anew."""
        yield self.beside(self.backbone)
        names = [layer.name for layer in self.backbone.layers]
        for name in dict.fromkeys((names[0], names[len(names) // 2], names[-1])):
            yield self.beside(_cut(self.spec, name))

    def is_repeatable(self) -> bool:
        """Whether the whole network gives the same twice."""
        again = hooked(self.network, self.backbone.layers, self.batch)
        return all(torch.equal(again[name], tensor) for name, tensor in self.given.items())

    def flaws(self) -> dict[str, str]:
        """Layer name → why what the network gives there proves nothing by being equal to something else."""
        return {name: told for name, tensor in self.given.items() if (told := flaw(tensor)) is not None}

    def by_layer(self) -> dict[Layer, Tensor]:
        """What the network gives, by layer."""
        return {layer: self.given[layer.name] for layer in self.backbone.layers}


def _cut(spec: ModelSpec, *names: str) -> layerzoo.Backbone:
    """A cut of raw activations, which need no axes."""
    return layerzoo.load(spec, layer=names, pool="none")


def hooked(network: nn.Module, layers: Iterable[Layer], batch: layerzoo.Batch) -> dict[str, Tensor]:
    """What a network gives at each layer, copied the moment it is there, by plain forward hooks."""
    given: dict[str, Tensor] = {}
    handles = [_hook(network, layer, given) for layer in layers]
    with torch.no_grad():
        batch.run(network)
    for handle in handles:
        handle.remove()
    return given


def _hook(network: nn.Module, layer: Layer, given: dict[str, Tensor]) -> Any:
    calls = 0

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal calls
        if calls == (layer.call or 0):
            key = layer.output if layer.at == "output" else None
            given[layer.name] = meant(_picked(output, key), layer).clone()
        calls += 1

    def keep_received(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(module, args, (args or tuple(kwargs.values()))[0])

    module = network.get_submodule(layer.module)
    if layer.at == "input":
        return module.register_forward_pre_hook(keep_received, with_kwargs=True)
    return module.register_forward_hook(keep)


def _picked(output: Any, key: int | str | None) -> Tensor:
    """The tensor that a layer means; without a key, the only one there is."""
    chosen = output if key is None else output[key]
    if isinstance(chosen, Tensor):
        return chosen
    items = chosen.values() if isinstance(chosen, Mapping) else chosen
    (tensor,) = [item for item in items if isinstance(item, Tensor)]
    return tensor


def flaw(activation: Tensor) -> str | None:
    """Why an activation proves nothing by being equal to another; None when it does."""
    if not bool(activation.isfinite().all()):
        return "is not finite"
    return "is constant" if activation.min() == activation.max() else None


def _difference(found: Tensor, expected: Tensor) -> str | None:
    if found.shape != expected.shape:
        return f"is {tuple(found.shape)} for {tuple(expected.shape)}"
    if torch.equal(found, expected):
        return None
    distance = (found - expected).norm() / expected.norm()
    return f"differs by {distance:.1g} of its length"
