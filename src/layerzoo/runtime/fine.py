"""Find two activations inside each transformer block: after the attention, and inside the feed-forward network.

Example: block 3 of a ViT-S/16 runs ``norm1``, ``attn``, ``norm2``, ``mlp.fc1`` (197, 384) → (197, 1536), ``mlp.act``,
``mlp.fc2`` (197, 1536) → (197, 384). The last linear layer that narrows to the width of the block is ``mlp.fc2``: its
input, the activation inside the feed-forward network, is ``block.3.mlp``. ``mlp.fc1`` widens before it: its input, the
normed sum of the attention's output and what it was computed from, is ``block.3.attn``.

Both may predict labels better than the output of the block: see "Where to probe" in docs/sweep.md.
"""

from __future__ import annotations

import re

from layerzoo.errors import LayerError
from layerzoo.runtime.chain import TraceIndex
from layerzoo.runtime.cut import find_call
from layerzoo.runtime.resolved import ResolvedModel
from layerzoo.runtime.trace import Call, Trace
from layerzoo.spec import Layer

FINE = "fine"
"""The selector of all fine layers."""
FINE_NAME = re.compile(r".+\.(?:mlp|attn)")
_BLOCK = re.compile(r"(?:.+\.)?block\.\d+")


def fine_layers(resolved: ResolvedModel) -> tuple[Layer, ...]:
    """Return the layers ``block.I.attn`` and ``block.I.mlp`` of each block that has a feed-forward network.

    Args:
        resolved: the model.
    Raises: LayerError for a network without one.
    """
    trace = resolved.tracer.trace
    index = TraceIndex(trace, branches=False)
    found = []
    for layer in resolved.spec.layers:
        if not _BLOCK.fullmatch(layer.name) or layer.axes is None or layer.axes[-1:] != ("channel",):
            continue
        block = find_call(trace, layer, model=resolved.spec.id)
        if (pair := _feed_forward(index, block)) is not None:
            for suffix, call in zip(("attn", "mlp"), pair, strict=True):
                found.append(resolved.complete(_input_of(call, f"{layer.name}.{suffix}", layer, trace)))
    if not found:
        raise LayerError(
            f"{resolved.spec.id} has no blocks with a feed-forward network of linear layers, so that '{FINE}' means "
            f"nothing. All layers: zoo layers {resolved.spec.id}"
        )
    return tuple(found)


def _feed_forward(index: TraceIndex, block: Call) -> tuple[Call, Call] | None:
    """Return the first and the last linear layer of a block's feed-forward network; None if it has none.

    A gated network has two first layers with the same input, one after the other.
    """
    output = next(iter(block.outputs.values()), ())
    linear = [call for call in index.inside(block) if index.flops([call]) and not index.inside(call)]
    shapes = [(_shape(call.inputs), _shape(call.outputs)) for call in linear]
    narrowing = [
        number
        for number, (received, returned) in enumerate(shapes)
        if returned == output and received[:-1] == output[:-1] and received[-1] > output[-1]
    ]
    if not narrowing:
        return None
    last = first = narrowing[-1]
    while first and shapes[first - 1][0] == output and shapes[first - 1][1][-1:] >= shapes[last][0][-1:]:
        first -= 1
    return None if first == last else (linear[first], linear[last])


def _shape(tensors: object) -> tuple[int, ...]:
    """Return the shape of the first tensor of a call's inputs or outputs."""
    return next(iter(tensors.values()), ()) if isinstance(tensors, dict) else ()


def _input_of(call: Call, name: str, block: Layer, trace: Trace) -> Layer:
    return Layer(
        name=name,
        module=call.module,
        call=call.index if len(trace.calls_of(call.module)) > 1 else None,
        at="input",
        axes=block.axes,
        prefix_tokens=block.prefix_tokens,
        suffix_tokens=block.suffix_tokens,
    )
