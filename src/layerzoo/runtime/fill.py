"""Load into a truncated network exactly the tensors that it needs."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from layerzoo.errors import CutError, WeightsError
from layerzoo.runtime.checkpoint import Checkpoint
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.loading_logic import (
    EXTRA_STATE,
    LoadingLogic,
    MissingTensor,
    has_loading_logic,
    takes_extra_state,
)
from layerzoo.runtime.network import truncate
from layerzoo.runtime.quantised import refuse_changes, refuse_packed, refuse_scaled
from layerzoo.runtime.stored import combined_digest, tensor_digests
from layerzoo.runtime.trace import checkpointed_tensors, saved_tensors, signature
from layerzoo.weights.progress import FileProgress

_DigestsByName = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Loaded:
    """Summary of the tensors that were read from a checkpoint."""

    tensors: int
    of_tensors: int
    bytes: int
    of_bytes: int
    sha256: str | None = None
    """The digest of the tensors that were read, by :func:`sha256_of`. No other content of the file affects features."""
    entry: str | None = None
    """The entry of a training checkpoint that the tensors were taken from: ``state_dict_ema``."""
    removed: str | None = None
    """The prefix that a training wrapper added to each checkpoint key: ``module.``."""
    digests: _DigestsByName = field(default_factory=dict, repr=False)
    """The sha256 of each tensor that was read, by its name in the network; "" for what loading logic computes others
    from."""


def load_into(network: nn.Module, cut: Cut, checkpoint: Checkpoint, *, model: str, has_values: bool = False) -> Loaded:
    """Truncate an uninitialised network to its cut, and load the tensors that it needs, in place.

    has_values: whether the network was built with initialisation.

    Raises: WeightsError when a needed tensor is missing or has another shape; the network is then unusable.
    ConstructorValuesNeeded when the network must be built with initialisation, because its loading logic uses values
    of its constructor.
    """
    _check(network, cut, checkpoint, model)
    if has_loading_logic(network):
        return _load_by_its_logic(network, cut, checkpoint, model, has_values)
    sources = _needed_sources(network, cut, checkpoint, model)
    _announce_reading(sources.values(), checkpoint, model)
    tensors = checkpoint.read(sources.values())
    for name, source in sources.items():
        _assign(network, name, tensors[source], model)
    trim(network, cut)
    digests = tensor_digests(tensors, checkpoint.digests(tensors))
    by_name = {name: digests[source] for name, source in sources.items()}
    return replace(_loaded(sources.values(), checkpoint), sha256=combined_digest(digests), digests=by_name)


def _load_by_its_logic(network: nn.Module, cut: Cut, checkpoint: Checkpoint, model: str, has_values: bool) -> Loaded:
    """Load as ``load_state_dict`` does, with the hooks and methods of the network's modules."""
    all_tensors = None if checkpoint.is_partial(checkpoint.shapes) else checkpoint.read(checkpoint.shapes)
    read = checkpoint.read if all_tensors is None else lambda names: {name: all_tensors[name] for name in names}
    logic = LoadingLogic(network, checkpoint, read, has_values=has_values)
    sources = _run(logic, network, cut, checkpoint, model)
    tensors = {**logic.values, **read([source for source in set(sources.values()) if source not in logic.values])}
    _announce_reading(tensors, checkpoint, model)
    assigned: set[str] = set(logic.values)
    for name, source in sources.items():
        _assign(network, name, tensors[source].clone() if source in assigned else tensors[source], model)
        assigned.add(source)
    computed_from = dict(logic.values)
    trim(network, cut)
    logic.settle()
    tensors |= logic.values
    digests = tensor_digests(tensors)
    by_name = {name: digests[source] for name, source in sources.items()}
    if computed_from:
        by_name[""] = bytes.fromhex(combined_digest({name: digests[name] for name in computed_from}))
    return replace(_loaded(tensors, checkpoint), sha256=combined_digest(digests), digests=by_name)


def _run(logic: LoadingLogic, network: nn.Module, cut: Cut, checkpoint: Checkpoint, model: str) -> dict[str, str]:
    try:
        return logic.run(needed_names(network, cut), cut.modules, model=model)
    except MissingTensor as error:
        raise _missing(error.name, checkpoint, model) from None


