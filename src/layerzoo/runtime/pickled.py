"""Read a pickled checkpoint with torch's restricted unpickler."""

from __future__ import annotations

import argparse
import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from layerzoo.errors import UnsafeWeightsError, WeightsError
from layerzoo.weights import Files

_STATE_DICTS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict")
"""The entries of a training checkpoint that may hold the network's state dict, the preferred one first.

The averaged weights (EMA) come first, as in ``timm.models.load_state_dict``: the training evaluated them.
"""
_DEEPEST = 4
"""Depth to which a file is searched for state dicts, for an error message that lists them."""
_LISTED = 6
_SAFE_CLASSES: list[Any] = [argparse.Namespace]
"""Classes beyond torch's own that a checkpoint may contain. They hold data and run no code: a training script writes
its command-line arguments as a namespace."""


@dataclass(frozen=True, slots=True)
class StateDict:
    """The content of a checkpoint for one network."""

    tensors: Mapping[str, Tensor]
    entry: str | None = None
    """The entry of a training checkpoint that holds it."""
    objects: Mapping[str, Any] = field(default_factory=dict)
    """The extra states that are not tensors, by checkpoint key."""
    versions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Path of a module → metadata of ``state_dict()``: the version of its format."""


def read_pickle(path: Path, files: Files, allow_pickle: bool) -> StateDict:
    """Read a state dict.

    The restricted unpickler had vulnerabilities before, so a file without a known sha256 is opened only on request.

    Args:
        files: the files of the model, with those that were verified.
        allow_pickle: open the file although its sha256 is neither declared nor locked.
    Raises: UnsafeWeightsError when it may not be opened, WeightsError when it contains no state dict.
    """
    if path.name not in files.verified and not allow_pickle:
        raise UnsafeWeightsError(
            f"{path} is not a .safetensors file. A pickle runs code, so it is opened only when its sha256 is declared "
            "in registry.yaml (weights: {source: …, sha256: …}) or locked (zoo lock MODEL), or with --allow-pickle (in "
            "Python: allow_pickle=True), and always by torch's restricted unpickler. Or save the weights as safetensors"
        )
    try:
        with torch.serialization.safe_globals(_SAFE_CLASSES):
            if classes := _refused(path):
                raise WeightsError(
                    f"{path} cannot be read as a pickled state dict: it holds objects of {', '.join(classes)}, which "
                    "are never unpickled. Next: save the state dict alone, best as safetensors"
                )
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read as a pickled state dict: {error}") from error
    state, entry = _state_dict(loaded)
    count = _count_tensors(state)
    inside = sorted(_nested_state_dicts(loaded), key=lambda nested: entry is not None and nested[0][0] != entry)
    if not count or (entry is None and any(more > count for _, more in inside)):
        raise _no_state_dict(path, state, entry, inside)
    entries = {str(name): value for name, value in state.items()}
    return StateDict(
        {name: value for name, value in entries.items() if isinstance(value, Tensor)},
        entry,
        {name: value for name, value in entries.items() if _is_extra_state(name) and not isinstance(value, Tensor)},
        getattr(state, "_metadata", None) or {},
    )


def _is_extra_state(name: str) -> bool:
    return name.rpartition(".")[2] == "_extra_state"


def encoded(value: Any) -> Tensor:
    """Serialize an object of a state dict to a tensor of bytes."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def decoded(tensor: Tensor) -> Any:
    """Deserialize an object with the restricted unpickler: the inverse of :func:`encoded`."""
    return torch.load(io.BytesIO(tensor.numpy().tobytes()), weights_only=True)


def _refused(path: Path) -> list[str]:
    """Return the classes and functions in a pickle that the restricted unpickler refuses; none if they are unknown."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # noqa: BLE001 - an old format, or no pickle: reading it raises the error
        return []


def _no_state_dict(
    path: Path, state: Any, entry: str | None, inside: Sequence[tuple[tuple[str, ...], int]]
) -> WeightsError:
    location = f" under '{entry}'" if entry else ""
    message = f"{path} holds {type(state).__name__}{location} and no state dict, which has a tensor for each name"
    if not inside:
        return WeightsError(message)
    nested = [f"{''.join(f'[{key!r}]' for key in keys)} ({count} tensors)" for keys, count in inside[:_LISTED]]
    more = f" and {len(inside) - _LISTED} more" if len(inside) > _LISTED else ""
    chosen = "".join(f"[{key!r}]" for key in inside[0][0])
    return WeightsError(
        f"{message}. It has these inside: {', '.join(nested)}{more}. Next: save the one you mean alone, as in "
        f"torch.save(torch.load({path.name!r}, weights_only=True){chosen}, 'weights.pth')"
    )


_Nested = tuple[tuple[str, ...], int]
"""The keys that lead to a mapping, and the number of tensors in it."""


def _nested_state_dicts(loaded: Any, keys: tuple[str, ...] = ()) -> list[_Nested]:
    """Return the nested mappings with tensors, by their keys, with the number of tensors, in descending order.

    The state of an optimizer and the extra state of a module are excluded.
    """
    if not isinstance(loaded, Mapping) or len(keys) >= _DEEPEST:
        return []
    inside = [
        (str(key), value)
        for key, value in loaded.items()
        if isinstance(value, Mapping) and not _is_extra_state(str(key)) and "optim" not in str(key).lower()
    ]
    direct = [((*keys, key), count) for key, value in inside if (count := _count_tensors(value))]
    deeper = [nested for key, value in inside for nested in _nested_state_dicts(value, (*keys, key))]
    return sorted([*direct, *deeper], key=lambda nested: -nested[1])


def _count_tensors(state: Any) -> int:
    return sum(isinstance(value, Tensor) for value in state.values()) if isinstance(state, Mapping) else 0


def _state_dict(loaded: Any) -> tuple[Any, str | None]:
    """Return the state dict of a checkpoint, and the entry that holds it; None for the whole checkpoint."""
    if not isinstance(loaded, Mapping):
        return loaded, None
    for entry in _STATE_DICTS:
        if isinstance(loaded.get(entry), Mapping) and loaded[entry]:
            return loaded[entry], entry
    return loaded, None
