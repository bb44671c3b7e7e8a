"""Loading a network up to a layer."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass
from typing import get_args

import torch

from layerzoo.errors import CutError, UnavailableError, UsageError
from layerzoo.plugins.failure import summary
from layerzoo.registry import Registry, registry
from layerzoo.runtime.backbone import Backbone, lay_out, memory_format
from layerzoo.runtime.blueprint import Blueprint, described
from layerzoo.runtime.build import build as build_network
from layerzoo.runtime.build import build_random, build_to_fill, build_uninitialised, check_memory
from layerzoo.runtime.checkpoint import Checkpoint, open_checkpoint
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.fill import Loaded, check_structure, fetch_for, load_into, needed_names, trim
from layerzoo.runtime.hooks import ModelHooks
from layerzoo.runtime.identify import as_found, find_model
from layerzoo.runtime.initialisation import SEED_OF_CONSTANTS
from layerzoo.runtime.loading_logic import ConstructorValuesNeeded, has_loading_logic
from layerzoo.runtime.network import CutNetwork
from layerzoo.runtime.precision import (
    Precision,
    announce_other_dtype,
    computing_in,
    dtype_name,
    floating_dtypes,
    in_precision,
    library_dtype,
)
from layerzoo.runtime.preprocess import Preprocessor, preprocessor, prompted
from layerzoo.runtime.provenance import provenance
from layerzoo.runtime.request import LayerChoice, PoolChoice, choose_layers, choose_pools
from layerzoo.runtime.trace import saved_tensors
from layerzoo.spec import Layer, ModelSpec
from layerzoo.weights import Files, resolve
from layerzoo.weights.progress import FileProgress
from layerzoo.weights.repository import Want

_RANDOM = re.compile(r"random:(\d+)")
_LAST_SEED = (1 << 64) - 1  # of torch's generators


def load(
    model: str | ModelSpec,
    *,
    layer: LayerChoice = None,
    pool: PoolChoice = None,
    weights: str | os.PathLike[str] | None = None,
    device: str | torch.device = "cpu",
    precision: Precision = "float32",
    partial: bool = False,
    allow_pickle: bool = False,
    trust_declaration: bool = False,
    prompt: str | None = None,
) -> Backbone:
    """Load a network up to a layer.

    model: an id such as ``"starter/minilm-l6"``, or a spec. An id such as ``"hf/ORG/REPO"``, with ``@REVISION`` or not,
        is a repository of the hub.
    layer: one or several names or selectors (``"stage.1"``, ``"block.-1"``, ``"@0.5"``); else the model's own default.
    pool: how :func:`extract` will pool, for all layers or by layer; checked here, before anything is loaded.
    weights: another checkpoint (a path) for the same architecture, or ``"random:SEED"`` for the initialisation that the
        library itself gives the network, the same for every cut.
    device: as torch names it: ``cpu``, ``cuda:1``, ``mps``.
    precision: ``float32``; or ``bfloat16`` / ``float16``, in which torch's autocast computes what bears it, with its
        weights in it, too. Features of a sample alone and among others then agree as far as that precision goes.
        Or ``library``, which is what the model's library computes in by default with this checkpoint: for transformers
        and sentence-transformers the format that it is stored in. Where that is not float32, loading in float32 warns.
    partial: of weights on a server, fetch what the layer needs and leave the rest there.
    allow_pickle: open a pickled checkpoint whose sha256 is neither declared nor locked. It runs no code either way.
    trust_declaration: use declared axes, prefix tokens, shapes and frame hop even where a trace of the network
        contradicts them; else that is a DeclarationError.
    prompt: what is put before every text: the name of one of the model's prompts, or a text; else the model's default.
    Raises: UsageError, NotFoundError, LayerError, DeclarationError, PoolingError, PluginError, MissingLibraryError,
        TraceError or WeightsError: see :mod:`layerzoo.errors`.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision={precision!r} is not one of {', '.join(get_args(Precision))}")
    zoo = registry()
    spec = find_model(model, zoo)
    seed = _seed(weights)
    place = _usable(device)
    hooks = ModelHooks.of(spec, zoo)
    want: Want = "partial" if partial else "whole"
    beside = spec.weights if weights is None or hooks.read_files else None  # nothing is fetched that nobody reads
    files = resolve(beside, weights, model=spec.id, want=want) if seed is None else _files_at_hand(spec, hooks, zoo)
    found, declared = as_found(spec, files, zoo)
    blueprint = Blueprint.of(found, files, hooks, zoo, declared=declared, trust_declaration=trust_declaration)
    if prompt is not None:
        blueprint.preprocess = prompted(blueprint.preprocess, prompt, model=spec.id)
    try:
        return _load(blueprint, layer, pool, weights, seed, place, precision, allow_pickle, zoo)
    except CutError:  # code that the network is made of has changed since it was traced, and its version has not
        preprocess = blueprint.preprocess
        blueprint = Blueprint.of(
            found, files, hooks, zoo, declared=declared, fresh=True, trust_declaration=trust_declaration
        )
        blueprint.preprocess = preprocess
        return _load(blueprint, layer, pool, weights, seed, place, precision, allow_pickle, zoo)