def _announce_reading(names: Iterable[str], checkpoint: Checkpoint, model: str) -> None:
    if not checkpoint.is_partial(names):
        message = "%s: all of %s is read, because tensors that the cut needs are computed from others"
        logging.getLogger("layerzoo").warning(message, model, checkpoint.label)


def fetch_for(
    network: nn.Module, cut: Cut, checkpoint: Checkpoint, *, model: str, progress: FileProgress | None = None
) -> Loaded:
    """Download the tensors that :func:`load_into` would read. Raises: WeightsError as there."""
    _check(network, cut, checkpoint, model)
    if has_loading_logic(network):
        sources = _read_by_its_logic(network, cut, checkpoint, model)
    else:
        sources = list(_needed_sources(network, cut, checkpoint, model).values())
    checkpoint.fetch(sources, progress)
    return _loaded(sources, checkpoint)


def _read_by_its_logic(network: nn.Module, cut: Cut, checkpoint: Checkpoint, model: str) -> list[str]:
    """Return the keys that the network's loading logic reads, by running it on zeros; all keys if it fails on zeros."""

    def zeros(names: Sequence[str]) -> dict[str, Tensor]:
        return {name: torch.zeros(checkpoint.shapes[name], dtype=checkpoint.dtypes[name]) for name in names}

    logic = LoadingLogic(network, checkpoint, zeros, has_values=True)
    try:
        sources = _run(logic, network, cut, checkpoint, model)
        trim(network, cut)
        logic.settle()
    except Exception:  # noqa: BLE001 - code that is not ours, on values that are not the real ones
        return list(checkpoint.shapes)
    return list({*sources.values(), *logic.values, *checkpoint.objects})


def _check(network: nn.Module, cut: Cut, checkpoint: Checkpoint, model: str) -> None:
    check_structure(network, cut, model)
    _refuse_quantised_and_adapters(network, checkpoint, model)
    _announce_extra_state(network, cut, checkpoint, model)


def _announce_extra_state(network: nn.Module, cut: Cut, checkpoint: Checkpoint, model: str) -> None:
    """Warn about extra states in a checkpoint for modules that load none."""
    unused = []
    for name in checkpoint.shapes:
        path, _, leaf = name.rpartition(".")
        if leaf == EXTRA_STATE and path in cut.modules and not takes_extra_state(network.get_submodule(path)):
            unused.append(name)
    if unused:
        more = f" and {len(unused) - 1} more" if len(unused) > 1 else ""
        message = "%s: %s has '%s'%s, and the network's module loads no extra state: it is not used"
        logging.getLogger("layerzoo").warning(message, model, checkpoint.label, unused[0], more)


def _needed_sources(network: nn.Module, cut: Cut, checkpoint: Checkpoint, model: str) -> dict[str, str]:
    """Return name in the network → checkpoint key, of the tensors that a cut needs. Shared tensors occur once."""
    groups = needed_names(network, cut)
    grouped = {name for group in groups for name in group}
    ungrouped = saved_tensors(network).keys() & set(cut.tensors) & checkpoint.shapes.keys() - grouped
    sources = {
        group[0]: _source(group, checkpoint, model) for group in [*groups, *([name] for name in sorted(ungrouped))]
    }
    for name, source in sources.items():
        _require_shape(network, name, checkpoint.shapes[source], model)
    return sources


def _refuse_quantised_and_adapters(network: nn.Module, checkpoint: Checkpoint, model: str) -> None:
    """Raises: WeightsError for quantised tensors without their scales, and for the changes of an adapter."""
    origins = checkpoint.origins
    loaded_keys = {origins[name] for name in saved_tensors(network) if name in origins}
    stored = checkpoint.stored.meta()
    refuse_changes(stored, loaded_keys, model=model, label=checkpoint.label)
    refuse_scaled(stored, loaded_keys, taken=loaded_keys, model=model, label=checkpoint.label)


def _loaded(sources: Iterable[str], checkpoint: Checkpoint) -> Loaded:
    keys = list(sources)
    if not checkpoint.is_partial(keys):
        keys = list(checkpoint.shapes)
    return Loaded(
        entry=checkpoint.entry,
        removed=checkpoint.removed,
        tensors=len(set(keys)),
        of_tensors=len(checkpoint.shapes),
        bytes=checkpoint.bytes_of(keys),
        of_bytes=checkpoint.bytes_of(checkpoint.shapes),
    )


