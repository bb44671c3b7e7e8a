"""Recognise quantised weights, which are meaningless without the scales that a checkpoint keeps next to them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from layerzoo.errors import WeightsError

_NARROW = frozenset(
    dtype for name in dir(torch) if isinstance(dtype := getattr(torch, name), torch.dtype) and dtype.itemsize == 1
) - {torch.bool}
"""Types of one byte. A plain cast to float8 has no scales: its values are used unchanged."""
_COMPANION = re.compile(
    r"scale|absmax|amax|zero_?point|qzeros|(^|\.|_)SCB(\.|$)|quant_?(map|state)|g_idx", re.IGNORECASE
)
"""Names of tensors next to a quantised one in quantisation libraries: ``weight_scale_inv`` (fine-grained float8),
``weight_scale`` (compressed-tensors, torchao), ``SCB`` and ``absmax`` (bitsandbytes), ``scales`` and ``qzeros`` (GPTQ,
AWQ), ``weight_scale_2`` (NVFP4)."""
_PACKED = re.compile(r"(^|[._])(qweight|qdata|\w*_packed|\w*_blocks|quant_state\..*)$")
"""Names of tensors that hold several quantised numbers in one."""
_DELTA = re.compile(r"(^|\.)(lora_\w+|hada_\w+|lokr_\w+|oft_\w+|ia3_\w+|lora)(\.|$)")
"""Names that adapters give to the changes of weights of their base model."""


def holds_quantised(tensors: Mapping[str, Tensor]) -> bool:
    """Return True if a checkpoint has quantised tensors: elements of one byte, or several numbers in one element.

    tensors: by checkpoint key. No value is read.
    """
    return any(tensor.dtype in _NARROW or is_packed(name) for name, tensor in tensors.items())


def is_packed(name: str) -> bool:
    """Return True if this checkpoint key, by the conventions of quantisation libraries, means a tensor that holds
    several quantised numbers in each element.
    """
    return _PACKED.search(name) is not None


def refuse_scaled(
    tensors: Mapping[str, Tensor],
    own: Collection[str],
    *,
    taken: Collection[str] | None = None,
    model: str,
    label: str,
) -> None:
    """Refuse quantised tensors that would be loaded without their scales.

    Args:
        tensors: the tensors of the checkpoint, by checkpoint key.
        own: the keys of the network's own tensors.
        taken: the keys of the tensors that are loaded unchanged; None for all.
        model: the model's id, for messages.
        label: the name of the checkpoint, for messages.
    Raises: WeightsError, which names a quantised tensor and its scales.
    """
    extra = [name for name in tensors if name not in own]
    for name, tensor in tensors.items():
        if tensor.dtype not in _NARROW or not (taken is None or name in taken) or name in extra:
            continue
        if companion := next((key for key in extra if _belongs_to(key, name)), None):
            raise _needs_scales(model, label, name, tensor, companion)


def _belongs_to(companion: str, name: str) -> bool:
    """Return whether a key that the network does not have may be the scale of a quantised tensor.

    Its name indicates it, or it is in the same module. Some libraries write underscores for the dots of a path.
    """
    parent = name.rpartition(".")[0]
    if _COMPANION.search(companion) and (parent or name) in companion:
        return True
    is_longer = companion.replace(".", "_").startswith(name.replace(".", "_"))
    return is_longer or bool(parent and companion.startswith(f"{parent}."))


def refuse_packed(tensors: Mapping[str, Tensor], name: str, *, model: str, label: str) -> None:
    """Refuse a checkpoint that has a tensor only in packed form.

    name: of the missing tensor in the network. Raises: WeightsError.
    """
    parent = name.rpartition(".")[0]
    packed = next((key for key in tensors if parent and parent in key and is_packed(key)), None)
    if packed is not None:
        beside = next((key for key in tensors if parent in key and _COMPANION.search(key)), "its scales")
        raise _needs_scales(model, label, packed, tensors[packed], beside)


def _needs_scales(model: str, label: str, name: str, tensor: Tensor, companion: str) -> WeightsError:
    return WeightsError(
        f"{model}: {label} is quantised: '{name}' ({str(tensor.dtype).removeprefix('torch.')}) means nothing without "
        f"'{companion}', and nothing that builds this model says how the two belong together. Next: save the weights "
        "dequantised, as float32 or bfloat16, with the library that quantised them"
    )


def refuse_changes(tensors: Mapping[str, Tensor], own: Collection[str], *, model: str, label: str) -> None:
    """Refuse to ignore the changes that an adapter makes to the weights.

    tensors, own, label: as for :func:`refuse_scaled`. Raises: WeightsError naming one of them.
    """
    if delta := next((name for name in tensors if name not in own and _DELTA.search(name)), None):
        raise WeightsError(
            f"{model}: {label} holds changes of an adapter (LoRA) to its weights, '{delta}', which the network has no "
            "place for. Next: merge them into the weights (peft: merge_and_unload), and save these"
        )
