"""The devices on which a network runs."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from layerzoo.errors import UsageError
from layerzoo.plugins.failure import summary

DeviceChoice = str | torch.device | Sequence[str | torch.device]
"""One torch device, or several for replicas of the network."""


def named_devices(device: DeviceChoice) -> list[str]:
    """Return the names of the requested devices, without using them."""
    return [str(device)] if isinstance(device, str | torch.device) else list(map(str, device))


def gpus() -> list[str]:
    """Return the names of the CUDA devices of this machine."""
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def usable_devices(device: DeviceChoice) -> tuple[torch.device, ...]:
    """Return the requested devices. Raises: UsageError if none is requested, or one is unavailable or without values
    (meta)."""
    if isinstance(device, str | torch.device) or not isinstance(device, Sequence):
        return (_usable_device(device),)
    if not device:
        raise UsageError("device=[] names no device. Pass one, such as 'cpu', or several")
    return tuple(map(_usable_device, device))


def _usable_device(device: str | torch.device) -> torch.device:
    """Raises: UsageError for an unavailable device, or one without values (meta)."""
    try:
        torch_device = torch.device(device)
        torch.zeros(1, device=torch_device).cpu()
    except (RuntimeError, AssertionError, TypeError) as error:
        raise UsageError(f"{_unusable_device(device, error)}. Use device='cpu'") from error
    return torch_device


def _unusable_device(device: str | torch.device, error: Exception) -> str:
    """Return the reason why a device cannot be used."""
    try:
        torch_device = torch.device(device)
    except (RuntimeError, TypeError):
        return f"device={str(device)!r} is not a torch device, such as 'cuda', 'cuda:1' or 'mps'"
    kind = torch_device.type
    backend = getattr(torch, kind, None) or getattr(torch.backends, kind, None)
    if backend is not None and hasattr(backend, "is_available") and not backend.is_available():
        return f"{kind.upper()} is not available on this machine"
    count = backend.device_count() if backend is not None and hasattr(backend, "device_count") else 1
    if torch_device.index is not None and torch_device.index >= count:
        return f"device={str(device)!r}: this machine has {count} {kind.upper()} device(s), counted from 0"
    return f"device={str(device)!r} cannot be used: {summary(error)}"


def free_cache(device: torch.device) -> None:
    """Return the memory that the allocator of a CUDA device keeps unused to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
