"""Filling a truncated network with exactly the tensors it needs."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from layerzoo.errors import CutError, WeightsError
from layerzoo.runtime.checkpoint import Checkpoint
from layerzoo.runtime.cut import Cut
from layerzoo.runtime.network import truncate
from layerzoo.runtime.quantised import refuse_changes, refuse_packed, refuse_scaled
from layerzoo.runtime.trace import named_tensors, signature
from layerzoo.weights.progress import FileProgress


@dataclass(frozen=True, slots=True)
class Loaded:
    """How much of a checkpoint was read."""

    tensors: int
    of_tensors: int
    bytes: int
    of_bytes: int
    sha256: str | None = None
    """Of what was read: name and bytes of each tensor, by name. The numbers follow from nothing else of the file."""
    entry: str | None = None
    """The entry of a training checkpoint that the tensors were taken from: ``state_dict_ema``."""
    removed: str | None = None
    """What a training wrapper had added to each checkpoint key: ``module.``."""


def load_into(network: nn.Module, cut: Cut, checkpoint: Checkpoint, *, model: str) -> Loaded:
    """Truncate an uninitialised network to its cut and fill in what it needs, in place.

    Raises: WeightsError when a needed tensor is missing or of another shape; the network is not to be used then.
    """
    sources = _needed(network, cut, checkpoint, model)
    if not checkpoint.is_partial(sources.values()):
        message = "%s: all of %s is read, because tensors that the cut needs are computed from others"
        logging.getLogger("layerzoo").warning(message, model, checkpoint.label)
    tensors = checkpoint.read(sources.values())
    for name, source in sources.items():
        _assign(network, name, tensors[source], model)
    trim(network, cut)
    return replace(_loaded(sources, checkpoint), sha256=_digest(tensors))


def fetch_for(
    network: nn.Module, cut: Cut, checkpoint: Checkpoint, *, model: str, progress: FileProgress | None = None
) -> Loaded:
    """Have on this machine what :func:`load_into` would read. Raises: WeightsError as there."""
    sources = _needed(network, cut, checkpoint, model)
    checkpoint.fetch(sources.values(), progress)
    return _loaded(sources, checkpoint)


def _needed(network: nn.Module, cut: Cut, checkpoint: Checkpoint, model: str) -> dict[str, str]:
    """The checkpoint keys of the tensors that a cut needs, by their name in the network; a shared one comes once."""
    check_structure(network, cut, model)
    _refuse_what_is_more_than_its_tensors(network, checkpoint, model)
    sources = {group[0]: _source(group, checkpoint, model) for group in needed_names(network, cut)}
    for name, source in sources.items():
        _require_shape(network, name, checkpoint.shapes[source], model)
    return sources


def _refuse_what_is_more_than_its_tensors(network: nn.Module, checkpoint: Checkpoint, model: str) -> None:
    """Raises: WeightsError for quantised tensors that are taken over without scales, and for an adapter's changes."""
    origins = checkpoint.origins
    taken = {origins[name] for name in network.state_dict(keep_vars=True) if name in origins}
    stored = checkpoint.stored.meta()
    refuse_changes(stored, taken, model=model, label=checkpoint.label)
    refuse_scaled(stored, taken, taken=taken, model=model, label=checkpoint.label)