def _usable(device: str | torch.device) -> torch.device:
    """Raises: UsageError for a device that is not here, or that holds no numbers (meta)."""
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f"device={str(device)!r} cannot be used here: {summary(error)}. 'cpu' always can") from error
    return found


def _load(
    blueprint: Blueprint,
    layer: LayerChoice,
    pool: PoolChoice,
    weights: str | os.PathLike[str] | None,
    seed: int | None,
    device: torch.device,
    precision: Precision,
    allow_pickle: bool,
    zoo: Registry,
) -> Backbone:
    layers = choose_layers(blueprint, layer)
    pools = choose_pools(blueprint, layers, pool)
    cut = blueprint.cut(layers)
    for notice in blueprint.variation(cut.layers).notices(blueprint.spec.id):
        logging.getLogger("layerzoo").warning("%s", notice)
    filled = _filled(blueprint, cut, seed, allow_pickle, precision)
    network = filled.network if precision == "library" else in_precision(filled.network, filled.dtype)
    network = lay_out(network.to(device), memory_format(blueprint.preprocess))
    is_cast = precision == "library" and filled.dtype is not torch.float32
    return Backbone(
        spec=blueprint.spec,
        module=CutNetwork(network, cut, filled.dtype, is_cast=is_cast).eval(),
        preprocess=blueprint.preprocess,
        pools=pools,
        device=device,
        precision=precision,
        provenance=provenance(
            blueprint,
            cut,
            filled.loaded,
            weights,
            seed is not None,
            {"precision": precision, "dtype": dtype_name(filled.dtype), "library_dtype": dtype_name(filled.library)},
            device,
            zoo,
        ),
        blueprint=blueprint,
    )


@dataclass(frozen=True, slots=True)
class _Filled:
    """A network with its weights. dtype: what it computes in. library: what its library would compute in."""

    network: torch.nn.Module
    loaded: Loaded
    dtype: torch.dtype
    library: torch.dtype


def _filled(blueprint: Blueprint, cut: Cut, seed: int | None, allow_pickle: bool, precision: Precision) -> _Filled:
    spec, hooks, files = blueprint.spec, blueprint.hooks, blueprint.files
    said = hooks.dtype(spec, files)
    # Without the checkpoint, `stored` is float32 here. It is opened with the network at hand.
    library = library_dtype(said, (), model=spec.id, plugin=spec.builder)
    built_in = library if precision == "library" else torch.float32
    if seed is not None:
        if blueprint.found is not None:
            check_memory(sum(blueprint.found[0].sizes.values()), model=spec.id)
        with computing_in(built_in):
            network = build_random(spec, hooks, files, seed)
        check_structure(network, cut, spec.id)
        trim(network, cut)
        loaded = Loaded(tensors=0, of_tensors=0, bytes=0, of_bytes=0)
        return _Filled(network, loaded, _dtype(precision, library), library)
    with computing_in(built_in):
        network = build_to_fill(spec, hooks, files)
    checkpoint = _checkpoint(network, cut, blueprint, allow_pickle)
    stored = checkpoint.stored.meta().values()
    library = library_dtype(said, stored, model=spec.id, plugin=spec.builder)
    if precision == "library" and library is not built_in:
        built_in = library
        with computing_in(built_in):
            network = build_to_fill(spec, hooks, files)
    blueprint.note_dtypes(dtype_name(library), floating_dtypes(stored))
    if precision == "float32" and library is not torch.float32:
        announce_other_dtype(spec.id, library)
    try:
        loaded = load_into(network, cut, checkpoint, model=spec.id)
    except ConstructorValuesNeeded:
        with computing_in(built_in):
            network = build_random(spec, hooks, files, SEED_OF_CONSTANTS)
        loaded = load_into(network, cut, checkpoint, model=spec.id, has_values=True)
    return _Filled(network, loaded, _dtype(precision, library), library)


def _dtype(precision: Precision, library: torch.dtype) -> torch.dtype:
    """What a network computes in."""
    return library if precision == "library" else getattr(torch, precision)


