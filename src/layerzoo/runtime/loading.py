"""Load a network up to a layer. :func:`load` is the outline."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import torch

from layerzoo.errors import CutError, UnavailableError, UnusableModelError, UsageError
from layerzoo.registry import Registry, registry
from layerzoo.runtime.backbone import Backbone, memory_format, to_memory_format
from layerzoo.runtime.changes import TensorChanges
from layerzoo.runtime.checkpoint import Checkpoint, CheckpointContent, key_rules, open_checkpoint, open_content
from layerzoo.runtime.construct import build as build_network
from layerzoo.runtime.construct import build_for_checkpoint, build_random, build_uninitialised, check_memory
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.description import described
from layerzoo.runtime.devices import DeviceChoice, usable_devices
from layerzoo.runtime.fill import Loaded, check_structure, fetch_for, load_into, needed_names, trim
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.identify import find_model, spec_of_files
from layerzoo.runtime.initialisation import SEED_OF_CONSTANTS
from layerzoo.runtime.loading_logic import ConstructorValuesNeeded, has_loading_logic
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.precision import (
    Precision,
    RequestedPrecision,
    announce_other_dtype,
    choose_precision,
    computing_in,
    dtype_name,
    floating_dtypes,
    in_precision,
    library_dtype,
)
from layerzoo.runtime.preprocess import Preprocessor, preprocessor, prompted
from layerzoo.runtime.provenance import Numerics, provenance
from layerzoo.runtime.read_ahead import reading_ahead
from layerzoo.runtime.request import LayerChoice, PoolChoice, choose_layers, choose_pools
from layerzoo.runtime.resolved import Dtypes, ResolvedModel, resolve_model
from layerzoo.runtime.trace import saved_tensors
from layerzoo.spec import Layer, ModelSpec
from layerzoo.weights import Files, resolve
from layerzoo.weights.progress import FileProgress

_RANDOM = re.compile(r"random:(\d+)")
_LAST_SEED = (1 << 64) - 1  # of torch's generators


def load(
    model: str | ModelSpec,
    *,
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    weights: str | os.PathLike[str] | None = None,
    device: DeviceChoice = "cpu",
    precision: RequestedPrecision = "float32",
    partial: bool = False,
    allow_pickle: bool = False,
    trust_declaration: bool = False,
    prompt: str | None = None,
    keys: Mapping[str, str] | None = None,
) -> Backbone:
    """Load a network up to a layer.

    Args:
        model: an id such as ``"starter/minilm-l6"``, or a spec. An id such as ``"hf/ORG/REPO"``, optionally with
            ``@REVISION``, is a repository of the Hugging Face Hub.
        layer: one or several names or selectors (``"stage.1"``, ``"block.-1"``, ``"@0.5"``); None: the model's default.
        pool: the pooling that :func:`extract` applies, for all layers or by layer. It is checked before anything is
            loaded.
        weights: another checkpoint (a path) for the same architecture, or ``"random:SEED"`` for the library's own
            initialisation, the same for every cut.
        device: a torch device: ``cpu``, ``cuda:1``, ``mps``. A list, such as ``["cuda:0", "cuda:1"]``: :func:`extract`
            runs a replica of the network on each, next to each other.
        precision: ``float32``; ``auto`` for ``bfloat16`` where the device computes it natively (a CPU with AMX or
            AVX512-BF16, a CUDA device of compute capability 8.0 or later), and ``float32`` elsewhere; ``bfloat16`` or
            ``float16`` for torch's autocast, with weights in that dtype where autocast supports it; or ``library`` for
            the dtype in which the model's library computes by default with this checkpoint (for transformers and
            sentence-transformers, the dtype of the stored checkpoint). With ``float32``, a warning is logged where the
            library's dtype differs. In a lower precision, features of a sample alone and in a batch agree within the
            rounding of that precision.
        partial: download only the weights that the layer needs, if they are on a server.
        allow_pickle: open a pickled checkpoint whose sha256 is neither declared nor locked. No code in it is run.
        trust_declaration: use declared axes, prefix tokens, shapes and frame hop even if a trace of the network
            contradicts them. By default this is a DeclarationError.
        prompt: the text before every input text: the name of one of the model's prompts, or the text itself; None: the
            model's default.
        keys: the network's name for each checkpoint key, or for a part of one that consists of whole dotted segments,
            as in ``{"backbone": "blocks"}``. Applied in order, instead of the declared ``keys``. One that applies to no
            key is a UsageError.
    Returns: the truncated network with its preprocessing.
    Raises: UsageError, NotFoundError, LayerError, DeclarationError, PoolingError, PluginError, MissingLibraryError,
        TraceError or WeightsError: see :mod:`layerzoo.errors`.

    >>> layerzoo.load("toy/next-word", layer=["block.0", "head"], pool={"head": "max"}).pools
    {'block.0': 'mean', 'head': 'max'}
    """
    if precision not in (choices := ("auto", *get_args(Precision))):
        raise UsageError(f"precision={precision!r} is not one of {', '.join(choices)}")
    zoo = registry()
    spec = find_model(model, zoo)
    seed = _seed(weights)
    if keys is not None and seed is not None:
        raise UsageError(f"keys= renames the keys of a checkpoint, and weights={weights!r} reads none")
    devices = usable_devices(device)
    chosen = choose_precision(precision, devices[0])
    request = _LoadRequest(layer, pool, weights, seed, devices, chosen, allow_pickle, _key_rules(keys))

    def fetch(spec: ModelSpec, hooks: ModelHooks) -> Files:
        if seed is not None:
            return _available_files(spec, hooks, zoo)
        declared = spec.weights if weights is None or hooks.read_files else None  # download only files that are read
        return resolve(declared, weights, model=spec.id, extent="partial" if partial else "whole")

    located = _locate(spec, zoo, fetch)
    resolved = located.resolve(trust_declaration=trust_declaration)
    if prompt is not None:
        resolved = replace(resolved, preprocess=prompted(resolved.preprocess, prompt, model=spec.id))
    try:
        return _load(resolved, request, zoo)
    except CutError:  # the network's code has changed since it was traced, without a new version
        retraced = located.resolve(fresh=True, trust_declaration=trust_declaration)
        return _load(replace(retraced, preprocess=resolved.preprocess), request, zoo)


def build(model: str | ModelSpec) -> torch.nn.Module:
    """Build the whole network of a model with its library's own initialisation, for builders that wrap another model.

    Args:
        model: an id, or a spec.
    Raises: NotFoundError, PluginError.

    >>> layerzoo.build("toy/next-word").hidden.weight.shape
    torch.Size([3, 8])
    """
    located = locate_without_checkpoint(model)
    return build_network(located.spec, located.hooks, located.files)


def load_preprocess(model: str | ModelSpec) -> Preprocessor:
    """Load the preprocessing of a model. No network is built, and no checkpoint is downloaded.

    Args:
        model: an id, or a spec.
    Raises: NotFoundError, PluginError, WeightsError.
    """
    located = locate_without_checkpoint(model)
    complete = described(located.spec, located.hooks, located.files)
    return preprocessor(complete, located.hooks.preprocess(complete, located.files))


def completed_spec(model: str | ModelSpec) -> ModelSpec:
    """Return the spec of a model with all facts about its layers, traced if they are not known yet.

    Args:
        model: an id, or a spec.
    Raises: NotFoundError, PluginError, DeclarationError, TraceError, WeightsError.
    """
    return locate_without_checkpoint(model).resolve().spec


def trace_layers(model: str | ModelSpec, *, trust_declaration: bool = False) -> tuple[Layer, ...]:
    """Trace a model again, and return its layers with all facts. Browsing shows these facts from then on.

    Args:
        model: an id, or a spec.
        trust_declaration: keep a declaration that the trace contradicts.
    Raises: NotFoundError, PluginError, DeclarationError, TraceError, WeightsError.
    """
    located = locate_without_checkpoint(model)
    return located.resolve(fresh=True, trust_declaration=trust_declaration).spec.layers


def pull(model: str | ModelSpec, *, layer: LayerChoice, progress: FileProgress | None = None) -> Loaded:
    """Download only the weights that a cut needs.

    Args:
        model: an id, or a spec.
        layer: as for :func:`load`.
        progress: called with the name of a file and the number of bytes that were received.
    Returns: how much of the checkpoint the cut needs.
    Raises: as :func:`load`.
    """
    zoo = registry()

    def fetch(spec: ModelSpec, hooks: ModelHooks) -> Files:
        return resolve(spec.weights, model=spec.id, extent="partial", progress=progress)

    located = _locate(find_model(model, zoo), zoo, fetch)
    resolved = located.resolve()
    cut = resolved.cut(choose_layers(resolved, layer))
    network = build_uninitialised(resolved.spec, resolved.hooks, resolved.files)
    return fetch_for(network, cut, _checkpoint(network, cut, resolved), model=resolved.spec.id, progress=progress)


@dataclass(frozen=True, slots=True)
class LocatedModel:
    """A model with its plugins and files, before it is traced."""

    spec: ModelSpec
    declared: ModelSpec
    """The spec as users browse it. The spec of a repository follows from its files, and may differ."""
    files: Files
    hooks: ModelHooks
    zoo: Registry

    def resolve(self, *, fresh: bool = False, trust_declaration: bool = False) -> ResolvedModel:
        return resolve_model(
            self.spec, self.files, self.hooks, self.zoo,
            declared=self.declared, fresh=fresh, trust_declaration=trust_declaration,
        )  # fmt: skip


def _locate(spec: ModelSpec, zoo: Registry, fetch: Callable[[ModelSpec, ModelHooks], Files]) -> LocatedModel:
    if spec.unusable is not None:
        raise UnusableModelError(f"{spec.id} cannot be used: {spec.unusable}")
    hooks = ModelHooks.of(spec, zoo)
    files = fetch(spec, hooks)
    identified, declared = spec_of_files(spec, files, zoo)
    return LocatedModel(identified, declared, files, hooks, zoo)


def locate_without_checkpoint(model: str | ModelSpec) -> LocatedModel:
    """Find a model's plugins, and the files that its network is built from. Raises: NotFoundError, PluginError."""
    zoo = registry()
    return _locate(find_model(model, zoo), zoo, lambda spec, hooks: _files_to_build(spec, hooks, zoo))


