"""A loaded network, truncated at its cut, with its preprocessing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from layerzoo.errors import CutError, UsageError
from layerzoo.facts import forget_facts
from layerzoo.pooling import POSITION_AXES
from layerzoo.registry import registry
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.blueprint import Blueprint
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.pool import Summary, pooled_counts, rows_of, summarise
from layerzoo.runtime.precision import Precision
from layerzoo.runtime.preprocess import Preprocessor
from layerzoo.runtime.request import LayerChoice, PoolChoice, choose_layers, choose_pools
from layerzoo.runtime.trace import named_tensors
from layerzoo.runtime.variation import Variation, seeded
from layerzoo.spec import Layer, ModelSpec


@dataclass(frozen=True)
class Backbone:
    """What :func:`load` returns.

    module: an ordinary, trainable ``torch.nn.Module``; called with a batch it returns a dict of layer name → raw
    activation (axes as ``spec`` says). Past the cut it holds stubs that raise. In a lower precision than float32 it has
    its weights in that precision, too: to train in mixed precision, load in float32 and use ``torch.autocast``. With
    the precision ``library`` all of it computes in ``provenance["dtype"]``, without autocast.
    preprocess: turns inputs into a batch for ``module``; works alone.
    provenance: where every number comes from; JSON-able.

    Several threads may use one backbone. It can be copied, and pickled where its network can.
    """

    spec: ModelSpec
    """The declaration, with what the library and a trace know and it leaves unsaid."""
    module: CutNetwork
    preprocess: Preprocessor
    pools: Mapping[str, str]
    """Layer name → how :func:`extract` pools it."""
    device: torch.device
    precision: Precision
    provenance: Mapping[str, Any]
    blueprint: Blueprint
    """The network before it was cut: its trace and its files."""

    @property
    def cut(self) -> Cut:
        """What runs, what is needed for it, and where it stops."""
        return self.module.cut

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers this backbone reads, with their axes, shapes and costs."""
        return self.cut.layers

    def __repr__(self) -> str:
        loaded = self.provenance["loaded"]
        share = f"{loaded['bytes']:,} of {loaded['of_bytes']:,} bytes of weights"
        return f"<Backbone {self.spec.id} cut at {', '.join(layer.name for layer in self.layers)}: {share}>"

    def activations(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Layer name → raw activation, without gradients, on this backbone's device and in its precision.

        Its axes are those of :attr:`layers`, the batch first. Raises: UsageError when the network is in training mode,
        or was moved to another device.
        """
        with self._running(), self._drawing():
            found: dict[str, torch.Tensor] = self.module(self._placed(batch))
        return found

    def summaries(self, batch: Batch, pools: Mapping[str, str]) -> dict[str, list[NDArray[np.float32]]]:
        """Pool the rows of a batch inside the forward pass.

        Args:
            pools: pooling by layer name; layers that it leaves out are not read.
        Returns: by layer name, the pooled values of each row of the batch: see :mod:`layerzoo.runtime.pool`.
        """
        return {name: [row.values for row in rows] for name, rows in self.counted_summaries(batch, pools).items()}

    def counted_summaries(self, batch: Batch, pools: Mapping[str, str]) -> dict[str, list[Summary]]:
        """As :meth:`summaries`, with how many positions were pooled from each row."""
        placed = self._placed(replace(batch, example_total=self._example_total))
        counts: dict[str, list[int | None]] = {}

        def read(layer: Layer, activation: torch.Tensor) -> torch.Tensor:
            if layer.name not in pools:
                return activation.new_empty(0)
            if not self._has_run:
                self._compare_with_trace(layer, activation, placed)
            with torch.autocast(self.device.type, enabled=False):
                counts[layer.name] = pooled_counts(activation, placed, layer)
                return summarise(activation, placed, layer, pools[layer.name])

        with self._running(), self._drawing():
            found = self.module.read(placed, read)
        self.__dict__["_has_run"] = True
        return {
            layer.name: list(
                map(Summary, rows_of(found[layer.name], placed, layer, pools[layer.name]), counts[layer.name])
            )
            for layer in self.layers
            if layer.name in pools
        }

    @cached_property
    def _has_run(self) -> bool:
        return False

    def _compare_with_trace(self, layer: Layer, activation: torch.Tensor, batch: Batch) -> None:
        """See whether the network is the one that was traced, when it first runs.

        Raises: CutError where it is not; the trace is forgotten then.
        """
        if self.blueprint.trusts_declaration or not _is_unlike(
            layer, tuple(activation.shape), batch, self._example_inputs
        ):
            return
        forget_facts(self.blueprint.declared or self.spec, registry())
        raise CutError(
            f"{self.spec.id}, layer {layer.name}: the network gives {tuple(activation.shape)} for a batch of "
            f"{batch.size}, and {layer.shape} without the batch was traced. Its code or its files have changed since. "
            f"Next: zoo layers --trace {self.spec.id}"
        )

    @cached_property
    def _example_inputs(self) -> dict[str, tuple[int, ...]]:
        example = None if self.preprocess.variable_length else self.preprocess.example(1)
        return {} if example is None else {name: tuple(each.shape[1:]) for name, each in example.inputs.items()}

    @cached_property
    def _example_total(self) -> int | None:
        """How many positions the example input has; None where samples do not differ in length."""
        example = self.preprocess.example(1) if self.preprocess.variable_length else None
        return None if example is None else example.total

    def narrowed(self, layer: LayerChoice, pool: PoolChoice) -> dict[str, str]:
        """Layer name → pooling for some of this backbone's layers. Raises: UsageError for one that was not loaded."""
        if layer is None and pool is None:
            return dict(self.pools)
        layers = self.layers if layer is None else choose_layers(self.blueprint, layer)
        loaded = {each.name for each in self.layers}
        if missing := [each.name for each in layers if each.name not in loaded]:
            raise UsageError(
                f"this backbone reads {', '.join(sorted(loaded))}, and not {', '.join(missing)}: "
                f"layerzoo.load('{self.spec.id}', layer=[…]) with all layers that are needed"
            )
        kept = {each.name: self.pools[each.name] for each in layers}
        return kept if pool is None else choose_pools(self.blueprint, layers, pool)

    @property
    def variation(self) -> Variation:
        """What features depend on besides the sample: random numbers, or the other samples of a batch."""
        return self.blueprint.variation(self.layers)

    def _drawing(self) -> contextlib.AbstractContextManager[None]:
        """A random network draws the same numbers in each forward pass."""
        return seeded(self.device) if self.variation.random else contextlib.nullcontext()

    def _placed(self, batch: Batch) -> Batch:
        return batch.to(self.device, memory_format(self.preprocess))

    @contextlib.contextmanager
    def _running(self) -> Iterator[None]:
        """Without gradients, and in no precision but the backbone's own.

        Raises: UsageError when the network was put into a state in which it gives wrong numbers silently.
        """
        if any(module.training for module in self.module.modules()):
            raise UsageError(
                f"the network of {self.spec.id} is in training mode, in which features depend on chance and on the "
                "batch. Before features are taken: backbone.module.eval()"
            )
        # torch may compute with a tensor on the meta device and one on the CPU, and return rubbish.
        if moved := {tensor.device.type for _, tensor in named_tensors(self.module)} - {self.device.type}:
            raise UsageError(
                f"the network of {self.spec.id} was loaded for {self.device}, and is on {', '.join(sorted(moved))} "
                "now. load(device=…) puts it where it is to run"
            )
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            yield


def _is_unlike(
    layer: Layer, shape: tuple[int, ...], batch: Batch, example_inputs: Mapping[str, tuple[int, ...]]
) -> bool:
    """Whether an activation cannot be of the layer that was traced. Only for an input of the size of the example are
    the numbers of positions known."""
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
    known = [index for index, axis in enumerate(axes) if is_example or axis not in POSITION_AXES]
    return any(shape[index] != expected[index] for index in known)


def memory_format(preprocess: Preprocessor) -> torch.memory_format:
    """Pictures run 1.1 to 1.9 × as fast channels-last on a CPU; the axes a user sees stay what they are."""
    takes_pictures = preprocess.modality == "vision" or preprocess.rows_are_samples
    return torch.channels_last if takes_pictures else torch.preserve_format


def lay_out(network: nn.Module, layout: torch.memory_format) -> nn.Module:
    """The network with its tensors in this memory format, as far as they have four axes: others do not know it."""
    if layout is torch.preserve_format:
        return network
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=layout)
    return network


def with_preprocess(backbone: Backbone, preprocess: Preprocessor) -> Backbone:
    """The same network behind another preprocessing of the same modality."""
    return replace(backbone, preprocess=preprocess)
