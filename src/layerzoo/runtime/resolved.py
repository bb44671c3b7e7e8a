"""Resolve a model: complete its declaration with its library's knowledge and with traces, before any weight is read."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerzoo.errors import LayerError, NotFoundError, RegistryError, UnknownLayerError
from layerzoo.facts import forget_facts, library_versions, network_state, read_facts, write_facts
from layerzoo.registry import Registry, registry
from layerzoo.runtime.axes import AxisLayout
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.completion import complete_layer, complete_layers
from layerzoo.runtime.construct import build_random
from layerzoo.runtime.cut import Cut, plan_cut
from layerzoo.runtime.description import described, known_chain
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.naming import name_layers
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.preprocess import Preprocessor, preprocessor
from layerzoo.runtime.serialize import deserialize_layouts, deserialize_trace, serialize_layouts, serialize_trace
from layerzoo.runtime.tracer import BATCH_SIZE, ModeTrace, Tracer
from layerzoo.runtime.variation import COMPARED, Comparison, Observed, Variation, compare, example_batches
from layerzoo.runtime.verification import verify_declaration
from layerzoo.spec import FrozenMap, Layer, ModelSpec, layer_from_dict, to_plain
from layerzoo.weights import Files

_SMALL_FLOPS = 200_000_000
_SMALL_TENSORS = 5_000_000
"""Up to these, FLOPs of a sample and numbers in all tensors, a network is run for real when it is traced: 0.01 to 0.1 s
on one core, next to 0.14 to 0.9 s for the trace. EfficientNet-Lite0, of 770 million FLOPs, would take 0.25 s."""


@dataclass(frozen=True, slots=True)
class Dtypes:
    """library: the dtype that the library computes in by default. stored: those of the checkpoint, by name."""

    library: str
    stored: tuple[str, ...]


@dataclass(slots=True)
class Measurements:
    """Results of runs of one network."""

    observed: Observed = field(default_factory=Observed)
    """Layers whose features are random, or depend on the batch."""
    dtypes: Dtypes | None = None
    """The dtypes of the checkpoint that was last opened; None before the first."""


@dataclass(frozen=True, slots=True)
class FactsFile:
    """The file in the cache that keeps the facts about one model.

    declared: the spec as users browse it. The file belongs to this declaration.
    zoo: the registry, with the plugins and files that the facts depend on.
    """

    declared: ModelSpec
    zoo: Registry

    def read(self) -> dict[str, Any] | None:
        return read_facts(self.declared, self.zoo)

    def write(self, facts: dict[str, Any]) -> None:
        write_facts(self.declared, self.zoo, facts)

    def remove(self) -> None:
        forget_facts(self.declared, self.zoo)

    def network_state(self) -> dict[str, Any]:
        return network_state(self.declared, self.zoo)

    def __deepcopy__(self, memo: dict[int, Any]) -> FactsFile:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _facts_file_here, (self.declared,)  # a registry cannot be pickled


def _facts_file_here(declared: ModelSpec) -> FactsFile:
    return FactsFile(declared, registry())


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model whose declaration was completed by its library and by traces."""

    spec: ModelSpec
    """The spec, with all known facts about every layer."""
    tracer: Tracer = field(repr=False)
    preprocess: Preprocessor
    trusts_declaration: bool = False
    """Whether a declaration that a trace contradicts is kept."""
    measured: Measurements = field(default_factory=Measurements, repr=False)
    facts_file: FactsFile | None = field(default=None, repr=False)
    """The file that new facts are written to; None: they are not kept."""

    @property
    def files(self) -> Files:
        return self.tracer.files

    @property
    def hooks(self) -> ModelHooks:
        return self.tracer.hooks

    def cut(self, layers: Sequence[Layer]) -> Cut:
        """Plan to read some layers. A trace that ends after the last of them suffices for declared layers.

        Raises: LayerError, UnknownLayerError, TraceError.
        """
        is_declared = all(layer in self.spec.layers for layer in layers)
        with self._saving_traces():
            trace = self.tracer.reaching(layers, stop_early=is_declared)
        return plan_cut(trace, layers, model=self.spec.id)

    def complete(self, layer: Layer) -> Layer:
        """Return a layer with all facts that traces show. Raises: LayerError."""
        with self._saving_traces():
            return complete_layer(self.tracer, layer, keep_shape=self.trusts_declaration)

    def variation(self, layers: Sequence[Layer]) -> Variation:
        """Report which layers are known to be random, or to depend on the batch."""
        latest = self.tracer.latest
        return Variation.of(layers, latest.trace if latest else None, self.measured.observed)

    def unchecked(self, layers: Sequence[Layer]) -> list[Layer]:
        """Return the layers that :func:`layerzoo.runtime.variation.compare` has not checked yet."""
        return [layer for layer in layers if layer.address not in self.measured.observed.checked]

    def unchecked_at(self, layers: Sequence[Layer], rows: int) -> bool:
        """Return whether a batch of so many rows was not compared with its rows alone yet, for any of some layers."""
        sizes = self.measured.observed.sizes
        return any(rows > sizes.get(layer.address, len(COMPARED)) for layer in layers)

    def record_size(self, layers: Sequence[Layer], rows: int, by_batch: Collection[str]) -> None:
        """Keep the result of a comparison of a batch with its rows alone.

        by_batch: names of the layers that depend on the batch.
        """
        self.measured.observed.note_size(layers, rows, by_batch)
        self.save()

    def record_comparison(self, layers: Sequence[Layer], comparison: Comparison) -> None:
        """Keep the result of a comparison of some layers between batches."""
        self.measured.observed.note(layers, comparison)
        self.save()

    def record_dtypes(self, dtypes: Dtypes) -> None:
        """Keep the dtypes of a checkpoint, so that browsing shows them. Plain float32 needs no entry."""
        recorded = self.measured.dtypes or Dtypes("float32", ("float32",))
        self.measured.dtypes = dtypes
        if dtypes != recorded:
            self.save()

    def forget(self) -> None:
        """Remove the facts in the cache: the network has changed since it was traced."""
        if self.facts_file is not None:
            self.facts_file.remove()

    def save(self) -> None:
        """Write all facts to the cache, once the network was traced."""
        if self.facts_file is not None and self.tracer.latest is not None:
            self.facts_file.write(self._facts(self.tracer.latest))

    @contextlib.contextmanager
    def _saving_traces(self) -> Iterator[None]:
        revision = self.tracer.revision
        yield
        if self.tracer.revision != revision:
            self.save()

    def _facts(self, latest: ModeTrace) -> dict[str, Any]:
        dtypes = self.measured.dtypes
        return {
            "layers": [to_plain(layer) for layer in self.spec.layers],
            "preprocess": None if self.spec.preprocess is None else to_plain(self.spec.preprocess),
            "trace": serialize_trace(latest.trace),
            "trace_mode": latest.mode,
            "layouts": serialize_layouts(self.tracer.layouts),
            "observed": self.measured.observed.to_plain(),
            "trusts_declaration": self.trusts_declaration,
            "dtypes": None if dtypes is None else asdict(dtypes),
            "notices": list(self.variation(self.spec.layers).notices(self.spec.id)),
        }


