"""The dtype that a network computes in, and the dtype of its checkpoint."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from layerzoo.errors import PluginError

Precision = Literal["float32", "bfloat16", "float16", "library"]
"""The dtype that a network computes in. `float32`: throughout. `bfloat16`, `float16`: for operations that torch's
autocast converts, and float32 for the rest. `library`: the default of the model's library with this checkpoint; for
transformers it is the dtype of the stored checkpoint, and for timm and torchvision it is float32."""
RequestedPrecision = Precision | Literal["auto"]
"""A :data:`Precision`; or `auto` for bfloat16 where the device computes it natively, and float32 elsewhere."""

STORED = "stored"
"""The answer of the hook ``layerzoo_dtype`` that selects the dtype of the checkpoint's first floating-point tensor."""
_CAST = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
"""Modules that use their tensors only in operations that autocast converts."""


_BFLOAT16_OF_CPUS = ("amx_bf16", "avx512_bf16")
"""Names in ``torch.cpu.get_capabilities`` of the instructions that multiply numbers in bfloat16."""
_FIRST_CUDA = (8, 0)
"""The first compute capability with bfloat16: Ampere."""


def choose_precision(requested: RequestedPrecision, device: torch.device) -> Precision:
    """Return the precision to compute in: for `auto`, bfloat16 on a device that computes it natively.

    A notice is logged where bfloat16 is requested for a CPU that only emulates it.
    """
    if requested == "auto":
        return "bfloat16" if computes_bfloat16(device) else "float32"
    if requested == "bfloat16" and device.type == "cpu" and not computes_bfloat16(device):
        announce_emulation()
    return requested


def computes_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies numbers in bfloat16 natively: a CPU with AMX or AVX512-BF16, or a CUDA device
    of compute capability 8.0 or later."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _FIRST_CUDA
    return device.type == "cpu" and has_bfloat16(_cpu_capabilities())


def has_bfloat16(capabilities: Mapping[str, object]) -> bool:
    """Return whether a CPU multiplies numbers in bfloat16.

    capabilities: as ``torch.cpu.get_capabilities`` returns them.
    """
    return any(capabilities.get(name) is True for name in _BFLOAT16_OF_CPUS)


def _cpu_capabilities() -> Mapping[str, object]:
    """Return the instruction sets of this CPU; none in a version of torch that does not report them."""
    report = getattr(torch.cpu, "get_capabilities", dict)
    capabilities: Mapping[str, object] = report()
    return capabilities


@lru_cache(maxsize=1)
def announce_emulation() -> None:
    """Warn, once a process, that this CPU emulates bfloat16."""
    logging.getLogger("layerzoo").warning(
        "this CPU has neither AMX nor AVX512-BF16, so that bfloat16 is slower than float32: 13.8 against 23.0 images/s "
        "were measured on such a CPU. Next: precision='auto' (--precision auto)"
    )


def dtype_name(dtype: torch.dtype) -> str:
    """Return the name of a dtype as torch writes it, without ``torch.``."""
    return str(dtype).removeprefix("torch.")


def library_dtype(answer: str | None, stored: Iterable[Tensor], *, model: str, plugin: str) -> torch.dtype:
    """Return the dtype that the model's library computes in by default.

    Args:
        answer: the answer of the hook ``layerzoo_dtype``.
        stored: the tensors of the checkpoint, in their order. Not read unless the hook returned ``stored``.
        model: the model's id, for messages.
        plugin: the plugin that has the hook.
    Raises: PluginError for a name that is not a floating-point dtype of torch.
    """
    if answer is None:
        return torch.float32
    if answer == STORED:
        kinds = (tensor.dtype for tensor in stored)
        return next((kind for kind in kinds if kind.is_floating_point and kind.itemsize > 1), torch.float32)
    dtype = getattr(torch, answer, None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        message = (
            f"the hook layerzoo_dtype answers {answer!r} for {model}, which is not a floating-point dtype of torch"
        )
        raise PluginError(message, plugin=plugin)
    return dtype


@contextlib.contextmanager
def computing_in(dtype: torch.dtype) -> Iterator[None]:
    """Make ``dtype`` torch's default dtype inside, so that networks are built with parameters of that dtype."""
    usual = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(usual)


def floating_dtypes(tensors: Iterable[Tensor]) -> tuple[str, ...]:
    """Return the names of the floating-point dtypes among some tensors, sorted."""
    return tuple(sorted({dtype_name(tensor.dtype) for tensor in tensors if tensor.is_floating_point()}))


@lru_cache(maxsize=256)
def announce_other_dtype(model: str, library: torch.dtype) -> None:
    """Warn, once a process, that the model's library computes in another dtype than float32 by default."""
    name = dtype_name(library)
    logging.getLogger("layerzoo").warning(
        "%s: features are computed in float32; with this checkpoint its library computes in %s by default. To compute "
        "as the library does: precision='library' (--precision library)",
        model,
        name,
    )


def in_precision(network: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert the tensors that autocast would convert at each call to ``dtype``, in place.

    The features are the same, in less memory, and a forward pass over one sample reads fewer weights. Only modules
    of exactly these classes are converted: others may compute with their weights, as a weight norm does. Tensors
    that are shared with a module in float32 are kept.
    """
    if dtype is torch.float32:
        return network
    modules = list(network.modules())
    excluded = {id(tensor) for module in modules if type(module) not in _CAST for tensor in module._parameters.values()}
    for module in modules:
        for tensor in module._parameters.values() if type(module) in _CAST else ():
            if tensor is not None and tensor.dtype is torch.float32 and id(tensor) not in excluded:
                tensor.data = tensor.data.to(dtype)
    return network
