"""Which places of a network are what timm's own ``forward_intermediates`` gives, found out by comparing values."""

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


def intermediates(network: nn.Module, batch: layerzoo.Batch, given: Mapping[Layer, Tensor]) -> dict[str, Any]:
    """What each of timm's intermediates is; the order of axes and prefix tokens do not count.

    given: what the network gives at its layers, on this batch and in this memory format.
    Returns: how many are ``given``; how many of them are ``equal`` to stems, blocks or stages, bit for bit, and which
    these are; what each of the ``other`` ones is, by its number: another layer, the path of a module in brackets, or in
    words the nearest layer. ``{"none": why}`` where timm has no such method, or it fails.
    """
    method = getattr(network, "forward_intermediates", None)
    if method is None:
        return {"none": "no such method"}
    (pixels,) = batch.inputs.values()
    try:
        with torch.no_grad():
            theirs = [_positions(found, 1) for found in method(pixels, intermediates_only=True)]
    except Exception as error:  # noqa: BLE001 - that it fails is the answer
        return {"none": f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}"}
    ours = {layer.name: form for layer, found in given.items() if (form := _of_layer(layer, found)) is not None}
    in_order = sorted(ours, key=lambda name: not _MAIN.fullmatch(name))  # a stage is often its last block, too
    places = [next((name for name in in_order if torch.equal(ours[name], form)), None) for form in theirs]
    unknown = {index: theirs[index] for index, place in enumerate(places) if place is None}
    modules = _modules_giving(network, pixels, unknown) if unknown else {}
    main = [place for place in places if place is not None and _MAIN.fullmatch(place)]
    return {
        "given": len(theirs),
        "equal": len(main),
        "which": folded(main),
        "other": {
            str(index): place or (f"[{modules[index]}]" if index in modules else _nearest(theirs[index], ours))
            for index, place in enumerate(places)
            if place not in main
        },
    }


def _of_layer(layer: Layer, activation: Tensor) -> Tensor | None:
    """(sample, position, channel) without prefix tokens; None for what has no positions."""
    axes = layer.axes or ()
    if len(axes) < 3 or axes[0] != "batch" or "channel" not in axes:
        return None
    return _positions(activation, axes.index("channel"))[:, layer.prefix_tokens or 0 :]


def _positions(activation: Tensor, channel: int) -> Tensor:
    """(sample, position, channel)"""
    return activation.movedim(channel, -1).flatten(1, -2)


def _modules_giving(network: nn.Module, pixels: Tensor, wanted: Mapping[int, Tensor]) -> dict[int, str]:
    """The first module that returns each of some values, by the number of the value."""
    found: dict[int, str] = {}

    def look(path: str, output: Any) -> None:
        if not isinstance(output, Tensor) or output.ndim < 3:
            return
        for index, value in wanted.items():
            if index not in found and _is(output, value):
                found[index] = path

    handles = [
        module.register_forward_hook(lambda module, args, output, path=path: look(path, output))
        for path, module in network.named_modules()
    ]
    with torch.no_grad():
        network(pixels)
    for handle in handles:
        handle.remove()
    return found


def _is(output: Tensor, value: Tensor) -> bool:
    """Whether what a module returns is a value, whichever axis its channels are, apart from tokens in front."""
    if output.shape[0] != value.shape[0] or output.numel() < value.numel():
        return False
    forms = [_positions(output, channel) for channel in (1, output.ndim - 1) if output.shape[channel] == value.shape[2]]
    return any(torch.equal(form[:, form.shape[1] - value.shape[1] :], value) for form in forms)


def _nearest(form: Tensor, ours: Mapping[str, Tensor]) -> str:
    distances = {
        name: float((other - form).norm() / other.norm()) for name, other in ours.items() if other.shape == form.shape
    }
    if not distances:
        return "of another size than any layer"
    name = min(distances, key=lambda name: distances[name])
    return f"{distances[name]:.1g} from {name}"
