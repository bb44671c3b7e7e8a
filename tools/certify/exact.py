"""Compare cuts of a network with the whole network: bit for bit, in float32, on the same batch."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tools.certify.folding import folded
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

import layerzoo
from layerzoo.runtime.backbone import memory_format, to_memory_format
from layerzoo.runtime.network import selected_tokens
from layerzoo.spec import Layer, ModelSpec, Weights
from layerzoo.weights.digests import SHA256_DIGITS, content_digest

_NOISE = 0.03
"""The range of the uniform noise that is added to every parameter. It is as large as a usual initialisation. Heads and
scales of residual branches are initialised to zero or 1e-6, and everything after them would be equal without noise."""
_MEMORY = Path("/dev/shm")
"""A folder in memory, for the checkpoints of hundreds of networks."""

Sample = Callable[[layerzoo.Batch], layerzoo.Batch]


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass of a cut network, compared with the whole network."""

    layers: tuple[str, ...]
    differing: Mapping[str, str]
    """Layer name → the difference; empty if all layers are equal bit for bit."""
    share_read: float
    """Bytes read of the checkpoint, divided by its size."""


def differing(passes: Iterable[Pass]) -> dict[str, str]:
    """Return the differences of all passes by layer name."""
    return {name: difference for run in passes for name, difference in run.differing.items()}


def traced(params: int, layers: Sequence[Layer]) -> dict[str, Any]:
    """Return the part of a result that a trace alone gives.

    params: the number of parameters.
    layers: those that the trace found.
    """
    unknown = [layer.name for layer in layers if layer.axes is None]
    return {
        "params": params,
        "layers": len(layers),
        "names": folded(layer.name for layer in layers),
        **({"unknown_axes": folded(unknown)} if unknown else {}),
    }


def untraced(params: int, error: Exception) -> dict[str, Any]:
    """Return the result of a network whose trace failed, with the first line of the error."""
    return {"params": params, "untraced": next(iter(str(error).splitlines()), "")}


def disturb(network: nn.Module, seed: int = 0) -> None:
    """Add noise to all parameters and running statistics, in place."""
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
    """Save the state dict as safetensors. A tensor with several names is saved under each."""
    state = network.state_dict()
    save_file({name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}, path)


@contextmanager
def checkpointed(spec: ModelSpec, network: nn.Module, *, pickled: bool = False) -> Iterator[ModelSpec]:
    """Provide the spec with a checkpoint of the network, which exists until the context ends.

    pickled: write a pickle with the versions of the modules, and declare its sha256; by default safetensors.
    """
    with tempfile.TemporaryDirectory(prefix="certify-", dir=_MEMORY if _MEMORY.is_dir() else None) as folder:
        path = Path(folder) / ("weights.pth" if pickled else "weights.safetensors")
        if pickled:
            torch.save(network.state_dict(), path)
        else:
            save(network, path)
        digests = ((path.name, content_digest(path, like="0" * SHA256_DIGITS)),) if pickled else ()
        yield replace(spec, weights=Weights(source=f"file:{path}", sha256=digests))