def _files_to_build(spec: ModelSpec, hooks: ModelHooks, zoo: Registry) -> Files:
    """Fetch the files that a network is built from, without its checkpoint.

    Nothing is fetched if no hook of the model's plugins reads files, unless the model is a repository: its files
    identify it.
    """
    is_needed = hooks.read_files or zoo.repository(spec.id)
    return resolve(spec.weights, model=spec.id, extent="nothing") if is_needed else Files()


def _available_files(spec: ModelSpec, hooks: ModelHooks, zoo: Registry) -> Files:
    """As :func:`_files_to_build`; no files where they are unavailable, as for random weights without a network."""
    try:
        return _files_to_build(spec, hooks, zoo)
    except UnavailableError:
        return Files()


def load_random(
    resolved: ResolvedModel, layers: Sequence[Layer], *, seed: int = 0, precision: Precision = "float32"
) -> Backbone:
    """Load some layers of a resolved model with random weights. Nothing is downloaded, and no fact is stored.

    It does not warn of features that are random or depend on the batch: the caller loads one model several times.

    Args:
        resolved: the model.
        layers: the layers to read.
        seed: of the weights.
        precision: as for :func:`load`.
    Raises: as :func:`load`.
    """
    cpu = (torch.device("cpu"),)
    names = [layer.name for layer in layers]
    request = _LoadRequest(names, "none", f"random:{seed}", seed, cpu, precision, False, None, warns=False)
    return _load(resolved, request, registry())