def resolve_model(
    spec: ModelSpec,
    files: Files,
    hooks: ModelHooks,
    zoo: Registry,
    *,
    declared: ModelSpec | None = None,
    fresh: bool = False,
    trust_declaration: bool = False,
) -> ResolvedModel:
    """Complete a spec with facts from the cache, from its catalogue, or from a new trace.

    Args:
        declared: the spec as users browse it, where the model's own files state more. Facts are kept under it.
        fresh: trace again, ignoring the cache and the catalogue.
        trust_declaration: keep a declaration that a trace contradicts.
    Raises: TraceError when the network does not run, LayerError when a declared layer does not fit it,
        DeclarationError when a declaration contradicts the trace.
    """
    facts_file = FactsFile(declared or spec, zoo)
    facts = None if fresh else facts_file.read()
    if facts and (trust_declaration or not facts["trusts_declaration"]):
        return _from_facts(facts, facts_file, spec, files, hooks)
    if not fresh and _is_as_catalogued(spec, zoo):
        complete, preprocess = _described(spec, files, hooks)
        tracer = Tracer(complete, files, hooks, preprocess)
        return ResolvedModel(complete, tracer, preprocess, facts_file=facts_file)
    try:
        traced = _without_catalogued_layers(spec) if fresh else spec
        resolved = trace_model(traced, files, hooks, zoo, trust_declaration=trust_declaration)
    except (LayerError, UnknownLayerError) as error:
        raise _outdated(spec, zoo, error) or error from error
    resolved = replace(resolved, facts_file=facts_file)
    observe_example(resolved)
    resolved.save()
    return resolved


def trace_model(
    spec: ModelSpec,
    files: Files,
    hooks: ModelHooks,
    zoo: Registry,
    *,
    layouts: dict[str, AxisLayout] | None = None,
    trust_declaration: bool = False,
) -> ResolvedModel:
    """Resolve a model by a new trace, and write nothing to the cache.

    Args:
        layouts: axes from the same architecture at another size or with another head.
    Raises: as :func:`resolve_model`.
    """
    complete, preprocess = _described(spec, files, hooks)
    tracer = Tracer(complete, files, hooks, preprocess, layouts=layouts)
    if not trust_declaration:
        verify_declaration(tracer, spec, _layers_at_another_size(spec, zoo))
    return complete_from(tracer, trust_declaration=trust_declaration)


def complete_from(tracer: Tracer, *, trust_declaration: bool = True) -> ResolvedModel:
    """Resolve a model by the traces of a tracer, and write nothing to the cache.

    Args:
        tracer: of the model, with its preprocessing.
        trust_declaration: keep declared facts without a comparison.
    Raises: LayerError when a declared layer does not fit the network, TraceError.
    """
    complete = tracer.spec
    layers = complete.layers or name_layers(tracer.trace, known_chain(complete, tracer.hooks, tracer.files))
    layers = complete_layers(tracer, layers, keep_shape=trust_declaration)
    return ResolvedModel(replace(complete, layers=layers), tracer, tracer.preprocess, trust_declaration)


