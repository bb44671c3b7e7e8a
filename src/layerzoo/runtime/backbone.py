"""A loaded network, truncated at its cut, with its preprocessing."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from layerzoo.errors import CutError, UsageError
from layerzoo.pooling import POSITION_AXES
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.changes import TensorChanges
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.network import CutNetwork, Read
from layerzoo.runtime.pool import PooledRow, pool_batch, pooled_counts, rows_of
from layerzoo.runtime.precision import Precision
from layerzoo.runtime.preprocess import Preprocessor
from layerzoo.runtime.request import LayerChoice, PoolChoice, check_pools, choose_layers, choose_pools
from layerzoo.runtime.resolved import ResolvedModel
from layerzoo.runtime.transfer import to_device
from layerzoo.runtime.variation import Variation, seeded
from layerzoo.spec import IN_MEMORY, Layer, ModelSpec

if TYPE_CHECKING:
    from layerzoo.runtime.export import Exported, ExportFormat


@dataclass(frozen=True)
class Backbone:
    """A pretrained network up to a layer, as :func:`load` returns it.

    Several threads may use one backbone. It can be copied, and pickled if its network can be pickled.

    >>> layerzoo.load("toy/next-word")
    <Backbone toy/next-word cut at block.0: 96 of 192 bytes of weights>
    """

    spec: ModelSpec
    """The declaration, completed by the library and by a trace."""
    preprocess: Preprocessor
    """Turns inputs into a batch for ``module``. It can be used alone."""
    pools: Mapping[str, str]
    """Layer name → pooling that :func:`extract` applies."""
    device: torch.device
    precision: Precision
    _loaded: Mapping[str, Any] = field(repr=False)
    """The provenance of the network as it was loaded."""
    _network: CutNetwork = field(repr=False)
    _changes: TensorChanges = field(repr=False)
    """Of the tensors, since the network was loaded."""
    _resolved: ResolvedModel = field(repr=False)
    _replica_devices: tuple[torch.device, ...] = ()
    """The further devices on which :func:`extract` runs replicas of the network."""

    @property
    def module(self) -> CutNetwork:
        """An ordinary, trainable ``torch.nn.Module``. Called with a batch, it returns a dict of layer name → raw
        activation (for its axes, see :attr:`layers`).

        Modules past the cut are stubs that raise. In a lower precision than float32, its weights have that precision,
        too: to train in mixed precision, load in float32 and use ``torch.autocast``. In the precision ``library``, it
        computes in ``provenance["dtype"]`` without autocast.

        >>> backbone = layerzoo.load("toy/next-word")
        >>> list(backbone.module(backbone.preprocess(["the cat"])))
        ['block.0']
        """
        self._changes.watch()
        return self._network

    @property
    def devices(self) -> tuple[torch.device, ...]:
        """The devices on which :func:`extract` runs the network: :attr:`device`, then those of further replicas.

        >>> layerzoo.load("toy/next-word", device=["cpu", "cpu"]).devices
        (device(type='cpu'), device(type='cpu'))
        """
        return (self.device, *self._replica_devices)

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Model, weights, layers and versions from which features are computed, as JSON-able data.

        ``provenance["weights"]["changed"]`` is None if the network has the tensors that were loaded. After training it
        has the number of changed ``tensors``, and a ``sha256`` over their names and values.

        >>> layerzoo.load("toy/next-word").provenance["weights"]["changed"] is None
        True
        """
        changed = self._changes.describe()
        return {**self._loaded, "weights": {**self._loaded["weights"], "changed": changed}}

    @property
    def cut(self) -> Cut:
        """The layers that are read, the modules and tensors they need, and where the forward pass stops.

        >>> [layer.name for layer in layerzoo.load("toy/next-word").cut.layers]
        ['block.0']
        """
        return self._network.cut

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that this backbone reads, with their axes, shapes and costs.

        >>> layerzoo.load("toy/next-word").layers[0].axes
        ('batch', 'token', 'channel')
        """
        return self.cut.layers

    def __repr__(self) -> str:
        loaded = self._loaded["loaded"]
        share = f"{loaded['bytes']:,} of {loaded['of_bytes']:,} bytes of weights"
        return f"<Backbone {self.spec.id} cut at {', '.join(layer.name for layer in self.layers)}: {share}>"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the network's tensors, and a registry.yaml that declares them as a model, into a folder.

        Of a cut network, only the tensors up to the cut exist, and are written. Load them with
        ``layerzoo.load(MODEL, weights=FOLDER / "model.safetensors")``; or, where the registry.yaml is in the working
        directory, as ``mine/FOLDER``.

        Args:
            path: the folder, created if it does not exist.
        Returns: the written checkpoint, ``model.safetensors`` in that folder.
        Raises: UsageError for an empty path, and for one with the suffix of a checkpoint; OutputError when the folder
            cannot be written; WeightsError for a tensor that safetensors cannot hold.

        >>> layerzoo.load("toy/next-word").save("tuned")
        PosixPath('tuned/model.safetensors')
        """
        from layerzoo.runtime.saving import save

        if not os.fspath(path):
            raise UsageError("save('') names no folder. Next: save('tuned'), or save('.') for the working directory")
        return save(self._network, self._resolved, self.pools, Path(path))

    def export(self, path: str | os.PathLike[str], to: ExportFormat | None = None) -> Exported:
        """Write the network up to the cut into a file for programs without layerzoo.

        The file takes preprocessed inputs and returns the activation of each layer. The batch size may vary, and the
        length of texts. It is run and compared with :attr:`module` before it is written.

        Args:
            path: the file, replaced if it exists.
            to: ``onnx``, or ``pt2`` for ``torch.export.load``. None: the suffix of the file.
        Returns: the names and sizes of its inputs, and the largest difference from the cut.
        Raises: ExportError when torch cannot follow the code of the network, or the file differs from the cut;
            OutputError when it cannot be written; MissingLibraryError without the extra ``onnx``.

        >>> layerzoo.load("toy/next-word").export("next-word.pt2").outputs
        ['block.0']
        """
        from layerzoo.runtime.export import export

        with self._resolved.hooks.evaluating(self._network.network):
            return export(self, path, to)

    def activations(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Return layer name → raw activation, without gradients, on this backbone's device and in its precision.

        Args:
            batch: from :attr:`preprocess`.
        Returns: activations with the axes of :attr:`layers`, including the batch axis.
        Raises: UsageError when the network is in training mode, or was moved to another device.

        >>> backbone = layerzoo.load("toy/next-word")
        >>> batch = backbone.preprocess(["the cat drinks", "meat"])
        >>> backbone.activations(batch)["block.0"].shape
        torch.Size([2, 3, 3])
        """
        with self._running(), self._drawing():
            activations: dict[str, torch.Tensor] = self._network(self._placed(batch))
        return activations

    def read(self, batch: Batch, read: Read) -> dict[str, torch.Tensor]:
        """Run up to the cut, without gradients, and call a function with each activation as it appears.

        Args:
            batch: from :attr:`preprocess`.
            read: takes a layer and its activation, and returns a tensor. A later operation may overwrite the
                activation.
        Returns: layer name → result of ``read``.

        >>> backbone = layerzoo.load("toy/next-word")
        >>> backbone.read(backbone.preprocess(["the cat"]), lambda layer, activation: activation.sum())
        {'block.0': tensor(4.)}
        """
        with self._running(), self._drawing():
            return self._network.read(self._placed(batch), read)

    def pool_rows(self, batch: Batch, pools: Mapping[str, str]) -> dict[str, list[NDArray[np.float32]]]:
        """Pool the rows of a batch inside the forward pass.

        Args:
            batch: from :attr:`preprocess`.
            pools: layer name → pooling. Other layers are skipped.
        Returns: layer name → pooled values of each row of the batch: see :mod:`layerzoo.runtime.pool`.

        >>> backbone = layerzoo.load("toy/next-word")
        >>> backbone.pool_rows(backbone.preprocess(["the cat", "meat"]), {"block.0": "mean"})
        {'block.0': [array([0.5, 1. , 0.5], dtype=float32), array([-1.,  0., -1.], dtype=float32)]}
        """
        return {name: [row.values for row in rows] for name, rows in self.pool_with_counts(batch, pools).items()}

    def pool_with_counts(self, batch: Batch, pools: Mapping[str, str]) -> dict[str, list[PooledRow]]:
        """Pool the rows of a batch, and count the pooled positions of each row. Arguments: :meth:`pool_rows`.

        >>> backbone = layerzoo.load("toy/next-word")
        >>> rows = backbone.pool_with_counts(backbone.preprocess(["the cat", "meat"]), {"block.0": "mean"})
        >>> [row.positions for row in rows["block.0"]]
        [2, 1]
        """
        batch = replace(batch, example_total=self._example_total)
        placed = self._placed(batch)
        counts: dict[str, list[int | None]] = {}

        def read(layer: Layer, activation: torch.Tensor) -> torch.Tensor:
            if layer.name not in pools:
                return activation.new_empty(0)
            if not self._has_run:
                self._compare_with_trace(layer, activation, batch)
            with torch.autocast(self.device.type, enabled=False):
                counts[layer.name] = pooled_counts(activation, batch, layer)
                return pool_batch(activation, batch, layer, pools[layer.name])

        with self._running(), self._drawing():
            pooled = self._network.read(placed, read)
        self.__dict__["_has_run"] = True
        return {
            layer.name: list(
                map(PooledRow, rows_of(pooled[layer.name], batch, layer, pools[layer.name]), counts[layer.name])
            )
            for layer in self.layers
            if layer.name in pools
        }

    @cached_property
    def _has_run(self) -> bool:
        return False

    def _compare_with_trace(self, layer: Layer, activation: torch.Tensor, batch: Batch) -> None:
        """Compare the shapes of the first forward pass with the trace.

        Raises: CutError for other shapes, after removing the facts in the cache.
        """
        if self._resolved.trusts_declaration or not _is_unlike(
            layer, tuple(activation.shape), batch, self._example_inputs
        ):
            return
        self._resolved.forget()
        is_in_memory = self.spec.builder == IN_MEMORY
        advice = "call layerzoo.wrap again" if is_in_memory else f"zoo layers --trace {self.spec.id}"
        raise CutError(
            f"{self.spec.id}, layer {layer.name}: the network gives {tuple(activation.shape)} for a batch of "
            f"{batch.size}, and {layer.shape} without the batch was traced. Its code or its files have changed since. "
            f"Next: {advice}"
        )

    @cached_property
    def _example_inputs(self) -> dict[str, tuple[int, ...]]:
        example = None if self.preprocess.variable_length else self.preprocess.example(1)
        return {} if example is None else {name: tuple(tensor.shape[1:]) for name, tensor in example.inputs.items()}

    @cached_property
    def _example_total(self) -> int | None:
        """Count the positions of the example input; None where samples do not differ in length."""
        example = self.preprocess.example(1) if self.preprocess.variable_length else None
        return None if example is None else example.total

    def select_pools(self, layer: LayerChoice, pool: PoolChoice) -> dict[str, str]:
        """Return layer name → pooling for some of this backbone's layers.

        Args:
            layer: names or selectors; None: all layers of this backbone.
            pool: one pooling for all, or by layer; None: those of :attr:`pools`.
        Raises: UsageError for a layer that was not loaded, PoolingError.

        >>> layerzoo.load("toy/next-word").select_pools("block.0", "max")
        {'block.0': 'max'}
        """
        layers = self.layers if layer is None else choose_layers(self._resolved, layer)
        loaded = {each.name for each in self.layers}
        if missing := [each.name for each in layers if each.name not in loaded]:
            raise UsageError(
                f"this backbone reads {', '.join(sorted(loaded))}, and not {', '.join(missing)}: "
                f"layerzoo.load('{self.spec.id}', layer=[…]) with all layers you need"
            )
        if pool is not None:
            return choose_pools(self._resolved, layers, pool)
        pools = {each.name: self.pools[each.name] for each in layers}
        check_pools(self._resolved, layers, pools)
        return pools

    @property
    def variation(self) -> Variation:
        """Report which features depend on random numbers, or on the other samples of a batch.

        >>> layerzoo.load("toy/next-word").variation.random
        {}
        """
        return self._resolved.variation(self.layers)

    def _drawing(self) -> contextlib.AbstractContextManager[None]:
        """Seed the generators, so that a random network draws the same numbers in each forward pass."""
        return seeded(self.device) if self.variation.random else contextlib.nullcontext()

    def _placed(self, batch: Batch) -> Batch:
        is_own = self._resolved.facts_file is not None  # a wrapped module keeps its memory format
        return to_device(batch, self.device, memory_format(self.preprocess) if is_own else None)

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Disable gradients, and any autocast of the caller.

        Raises: UsageError when the network is in a state in which its features would silently be wrong.
        """
        hooks = self._resolved.hooks
        with contextlib.ExitStack() as stack:
            stack.enter_context(hooks.evaluating(self._network.network))
            self._check_state()
            stack.enter_context(hooks.without_network(self.spec.id))
            stack.enter_context(torch.no_grad())
            stack.enter_context(torch.autocast(self.device.type, enabled=False))
            yield

    def _check_state(self) -> None:
        """Raises: UsageError when the network is in a state in which its features would silently be wrong."""
        modules = _modules(self._network.network)
        if any(module.training for module in modules):
            raise UsageError(
                f"the network of {self.spec.id} is in training mode, in which features depend on chance and on the "
                "batch. Before extracting features, call backbone.module.eval()"
            )
        # torch may compute with a tensor on the meta device and one on the CPU, and return undefined values.
        if moved := _device_types(modules) - {self.device.type}:
            raise UsageError(
                f"the network of {self.spec.id} was loaded for {self.device}, and is on {', '.join(sorted(moved))} "
                "now. Next: layerzoo.load(…, device=…)"
            )


def _modules(network: nn.Module) -> list[nn.Module]:
    """Return all modules, shared ones several times. It is called for each batch: Module.modules() takes 0.3 ms."""
    modules = [network]
    for module in modules:
        if module._modules:
            modules += [child for child in module._modules.values() if child is not None]
    return modules


def _device_types(modules: Sequence[nn.Module]) -> set[str]:
    """Return the types of the devices of all tensors. It is called for each batch: named_parameters takes 1 ms."""
    tensor_dicts = [tensors for module in modules for tensors in (module._parameters, module._buffers) if tensors]
    devices = {tensor.device for tensors in tensor_dicts for tensor in tensors.values() if tensor is not None}
    return {device.type for device in devices}


def _is_unlike(
    layer: Layer, shape: tuple[int, ...], batch: Batch, example_inputs: Mapping[str, tuple[int, ...]]
) -> bool:
    """Return whether the shape of an activation contradicts the traced layer. Numbers of positions are only compared
    for inputs of the size of the example, and numbers of objects never."""
    axes = layer.axes
    if layer.shape is None:
        return False
    if len(shape) != len(axes or ("", *layer.shape)):
        return True
    at = 0 if axes is None or "batch" not in axes else axes.index("batch")
    inputs = {name: tuple(tensor.shape[1:]) for name, tensor in batch.inputs.items()}
    is_example = inputs == dict(example_inputs)
    expected = (*layer.shape[:at], batch.size, *layer.shape[at:])
    if axes is None:
        return is_example and shape != expected
    compared = [
        index for index, axis in enumerate(axes) if axis not in POSITION_AXES or (is_example and axis != "object")
    ]
    return any(shape[index] != expected[index] for index in compared)


def memory_format(preprocess: Preprocessor) -> torch.memory_format:
    """Choose channels-last for images: 1.1 to 1.9 × as fast on a CPU. The order of the axes does not change."""
    return torch.channels_last if preprocess.takes_images else torch.preserve_format


def to_memory_format(network: nn.Module, layout: torch.memory_format) -> nn.Module:
    """Convert the four-dimensional tensors of a network to a memory format, in place."""
    if layout is torch.preserve_format:
        return network
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)
    return network


