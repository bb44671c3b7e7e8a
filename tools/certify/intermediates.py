"""Match the results of timm's own ``forward_intermediates`` to layers, by comparing values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from tools.certify.folding import folded
from torch import Tensor, nn

import layerzoo
from layerzoo.spec import Layer

_MAIN = re.compile(r"(branch\.\d+\.)?(stem|(block|stage)\.\d+)")


def intermediates(network: nn.Module, batch: layerzoo.Batch, activations: Mapping[Layer, Tensor]) -> dict[str, Any]:
    """Match each of timm's intermediates to a layer, ignoring the order of axes and prefix tokens.

    activations: those of the network at its layers, on this batch and in this memory format.
    Returns: ``count``, the number of intermediates; ``equal``, how many equal a stem, block or stage bit for bit;
    ``which``, the names of these layers; ``other``, by index of the remaining intermediates, the name of another layer,
    the path of a module in brackets, or the nearest layer. ``{"none": reason}`` if timm has no such method or it fails.
    """
    method = getattr(network, "forward_intermediates", None)
    if method is None:
        return {"none": "no such method"}
    (pixels,) = batch.inputs.values()
    try:
        with torch.no_grad():
            theirs = [_positions(output, 1) for output in method(pixels, intermediates_only=True)]
    except Exception as error:  # noqa: BLE001 - the failure is the result
        return {"none": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"}
    ours = {
        layer.name: values for layer, output in activations.items() if (values := _of_layer(layer, output)) is not None
    }
    in_order = sorted(ours, key=lambda name: not _MAIN.fullmatch(name))  # a stage often equals its last block
    matches = [next((name for name in in_order if torch.equal(ours[name], values)), None) for values in theirs]
    unmatched = {index: theirs[index] for index, match in enumerate(matches) if match is None}
    modules = _modules_returning(network, pixels, unmatched) if unmatched else {}
    main = [match for match in matches if match is not None and _MAIN.fullmatch(match)]
    return {
        "count": len(theirs),
        "equal": len(main),
        "which": folded(main),
        "other": {
            str(index): match or (f"[{modules[index]}]" if index in modules else _nearest(theirs[index], ours))
            for index, match in enumerate(matches)
            if match not in main
        },
    }


def _of_layer(layer: Layer, activation: Tensor) -> Tensor | None:
    """Return (sample, position, channel) without prefix tokens; None for an activation without positions."""
    axes = layer.axes or ()
    if len(axes) < 3 or axes[0] != "batch" or "channel" not in axes:
        return None
    return _positions(activation, axes.index("channel"))[:, layer.prefix_tokens or 0 :]


def _positions(activation: Tensor, channel: int) -> Tensor:
    """Return (sample, position, channel). channel: the index of the channel axis."""
    return activation.movedim(channel, -1).flatten(1, -2)


def _modules_returning(network: nn.Module, pixels: Tensor, wanted: Mapping[int, Tensor]) -> dict[int, str]:
    """Return, by index of the wanted values, the path of the first module that returns them."""
    paths: dict[int, str] = {}

    def compare(path: str, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim < 3:
            return
        for index, value in wanted.items():
            if index not in paths and _equals(output, value):
                paths[index] = path

    handles = [
        module.register_forward_hook(lambda module, args, output, path=path: compare(path, output))
        for path, module in network.named_modules()
    ]
    with torch.no_grad():
        network(pixels)
    for handle in handles:
        handle.remove()
    return paths


def _equals(output: Tensor, value: Tensor) -> bool:
    """Return whether the output of a module equals a value, for either channel axis and without leading tokens."""
    if output.shape[0] != value.shape[0] or output.numel() < value.numel():
        return False
    candidates = [
        _positions(output, channel) for channel in (1, output.ndim - 1) if output.shape[channel] == value.shape[2]
    ]
    return any(torch.equal(values[:, values.shape[1] - value.shape[1] :], value) for values in candidates)


def _nearest(values: Tensor, ours: Mapping[str, Tensor]) -> str:
    distances = {
        name: float((other - values).norm() / other.norm())
        for name, other in ours.items()
        if other.shape == values.shape
    }
    if not distances:
        return "no layer of this size"
    name = min(distances, key=lambda name: distances[name])
    return f"{name} with relative difference {distances[name]:.1g}"
