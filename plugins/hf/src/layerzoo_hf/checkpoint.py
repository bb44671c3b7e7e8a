"""Convert checkpoint keys to the network's own names, with the loading code of transformers.

The keys of a published checkpoint rarely equal the names of the network's parameters: they have the prefix of a task,
names of older versions (LayerNorm.gamma), or one tensor for each expert of a stack. transformers converts them while it
loads the checkpoint. The destination of each tensor is then found by the memory that it occupies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.core_model_loading import build_glob_alternation

from layerzoo.authoring import holds_quantised, refuse_scaled
from layerzoo.errors import WeightsError
from layerzoo_hf.library_errors import quiet
from layerzoo_hf.parts import network_class
from layerzoo_hf.quantised import dequantising, undequantised, without_quantisation


def _whole_network(network: nn.Module) -> Mapping[str, str]:
    return {"": ""}


def mapped(
    config: Any, tensors: Mapping[str, Tensor], parts: Callable[[nn.Module], Mapping[str, str]] = _whole_network
) -> Mapping[str, Tensor]:
    """Return the tensors of a checkpoint by the names of the base network's parameters. Other tensors are excluded.

    Args:
        config: the configuration of the network.
        tensors: by checkpoint key, on one device, which may be the meta device.
        parts: returns the paths of the network's modules to keep, each with its path in the backbone; the empty path
            is the whole network.

    A tensor that is loaded unchanged is returned as the same object. One that is computed from others is a new one.
    A key that is missing in the checkpoint is missing here too. A tensor of another shape is returned unchanged.
    """
    is_meta = any(tensor.is_meta for tensor in tensors.values())
    numbers = enumerate(tensors.items())
    state_dict = (
        {name: _placeholder(tensor, number) for number, (name, tensor) in numbers} if is_meta else dict(tensors)
    )
    names = {_memory(tensor): name for name, tensor in state_dict.items()}
    network, report = _loaded(config, state_dict, is_meta=is_meta)
    misfits = {key for key, *_ in report["mismatched_keys"]}
    loaded = {name: tensors[name] for name in misfits & tensors.keys()}
    for name, tensor in network.state_dict(keep_vars=True).items():
        origin = names.get(_memory(tensor))
        if origin is not None:
            loaded[name] = tensors[origin]
        elif name not in misfits | report["missing_keys"]:
            loaded[name] = torch.empty_like(tensor, device="meta") if is_meta else tensor.detach()
    prefixes = {f"{path}." if path else "": f"{own}." if own else "" for path, own in parts(network).items()}
    backbone_tensors = {
        own + name.removeprefix(prefix): tensor
        for prefix, own in prefixes.items()
        for name, tensor in loaded.items()
        if name.startswith(prefix)
    }
    # A checkpoint may hold the backbone alone, as it is saved from the class of an encoder. A name of the whole
    # network's may be among its own.
    names_there = {
        own + name.removeprefix(prefix)
        for prefix, own in prefixes.items()
        for name in network.state_dict(keep_vars=True)
        if name.startswith(prefix)
    }
    return (
        dict(tensors)
        if len(names_there & tensors.keys()) > len(names_there & backbone_tensors.keys())
        else backbone_tensors
    )


def keep_in_float32(network: Any, dtype: torch.dtype) -> None:
    """Keep the parameters in float32 that ``from_pretrained`` keeps in it, in place.

    network: as it was built in ``dtype``.
    """
    plan = network._get_dtype_plan(dtype)
    if not plan:
        return
    pattern, names, _ = build_glob_alternation(list(plan))
    for name, parameter in network.named_parameters():
        if match := pattern.search(name):
            parameter.data = parameter.data.to(plan[names[match.lastgroup]])


def _memory(tensor: Tensor) -> tuple[int, int, tuple[int, ...]]:
    """Return the address and the shape of a tensor. Tensors for which both are equal are the same."""
    return tensor.untyped_storage()._cdata, int(tensor.storage_offset()), tuple(tensor.shape)


def _placeholder(tensor: Tensor, number: int) -> Tensor:
    """Return an uninitialised tensor, whose memory is hardly touched: transformers loads nothing from the meta device.

    Its first bytes hold a number. transformers ties tensors of equal values, and these must not look equal.
    """
    placeholder = torch.empty(tensor.shape, dtype=tensor.dtype)
    if tensor.dtype is not torch.bool and tensor.numel():
        memory = placeholder.reshape(-1).view(torch.uint8)
        digits = torch.tensor([number >> shift & 127 for shift in (0, 7, 14, 21)], dtype=torch.uint8)[: len(memory)]
        memory[: len(digits)] = digits
    return placeholder


def _loaded(config: Any, tensors: dict[str, Tensor], *, is_meta: bool) -> tuple[Any, dict[str, Any]]:
    kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
    kind = kinds.pop() if len(kinds) == 1 else torch.float32
    is_quantised = getattr(config, "quantization_config", None) is not None and holds_quantised(tensors)
    load_config = dequantising(config) if is_quantised else without_quantisation(config)
    try:
        with quiet():
            network, report = network_class(config).from_pretrained(
                None,
                config=load_config,
                state_dict=tensors,
                dtype=torch.float32 if is_quantised or kind.itemsize == 1 else kind,
                output_loading_info=True,
                ignore_mismatched_sizes=not is_quantised,
            )
    except RuntimeError as error:
        if not is_quantised or is_meta:  # on the meta device, the missing values may be the cause
            raise
        raise undequantised(config, tensors) from error
    if not is_quantised:  # transformers ignores the scales
        loaded_names = tensors.keys() - report["unexpected_keys"]
        refuse_scaled(tensors, loaded_names, model=f"a network of type {config.model_type}", label="the checkpoint")
        _refuse_integers(config, network, {name: tensors[name] for name in loaded_names})
    return network, report


def _refuse_integers(config: Any, network: Any, loaded: Mapping[str, Tensor]) -> None:
    """Refuse integers for a parameter of floating point: transformers converts them as if they had no scale.

    loaded: the tensors that were loaded, by checkpoint key. Raises: WeightsError naming one of them.
    """
    integers = {name for name, tensor in loaded.items() if not (tensor.is_floating_point() or tensor.is_complex())}
    if not integers:
        return
    for name, parameter in network.named_parameters():
        key = next((key for key in integers if key == name or key.endswith(f".{name}")), None)
        if key is not None and parameter.is_floating_point():
            raise WeightsError(
                f"a network of type {config.model_type}: '{key}' is {loaded[key].dtype} in the checkpoint and "
                f"{parameter.dtype} in the network. Quantised weights need the scales that they were made with. Next: "
                "save them dequantised, as float32 or bfloat16, with the library that quantised them"
            )