def with_preprocess(backbone: Backbone, preprocess: Preprocessor) -> Backbone:
    """Return the same network with another preprocessing of the same modality."""
    return replace(backbone, preprocess=preprocess)


def with_layers(backbone: Backbone, layers: Sequence[Layer], pools: Mapping[str, str]) -> Backbone:
    """Return a backbone that reads other layers of the same network.

    Args:
        layers: up to its cut. Several names may select one activation.
        pools: layer name → pooling.
    """
    network, cut = backbone._network, backbone._resolved.cut(layers)
    loaded, weights = backbone._loaded, backbone._loaded["weights"]
    digests = {loaded["layers"][name]: digest for name, digest in weights["sha256_by_layer"].items()}
    addresses = {layer.name: layer.address for layer in cut.layers}
    by_layer = {name: digests[address] for name, address in addresses.items() if address in digests}
    loaded = {**loaded, "layers": addresses, "weights": {**weights, "sha256_by_layer": by_layer}}
    cut_network = CutNetwork(network.network, cut, network.dtype, is_cast=network.is_cast).eval()
    return replace(backbone, pools=dict(pools), _network=cut_network, _loaded=loaded)


def network_of(backbone: Backbone) -> CutNetwork:
    """Return :attr:`Backbone.module` for use within the runtime, which changes none of its tensors."""
    return backbone._network


def replaced_modules(backbone: Backbone) -> str | None:
    """Return the modules of a network, as torch prints them, if some were replaced since it was loaded."""
    return backbone._changes.replaced_modules()


def resolved_model(backbone: Backbone) -> ResolvedModel:
    """Return the model of a backbone before it was cut: its trace, files and plugins."""
    return backbone._resolved