def _loaded(sources: Mapping[str, str], checkpoint: Checkpoint) -> Loaded:
    is_partial = checkpoint.is_partial(sources.values())
    read = list(sources.values() if is_partial else checkpoint.shapes)
    return Loaded(
        entry=checkpoint.entry,
        removed=checkpoint.removed,
        tensors=len(set(read)),
        of_tensors=len(checkpoint.shapes),
        bytes=checkpoint.bytes_of(read),
        of_bytes=checkpoint.bytes_of(checkpoint.shapes),
    )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(f"{name}\0".encode())
        found.update(tensors[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def trim(network: nn.Module, cut: Cut) -> None:
    """Replace what lies past the cut by stubs, and drop what a checkpoint would fill and the cut does not read.

    Other buffers stay: their builder gave them their values, and a module that is moved may look at them.
    """
    truncate(network, cut)
    for name in network.state_dict(keep_vars=True):
        if name not in cut.tensors:
            owner, leaf = _place(network, name)
            (owner._parameters if leaf in owner._parameters else owner._buffers)[leaf] = None


def check_structure(network: nn.Module, cut: Cut, model: str) -> None:
    """Raises: CutError when the network is not the one that the cut was planned for."""
    if signature(network) != cut.signature:
        raise CutError(
            f"{model}: the network that was built differs from the one that was traced; its builder must give the same "
            "architecture for the same spec every time"
        )


def needed_names(network: nn.Module, cut: Cut) -> list[list[str]]:
    """The names of the tensors that a cut needs of a checkpoint, grouped by tensor: tied weights have several."""
    saved = network.state_dict(keep_vars=True)
    names = [name for name in cut.tensors if name in saved]
    tensors = dict(named_tensors(network))
    groups: dict[int, list[str]] = {}
    for name in names:
        groups.setdefault(id(tensors[name]), []).append(name)
    return list(groups.values())


def _source(group: list[str], checkpoint: Checkpoint, model: str) -> str:
    """The name under which the checkpoint has a tensor: any of those that share it will do."""
    found = next((name for name in group if name in checkpoint.shapes), None)
    if found is None:
        refuse_packed(checkpoint.stored.meta(), group[0], model=model, label=checkpoint.label)
        few = ", ".join(list(checkpoint.shapes)[:3])
        raise WeightsError(
            f"{model}: the checkpoint {checkpoint.label} has no '{group[0]}'. "
            f"It has {len(checkpoint.shapes)} tensors{f': {few}, …' if few else ''}. "
            "If its keys are called differently, map them with `weights: {keys: …}`"
        )
    return found


def _require_shape(network: nn.Module, name: str, shape: tuple[int, ...], model: str) -> None:
    """What does not fit need not be fetched, or read. Raises: WeightsError."""
    if shape != (expected := tuple(_tensor(network, name).shape)):
        raise WeightsError(
            f"{model}: '{name}' is {shape} in the checkpoint and {expected} in the network. "
            "Is the checkpoint of another size of the model? Its builder's args say which one is built"
        )


def _assign(network: nn.Module, name: str, tensor: Tensor, model: str) -> None:
    kept = _tensor(network, name)
    if kept.is_floating_point() and not tensor.is_floating_point():
        raise WeightsError(
            f"{model}: '{name}' is {tensor.dtype} in the checkpoint and {kept.dtype} in the network. "
            "Quantised weights need the scales that they were made with: save them as floats first"
        )
    _replace_values(kept, tensor.to(kept.dtype))


def _replace_values(tensor: Tensor, values: Tensor) -> None:
    """Give a tensor other values, wherever it is referenced, as ``load_state_dict`` does.

    It takes over the memory of the values. Where something else shares its own memory, as a view of a parameter does,
    the values are copied into that instead.
    """
    reference = StorageWeakRef(tensor.untyped_storage())
    layout = tensor.storage_offset(), tensor.size(), tensor.stride()
    tensor.data = values
    if not reference.expired():
        shared = torch.UntypedStorage._new_with_weak_ptr(reference.cdata)
        kept = torch.empty(0, dtype=values.dtype).set_(shared, *layout)
        tensor.data = kept.copy_(values)


def _tensor(network: nn.Module, name: str) -> Tensor:
    owner, leaf = _place(network, name)
    parameter = owner._parameters.get(leaf)
    found = parameter if parameter is not None else owner._buffers[leaf]
    assert found is not None
    return found


def _place(network: nn.Module, name: str) -> tuple[nn.Module, str]:
    path, _, leaf = name.rpartition(".")
    return network.get_submodule(path), leaf