def trim(network: nn.Module, cut: Cut) -> None:
    """Replace modules past the cut by stubs, and drop tensors of a checkpoint that the cut does not read.

    Other buffers stay: their builder set their values, and code may read them when a module is moved.
    """
    truncate(network, cut)
    needed = set(cut.tensors)
    for name in checkpointed_tensors(network):
        if name not in needed:
            owner, leaf = _owner_of(network, name)
            (owner._parameters if leaf in owner._parameters else owner._buffers)[leaf] = None


def check_structure(network: nn.Module, cut: Cut, model: str) -> None:
    """Raises: CutError when the network is not the one that the cut was planned for."""
    if signature(network) != cut.signature:
        raise CutError(
            f"{model}: the network that was built differs from the one that was traced; its builder must give the same "
            "architecture for the same spec every time"
        )


def needed_names(network: nn.Module, cut: Cut) -> list[list[str]]:
    """Return the names of the tensors that a cut needs from a checkpoint, grouped by tensor.

    Tied weights have several names, in the order of the modules.
    """
    needed = set(cut.tensors)
    groups: dict[int, list[str]] = {}
    for name, tensor in checkpointed_tensors(network).items():
        if name in needed:
            groups.setdefault(id(tensor), []).append(name)
    return list(groups.values())


def _source(group: list[str], checkpoint: Checkpoint, model: str) -> str:
    """Return the checkpoint key of a tensor.

    If several names share it, use the last in the order of the modules: ``load_state_dict`` sets the tensor once for
    each.
    """
    key = next((name for name in reversed(group) if name in checkpoint.shapes), None)
    if key is None:
        raise _missing(group[0], checkpoint, model)
    return key


def _missing(name: str, checkpoint: Checkpoint, model: str) -> WeightsError:
    refuse_packed(checkpoint.stored.meta(), name, model=model, label=checkpoint.label)
    examples = ", ".join(list(checkpoint.shapes)[:3])
    return WeightsError(
        f"{model}: the checkpoint {checkpoint.label} has no '{name}'. "
        f"It has {len(checkpoint.shapes)} tensors{f': {examples}, …' if examples else ''}. "
        "If its keys are called differently, map them: layerzoo.load(…, keys={…}), or `weights: {keys: …}` in a "
        "registry.yaml"
    )


def _require_shape(network: nn.Module, name: str, shape: tuple[int, ...], model: str) -> None:
    """Refuse a tensor of another shape before it is downloaded or read. Raises: WeightsError."""
    if shape != (expected := tuple(_tensor(network, name).shape)):
        raise WeightsError(
            f"{model}: '{name}' is {shape} in the checkpoint and {expected} in the network. "
            "Is the checkpoint of another size of the model? Its builder's args say which one is built"
        )


def _assign(network: nn.Module, name: str, tensor: Tensor, model: str) -> None:
    parameter = _tensor(network, name)
    if parameter.is_floating_point() and not tensor.is_floating_point():
        raise WeightsError(
            f"{model}: '{name}' is {tensor.dtype} in the checkpoint and {parameter.dtype} in the network. "
            "Quantised weights need the scales that they were made with: save them as floats first"
        )
    _replace_values(parameter, tensor.to(parameter.dtype))


def _replace_values(tensor: Tensor, values: Tensor) -> None:
    """Replace the values of a tensor everywhere, as ``load_state_dict`` does.

    The tensor takes over the memory of the values. If something else shares its memory, such as a view of a
    parameter, the values are copied into that memory instead.
    """
    reference = StorageWeakRef(tensor.untyped_storage())
    layout = tensor.storage_offset(), tensor.size(), tensor.stride()
    tensor.data = values
    if not reference.expired():
        shared = torch.UntypedStorage._new_with_weak_ptr(reference.cdata)
        view = torch.empty(0, dtype=values.dtype).set_(shared, *layout)
        tensor.data = view.copy_(values)


def _tensor(network: nn.Module, name: str) -> Tensor:
    owner, leaf = _owner_of(network, name)
    parameter = owner._parameters.get(leaf)
    tensor = parameter if parameter is not None else owner._buffers[leaf]
    assert tensor is not None
    return tensor


def _owner_of(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return network.get_submodule(path), leaf
