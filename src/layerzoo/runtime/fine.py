"""Find two activations inside each transformer block: after the attention, and inside the feed-forward network.

Example: block 3 of a ViT-S/16 runs ``norm1``, ``attn``, ``norm2``, ``mlp.fc1`` (197, 384) → (197, 1536), ``mlp.act``,
``mlp.fc2`` (197, 1536) → (197, 384). The last linear layer that narrows to the width of the block is ``mlp.fc2``: its
input, the activation inside the feed-forward network, is ``block.3.mlp``. ``mlp.fc1`` widens before it: its input, the
normed sum of the attention's output and what it was computed from, is ``block.3.attn``.

Both may predict labels better than the output of the block: see "Where to probe" in docs/sweep.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

from layerzoo.errors import LayerError
from layerzoo.layers import listing
from layerzoo.runtime.chain import TraceIndex
from layerzoo.runtime.cut import find_call
from layerzoo.runtime.resolved import ResolvedModel
from layerzoo.runtime.trace import Call, Key, Trace
from layerzoo.spec import Layer

FINE = "fine"
"""The selector of all fine layers."""
FINE_NAME = re.compile(r".+\.(?:mlp|attn)")
_AXES = {3: ("batch", "token", "channel"), 4: ("batch", "height", "width", "channel")}
"""The axes of the inputs of linear layers, by their number."""
_BLOCK = re.compile(r"(?:.+\.)?block\.\d+")


def fine_layers(resolved: ResolvedModel) -> tuple[Layer, ...]:
    """Return the layers ``block.I.attn`` and ``block.I.mlp`` of each block that has a feed-forward network.

    Args:
        resolved: the model.
    Raises: LayerError for a network without one.
    """
    trace = resolved.tracer.trace
    index = TraceIndex(trace, branches=False)
    layers = []
    for layer in resolved.spec.layers:
        if not _BLOCK.fullmatch(layer.name) or "channel" not in (layer.axes or ()) or layer.shape is None:
            continue
        block = find_call(trace, layer, model=resolved.spec.id)
        if (pair := _feed_forward(index, block, layer)) is not None:
            for suffix, call in zip(("attn", "mlp"), pair, strict=True):
                layers.append(resolved.complete(_input_of(call, f"{layer.name}.{suffix}", layer, trace)))
    if not layers:
        raise LayerError(
            f"{resolved.spec.id} has no blocks with a feed-forward network of linear layers, so that '{FINE}' means "
            f"nothing. All layers: {listing(resolved.spec.id)}"
        )
    return tuple(layers)


def _feed_forward(index: TraceIndex, block: Call, layer: Layer) -> tuple[Call, Call] | None:
    """Return the first and the last linear layer of a block's feed-forward network; None if it has none.

    A gated network has two first layers with the same input, one after the other. The network may take the positions of
    the block in another arrangement: as one axis, or with channels last.
    """
    sizes = dict(zip((axis for axis in layer.axes or () if axis != "batch"), layer.shape or (), strict=True))
    width = sizes.pop("channel")
    positions = prod(sizes.values())

    def channels(shape: tuple[int, ...]) -> int:
        """Return the size of the last axis; 0 for tensors with other positions than the block."""
        is_alike = len(shape) in _AXES and shape[0] == index.trace.batch_size and prod(shape[1:-1]) == positions
        return shape[-1] if is_alike else 0

    linear = [call for call in index.inside(block) if index.flops([call]) and not index.inside(call)]
    widths = [(channels(_shape(call.inputs)), channels(_shape(call.outputs))) for call in linear]
    narrowing = [number for number, (received, returned) in enumerate(widths) if returned == width and received > width]
    if not narrowing:
        return None
    last = first = narrowing[-1]
    while first and widths[first - 1][0] == width and widths[first - 1][1] >= widths[last][0]:
        first -= 1
    return None if first == last else (linear[first], linear[last])


def _shape(tensors: Mapping[Key, tuple[int, ...]]) -> tuple[int, ...]:
    """Return the shape of the first tensor of a call's inputs or outputs."""
    return next(iter(tensors.values()), ())


def _input_of(call: Call, name: str, block: Layer, trace: Trace) -> Layer:
    axes = _AXES[len(_shape(call.inputs))]
    of_block = block.axes == axes
    return Layer(
        name=name,
        module=call.module,
        call=call.index if len(trace.calls_of(call.module)) > 1 else None,
        at="input",
        axes=axes,
        prefix_tokens=block.prefix_tokens if of_block else 0 if "token" in axes else None,
        suffix_tokens=block.suffix_tokens if of_block else None,
    )