@dataclass(frozen=True, slots=True)
class _LoadRequest:
    """The checked arguments of :func:`load`. seed: of ``weights="random:SEED"``; None for a checkpoint.

    warns: whether features that are random or depend on the batch are warned of.
    """

    layer: LayerChoice
    pool: PoolChoice
    weights: str | os.PathLike[str] | None
    seed: int | None
    devices: tuple[torch.device, ...]
    precision: Precision
    allow_pickle: bool
    keys: Mapping[str, str] | None
    warns: bool = True


def _load(resolved: ResolvedModel, request: _LoadRequest, zoo: Registry) -> Backbone:
    layers = choose_layers(resolved, request.layer)
    pools = choose_pools(resolved, layers, request.pool)
    cut = resolved.cut(layers)
    for notice in resolved.variation(cut.layers).notices(resolved.spec.id) if request.warns else ():
        logging.getLogger("layerzoo").warning("%s", notice)
    loaded = _load_network(resolved, cut, request)
    network = loaded.network if request.precision == "library" else in_precision(loaded.network, loaded.dtype)
    network = to_memory_format(network.to(request.devices[0]), memory_format(resolved.preprocess))
    is_cast = request.precision == "library" and loaded.dtype is not torch.float32
    numerics = Numerics(request.precision, loaded.dtype, loaded.library, request.devices)
    return Backbone(
        spec=resolved.spec,
        preprocess=resolved.preprocess,
        pools=pools,
        device=request.devices[0],
        precision=request.precision,
        _loaded=provenance(
            resolved,
            cut,
            loaded.statistics,
            numerics,
            zoo,
            weights=request.weights,
            is_random=request.seed is not None,
            keys=request.keys,
        ),
        _network=CutNetwork(network, cut, loaded.dtype, is_cast=is_cast).eval(),
        _changes=TensorChanges(network),
        _resolved=resolved,
        _replica_devices=request.devices[1:],
    )


@dataclass(frozen=True, slots=True)
class _LoadedNetwork:
    """A network with its weights.

    statistics: the amount that was read. dtype: the dtype to compute in. library: the library's default dtype.
    """

    network: torch.nn.Module
    statistics: Loaded
    dtype: torch.dtype
    library: torch.dtype


