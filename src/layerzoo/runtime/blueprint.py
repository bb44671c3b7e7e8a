"""Everything that is known about a model before one of its weights is read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from layerzoo.errors import (
    LayerError,
    LayerzooError,
    NotFoundError,
    PluginError,
    RegistryError,
    RepositoryError,
    TraceError,
    UnknownLayerError,
    UnsafeWeightsError,
)
from layerzoo.facts import library_versions, read_facts, write_facts
from layerzoo.plugins.chain import Chain
from layerzoo.registry import Registry, registry
from layerzoo.runtime.axes import Layout, Probes, Stretch, infer_layout
from layerzoo.runtime.batch import Batch
from layerzoo.runtime.build import (
    GROUNDS,
    MOST_KNOWN,
    Ground,
    build,
    build_random,
    build_uninitialised,
    check_memory_of,
    faked,
    ground,
    knowing_small_tensors,
)
from layerzoo.runtime.cut import Cut, find_call, plan_cut, shape_of
from layerzoo.runtime.declarations import check_cls_token, check_frames, check_layer
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.naming import name_layers
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.plain import layouts_from_plain, layouts_to_plain, trace_from_plain, trace_to_plain
from layerzoo.runtime.preprocess import Preprocessor, preprocessor
from layerzoo.runtime.trace import Call, Key, Trace, trace
from layerzoo.runtime.variation import Comparison, Observed, Variation, compare, example_batches
from layerzoo.spec import (
    KINDS,
    AudioPreprocess,
    Default,
    FrozenMap,
    ImagePreprocess,
    Layer,
    ModelSpec,
    Preprocess,
    TextPreprocess,
    VideoPreprocess,
    layer_from_dict,
    preprocess_from_dict,
    reference_input,
    to_plain,
)
from layerzoo.weights import Files

_SMALL_FLOPS = 200_000_000
_SMALL_TENSORS = 5_000_000
"""Up to these, FLOPs of a sample and numbers in all tensors, a network is run for real when it is traced: 0.01 to 0.1 s
on one core, next to 0.14 to 0.9 s for the trace. EfficientNet-Lite0, of 770 million FLOPs, would take 0.25 s."""
_LARGE_FLOPS = 20_000_000_000
"""Above that, a network that can only be traced by running it is not run again to check its declaration."""
_BATCH = 2
_LARGER_BATCH = 3


@dataclass(frozen=True, slots=True)
class Dtypes:
    """library: the dtype that the library computes in by default. stored: those of the checkpoint, by name."""

    library: str
    stored: tuple[str, ...]


@dataclass(slots=True)
class Blueprint:
    """A model whose declaration was completed by what its library knows and what a trace tells."""

    spec: ModelSpec
    """With every layer's facts filled in as far as they can be told."""
    files: Files
    hooks: ModelHooks
    preprocess: Preprocessor
    found: tuple[Trace, Ground] | None = None
    """A trace, and where it was made. None, or one that ends early, for as long as no more must be known."""
    layouts: dict[str, Layout] | None = field(default=None, repr=False)
    """Address → axes, of every activation whose axes traces at other input sizes tell; made when one must be told."""
    declared: ModelSpec | None = field(default=None, repr=False)
    """The spec as it was declared, under which the trace is kept; None for as long as layers are being completed."""
    observed: Observed = field(default_factory=Observed, repr=False)
    """What values have shown of features that are random, or depend on the batch."""
    trusts_declaration: bool = False
    """Whether a declaration that a trace contradicts is kept."""
    dtypes: Dtypes | None = None
    """The number formats of the checkpoint that was last opened; None for as long as none was."""

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        files: Files,
        hooks: ModelHooks,
        zoo: Registry,
        *,
        declared: ModelSpec | None = None,
        fresh: bool = False,
        trust_declaration: bool = False,
    ) -> Blueprint:
        """declared: what browsing says of the model, where its own files say more; the trace is kept under that.
        fresh: trace again, whatever an earlier trace found, here or when the model was catalogued.
        trust_declaration: keep a declaration that a trace contradicts.

        Raises: TraceError when the network does not run, LayerError when a declared layer does not fit it,
            DeclarationError when a declaration contradicts the trace."""
        given, declared = spec, declared or spec
        spec = described(given, hooks, files)
        made = preprocessor(spec, hooks.preprocess(spec, files))
        facts = None if fresh else read_facts(declared, zoo)
        if facts and (trust_declaration or not facts["trusts_declaration"]):
            layers = tuple(layer_from_dict(layer) for layer in facts["layers"])
            layouts = layouts_from_plain(facts["layouts"])
            found = (trace_from_plain(facts["trace"]), facts["ground"])
            observed = Observed.from_plain(facts["observed"])
            trusts = facts["trusts_declaration"]
            kept = facts["dtypes"]
            dtypes = None if kept is None else Dtypes(kept["library"], tuple(kept["stored"]))
            completed = replace(spec, layers=layers)
            return cls(completed, files, hooks, made, found, layouts, declared, observed, trusts, dtypes)
        if not fresh and _is_as_catalogued(given, zoo):
            return cls(spec, files, hooks, made, declared=declared)
        try:
            traced = _undeclared(given) if fresh else given
            blueprint = cls.traced(traced, files, hooks, trust_declaration=trust_declaration)
        except (LayerError, UnknownLayerError) as error:
            raise _outdated(given, zoo, error) or error from error
        blueprint.declared = declared
        blueprint._observe_example()
        blueprint._keep(zoo)
        return blueprint

    @classmethod
    def traced(
        cls,
        spec: ModelSpec,
        files: Files,
        hooks: ModelHooks,
        *,
        layouts: dict[str, Layout] | None = None,
        trust_declaration: bool = False,
    ) -> Blueprint:
        """A fresh one, of which nothing is kept for the next time.

        layouts: those of the same architecture at another size or with another head. Raises: as :meth:`of`.
        """
        given, spec = spec, described(spec, hooks, files)
        made = preprocessor(spec, hooks.preprocess(spec, files))
        blueprint = cls(spec, files, hooks, made, layouts=layouts, trusts_declaration=trust_declaration)
        if not trust_declaration:
            blueprint._check_declaration(given, _layers_at_another_size(given))
        layers = spec.layers or name_layers(blueprint.trace, _chain(spec, hooks, files))
        blueprint.spec = replace(spec, layers=blueprint._complete_all(layers))
        return blueprint

    def _check_declaration(self, given: ModelSpec, elsewhere: Sequence[Layer]) -> None:
        """Refuse a declaration written by hand that a trace contradicts. Those of a catalogue were traced.

        Args:
            given: the spec as it was declared, without what the library knows.
            elsewhere: layers whose shapes may have been stated for another size of the input.
        Raises: DeclarationError.
        """
        spec = self.spec
        if isinstance(spec.preprocess, TextPreprocess) and spec.preprocess.cls_token:
            known = (self.hooks.describe(spec, self.files) or {}).get("preprocess") or {}
            check_cls_token(spec, self.preprocess, known.get("cls_token"))
        preprocess = spec.preprocess if spec.layers else given.preprocess
        has_hop = isinstance(preprocess, AudioPreprocess) and preprocess.frame_hop_samples is not None
        if spec.traced_with or not (spec.layers or has_hop):
            return
        is_costly = self._whole()[1] == "real" and self.flops > _LARGE_FLOPS
        for layer in spec.layers:
            has_tokens = layer.prefix_tokens is not None or bool(layer.suffix_tokens) or layer.last_tokens is not None
            needs_probes = layer.axes is not None or has_tokens
            if not needs_probes and layer.shape is None:
                continue
            call = find_call(self.trace, layer, model=spec.id)
            shape = shape_of(self.trace, layer, model=spec.id)
            if layer.axes is not None and len(layer.axes) != len(shape):
                continue  # what completes it says so
            layout = self._infer(call, layer) if needs_probes and not is_costly else None
            axes = layer.axes or (layout.axes if layout else None)
            check_layer(
                layer,
                self._meant(layer, axes, shape),
                layout,
                model=spec.id,
                modality=self.preprocess.modality,
                rows=_BATCH,
                example=reference_input(spec.preprocess) if spec.preprocess else "the example",
                has_own_shape=layer not in elsewhere,
                added=self._added_tokens(layer, axes, shape) if has_tokens else None,
            )
        if has_hop:
            self._check_frames(self._layers_over_time(is_costly=is_costly))

    def _layers_over_time(self, *, is_costly: bool) -> list[Layer]:
        """The declared layers with a time axis; else those that the trace names, else the outputs of all modules."""
        if is_costly:
            return [layer for layer in self.spec.layers if "time" in (layer.axes or ())]
        calls = [call for call in self.trace.calls if call.module and None in call.outputs]
        named = name_layers(self.trace, _chain(self.spec, self.hooks, self.files))
        every = [
            Layer(name=f"module:{call.module}#{call.index}", module=call.module, call=call.index) for call in calls
        ]
        for layers in (self.spec.layers, named, every):
            told = [replace(layer, axes=self._axes_of(layer, is_costly=is_costly)) for layer in layers]
            if over_time := [layer for layer in told if "time" in (layer.axes or ())]:
                return over_time
        return []

    def _added_tokens(
        self, layer: Layer, axes: tuple[str, ...] | None, shape: tuple[int, ...]
    ) -> tuple[int, int] | None:
        """How many tokens the network adds before those of the input and after them; None where it has no tokens."""
        at = next((at for at, axis in enumerate(axes or ()) if axis in ("token", "time", "frame")), None)
        return None if at is None else self.trace.added_tokens(layer, at, shape[at])

    def _axes_of(self, layer: Layer, *, is_costly: bool) -> tuple[str, ...] | None:
        """The axes of a layer: as declared, else as traces at other lengths show them."""
        if layer.axes is not None or is_costly:
            return layer.axes
        layout = self._infer(find_call(self.trace, layer, model=self.spec.id), layer)
        return layout.axes if layout else None

    def _check_frames(self, layers: list[Layer]) -> None:
        """Compare the declared frames with those of layers on a time axis, at one length of the input or two."""
        example = self.preprocess.example(_BATCH)
        longer = self.preprocess.example(_BATCH, "length")
        stretched = None if longer is None else self._traced_at(longer, "length")
        pairs = [(example, self.trace), (longer, stretched)]

        def frames(trace: Trace) -> list[int]:
            shapes = [shape_of(trace, layer, model=self.spec.id) for layer in layers]
            return [shape[(layer.axes or ()).index("time")] for layer, shape in zip(layers, shapes, strict=True)]

        traced = [
            (self._samples(batch, times=times), frames(trace))
            for times, (batch, trace) in enumerate(pairs, start=1)
            if batch is not None and trace is not None
        ]
        check_frames(self.spec, layers, traced)

    def _samples(self, batch: Batch, *, times: int) -> int:
        """How many samples an audio network received: of one with a window, those of the window, which is so many times
        as long as declared."""
        declared = self.spec.preprocess
        if isinstance(declared, AudioPreprocess) and declared.window_s is not None:
            return max(batch.total, times * round(declared.window_s * declared.sample_rate_hz))
        return batch.total

    @property
    def trace(self) -> Trace:
        """Of the whole network."""
        return self._whole()[0]

    def cut(self, layers: Sequence[Layer]) -> Cut:
        """A plan to read some layers. For those that a catalogue declares, a trace that ends with them tells enough.

        Raises: LayerError, UnknownLayerError, TraceError.
        """
        if self.found is None or not all(map(self.found[0].reaches, layers)):
            is_declared = all(layer in self.spec.layers for layer in layers)
            self._trace(until=layers if is_declared else ())
        assert self.found is not None
        return plan_cut(self.found[0], layers, model=self.spec.id)

    def _whole(self) -> tuple[Trace, Ground]:
        if self.found is None or not self.found[0].is_whole:
            self._trace()
        assert self.found is not None
        return self.found

    def _trace(self, until: Sequence[Layer] = ()) -> None:
        found, kind = _first_trace(self.spec, self.hooks, self.files, self.preprocess, until)
        self.found = (self._with_single(found, kind) if found.is_whole and found.constant else found, kind)
        self._keep(registry())

    def _with_single(self, found: Trace, kind: Ground) -> Trace:
        """The trace with the FLOPs of one sample, where some of the work may be the same for any number of samples."""
        for size in (_LARGER_BATCH, 1):  # for a single sample torch skips some copies
            with suppress(LayerzooError):  # a size that the network does not take says nothing
                other = _trace_on(kind, self.spec, self.hooks, self.files, self.preprocess.example(size))
                if (counted := found.with_single(other)) is not found:
                    return counted
        return found

    @property
    def flops(self) -> int:
        """FLOPs of the whole network for one sample."""
        return self.trace.flops_until(_END)

    def _keep(self, zoo: Registry) -> None:
        if self.declared is not None and self.found is not None:
            write_facts(self.declared, zoo, self._facts(*self.found))

    def _facts(self, trace: Trace, ground: Ground) -> dict[str, Any]:
        return {
            "layers": [to_plain(each) for each in self.spec.layers],
            "preprocess": None if self.spec.preprocess is None else to_plain(self.spec.preprocess),
            "trace": trace_to_plain(trace),
            "ground": ground,
            "layouts": layouts_to_plain(self.layouts),
            "observed": self.observed.to_plain(),
            "trusts_declaration": self.trusts_declaration,
            "dtypes": None if self.dtypes is None else asdict(self.dtypes),
            "notices": list(Variation.of(self.spec.layers, trace, self.observed).notices(self.spec.id)),
        }

    def variation(self, layers: Sequence[Layer]) -> Variation:
        """Report the layers whose features are random, or depend on the batch, as far as known."""
        return Variation.of(layers, self.found[0] if self.found else None, self.observed)

    def note_observed(self, layers: Sequence[Layer], found: Comparison) -> None:
        """Keep what values have shown of some layers, so that it is found out once."""
        self.observed.note(layers, found)
        self._keep(registry())

    def note_dtypes(self, library: str, stored: tuple[str, ...]) -> None:
        """Keep the number formats of a checkpoint, so that browsing shows them. Those of most need no mention."""
        found, kept = Dtypes(library, stored), self.dtypes or Dtypes("float32", ("float32",))
        self.dtypes = found
        if found != kept:
            self._keep(registry())

    def _observe_example(self) -> None:
        """Run a small network for real, to see whether its features are random or depend on the batch."""
        trace = self.trace
        if trace.flops_until(_END) > _SMALL_FLOPS or sum(trace.sizes.values()) > _SMALL_TENSORS:
            return
        example = self.preprocess.example(_BATCH)
        with contextlib.suppress(Exception):  # what does not run on this example is seen on the first samples
            assert example is not None
            network = build_random(self.spec, self.hooks, self.files, 0)
            layers = self.spec.layers
            cut = CutNetwork(network, plan_cut(trace, layers, model=self.spec.id)).eval()

            def read(batch: Batch) -> dict[str, list[NDArray[np.float32]]]:
                with torch.no_grad():
                    found = cut(batch)
                return {layer.name: _by_row(found[layer.name], layer, batch.size) for layer in layers}

            self.observed.note(layers, compare(read, example_batches(example), self.variation(layers).random))

    def complete(self, layer: Layer) -> Layer:
        """The layer with everything that a trace can tell. Declared axes and prefix tokens stay, and must fit;
        sizes and costs are those of this network at this input size. A shape that is trusted stays too.

        Raises: LayerError.
        """
        call = find_call(self.trace, layer, model=self.spec.id)
        shape = shape_of(self.trace, layer, model=self.spec.id)
        layout = None if self._is_told(layer) else self._infer(call, layer)
        axes = layer.axes or (layout.axes if layout else None)
        if axes is not None and len(axes) != len(shape):
            raise LayerError(
                f"{self.spec.id}, layer {layer.name}: the declared axes '{' '.join(axes)}' do not fit its shape {shape}"
            )
        shape = self._meant(layer, axes, shape)
        step = call.end if layer.at == "output" else call.start
        flops, total = self.trace.flops_until(step), self.flops
        return replace(
            layer,
            axes=axes,
            shape=layer.shape if self.trusts_declaration and layer.shape else _without_batch(shape, axes),
            prefix_tokens=self._prefix(layer, layout, axes),
            params=self.trace.params_until(step),
            flops=flops,
            depth=round(flops / total, 4) if total else None,
        )

    def _meant(self, layer: Layer, axes: tuple[str, ...] | None, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of those tokens that a layer means. Raises: LayerError where there are not so many."""
        if layer.last_tokens is None:
            return shape
        sizes = dict(zip(axes or (), shape, strict=False))
        if not 0 < layer.last_tokens <= sizes.get("token", 0):
            raise LayerError(
                f"{self.spec.id}, layer {layer.name}: there are no last {layer.last_tokens} tokens on the axes "
                f"'{' '.join(axes or ('unknown',))}' of {shape}"
            )
        return tuple((sizes | {"token": layer.last_tokens}).values())

    def _complete_all(self, layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
        completed = [self.complete(layer) for layer in layers]
        return tuple(sorted(completed, key=lambda layer: find_call(self.trace, layer, model=self.spec.id).end))

    def _is_told(self, layer: Layer) -> bool:
        """Whether the declaration leaves nothing about the axes to be found out."""
        needs_prefix = "token" in (layer.axes or ()) and self.preprocess.modality in ("vision", "video")
        return layer.axes is not None and (layer.prefix_tokens is not None or not needs_prefix)

    def _prefix(self, layer: Layer, layout: Layout | None, axes: tuple[str, ...] | None) -> int | None:
        if layer.prefix_tokens is not None or axes is None or "token" not in axes:
            return layer.prefix_tokens
        if layout is not None and layout.prefix_tokens is not None:
            return layout.prefix_tokens - (layer.suffix_tokens or 0)
        return 0 if self.preprocess.modality == "text" else None

    def _infer(self, call: Call, layer: Layer) -> Layout | None:
        if self.layouts is None:
            probes = self._probe()
            self.layouts = dict(_told(probes))
            self._keep(registry())
        return self.layouts.get(_place(call, layer.output, layer.at))

    def _probe(self) -> Probes:
        """Traces at other sizes. A network that refuses one is built again for it; what still fails is left out."""
        stretched: dict[Stretch, Trace] = {}
        for stretch in get_args(Stretch):
            example = self.preprocess.example(_LARGER_BATCH if stretch == "all" else _BATCH, stretch)
            if example is not None and (found := self._traced_at(example, stretch)) is not None:
                stretched[stretch] = found
        return Probes(base=self.trace, stretched=stretched, sequence_axis=self.preprocess.sequence_axis)

    def _traced_at(self, example: Batch, stretch: Stretch) -> Trace | None:
        """A trace at another size. Of a network that brings its input to a size of its own, one that was built for the
        other size."""
        found = None
        for candidate in dict.fromkeys((self.spec, _resized(self.spec, stretch))):
            try:
                found = _trace_on(self._whole()[1], candidate, self.hooks, self.files, example)
            except LayerzooError:
                continue  # a size that the network does not take tells nothing
            if _outputs(found) != _outputs(self.trace):
                return found
        return found


_END = 1 << 62


def _layers_at_another_size(spec: ModelSpec) -> tuple[Layer, ...]:
    """The layers that a model takes from its base; and, of one whose preprocess a program has replaced, all it had."""
    inherited = registry().model(spec.base).layers if spec.base else ()
    try:
        known = registry().model(spec.id)
    except (NotFoundError, RegistryError):
        return inherited
    return inherited if known.preprocess == spec.preprocess else (*inherited, *known.layers)


def _by_row(activation: Tensor, layer: Layer, rows: int) -> list[NDArray[np.float32]]:
    """The activation of each row of a batch; empty ones where the batch axis is not known."""
    axis = (layer.axes or ("batch",)).index("batch")
    if activation.ndim <= axis or activation.shape[axis] != rows:
        return [np.empty(0, np.float32)] * rows
    return [row.float().numpy() for row in activation.unbind(axis)]


def _is_as_catalogued(spec: ModelSpec, zoo: Registry) -> bool:
    """Whether a generated catalogue declares a model just so, by the libraries that are installed here: then nothing
    that a trace tells of its layers is missing, and all of it holds."""
    is_told = all(layer.axes is not None and layer.flops is not None for layer in spec.layers)
    if not (spec.traced_with and is_told) or spec.base is not None:
        return False
    here = library_versions(spec, zoo)
    is_current = all(here.get(name) == version for name, version in spec.traced_with.items())
    try:
        return is_current and zoo.model(spec.id) == spec
    except (NotFoundError, RegistryError):
        return False


def _undeclared(spec: ModelSpec) -> ModelSpec:
    """The spec without the layers that were found by a trace elsewhere."""
    return replace(spec, layers=(), traced_with=FrozenMap()) if spec.traced_with else spec


def _outdated(spec: ModelSpec, zoo: Registry, error: Exception) -> LayerError | None:
    """What is to be said of a catalogue that does not fit the libraries that are installed; None where they are the
    ones that it was made with."""
    here = library_versions(spec, zoo)
    then = {name: version for name, version in spec.traced_with.to_dict().items() if here.get(name) != version}
    if not then:
        return None
    told = " and ".join(f"{name} {version} (installed: {here.get(name)})" for name, version in then.items())
    return LayerError(
        f"{error}\nThe layers of {spec.id} were found with {told}. To find them afresh: zoo layers --trace {spec.id}"
    )


def described(spec: ModelSpec, hooks: ModelHooks, files: Files) -> ModelSpec:
    """The spec, with what it leaves unsaid filled in from the library's own knowledge of the model."""
    is_told = spec.preprocess is not None and not _is_incomplete(spec.preprocess)
    if is_told and (spec.plugin is not None or spec.default != Default()):  # a plugin says both, or means the usual
        return spec
    known = hooks.describe(_asked(spec), files) or {}
    try:
        if preprocess := known.get("preprocess"):
            kind = KINDS[_asked(spec).modality]
            found = preprocess_from_dict({"kind": kind, **preprocess})
            spec = replace(spec, preprocess=_completed(spec.preprocess, found))
        if "default" in known and spec.default == Default():
            spec = replace(spec, default=Default(**known["default"]))
    except TypeError as error:
        raise PluginError(
            f"what the hook layerzoo_describe says of {spec.id} ({spec.modality}) does not fit: {error}",
            plugin=spec.builder,
        ) from error
    return spec


def _is_incomplete(preprocess: Preprocess) -> bool:
    """Whether the builder's library has to say something that is not declared."""
    return preprocess.batching is None if isinstance(preprocess, TextPreprocess | VideoPreprocess) else False


def _asked(spec: ModelSpec) -> ModelSpec:
    """The model that a library is asked about. Frames that go through a network one by one are images to it."""
    if isinstance(spec.preprocess, VideoPreprocess) and not spec.preprocess.joint:
        return replace(spec, modality="vision", preprocess=None)
    return spec


def _completed(declared: Preprocess | None, known: Preprocess) -> Preprocess:
    """Return the declaration, completed by the padding of texts or the frames of videos that the library knows."""
    if isinstance(declared, TextPreprocess) and isinstance(known, TextPreprocess):
        return replace(declared, batching=known.batching)
    if isinstance(declared, VideoPreprocess):
        image = known.image if isinstance(known, VideoPreprocess) else known
        return replace(declared, image=image) if isinstance(image, ImagePreprocess) else declared
    return declared or known


def _chain(spec: ModelSpec, hooks: ModelHooks, files: Files) -> Chain:
    """Return the library's description of the chain that a network consists of. Raises: PluginError."""
    chain = (hooks.describe(spec, files) or {}).get("chain") or Chain()
    if isinstance(chain, Chain):
        return chain
    raise PluginError(
        f"the hook layerzoo_describe returns a {type(chain).__name__} as the chain of {spec.id}: it has to be a "
        "layerzoo.authoring.Chain, or None",
        plugin=spec.builder,
    )


def _first_trace(
    spec: ModelSpec, hooks: ModelHooks, files: Files, made: Preprocessor, until: Sequence[Layer]
) -> tuple[Trace, Ground]:
    """The trace at the model's own input size, and the cheapest ground that bears it.

    Raises: the error of the plugin, if that is what went wrong on the last ground; else TraceError.
    """
    failures: dict[Ground, LayerzooError] = {}
    for kind in GROUNDS:
        try:
            return _trace_on(kind, spec, hooks, files, made.example(_BATCH), until), kind
        except (UnsafeWeightsError, RepositoryError):
            raise  # of the files, and the same on every ground
        except LayerzooError as error:
            failures[kind] = error
    last = failures[GROUNDS[-1]]  # of a run with real values, which what the others say only leads up to
    if not isinstance(last, TraceError):
        raise last
    raise TraceError(f"{spec.id} could not be traced: {last}") from last


def _trace_on(
    kind: Ground,
    spec: ModelSpec,
    hooks: ModelHooks,
    files: Files,
    example: Batch | None,
    until: Sequence[Layer] = (),
) -> Trace:
    if example is None:
        raise TraceError(f"{spec.id}: no example input of that size")
    if kind == "real":
        check_memory_of(spec, hooks, files)
    with ground(kind):
        network = (build if kind == "real" else build_uninitialised)(spec, hooks, files)
        with faked(network) if kind == "faked" else nullcontext(), _knowing(spec):
            sample = example if kind == "real" else _without_values(example, keeps_integers=_reads_sizes(spec))
            return trace(network, sample, until=until, has_values=kind == "real", folders=hooks.folders)


def _reads_sizes(spec: ModelSpec) -> bool:
    """Whether the integers of an input may be sizes that the network reads, as those of images are, and no tokens."""
    return spec.modality in ("vision", "video")


def _knowing(spec: ModelSpec) -> AbstractContextManager[None]:
    return knowing_small_tensors() if _reads_sizes(spec) else nullcontext()


def _without_values(batch: Batch, *, keeps_integers: bool) -> Batch:
    """A batch of the same shapes, made on whatever ground is in force.

    keeps_integers: whether a few integers have their values, where the ground can hold any; else all is ones.
    """

    def made(tensor: Tensor) -> Tensor:
        if keeps_integers and not tensor.is_floating_point() and tensor.numel() <= MOST_KNOWN:
            return torch.tensor(tensor.tolist(), dtype=tensor.dtype)
        return torch.ones(tensor.shape, dtype=tensor.dtype)

    return replace(batch, inputs={name: made(tensor) for name, tensor in batch.inputs.items()})


def _told(probes: Probes) -> Iterator[tuple[str, Layout]]:
    """Every activation of a network whose axes can be told, by its place."""
    for call in probes.base.calls:
        for at, shapes in (("output", call.outputs), ("input", call.inputs)):
            for key in shapes:
                if layout := infer_layout(probes, call, key, at=at):
                    yield _place(call, key, at), layout


def _place(call: Call, key: Key, at: str) -> str:
    if at == "input" and key is None:
        key = next(iter(call.inputs), None)
    return f"{call.module}#{call.index} {at} {key}"


def _outputs(trace: Trace) -> list[tuple[str, dict[Key, tuple[int, ...]]]]:
    """The shapes of all that is returned but for their first axes, which change with the batch alone."""
    return [(call.module, {key: shape[1:] for key, shape in call.outputs.items()}) for call in trace.calls]


def _resized(spec: ModelSpec, stretch: Stretch) -> ModelSpec:
    """The spec of the same architecture for a picture that is twice as high or wide, or a window twice as long."""
    grow = {"all": (2, 2), "height": (2, 1), "width": (1, 2)}.get(stretch, (1, 1))
    declared = spec.preprocess
    if isinstance(declared, AudioPreprocess) and declared.window_s is not None:
        return replace(spec, preprocess=replace(declared, window_s=2 * declared.window_s))
    image = declared.image if isinstance(declared, VideoPreprocess) else declared
    if not isinstance(image, ImagePreprocess):
        return spec
    size_px = image.size_px[0] * grow[0], image.size_px[1] * grow[1]
    larger = replace(image, size_px=size_px, processor=None)  # no library's processor makes this size
    return replace(
        spec, preprocess=replace(declared, image=larger) if isinstance(declared, VideoPreprocess) else larger
    )


def _without_batch(shape: tuple[int, ...], axes: tuple[str, ...] | None) -> tuple[int, ...] | None:
    if axes is None or "batch" not in axes:
        return shape[1:] if shape[:1] == (_BATCH,) else None
    return tuple(size for size, axis in zip(shape, axes, strict=True) if axis != "batch")