def _described(spec: ModelSpec, files: Files, hooks: ModelHooks) -> tuple[ModelSpec, Preprocessor]:
    complete = described(spec, hooks, files)
    return complete, preprocessor(complete, hooks.preprocess(complete, files))


def _from_facts(
    facts: dict[str, Any], facts_file: FactsFile, spec: ModelSpec, files: Files, hooks: ModelHooks
) -> ResolvedModel:
    complete, preprocess = _described(spec, files, hooks)
    complete = replace(complete, layers=tuple(layer_from_dict(layer) for layer in facts["layers"]))
    latest = ModeTrace(deserialize_trace(facts["trace"]), facts["trace_mode"])
    layouts = deserialize_layouts(facts["layouts"])
    tracer = Tracer(complete, files, hooks, preprocess, latest=latest, layouts=layouts)
    dtypes = facts["dtypes"]
    measured = Measurements(
        Observed.deserialize(facts["observed"]),
        None if dtypes is None else Dtypes(dtypes["library"], tuple(dtypes["stored"])),
    )
    return ResolvedModel(complete, tracer, preprocess, facts["trusts_declaration"], measured, facts_file)


def observe_example(resolved: ResolvedModel) -> None:
    """Run a small network with real values, to measure whether its features are random or depend on the batch."""
    tracer, layers, model = resolved.tracer, resolved.spec.layers, resolved.spec.id
    if tracer.flops > _SMALL_FLOPS or sum(tracer.trace.sizes.values()) > _SMALL_TENSORS:
        return
    example = resolved.preprocess.example(BATCH_SIZE)
    if example is None:
        return
    with contextlib.suppress(Exception):  # a network that fails on the example is reported on the first samples
        network = build_random(resolved.spec, resolved.hooks, resolved.files, 0)
        cut = CutNetwork(network, plan_cut(tracer.trace, layers, model=model)).eval()

        def read(batch: Batch) -> dict[str, list[NDArray[np.float32]]]:
            with torch.no_grad(), resolved.hooks.without_network(model):
                activations = cut(batch)
            return {layer.name: _by_row(activations[layer.name], layer, batch.size) for layer in layers}

        comparison = compare(read, example_batches(example), resolved.variation(layers).random)
        resolved.measured.observed.note(layers, comparison)


def _by_row(activation: Tensor, layer: Layer, rows: int) -> list[NDArray[np.float32]]:
    """Split an activation into the rows of a batch; empty arrays where the batch axis is unknown."""
    axis = (layer.axes or ("batch",)).index("batch")
    if activation.ndim <= axis or activation.shape[axis] != rows:
        return [np.empty(0, np.float32)] * rows
    return [row.float().numpy() for row in activation.unbind(axis)]


def _layers_at_another_size(spec: ModelSpec, zoo: Registry) -> tuple[Layer, ...]:
    """Return the layers that a model inherits from its base. If a program replaced the model's preprocessing, also its
    declared layers."""
    inherited = zoo.model(spec.base).layers if spec.base else ()
    try:
        browsed = zoo.model(spec.id)
    except (NotFoundError, RegistryError):
        return inherited
    return inherited if browsed.preprocess == spec.preprocess else (*inherited, *browsed.layers)


def _is_as_catalogued(spec: ModelSpec, zoo: Registry) -> bool:
    """Return whether a catalogue, generated with the installed libraries, declares this spec with complete layers."""
    is_complete = all(layer.axes is not None and layer.flops is not None for layer in spec.layers)
    if not (spec.traced_with and is_complete) or spec.base is not None:
        return False
    installed = library_versions(spec, zoo)
    is_current = all(installed.get(name) == version for name, version in spec.traced_with.items())
    try:
        return is_current and zoo.model(spec.id) == spec
    except (NotFoundError, RegistryError):
        return False


def _without_catalogued_layers(spec: ModelSpec) -> ModelSpec:
    """Return the spec without the layers of a generated catalogue."""
    return replace(spec, layers=(), traced_with=FrozenMap()) if spec.traced_with else spec


def _outdated(spec: ModelSpec, zoo: Registry, error: Exception) -> LayerError | None:
    """Return the error for a catalogue that was generated with other libraries; None for the installed ones."""
    installed = library_versions(spec, zoo)
    traced_with = {
        name: version for name, version in spec.traced_with.to_dict().items() if installed.get(name) != version
    }
    if not traced_with:
        return None
    versions = " and ".join(
        f"{name} {version} (installed: {installed.get(name)})" for name, version in traced_with.items()
    )
    return LayerError(
        f"{error}\nThe layers of {spec.id} were traced with {versions}. To trace them again: "
        f"zoo layers --trace {spec.id}"
    )