def _load_network(resolved: ResolvedModel, cut: Cut, request: _LoadRequest) -> _LoadedNetwork:
    spec, hooks, files, precision = resolved.spec, resolved.hooks, resolved.files, request.precision
    hook_dtype = hooks.dtype(spec, files)
    # Until the checkpoint is open, its dtype counts as float32. Opening it requires the network.
    library = library_dtype(hook_dtype, (), model=spec.id, plugin=spec.builder)
    built_in = library if precision == "library" else torch.float32
    if request.seed is not None:
        network = _build_random(resolved, cut, request.seed, built_in)
        loaded = Loaded(tensors=0, of_tensors=0, bytes=0, of_bytes=0)
        return _LoadedNetwork(network, loaded, _compute_dtype(precision, library), library)
    content = open_content(spec, files, hooks, request.allow_pickle)
    with reading_ahead(content.stored, cut.tensors, key_rules(spec, content, request.keys)) as stored:
        return _load_from(replace(content, stored=stored), resolved, cut, precision, library, request.keys)


def _load_from(
    content: CheckpointContent,
    resolved: ResolvedModel,
    cut: Cut,
    precision: Precision,
    library: torch.dtype,
    keys: Mapping[str, str] | None,
) -> _LoadedNetwork:
    """Build a network, and load the checkpoint that was opened for it.

    library: the dtype of the plugin's hook. keys: the renaming of checkpoint keys, instead of the declared one.
    """
    spec, hooks, files = resolved.spec, resolved.hooks, resolved.files
    built_in = library if precision == "library" else torch.float32
    with computing_in(built_in):
        network = build_for_checkpoint(spec, hooks, files)
    checkpoint = _checkpoint(network, cut, resolved, content, keys)
    stored = checkpoint.stored.meta().values()
    library = library_dtype(hooks.dtype(spec, files), stored, model=spec.id, plugin=spec.builder)
    if precision == "library" and library is not built_in:
        built_in = library
        with computing_in(built_in):
            network = build_for_checkpoint(spec, hooks, files)
    resolved.record_dtypes(Dtypes(dtype_name(library), floating_dtypes(stored)))
    if precision == "float32" and library is not torch.float32:
        announce_other_dtype(spec.id, library)
    try:
        loaded = load_into(network, cut, checkpoint, model=spec.id)
    except ConstructorValuesNeeded:
        with computing_in(built_in):
            network = build_random(spec, hooks, files, SEED_OF_CONSTANTS)
        loaded = load_into(network, cut, checkpoint, model=spec.id, has_values=True)
    return _LoadedNetwork(network, loaded, _compute_dtype(precision, library), library)


def _build_random(resolved: ResolvedModel, cut: Cut, seed: int, dtype: torch.dtype) -> torch.nn.Module:
    """Build a network with random weights, truncated at its cut."""
    spec = resolved.spec
    if resolved.tracer.latest is not None:
        check_memory(sum(resolved.tracer.latest.trace.sizes.values()), model=spec.id)
    with computing_in(dtype):
        network = build_random(spec, resolved.hooks, resolved.files, seed)
    check_structure(network, cut, spec.id)
    trim(network, cut)
    return network


def _compute_dtype(precision: Precision, library: torch.dtype) -> torch.dtype:
    return library if precision == "library" else getattr(torch, precision)


def _checkpoint(
    network: torch.nn.Module,
    cut: Cut,
    resolved: ResolvedModel,
    content: CheckpointContent | None = None,
    keys: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Open the checkpoint of a model, with the names of its network's tensors."""
    return open_checkpoint(
        resolved.spec,
        resolved.files,
        resolved.hooks,
        content,
        keys=keys,
        needed=needed_names(network, cut),
        own=saved_tensors(network),
        renames=has_loading_logic(network),
    )


def _key_rules(keys: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if keys is None:
        return None
    if not isinstance(keys, Mapping) or not all(isinstance(word, str) for pair in keys.items() for word in pair):
        raise UsageError(f"keys={keys!r} is not a mapping from checkpoint keys to the network's names")
    return dict(keys)


def _seed(weights: str | os.PathLike[str] | None) -> int | None:
    if not (weights is None or isinstance(weights, os.PathLike) or (isinstance(weights, str) and weights)):
        raise UsageError(f"weights={weights!r} is neither a path nor 'random:SEED'")
    if not isinstance(weights, str) or not weights.startswith("random"):
        return None
    if (match := _RANDOM.fullmatch(weights)) and int(match[1]) <= _LAST_SEED:
        return int(match[1])
    raise UsageError(
        f"weights={weights!r}: random weights need a seed of 0 to {_LAST_SEED}, as in 'random:0'; "
        f"a file of that name is './{weights}'"
    )