def _checkpoint(network: torch.nn.Module, cut: Cut, blueprint: Blueprint, allow_pickle: bool = False) -> Checkpoint:
    """The checkpoint of a model, under the names of its network."""
    needed, own = needed_names(network, cut), saved_tensors(network)
    spec, files, hooks = blueprint.spec, blueprint.files, blueprint.hooks
    renames = has_loading_logic(network)
    return open_checkpoint(spec, files, hooks, allow_pickle, needed=needed, own=own, renames=renames)


def _files_at_hand(spec: ModelSpec, hooks: ModelHooks, zoo: Registry) -> Files:
    """What a network without its weights can be built from, a configuration and a tokenizer, where they can be had."""
    try:
        return _files_to_build(spec, hooks, zoo)
    except UnavailableError:
        return Files()


def _seed(weights: str | os.PathLike[str] | None) -> int | None:
    if not (weights is None or isinstance(weights, os.PathLike) or (isinstance(weights, str) and weights)):
        raise UsageError(f"weights={weights!r} is neither a path nor 'random:SEED'")
    if not isinstance(weights, str) or not weights.startswith("random"):
        return None
    if (found := _RANDOM.fullmatch(weights)) and int(found[1]) <= _LAST_SEED:
        return int(found[1])
    raise UsageError(
        f"weights={weights!r}: random weights need a seed of 0 to {_LAST_SEED}, as in 'random:0'; "
        f"a file of that name is './{weights}'"
    )


def build(model: str | ModelSpec) -> torch.nn.Module:
    """The whole network of a model with its library's own initialisation: for builders that build on another model.

    model: an id, or a spec. Raises: NotFoundError, PluginError.
    """
    zoo = registry()
    spec = find_model(model, zoo)
    hooks = ModelHooks.of(spec, zoo)
    files = _files_to_build(spec, hooks, zoo)
    found, _ = as_found(spec, files, zoo)
    return build_network(found, hooks, files)


def load_preprocess(model: str | ModelSpec) -> Preprocessor:
    """The preprocessing of a model alone: no network is built, and nothing of its checkpoint is fetched.

    model: an id, or a spec. Raises: NotFoundError, PluginError, WeightsError.
    """
    zoo = registry()
    spec = find_model(model, zoo)
    hooks = ModelHooks.of(spec, zoo)
    files = _files_to_build(spec, hooks, zoo)
    found, _ = as_found(spec, files, zoo)
    complete = described(found, hooks, files)
    return preprocessor(complete, hooks.preprocess(complete, files))


def trace_layers(model: str | ModelSpec, *, trust_declaration: bool = False) -> tuple[Layer, ...]:
    """The layers of a model with all that a fresh trace can tell; kept, so that browsing shows it from now on.

    model: an id, or a spec. trust_declaration: keep a declaration that the trace contradicts.
    Raises: NotFoundError, PluginError, DeclarationError, TraceError, WeightsError.
    """
    zoo = registry()
    spec = find_model(model, zoo)
    hooks = ModelHooks.of(spec, zoo)
    files = _files_to_build(spec, hooks, zoo)
    found, declared = as_found(spec, files, zoo)
    blueprint = Blueprint.of(
        found, files, hooks, zoo, declared=declared, fresh=True, trust_declaration=trust_declaration
    )
    return blueprint.spec.layers


def pull(model: str | ModelSpec, *, layer: LayerChoice, progress: FileProgress | None = None) -> Loaded:
    """Fetch the weights that a cut needs, and nothing else of the checkpoint.

    progress: called with the name of a file and the number of its bytes that came.
    Returns: what the cut needs of the checkpoint. Raises: as :func:`load`.
    """
    zoo = registry()
    spec = find_model(model, zoo)
    files = resolve(spec.weights, model=spec.id, want="partial", progress=progress)
    hooks = ModelHooks.of(spec, zoo)
    found, declared = as_found(spec, files, zoo)
    blueprint = Blueprint.of(found, files, hooks, zoo, declared=declared)
    cut = blueprint.cut(choose_layers(blueprint, layer))
    spec = blueprint.spec
    network = build_uninitialised(spec, hooks, files)
    return fetch_for(network, cut, _checkpoint(network, cut, blueprint), model=spec.id, progress=progress)


def _files_to_build(spec: ModelSpec, hooks: ModelHooks, zoo: Registry) -> Files:
    """What a network is built from: everything but the checkpoint, which is fetched for nothing otherwise; and nothing
    where no hook of the model's plugins reads a file, but for a repository, whose files say what it is."""
    is_wanted = hooks.read_files or zoo.repository(spec.id)
    return resolve(spec.weights, model=spec.id, want="nothing") if is_wanted else Files()
