"""Name the layers of a network that declares none, from a trace of the order in which its modules run.

:mod:`layerzoo.runtime.chain` finds the chain of repeated modules. Where the number of positions drops along the chain,
the last call before each drop, and the last of all, are stages; the blocks of a stage are the chain inside it. Without
drops, the calls are blocks. Where each call returns several maps, each of them is a branch. The input of the chain
comes from the stem; the final norm, the pooled vector and the head come after the chain. For a network that continues
after its chain (a detector's neck and queries), its library states the layers that follow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import prod

from layerzoo.plugins.chain import Chain
from layerzoo.runtime.chain import (
    Activation,
    ChainSection,
    TraceIndex,
    count_positions,
    depth_of,
    find_sections,
    pattern_of,
)
from layerzoo.runtime.trace import Call, Trace
from layerzoo.spec import Layer

_POOLING_FACTOR = 4
"""An activation with this many times fewer positions than the chain is no longer a map of it (class tokens of PiT)."""

_BY_RULE = Chain()


def name_layers(trace: Trace, chain: Chain = _BY_RULE) -> tuple[Layer, ...]:
    """Return the layers that a trace shows, or none if no chain is found.

    They are: stem, block.I or stage.I, stage.I.block.J, norm, pooled and head, with the prefix ``branch.K.`` where
    branches run in parallel; and the embedding.

    Args:
        chain: knowledge of the library that overrides the rule.
    """
    if not chain.embedding:
        returned = [] if chain.embedding is None else [_embedding(trace.calls[0], chain)]
        return (*_name_network(trace, chain), *returned)
    inside, outside = _calls_by_module(trace, chain.embedding)
    layers = _name_network(replace(trace, calls=outside), chain)
    return (*layers, *(_embedding(call, chain) for call in inside[:1]))


def _embedding(call: Call, chain: Chain) -> Layer:
    """Return the layer of an embedding. The axes of one vector per sample are known without a second trace."""
    axes = chain.axes_of(call.module, len(Activation(call, None).shape))
    if len(call.outputs.get(None, ())) == 2:
        axes = ("batch", "channel")
    prefix = chain.prefix_tokens if axes is not None and "token" in axes else None
    return Layer(name="embedding", module=call.module, axes=axes, prefix_tokens=prefix)


def _calls_by_module(trace: Trace, path: str) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """Return the calls of a module and of those inside it, and all other calls."""
    inside = tuple(call for call in trace.calls if f"{call.module}.".startswith(f"{path}."))
    return inside, tuple(call for call in trace.calls if call not in inside)


def _name_network(trace: Trace, chain: Chain) -> tuple[Layer, ...]:
    index = TraceIndex(trace, branches=chain.branches)
    links = (
        index.matching(chain.modules)
        if chain.modules is not None
        else index.main_chain(chain.within, chain.single, chain.count)
    )
    stated, following = _matching(index, chain.before), _matching(index, chain.after)
    links = [call for call in links if call not in [activation.call for _, activation in following]]
    if not links:  # the library may state all layers, where the batch is not the first axis
        return tuple(_layer(index, name, activation, chain) for name, activation in [*stated, *following])
    sections = find_sections(index, links, chain.blocks, is_declared=chain.modules is not None)
    sections += [section for section in find_sections(index, index.branches_after(links), None) if section.prefix]
    named_activations = stated + [
        pair for section in sections for pair in (*_stem(index, section, chain.stem), *section.named_activations())
    ]
    named_activations += following if chain.after else _tail(index, sections)
    layers = [_layer(index, name, activation, chain) for name, activation in named_activations]
    return tuple(layers) if chain.suffix_tokens is None else (*layers, *_queries(layers, chain.suffix_tokens))


def _layer(index: TraceIndex, name: str, activation: Activation, chain: Chain) -> Layer:
    axes = chain.axes_of(activation.call.module, len(activation.shape))
    return Layer(
        name=name,
        module=activation.call.module,
        call=index.call_number(activation.call),
        output=activation.key,
        at=activation.at,
        axes=axes,
        prefix_tokens=chain.prefix_tokens if axes is not None and "token" in axes else None,
        suffix_tokens=chain.suffix_tokens if len(activation.shape) == 3 else None,
    )


def _queries(layers: Iterable[Layer], count: int) -> list[Layer]:
    """Return the layers of object tokens that run through the same blocks as the tokens of the input."""
    axes = ("batch", "token", "channel")
    return [
        replace(layer, name=f"query.{layer.name}", suffix_tokens=None, last_tokens=count, axes=axes, prefix_tokens=0)
        for layer in layers
        if re.fullmatch(r"block\.\d+|norm", layer.name)
    ]


def _stem(index: TraceIndex, section: ChainSection, pattern: str | None) -> list[tuple[str, Activation]]:
    """Find the output that a section receives: of the last call before it with the received shape or size.

    A branch receives the shape that its first link returns: such a link takes a list of tensors.

    Example: ``layer1`` of a ResNet-18 receives (2, 64, 56, 56). Before it run conv1, bn1 and act1, which return (2, 64,
    112, 112), and maxpool, which returns (2, 64, 56, 56): maxpool is the stem. ``blocks.0`` of a ViT receives (2, 197,
    768). Of the modules before it, ``norm_pre`` (an identity) is the last one that returns this shape. In OPT, the
    position embedding is the last module before the blocks, and returns (2, 16, 32) as the blocks receive it. It is
    added to the word embedding of the same shape, so the stem is the input of block 0."""
    first = section.first
    received = Activation(first.call, None, at="input")
    if pattern == "<":
        return [(f"{section.prefix}stem", received)]
    if pattern is not None:
        calls = index.matching(pattern)[-1:]
        return [(f"{section.prefix}stem", Activation(call, index.keys(call)[0])) for call in calls]
    earlier = [
        Activation(call, key)
        for call in index.trace.calls
        if call.end < first.call.start
        for key in ((None,) if None in call.outputs else call.outputs)
    ]
    shapes = {first.shape} if section.prefix else set(first.call.inputs.values())
    if first.shape in shapes:
        shapes = {first.shape}
    batched = {shape for shape in shapes if shape[:1] == (index.trace.batch_size,)} or shapes
    candidates = [activation for activation in earlier if activation.shape in batched]
    if not candidates and not section.prefix:
        sizes = {prod(shape) for shape in batched}
        candidates = [activation for activation in earlier if prod(activation.shape) in sizes] or earlier
    if not candidates:
        return []
    last = max(candidates, key=lambda activation: activation.call.end)
    is_the_sum = not section.prefix and _is_a_summand(last, candidates, first)
    return [(f"{section.prefix}stem", received if is_the_sum else last)]


def _is_a_summand(last: Activation, candidates: Sequence[Activation], first: Activation) -> bool:
    """Return whether the last activation before a chain is added to an earlier one: the embedding of positions, which
    is the same for all texts."""
    received = next(iter(first.call.inputs.values()), ())
    return (
        last.shape == received
        and received not in last.call.inputs.values()
        and any(candidate.shape == received and candidate.call.end < last.call.start for candidate in candidates)
    )


def _matching(index: TraceIndex, patterns: Mapping[str, str]) -> list[tuple[str, Activation]]:
    """Return the layers before or after the chain that the library states."""
    matches: list[tuple[str, Activation]] = []
    for name, pattern in patterns.items():
        calls = [call for call in index.trace.calls if re.fullmatch(pattern, call.module) and call.outputs]
        outputs = [Activation(call, None if None in call.outputs else next(iter(call.outputs))) for call in calls]
        numbered = [(name.replace("*", str(number)), output) for number, output in enumerate(outputs)]
        matches += numbered if "*" in name else numbered[-1:]
    return matches


def _tail(index: TraceIndex, sections: Sequence[ChainSection]) -> list[tuple[str, Activation]]:
    """Return the norm, the pooled vector and the head after the chain. Those of one branch get its prefix.

    Example: after the last block of a ViT, which returns (2, 197, 768), run ``norm`` → (2, 197, 768), ``fc_norm`` (an
    identity) → (2, 768), ``head_drop`` → (2, 768) and ``head`` → (2, 1000). The network returns (2, 1000). ``head`` has
    this shape, does FLOPs and contains no modules: it is the head. ``norm`` has parameters, does no FLOPs that are
    counted, and keeps the shape of the chain: it is the final norm. The head receives (2, 768). No module between norm
    and head computes such a vector, so the first that passes it on, ``fc_norm``, is the pooled layer.
    """
    deepest = max((section.last for section in sections), key=lambda last: (last.call.end, -last.positions))
    late = [call for call in index.trace.calls if call.start > deepest.call.end and None in call.outputs]
    own = _branch_tails(index, late, [section for section in sections if section.prefix])
    names = {name.rpartition(".")[2] for name, _ in own}
    return own + [(name, output) for name, output in _shared_tail(index, late, deepest) if name not in names]


def _shared_tail(index: TraceIndex, late: Sequence[Call], deepest: Activation) -> list[tuple[str, Activation]]:
    head = _head(index, late)
    before_head = [call for call in late if head is None or call.end < head.start]
    norm = _norm(index, before_head, deepest)
    pooled = _pooled(index, [call for call in before_head if norm is None or call.start > norm.end], head)
    named_calls = (("norm", norm), ("pooled", pooled), ("head", head))
    return [(name, Activation(call, None)) for name, call in named_calls if call is not None]


def _branch_tails(
    index: TraceIndex, late: Sequence[Call], branches: Sequence[ChainSection]
) -> list[tuple[str, Activation]]:
    """Return norm, pooled vector and head of each branch: a norm of its shape, a head for vectors of its width, if no
    other branch has the same."""
    named_calls: list[tuple[str, Call]] = []
    for section in branches:
        other_outputs = [branch.last for branch in branches if branch is not section]
        if section.last.shape not in {branch.shape for branch in other_outputs}:
            norms = [call for call in _norms(index, late, section.last) if call.outputs[None] == section.last.shape]
            named_calls += [(f"{section.prefix}norm", call) for call in norms[-1:]]
        if section.last.channels not in {output.channels for output in other_outputs}:
            heads = [call for call in _heads(index, late) if _received(call)[-1:] == (section.last.channels,)]
            for head in heads[-1:]:
                pooled = _pooled(index, [call for call in late if call.end < head.start], head)
                named_calls += [(f"{section.prefix}pooled", pooled)] if pooled is not None else []
                named_calls.append((f"{section.prefix}head", head))
    return [(name, Activation(call, None)) for name, call in named_calls]


def _head(index: TraceIndex, late: Sequence[Call]) -> Call | None:
    """Return the layer that computes the network's output.

    Of several (a separate classifier for a distillation token), return the first; of numbered ones, the last.
    """
    layers = _heads(index, late)
    return next((call for call in reversed(layers) if pattern_of(call) == pattern_of(layers[0])), None)


def _heads(index: TraceIndex, late: Sequence[Call]) -> list[Call]:
    """Return the calls without inner modules that return vectors like the network's, without a later activation
    function or norm of the same shape."""
    returned = _vector(index.trace.calls[0].outputs.get(None, ()))
    layers = [
        call
        for call in late
        if returned and _vector(call.outputs[None]) == returned and index.flops([call]) and not index.inside(call)
    ]
    changing = [
        call for call in late if _computes(call) and call not in layers and call.outputs[None] in call.inputs.values()
    ]
    return [
        layer
        for layer in layers
        if not any(layer.end < call.start and call.outputs == layer.outputs for call in changing)
    ]


def _norm(index: TraceIndex, calls: Sequence[Call], deepest: Activation) -> Call | None:
    """Return the last of the final norms nearest the root."""
    return min(reversed(_norms(index, calls, deepest)), key=depth_of, default=None)


def _norms(index: TraceIndex, calls: Sequence[Call], deepest: Activation) -> list[Call]:
    """Return the calls that have parameters, multiply no matrices, and return maps of the chain.

    Norms whose output is added to others or weighted, inside a module that returns the same shape, are excluded.
    """
    maps = [call for call in calls if index.is_map(call.outputs[None])]

    def is_passed_on(norm: Call) -> bool:
        around = [call for call in maps if call.start < norm.start and norm.end < call.end]
        return not any(index.flops_between(norm, call) for call in around if call.outputs == norm.outputs)

    def is_of_the_chain(norm: Call) -> bool:
        shape = norm.outputs[None]
        is_alike = not index.flops_between(deepest.call, norm) or len(shape) <= len(deepest.shape)
        return is_alike and _POOLING_FACTOR * count_positions(shape, index.image) > deepest.positions

    return [
        call
        for call in maps
        if index.has_parameters(call) and not index.flops([call]) and is_passed_on(call) and is_of_the_chain(call)
    ]


def _pooled(index: TraceIndex, calls: Sequence[Call], head: Call | None) -> Call | None:
    """Return the call whose vector the head receives or, without a head, the network returns.

    It is the last call that computes the vector, else the first that passes it on.
    """
    returned = (_vector(shape) for shape in index.trace.calls[0].outputs.values())
    expected = next(filter(None, returned), ()) if head is None else _received(head)
    vectors = [call for call in calls if expected and _vector(call.outputs[None]) == expected]
    flat = [call for call in vectors if len(call.outputs[None]) == 2] or vectors
    computed = [call for call in flat if _computes(call)]
    return max(computed, key=lambda call: call.end) if computed else next(iter(flat), None)


def _computes(call: Call) -> bool:
    """Return whether a call does any operation. An identity, or a dropout in eval mode, does none."""
    return call.end > call.start + 1


def _received(call: Call) -> tuple[int, ...]:
    """Return the shape of the vector that a call receives."""
    return _vector(next(iter(call.inputs.values()), ()))


def _vector(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of one vector per sample, which may be a map of one pixel; empty for all other shapes."""
    return shape[:2] if len(shape) == 2 or (len(shape) == 4 and shape[2:] == (1, 1)) else ()