def noise_like(batch: layerzoo.Batch, seed: int = 0) -> layerzoo.Batch:
    """Return a batch of the same shapes whose samples are noise and differ from each other."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in batch.inputs.items()}
    return layerzoo.Batch(inputs=inputs)


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole network, its activations at its layers, and comparisons of its cuts with them."""

    spec: ModelSpec
    backbone: layerzoo.Backbone
    """Cut at all layers, in the order in which they run."""
    network: nn.Module
    batch: layerzoo.Batch
    expected: Mapping[str, Tensor]
    """Layer name → the activation of the whole network, read by plain forward hooks."""

    @classmethod
    def of(cls, spec: ModelSpec, network: nn.Module, sample: Sample | None = None) -> Whole:
        """Run the whole network.

        spec: with its layers, and a checkpoint with the weights of the network.
        network: the whole network; it is converted to layerzoo's memory format.
        sample: makes the batch from an example of the input; noise by default.
        """
        backbone = _cut(spec, *(layer.name for layer in spec.layers))
        example = backbone.preprocess.example(2)
        assert example is not None
        layout = memory_format(backbone.preprocess)
        batch = (sample or noise_like)(example).to("cpu", layout)
        network = to_memory_format(network.eval(), layout)
        return cls(spec, backbone, network, batch, hooked(network, backbone.layers, batch))

    def compare(self, backbone: layerzoo.Backbone) -> Pass:
        """Run a cut, and compare its activations with those of the whole network."""
        activations = backbone.activations(self.batch)
        differences = {name: _difference(tensor, self.expected[name]) for name, tensor in activations.items()}
        loaded = backbone.provenance["loaded"]
        return Pass(
            layers=tuple(activations),
            differing={name: difference for name, difference in differences.items() if difference is not None},
            share_read=loaded["bytes"] / loaded["of_bytes"],
        )

    def passes(self) -> Iterator[Pass]:
        """Run all layers in one pass; then load and run the first, the middle and the last layer alone."""
        yield self.compare(self.backbone)
        names = [layer.name for layer in self.backbone.layers]
        for name in dict.fromkeys((names[0], names[len(names) // 2], names[-1])):
            yield self.compare(_cut(self.spec, name))

    def results(self, **more: Callable[[Whole], Any]) -> dict[str, Any]:
        """Run all passes, and return the results that are not empty.

        more: further comparisons by key, which are made after the passes.
        """
        passes = list(self.passes())
        differences = differing(passes)
        results = {
            "cuts": {run.layers[0]: round(run.share_read, 4) for run in passes[1:]},
            "differing": differences,
            "flaws": self.flaws(),
            "unrepeatable": bool(differences) and not self.is_repeatable(),
            **{key: compare(self) for key, compare in more.items()},
        }
        return {key: value for key, value in results.items() if value}

    def is_repeatable(self) -> bool:
        """Return whether a second pass of the whole network gives the same activations; two NaN are the same."""
        again = hooked(self.network, self.backbone.layers, self.batch)
        return all(_difference(again[name], tensor) is None for name, tensor in self.expected.items())

    def flaws(self) -> dict[str, str]:
        """Return, by layer name, why equality with the activation of the whole network proves nothing."""
        shown = {layer.name: _without_absent_objects(layer, tensor) for layer, tensor in self.by_layer().items()}
        return {name: reason for name, tensor in shown.items() if (reason := flaw(tensor)) is not None}

    def by_layer(self) -> dict[Layer, Tensor]:
        """Return the activations of the whole network by layer."""
        return {layer: self.expected[layer.name] for layer in self.backbone.layers}


def _cut(spec: ModelSpec, *names: str) -> layerzoo.Backbone:
    """Load a cut that returns raw activations, which requires no axes."""
    return layerzoo.load(spec, layer=names, pool="none")


def hooked(network: nn.Module, layers: Iterable[Layer], batch: layerzoo.Batch) -> dict[str, Tensor]:
    """Return the activation at each layer, copied inside a plain forward hook before later operations overwrite it."""
    activations: dict[str, Tensor] = {}
    handles = [_hook(network, layer, activations) for layer in layers]
    with torch.no_grad():
        batch.run(network)
    for handle in handles:
        handle.remove()
    return activations


def _hook(network: nn.Module, layer: Layer, activations: dict[str, Tensor]) -> Any:
    calls = 0

    def keep(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal calls
        if calls == (layer.call or 0):
            key = layer.output if layer.at == "output" else None
            activations[layer.name] = selected_tokens(_selected(output, key), layer).clone()
        calls += 1

    def keep_input(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        keep(module, args, (args or tuple(kwargs.values()))[0])

    module = network.get_submodule(layer.module)
    if layer.at == "input":
        return module.register_forward_pre_hook(keep_input, with_kwargs=True)
    return module.register_forward_hook(keep)


def _selected(output: Any, key: int | str | None) -> Tensor:
    """Return the tensor that a key selects; without a key, the only tensor of the output."""
    selected = output if key is None else output[key]
    if isinstance(selected, Tensor):
        return selected
    items = selected.values() if isinstance(selected, Mapping) else selected
    (tensor,) = [item for item in items if isinstance(item, Tensor)]
    return tensor


def _without_absent_objects(layer: Layer, activation: Tensor) -> Tensor:
    """Return the values of the objects that a network found, for a layer of objects."""
    return activation[~activation.isnan().all(-1)] if "object" in (layer.axes or ()) else activation


def flaw(activation: Tensor) -> str | None:
    """Return why equality with an activation proves nothing: it is constant or not finite. None otherwise."""
    if not activation.numel():
        return "empty"
    if not bool(activation.isfinite().all()):
        return "not finite"
    return "constant" if activation.min() == activation.max() else None


def _difference(activation: Tensor, expected: Tensor) -> str | None:
    if activation.shape != expected.shape:
        return f"shape {tuple(activation.shape)} instead of {tuple(expected.shape)}"
    if torch.allclose(activation, expected, rtol=0, atol=0, equal_nan=True):
        return None
    distance = (activation - expected).norm() / expected.norm()
    return f"relative difference {distance:.1g}"
